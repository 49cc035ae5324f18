//! Where the database, the blobs and the repositories of a run lie: on a file system in memory. The
//! empty database is made once, and copied for each run.

use std::cell::{Cell, OnceCell};
use std::fs;
use std::path::{Path, PathBuf};

use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::resolve::{DownloadTimeouts, Resolver};
use rpmfarm_coordinator::store::Store;
use rpmfarm_coordinator::targets::Targets;
use rpmfarm_core::Arch;
use sqlx::{AnyConnection, Connection as _};
use tokio::runtime::Builder;

use crate::coordinator::FarmStorage;
use crate::scenario::{CHANNEL, KEY, TARGET};

/// Resources that a thread creates once for all of its runs.
struct ThreadResources {
    dir: tempfile::TempDir,
    resolver: Resolver,
    /// The number of runs so far.
    runs: Cell<u64>,
}

thread_local! {
    static RESOURCES: OnceCell<ThreadResources> = const { OnceCell::new() };
}

/// Creates empty storage for a run. That of the thread's previous run is deleted.
pub(crate) fn create(arches: &[Arch]) -> FarmStorage {
    RESOURCES.with(|resources| resources.get_or_init(ThreadResources::new).create(arches))
}

impl ThreadResources {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("rpmfarm-sim-").tempdir_in(above);
        let dir = dir.expect("there is a directory for temporary files");
        let template = format!("sqlite://{}", dir.path().join("template.db").display());
        let runtime = Builder::new_current_thread().enable_time().build();
        runtime.expect("the system gives a runtime").block_on(async {
            let store = Store::open(&template, Bus::default()).await.expect("the schema is right");
            store.close().await;
            // The file that is copied must have everything: no other file of the database may be
            // open.
            let mut connection = AnyConnection::connect(&template).await.expect("it is there");
            let all = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
            all.execute(&mut connection).await.expect("nobody else is at it");
            connection.close().await.expect("it can be closed");
        });
        let blobs = Blobs::existing(dir.path().join("run/blobs"));
        let (cache, targets) = (dir.path().join("cache"), dir.path().join("run/targets"));
        let resolver = Resolver::new(
            cache,
            targets,
            blobs,
            DownloadTimeouts::default(),
            PathBuf::from("/nowhere"),
        );
        Self { resolver: resolver.expect("there are certificates"), dir, runs: Cell::new(0) }
    }

    fn create(&self, arches: &[Arch]) -> FarmStorage {
        let run = self.dir.path().join("run");
        let _ = fs::remove_dir_all(&run);
        let path = |name: &str| run.join(name);
        fs::create_dir_all(path("targets")).expect("it can be made");
        fs::write(path("targets").join(format!("{TARGET}.toml")), target(arches))
            .expect("it can be written");
        FarmStorage {
            url: format!("sqlite://{}", self.database().display()),
            blobs: Blobs::open(path("blobs")).expect("it can be made"),
            repos: path("repos"),
            logs: path("logs"),
            targets: Targets::open(path("targets")).expect("it can be read"),
            resolver: self.resolver.clone(),
        }
    }

    /// An empty database. Each has a name of its own: threads of the previous run may not have
    /// closed theirs yet, and the last to close it removes its log by name.
    fn database(&self) -> PathBuf {
        let run = self.runs.get();
        self.runs.set(run + 1);
        let path = |run: u64| self.dir.path().join(format!("farm-{run}.db"));
        if let Some(before) = run.checked_sub(1) {
            for ending in ["db", "db-wal", "db-shm"] {
                // Two of these files exist only while the database is open.
                let _ = fs::remove_file(path(before).with_extension(ending));
            }
        }
        fs::copy(self.dir.path().join("template.db"), path(run)).expect("it can be copied");
        path(run)
    }
}

/// The target file.
fn target(arches: &[Arch]) -> String {
    let arches: Vec<String> = arches.iter().map(|arch| format!("\"{arch}\"")).collect();
    format!(
        "name = \"{TARGET}\"\narches = [{}]\nemulation = true\ndist = \".sim\"\n\
         channels = [\"{CHANNEL}\"]\nsigning_key = \"{KEY}\"\nbootstrap = [\"base\"]\n\
         base = [\"base\"]\n[upstream]\nurl = \"https://git.invalid/{{name}}.git\"\nref = \"sim\"\n\
         [[repositories]]\nid = \"base\"\nbaseurl = \"https://base.invalid/{{arch}}/\"\n\
         gpgcheck = false\ninsecure = true\n",
        arches.join(", ")
    )
}
