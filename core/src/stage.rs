//! The stages of the pipeline, by which passes, leases, metrics and logs are named.

words! {
    /// What a pass does. Each stage but dispatch runs on one coordinator at a time
    /// ([`crate::stage_lease`]).
    pub enum Stage: "stage" {
        /// Repositories of tracked packages are asked for their refs.
        Poll = "poll",
        /// Pushes are decided on.
        Decide = "decide",
        Import = "import",
        Plan = "plan",
        /// Build roots are solved and locked.
        Resolve = "resolve",
        /// Tasks are given to workers.
        Dispatch = "dispatch",
        /// Results are read and accepted.
        Accept = "accept",
        Sign = "sign",
        Publish = "publish",
    }
}

words! {
    /// A point that a build has passed, in their order. The time of each is shown.
    pub enum Milestone: "milestone of a build" {
        /// Its sources are there.
        Import = "import",
        /// Its SRPM is accepted.
        Srpm = "srpm",
        /// All its build tasks have their locks.
        Resolve = "resolve",
        /// All its build tasks are with workers.
        Dispatch = "dispatch",
        /// All its build tasks were built.
        Build = "build",
        /// Their results are accepted.
        Accept = "accept",
        /// Its packages are signed.
        Sign = "sign",
        /// A repository has them.
        Publish = "publish",
    }
}
