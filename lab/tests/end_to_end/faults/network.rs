//! The network between a worker and the coordinator: cuts, half cuts, hangs, delay and loss.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpmfarm_lab::net::{Direction, Link, Weather};

use super::{
    CANCEL, LEASE, SLACK, assert_not_the_packages_fault, attempts, cancel, liveness,
    published_once, short, silent, wait_for, wait_until_alive, wait_until_ticking,
};
use crate::Scene;

/// A farm whose only worker is in a namespace at the far end of a link.
fn far_worker(link: &Link, terms: [&str; 4]) -> Scene {
    let mut scene = Scene::with(|settings| {
        settings.workers = 0;
        settings.listen = format!("{}:0", link.here());
        settings.coordinator_arguments = terms.map(str::to_owned).into();
        settings.worker_wrapper = link.inside();
    });
    let settings = scene.settings.clone();
    scene.farm.add_worker(&settings).unwrap();
    wait_until_alive(&scene, "worker1");
    scene
}

const SHORT: [&str; 4] = ["--heartbeat", "300ms", "--lease", "3s"];

/// Faults 4, 5 and 7; I2, I4, I9. Cut off both ways, or one, or stopped, a worker has lost its
/// attempt: the build ends on it within two leases (a stopped worker, when it goes on), and the
/// task is tried again, as the worker's fault.
#[test]
fn a_worker_that_is_cut_off_stops_and_its_task_is_tried_again() {
    let link = Link::make().unwrap();
    let scene = far_worker(&link, SHORT);
    let cuts: [&[Direction]; 3] =
        [&[Direction::In, Direction::Out], &[Direction::Out], &[Direction::In]];
    for cut in cuts {
        let build = scene.farm.client().build(&["ticks"]).unwrap()[0];
        wait_until_ticking();
        for direction in cut {
            link.set(*direction, Weather::CUT);
        }
        let begun = Instant::now();
        wait_for("the worker is gone", LEASE + SLACK, || liveness(&scene, "worker1") == "gone");
        assert!(begun.elapsed() > LEASE / 2, "{cut:?}: gone after {:?}", begun.elapsed());
        wait_for("the build stops", LEASE * 2 + SLACK, silent);
        assert!(begun.elapsed() < LEASE * 2 + SLACK, "{cut:?}: {:?}", begun.elapsed());
        assert_not_the_packages_fault(&scene, build);
        assert_eq!(attempts(&scene, build, "build"), 1, "{cut:?}");

        link.set_both(Weather::default());
        wait_until_alive(&scene, "worker1");
        wait_until_ticking();
        assert_eq!(attempts(&scene, build, "build"), 2, "{cut:?}");
        let took = cancel(&scene, build, silent);
        assert!(took < CANCEL + Duration::from_millis(300), "{cut:?}: cancelled in {took:?}");
    }

    let build = scene.farm.client().build(&["ticks"]).unwrap()[0];
    wait_until_ticking();
    scene.farm.workers[0].signal(Signal::SIGSTOP).unwrap();
    wait_for("the worker is gone", LEASE * 2, || liveness(&scene, "worker1") == "gone");
    std::thread::sleep(LEASE);
    scene.farm.workers[0].signal(Signal::SIGCONT).unwrap();
    wait_for("another attempt", LEASE * 2 + SLACK, || attempts(&scene, build, "build") == 2);
    wait_until_ticking();
    assert_not_the_packages_fault(&scene, build);
    let took = cancel(&scene, build, silent);
    assert!(took < CANCEL + Duration::from_millis(300), "cancelled in {took:?}");
}

/// Fault 10; I9. On a link with a delay of 300 ms and a loss of 5 % each way nobody is taken for
/// dead, and builds complete at their first attempt.
#[test]
fn a_bad_link_is_no_death() {
    let link = Link::make().unwrap();
    let scene = far_worker(&link, ["--heartbeat", "1s", "--lease", "10s"]);
    link.set_both(Weather { delay: Duration::from_millis(300), loss: 0.05 });
    let begun = Instant::now();
    let build = scene.farm.client().build(&["lingers"]).unwrap()[0];
    published_once(&scene, build);
    wait_for("40 s", Duration::from_secs(60), || {
        assert_ne!(liveness(&scene, "worker1"), "gone");
        std::thread::sleep(Duration::from_millis(500));
        begun.elapsed() > Duration::from_secs(40)
    });
    for kind in ["srpm", "build"] {
        assert_eq!(attempts(&scene, build, kind), 1, "{kind}");
    }
}

/// The coordinator's half of fault 7; I2. A coordinator that was stopped for two leases holds
/// what it did not hear against nobody: the build goes on where it is.
#[test]
fn a_coordinator_that_was_stopped_takes_nobody_for_dead() {
    let scene = Scene::with(short);
    let build = scene.farm.client().build(&["ticks"]).unwrap()[0];
    wait_until_ticking();
    scene.farm.coordinator.signal(Signal::SIGSTOP).unwrap();
    // Shorter than the worker's own patience.
    std::thread::sleep(LEASE + LEASE / 2);
    scene.farm.coordinator.signal(Signal::SIGCONT).unwrap();
    std::thread::sleep(LEASE);
    assert_eq!(attempts(&scene, build, "build"), 1);
    wait_until_ticking();
    cancel(&scene, build, silent);
}
