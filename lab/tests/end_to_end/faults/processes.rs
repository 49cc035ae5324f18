//! Processes that are killed, again and again, at every step.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rpmfarm_lab::farm::Settings;

use super::{
    assert_not_the_packages_fault, attempts, proxied, published_once, short, task, uploaded,
    wait_for, wait_for_bytes, wait_for_phase, wait_until_alive,
};
use crate::{PATIENCE, Scene};

/// Pauses that are the same in each run.
struct Schedule(u64);

impl Schedule {
    fn pause(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        most.mul_f64((self.0 >> 33) as f64 / (1_u64 << 31) as f64)
    }
}

/// Fault 1; I1, I2, I3, I9. The coordinator is killed around each of its commits, some
/// milliseconds before or after it is whole. What was acknowledged completes, once.
#[test]
fn the_coordinator_is_killed_at_each_commit() {
    let mut scene = Scene::with(short);
    let settings = scene.settings.clone();
    let builds = scene.farm.client().build(&["tiny", "lingers"]).unwrap();
    let log = scene.farm.directory().join("coordinator/farm.db-wal");
    let written = || std::fs::metadata(&log).ok().map(|log| (log.len(), log.modified().ok()));
    let mut schedule = Schedule(2026);
    let mut killed = 0;
    let begun = Instant::now();
    // A build has about a dozen commits: more often than that it is killed in all.
    while killed < 25 && begun.elapsed() < Duration::from_secs(60) {
        let before = written();
        let waited = Instant::now();
        while written() == before && waited.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(schedule.pause(Duration::from_millis(25)));
        scene.farm.restart_coordinator(&settings).unwrap();
        killed += 1;
    }
    for build in &builds {
        let shown = published_once(&scene, *build);
        assert_ne!(shown["published"]["revision"], 0, "{shown:#}");
    }
    let list = scene.farm.client().json(&["list"]).unwrap();
    assert_eq!(list["builds"].as_array().unwrap().len(), builds.len(), "{list:#}");
    assert!(killed >= 10, "only {killed} commits were seen");
}

/// Fault 2; I2, I4, I9. The worker is killed while it fetches, makes a root, builds and uploads:
/// each time the task is tried again, and the builds complete. What the phase makes is seen to be
/// unfinished each time.
#[test]
fn the_worker_is_killed_in_each_phase() {
    let directory = PathBuf::from(format!("/var/lib/rpmfarm-test-{}", std::process::id()));
    let data = directory.join("worker");
    let (mut scene, proxy) = proxied(|settings| {
        short(settings);
        // Roots of its own, to be made.
        settings.worker_data = Some(data.clone());
    });
    let settings = scene.settings.clone();

    // No file comes through.
    proxy.stall_new(true);
    let build = scene.farm.client().build(&["lingers"]).unwrap()[0];
    wait_for_phase(&scene, build, "srpm", &["fetch"]);
    scene.farm.workers[0].kill();
    proxy.stall_new(false);
    scene.farm.restart_worker(&settings, 0).unwrap();

    wait_for_phase(&scene, build, "srpm", &["root"]);
    scene.farm.workers[0].kill();
    let roots: Vec<String> = std::fs::read_dir(data.join("roots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(roots.iter().any(|name| name.starts_with("making-")), "no half root: {roots:?}");
    scene.farm.restart_worker(&settings, 0).unwrap();

    wait_for_phase(&scene, build, "build", &["build"]);
    let log = |scene: &Scene| scene.farm.client().run(&["log", &build.to_string()]).unwrap().out;
    wait_for("the build's first lines", PATIENCE, || log(&scene).contains("line 3 of 20"));
    scene.farm.workers[0].kill();
    let cut = log(&scene);
    assert!(!cut.contains("line 20 of 20"), "it was at its end: {cut}");
    scene.farm.restart_worker(&settings, 0).unwrap();
    published_once(&scene, build);
    assert_eq!([attempts(&scene, build, "srpm"), attempts(&scene, build, "build")], [3, 2]);
    assert_not_the_packages_fault(&scene, build);

    proxy.slow(1 << 20);
    let build = scene.farm.client().build(&["large"]).unwrap()[0];
    wait_for_phase(&scene, build, "build", &["upload"]);
    wait_for_bytes(&proxy, 1 << 20);
    scene.farm.workers[0].kill();
    assert_eq!(uploaded(&scene), None, "the upload was whole");
    proxy.slow(0);
    scene.farm.restart_worker(&settings, 0).unwrap();
    published_once(&scene, build);
    assert_eq!([attempts(&scene, build, "srpm"), attempts(&scene, build, "build")], [1, 2]);
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains("rpmfarm-test"), "mounts are left:\n{mounts}");
    drop(scene);
    std::fs::remove_dir_all(directory).unwrap();
}

/// Fault 26; I1, I4, I9. Whoever builds one package is killed: its tries are bounded, its end is
/// the worker's fault, and everything else is built. A worker that crashes whatever it builds
/// leaves the work to another.
#[test]
fn a_package_that_kills_workers_and_a_worker_that_crashes_end_nowhere() {
    let mut scene = Scene::with(|settings| {
        short(settings);
        settings.workers = 2;
    });
    let settings = scene.settings.clone();
    wait_until_alive(&scene, "worker1");
    wait_until_alive(&scene, "worker2");
    let killer = scene.farm.client().build(&["ticks"]).unwrap()[0];
    let others = scene.farm.client().build(&["tiny", "lingers"]).unwrap();
    let mut kills = 0;
    wait_for("the end of the package that kills", PATIENCE, || {
        let shown = scene.farm.client().show(killer).unwrap();
        let running = task(&scene, killer, "build")
            .filter(|task| task["state"] == "running" && task["phase"] == "build");
        if let Some(task) = running {
            let index = usize::from(task["worker"] == "worker2");
            scene.farm.restart_worker(&settings, index).unwrap();
            kills += 1;
        }
        shown["ended"] == true
    });
    let shown = scene.farm.client().show(killer).unwrap();
    assert_eq!(shown["state"], "failed", "{shown:#}");
    assert_eq!(shown["failure"]["fault"], "worker", "{shown:#}");
    // The farm sees a death late, so that one attempt may be killed twice.
    assert!(kills >= 2, "{kills} kills");
    assert_eq!(attempts(&scene, killer, "build"), 4, "{shown:#}");
    for build in others {
        published_once(&scene, build);
    }

    // From now on the first worker dies of whatever it builds.
    let build = scene.farm.client().build(&["colordiff"]).unwrap()[0];
    wait_for("the build beside a worker that crashes", PATIENCE, || {
        let busy = |kind| {
            task(&scene, build, kind)
                .is_some_and(|task| task["state"] == "running" && task["worker"] == "worker1")
        };
        if busy("srpm") || busy("build") {
            scene.farm.restart_worker(&settings, 0).unwrap();
        }
        scene.farm.client().show(build).unwrap()["ended"] == true
    });
    published_once(&scene, build);
    assert_not_the_packages_fault(&scene, build);
}

/// `recovery.worker`: a worker that is killed and does not come back: its task runs elsewhere
/// when its lease is over. I9.
#[test]
fn a_dead_workers_task_runs_elsewhere() {
    let mut scene = Scene::with(short);
    let settings = scene.settings.clone();
    let build = scene.farm.client().build(&["lingers"]).unwrap()[0];
    wait_for_phase(&scene, build, "build", &["prep", "build"]);
    scene.farm.workers[0].kill();
    let begun = Instant::now();
    scene.farm.add_worker(&Settings { worker_server: None, ..settings }).unwrap();
    wait_for("another attempt", PATIENCE, || attempts(&scene, build, "build") == 2);
    assert!(begun.elapsed() < super::LEASE * 2 + super::SLACK, "{:?}", begun.elapsed());
    let shown = published_once(&scene, build);
    assert_eq!(task(&scene, build, "build").unwrap()["worker"], "worker2", "{shown:#}");
}
