//! Disks that are full: the coordinator's, and a worker's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{
    attempts, published_once, short, task, wait_for, wait_for_phase, wait_until_alive,
    worker_document,
};
use crate::{PATIENCE, Scene};

/// A small disk. Dropped, it is gone.
struct Disk(PathBuf);

impl Disk {
    /// A tmpfs at a path that every user can walk to.
    fn make(path: PathBuf, mib: u32) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let size = format!("size={mib}m,mode=755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(&path);
        assert!(mount.status().unwrap().success());
        Self(path)
    }

    /// Leaves so many MiB free.
    fn fill_but(&self, mib: u64) {
        let free = free_mib(&self.0).saturating_sub(mib);
        // At once, and not while builds go on that it is to stop.
        let size = (free << 20).to_string();
        let filler = self.0.join("filler");
        let status = Command::new("fallocate").args(["-l", &size]).arg(filler).status();
        assert!(status.unwrap().success());
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for _ in 0..50 {
            if Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn free_mib(path: &Path) -> u64 {
    let stat = nix::sys::statvfs::statvfs(path).unwrap();
    (stat.blocks_available() * stat.fragment_size()) >> 20
}

/// Fault 16; I1, I2, I5, I9. The coordinator's disk is full when results come: they are refused in
/// clear words, nothing partial is kept, and when there is space again the same attempt completes.
#[test]
fn a_coordinator_without_space_refuses_results_until_there_is_some() {
    let path = PathBuf::from(format!("/var/lib/rpmfarm-disk-{}", std::process::id()));
    let disk = Disk::make(path.clone(), 700);
    {
        let scene = Scene::with(|settings| {
            short(settings);
            settings.directory = path.join("farm");
        });
        let client = scene.farm.client();
        let build = client.build(&["large"]).unwrap()[0];
        wait_for_phase(&scene, build, "build", &["prep", "install", "package", "upload"]);
        disk.fill_but(8);
        wait_for("a word about it", PATIENCE, || {
            let shown = client.show(build).unwrap();
            assert_ne!(shown["ended"], true, "{shown:#}");
            shown["reason"].as_str().is_some_and(|reason| reason.contains("free space"))
        });
        let partial = scene.farm.directory().join("coordinator/blobs/partial");
        wait_for("nothing partial", PATIENCE, || {
            std::fs::read_dir(&partial).unwrap().next().is_none()
        });
        assert_eq!(attempts(&scene, build, "build"), 1);
        disk.empty();
        published_once(&scene, build);
        assert_eq!(attempts(&scene, build, "build"), 1);
        let again = client.publish(&["lingers"], PATIENCE);
        again.unwrap();
    }
}

/// Fault 17; I4, I9. A worker's disk becomes full: its build ends as the worker's fault, the worker
/// says why and gets nothing new; when there is space again it goes on by itself.
#[test]
fn a_worker_without_space_says_so_and_gets_nothing() {
    let path = PathBuf::from(format!("/var/lib/rpmfarm-disk-{}", std::process::id()));
    let disk = Disk::make(path.clone(), 4000);
    {
        let scene = Scene::with(|settings| {
            short(settings);
            settings.worker_data = Some(path.join("worker"));
            settings.worker_arguments =
                ["--reserve", "1000", "--scratch", "plain"].map(str::to_owned).into();
        });
        let client = scene.farm.client();
        let build = client.build(&["lingers"]).unwrap()[0];
        wait_for_phase(&scene, build, "build", &["prep", "build"]);
        // Caches give way, and there is still less than the reserve.
        disk.fill_but(20);
        wait_for("the worker says so", PATIENCE, || {
            worker_document(&scene, "worker1")["unready"]
                .as_str()
                .is_some_and(|why| why.contains("disk full"))
        });
        let ended = || {
            task(&scene, build, "build").is_some_and(|task| {
                task["state"] == "queued" && task["failure"]["fault"] == "worker"
            })
        };
        wait_for("its build ends as the worker's fault", PATIENCE, ended);
        let text = client.run(&["worker", "list"]).unwrap().out;
        assert!(text.contains("unready") && text.contains("disk full"), "{text}");
        // It is not given the task again, and the tries are not used up.
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(attempts(&scene, build, "build"), 1);
        disk.empty();
        wait_until_alive(&scene, "worker1");
        published_once(&scene, build);
        assert_eq!(attempts(&scene, build, "build"), 2);
    }
}
