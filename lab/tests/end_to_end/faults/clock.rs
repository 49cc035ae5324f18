//! Wall clocks that jump by a day.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{LEASE, attempts, cancel, liveness, published_once, short, silent, wait_until_ticking};
use crate::{PATIENCE, Scene};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A wall clock that a test sets.
struct Clock(PathBuf);

impl Clock {
    /// A day is so many seconds.
    const DAY: i64 = 86_400;

    fn set(&self, seconds: i64) {
        let half = self.0.with_extension("part");
        std::fs::write(&half, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(half, &self.0).unwrap();
        // The library reads the file once a second.
        std::thread::sleep(Duration::from_millis(1500));
    }
}

/// Fault 21; I1, I2, I9. The wall clock of coordinator and worker jumps by a day, forth and back:
/// leases hold, what waits for a retry does not wait for a day, and what is retried counts.
#[test]
fn a_wall_clock_that_jumps_by_a_day_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock(directory.path().join("clock"));
    clock.set(0);
    let mut scene = Scene::with(|settings| {
        short(settings);
        settings.environment = [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", clock.0.to_str().unwrap()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_CACHE_DURATION", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    });
    let settings = scene.settings.clone();
    let client = scene.farm.client();
    let build = client.build(&["ticks"]).unwrap()[0];
    wait_until_ticking();
    for day in [Clock::DAY, -Clock::DAY, 0] {
        clock.set(day);
        std::thread::sleep(LEASE);
        assert_eq!(liveness(&scene, "worker1"), "alive", "a jump to {day} s");
        assert_eq!(attempts(&scene, build, "build"), 1, "a jump to {day} s");
    }

    // A day ahead, the worker loses its attempt; then the clock goes back.
    clock.set(Clock::DAY);
    scene.farm.restart_worker(&settings, 0).unwrap();
    clock.set(0);
    wait_until_ticking();
    assert_eq!(attempts(&scene, build, "build"), 2);
    let took = cancel(&scene, build, silent);
    assert!(took < super::CANCEL + Duration::from_millis(300), "cancelled in {took:?}");

    // Cancelled in a future that has not come, retried now, it runs again, and ends again.
    clock.set(Clock::DAY);
    let build = client.build(&["ticks"]).unwrap()[0];
    wait_until_ticking();
    cancel(&scene, build, silent);
    clock.set(0);
    let begun = Instant::now();
    assert_eq!(client.run(&["retry", &build.to_string()]).unwrap().code, 0);
    wait_until_ticking();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let shown = client.show(build).unwrap();
    assert_eq!(shown["state"], "building", "{shown:#}");
    cancel(&scene, build, silent);
    client.wait(build, &["cancelled"], PATIENCE).unwrap();

    let build = client.build(&["tiny"]).unwrap()[0];
    published_once(&scene, build);
}
