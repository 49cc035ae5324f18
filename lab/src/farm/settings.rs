//! The settings of a farm. It must not know how programs receive them.

use std::path::PathBuf;

use rpmfarm_core::Arch;

/// How a farm is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of all state: data of the three processes, targets, logs.
    pub directory: PathBuf,
    /// The database's URL; `None` for SQLite in the data directory.
    pub database: Option<String>,
    /// Targets beside the lab's own: name and text of each file.
    pub more_targets: Vec<(String, String)>,
    /// How many coordinators share the database and the data directory. More than one needs
    /// PostgreSQL.
    pub coordinators: usize,
    /// How many workers. With several coordinators, each worker begins with another one.
    pub workers: usize,
    /// The architectures for which the workers build, in turn; empty for the host's own
    /// architecture.
    pub worker_arches: Vec<Arch>,
    /// Further arguments of the coordinator.
    pub coordinator_arguments: Vec<String>,
    /// The coordinator's listen address.
    pub listen: String,
    /// Further environment of the coordinator and of workers.
    pub environment: Vec<(String, String)>,
    /// Further arguments of each worker.
    pub worker_arguments: Vec<String>,
    /// A wrapper for the worker's program, such as `nsenter`, with its arguments.
    pub worker_wrapper: Vec<String>,
    /// The address that workers call, when it is not the coordinator's own.
    pub worker_server: Option<String>,
    /// Whether workers and the command use TLS: then each worker is enrolled. If not, all have the
    /// farm's token.
    pub tls: bool,
    /// Where the first worker keeps roots and packages; farms share it to have them cached. The
    /// others have `…-2` and so on beside it. `None` for directories of this farm's own.
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
