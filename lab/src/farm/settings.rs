//! How a farm is started.
//!
//! Owns what a test can choose. It must not know how that is said to a program.

use std::path::PathBuf;

use rpmfarm_core::Arch;

/// How a farm is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of all state: data of the three processes, targets, logs.
    pub directory: PathBuf,
    /// The database's URL; none for SQLite in the data directory.
    pub database: Option<String>,
    /// Targets beside the lab's own: name and text of each file.
    pub more_targets: Vec<(String, String)>,
    /// How many coordinators share the database and the data directory. More than one need
    /// PostgreSQL.
    pub coordinators: usize,
    /// How many workers. Of several coordinators, each worker begins with another one.
    pub workers: usize,
    /// What the workers build for, one after the other in turn; none for the host's own
    /// architecture.
    pub worker_arches: Vec<Arch>,
    /// Further arguments of the coordinator.
    pub coordinator_arguments: Vec<String>,
    /// Where the coordinator listens.
    pub listen: String,
    /// Further environment of the coordinator and of workers.
    pub environment: Vec<(String, String)>,
    /// Further arguments of each worker.
    pub worker_arguments: Vec<String>,
    /// What comes before a worker's program, as `nsenter`, with its arguments.
    pub worker_wrapper: Vec<String>,
    /// The address that workers call, when it is not the coordinator's own.
    pub worker_server: Option<String>,
    /// Whether workers and the command use TLS: then each worker is enrolled. If not, all have the
    /// farm's token.
    pub tls: bool,
    /// Where the first worker keeps roots and packages; shared by farms to have them warm. The
    /// others have `…-2` and so on beside it. None for directories of this farm's own.
    pub worker_data: Option<PathBuf>,
}

impl Settings {
    /// One worker, SQLite, everything below a directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            database: None,
            more_targets: Vec::new(),
            coordinators: 1,
            workers: 1,
            coordinator_arguments: Vec::new(),
            listen: "127.0.0.1:0".into(),
            environment: Vec::new(),
            worker_arches: Vec::new(),
            worker_arguments: Vec::new(),
            tls: false,
            worker_wrapper: Vec::new(),
            worker_server: None,
            worker_data: None,
        }
    }
}
