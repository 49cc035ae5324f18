//! The stages of the pipeline, by which passes, leases, metrics and logs are named.

words! {
    /// A stage, which has one pass. Each stage but dispatch runs on one coordinator at a time
    /// ([`crate::stage_lease`]).
    pub enum Stage: "stage" {
        /// Polls the repositories of tracked packages.
        Poll = "poll",
        /// Decides on pushes.
        Decide = "decide",
        Import = "import",
        Plan = "plan",
        /// Solves and locks build roots.
        Resolve = "resolve",
        /// Grants tasks to workers.
        Dispatch = "dispatch",
        /// Checks and accepts results.
        Accept = "accept",
        Sign = "sign",
        Publish = "publish",
    }
}

words! {
    /// A milestone of a build, in the order of the pipeline. The time of each is shown.
    pub enum Milestone: "milestone of a build" {
        /// Its sources were imported.
        Import = "import",
        /// Its SRPM is accepted.
        Srpm = "srpm",
        /// All its build tasks have their locks.
        Resolve = "resolve",
        /// All its build tasks were granted to workers.
        Dispatch = "dispatch",
        /// All its build tasks ended with success.
        Build = "build",
        /// Their results are accepted.
        Accept = "accept",
        /// Its packages are signed.
        Sign = "sign",
        /// Its packages are in a repository.
        Publish = "publish",
    }
}
