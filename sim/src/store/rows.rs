//! The rows as the store's functions take and give them, as far as rules look at them.

use rpmfarm_core::task::{Outcome, TaskKind};
use rpmfarm_core::{Arch, BuildId, Failure, Nevra, Sha256, TaskId};

macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }
    };
}

row! {
    /// A request to rebuild one package.
    NewBuild {
        /// Name of the target.
        target: String,
        /// Name of the package.
        package: String,
        /// Branch, tag or commit.
        git_ref: String,
    }
}
row! {
    /// A build as it was asked for.
    Build {
        /// Its number.
        id: i64,
        /// The builds of one request share it.
        batch: i64,
        /// Name of the target.
        target: String,
        /// Name of the package.
        package: String,
        /// Branch, tag or commit.
        git_ref: String,
        /// Who asked.
        submitter: String,
        /// When.
        created_us: i64,
    }
}
row! {
    /// What a request led to.
    StartedBuilds {
        /// The builds, in the order of the request.
        ids: Vec<BuildId>,
        /// False when an earlier request with the same key had made them.
        new: bool,
    }
}
row! {
    /// A recorded failure.
    FailureRow {
        /// The task that failed; `None` when it failed before there was one.
        task: Option<TaskId>,
        /// What it was.
        failure: Failure,
        /// When.
        at_us: i64,
        /// When it is tried again.
        retry_us: Option<i64>,
    }
}
row! {
    /// An imported commit.
    Import {
        /// Full commit id.
        commit: String,
        /// The source bundle's blob.
        bundle: Sha256,
        /// When.
        at_us: i64,
    }
}
row! {
    /// A source package.
    Srpm {
        /// Its blob.
        digest: Sha256,
        /// Its size in bytes.
        size: u64,
        /// Its name, with arch `src`.
        nevra: Nevra,
        /// Its build requirements.
        requires: Vec<String>,
        /// Names of the binary packages that its spec says it makes.
        predicts: Vec<String>,
        /// Whether its spec has `%generate_buildrequires`.
        dynamic: bool,
    }
}
row! {
    /// Work to be recorded.
    NewTask {
        /// What kind.
        kind: TaskKind,
        /// On which architecture.
        arch: Arch,
    }
}
row! {
    /// A task.
    Task {
        /// Its number.
        id: TaskId,
        /// The build that it belongs to.
        build: BuildId,
        /// What kind.
        kind: TaskKind,
        /// On which architecture.
        arch: Arch,
        /// When it was recorded.
        created_us: i64,
    }
}
row! {
    /// A lock of a task.
    LockRow {
        /// 0, or one more for each extension.
        round: u32,
        /// The lock's blob.
        digest: Sha256,
        /// When it was solved.
        at_us: i64,
    }
}
row! {
    /// A try of a task.
    Attempt {
        /// Its number.
        id: i64,
        /// The task.
        task: i64,
        /// The fencing number.
        epoch: i64,
        /// Who has it.
        worker: String,
        /// Since when.
        started_us: i64,
    }
}
row! {
    /// An attempt that a worker holds.
    LiveAttempt {
        /// Its number.
        id: i64,
        /// The task.
        task: i64,
        /// The build.
        build: i64,
        /// The fencing number.
        epoch: i64,
        /// Who has it.
        worker: String,
        /// Since when.
        started_us: i64,
    }
}
row! {
    /// How an attempt ended.
    AttemptEnd {
        /// The report; `None` for one that was cancelled.
        outcome: Option<Outcome>,
        /// When.
        at_us: i64,
    }
}
row! {
    /// An attempt whose success waits to be accepted.
    EndedAttempt {
        /// The attempt.
        attempt: Attempt,
        /// The build.
        build: BuildId,
        /// What it says it made.
        outcome: Outcome,
    }
}
row! {
    /// A package of an accepted attempt.
    NewPackage {
        /// Its full name.
        nevra: Nevra,
        /// Its blob.
        digest: Sha256,
        /// Its size in bytes.
        size: u64,
    }
}
row! {
    /// An accepted package.
    Package {
        /// Its full name.
        nevra: Nevra,
        /// The build that made it.
        build: BuildId,
        /// Architecture of the task that made it.
        arch: Arch,
        /// Its blob.
        digest: Sha256,
        /// Its size in bytes.
        size: u64,
    }
}
row! {
    /// The signed form of a package.
    Signature {
        /// The signed file's blob.
        signed_digest: Sha256,
        /// Its size in bytes.
        signed_size: u64,
    }
}
row! {
    /// A package with its signed form, if there is one.
    SignedPackage {
        /// The package as it was accepted.
        package: Package,
        /// Its signed form.
        signature: Option<Signature>,
    }
}
row! {
    /// What a channel holds since a time.
    Revision {
        /// Name of the target.
        target: String,
        /// Name of the channel.
        channel: String,
        /// One more for each change.
        revision: i64,
        /// The snapshot's blob.
        snapshot: Sha256,
        /// How many packages it has.
        packages: i64,
        /// Since when.
        at_us: i64,
    }
}
row! {
    /// The revision that first holds a build.
    Publication {
        /// The build.
        build: i64,
        /// Name of the channel.
        channel: String,
        /// The revision.
        revision: i64,
        /// When.
        at_us: i64,
    }
}
row! {
    /// Refused: a NEVRA that exists with another digest.
    SameNevra {
        /// The package.
        nevra: String,
        /// The build that made the first one.
        build: i64,
        /// Digest of the first one.
        existing: Sha256,
        /// Digest of this one.
        new: Sha256,
    }
}
