//! Farms on PostgreSQL, with two coordinators: one of them or the database dies or is stopped. Each
//! requested build is built and published once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpmfarm_lab::farm::{Client, Postgres};
use serde_json::Value;

use crate::{PATIENCE, Scene};

/// A farm on a database of its own; and the server, which is dropped last.
fn on_postgres(coordinators: usize, workers: usize) -> (Scene, Postgres) {
    with_terms(coordinators, workers, ["--heartbeat", "3s", "--lease", "12s"])
}

fn with_terms(coordinators: usize, workers: usize, terms: [&str; 4]) -> (Scene, Postgres) {
    let postgres = Postgres::start().unwrap();
    let url = postgres.database("farm").unwrap();
    let scene = Scene::with(|settings| {
        settings.database = Some(url);
        settings.coordinators = coordinators;
        settings.workers = workers;
        settings.coordinator_arguments = terms.map(str::to_owned).into();
    });
    (scene, postgres)
}

/// Waits until something holds.
fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < patience, "{what}: not after {patience:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The names of the workers that a coordinator shows as alive.
fn alive(client: &Client) -> Vec<String> {
    let Ok(shown) = client.json(&["worker", "list"]) else { return Vec::new() };
    let workers = shown["workers"].as_array().cloned().unwrap_or_default();
    let name = |worker: &Value| worker["name"].as_str().map(str::to_owned);
    workers.iter().filter(|worker| worker["liveness"] == "alive").filter_map(name).collect()
}

/// Waits until a coordinator reports that a build's task runs in rpmbuild.
fn wait_until_building(client: &Client, build: i64) {
    wait_until("rpmbuild runs", PATIENCE, || {
        let shown = client.show(build).unwrap();
        assert_ne!(shown["ended"], true, "{shown:#}");
        shown["tasks"].as_array().is_some_and(|tasks| {
            tasks.iter().any(|task| {
                let phase = task["phase"].as_str().unwrap_or_default();
                task["kind"] == "build" && ["prep", "build", "check", "install"].contains(&phase)
            })
        })
    });
}

/// Each task of a published build was accepted once, and the revisions of the channel agree in the
/// database and in the files.
fn assert_once(scene: &Scene, postgres: &Postgres, builds: &[i64]) {
    let count = |query: &str| postgres.sql("farm", query).unwrap().trim().to_owned();
    let list = builds.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let published = format!("SELECT count(*) FROM publications WHERE build IN ({list})");
    assert_eq!(count(&published), builds.len().to_string());
    let doubled = "SELECT count(*) FROM (SELECT task FROM attempt_ends e JOIN attempts a
                   ON a.id = e.attempt WHERE outcome = 'succeeded' GROUP BY task
                   HAVING count(*) > 1) AS twice";
    assert_eq!(count(doubled), "0");
    let recorded = count("SELECT max(revision) FROM revisions WHERE channel = 'testing'");
    let link = scene.farm.directory().join("coordinator/repos/lab/testing/current");
    let shown = std::fs::read_link(link).unwrap();
    assert_eq!(shown.file_name().unwrap().to_string_lossy(), recorded);
    assert_eq!(count("SELECT count(*) FROM open_builds"), "0");
}

/// How often a task of a build was begun.
fn attempts(client: &Client, build: i64) -> u64 {
    let shown = client.show(build).unwrap();
    let tasks = shown["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["attempts"].as_u64().unwrap()).sum()
}

/// The answer to a GET, with its head.
fn get(server: &str, path: &str) -> String {
    let host = server.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The lines of a process's log that are about an attempt, each an object.
fn lines_about_attempts(scene: &Scene, process: &str, key: &str) -> Vec<Value> {
    let log = scene.farm.directory().join("logs").join(format!("{process}.log"));
    let text = std::fs::read_to_string(log).unwrap();
    let parse = |line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}"));
    text.lines().map(parse).filter(|line| line["span"]["name"] == key).collect()
}

#[test]
fn a_farm_on_postgresql_rebuilds_and_tells_of_it() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.database("farm").unwrap();
    let scene = Scene::with(|settings| {
        settings.database = Some(url);
        let json = ["--log-format", "json"].map(str::to_owned);
        settings.coordinator_arguments.extend(json.clone());
        settings.worker_arguments.extend(json);
    });
    let client = scene.farm.client();
    let build = client.build(&["tiny"]).unwrap()[0];
    let shown = client.wait(build, &["published"], PATIENCE).unwrap();
    assert_eq!(shown["published"]["revision"], 1, "{shown:#}");
    assert_once(&scene, &postgres, &[build]);

    let ready = get(scene.farm.server(), "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("\"ready\":true"), "{ready}");
    let metrics = get(scene.farm.server(), "/metrics");
    for line in [
        "rpmfarm_builds{state=\"published\"} 1",
        "rpmfarm_dispatch_latency_seconds_count{arch=\"x86_64\"} 2",
        "rpmfarm_stage_duration_seconds_count{stage=\"build\"} 2",
        "rpmfarm_stage_duration_seconds_count{stage=\"accept\"} 2",
        "rpmfarm_stage_duration_seconds_count{stage=\"sign\"} 1",
        // One for builds, one for SRPMs.
        "rpmfarm_slots{worker=\"worker1\"} 2",
        "rpmfarm_workers{liveness=\"alive\"} 1",
        "database=\"postgres\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    let roots = |name: &str| {
        let name = format!("rpmfarm_worker_root_{name}{{worker=\"worker1\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse::<u64>().unwrap()
    };
    assert!(roots("hits") + roots("misses") >= 2, "{metrics}");

    for (process, span) in [("coordinator", "accept"), ("worker1", "attempt")] {
        let lines = lines_about_attempts(&scene, process, span);
        assert!(!lines.is_empty(), "{process} says nothing of attempts");
        for line in lines {
            let span = &line["span"];
            assert_eq!(span["build"], build, "{line}");
            assert!(span["task"].is_i64() && span["attempt"].is_i64(), "{line}");
        }
    }
}

/// How long the database is away, in seconds; more by `RPMFARM_TEST_OUTAGE`.
fn outage() -> Duration {
    let asked = std::env::var("RPMFARM_TEST_OUTAGE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(14))
}

/// Faults 12 and 15, and I1 to I3: the database is down in the middle of a build for more than two
/// leases, and comes back. The worker continues, and its results are accepted once.
#[test]
fn the_database_goes_away_and_comes_back() {
    let (scene, mut postgres) = with_terms(1, 1, ["--heartbeat", "1s", "--lease", "6s"]);
    let client = scene.farm.client();
    let build = client.build(&["hello"]).unwrap()[0];
    wait_until_building(&client, build);
    postgres.stop().unwrap();
    std::thread::sleep(outage());
    let away = client.run(&["show", &build.to_string()]).unwrap();
    assert!(away.code != 0 && away.err.contains("database"), "{away:?}");
    postgres.restart().unwrap();
    let shown = client.wait(build, &["published"], PATIENCE).unwrap();
    assert_eq!(attempts(&client, build), 2, "one for each task: {shown:#}");
    assert_once(&scene, &postgres, &[build]);
}

#[test]
fn the_first_of_two_coordinators_dies() {
    one_dies(0);
}

#[test]
fn the_second_of_two_coordinators_dies() {
    one_dies(1);
}

/// Each of two coordinators answers calls and serves a worker; then one is killed. Its worker, its
/// stages and its builds go to the other, and dispatch continues within 15 s.
fn one_dies(victim: usize) {
    let survivor = 1 - victim;
    let (mut scene, postgres) = on_postgres(2, 2);
    let clients = [scene.farm.client_of(&[0]), scene.farm.client_of(&[1])];
    for client in &clients {
        wait_until("both workers are known everywhere", Duration::from_secs(30), || {
            alive(client) == ["worker1", "worker2"]
        });
    }
    let first = clients[0].build(&["hello"]).unwrap()[0];
    let second = clients[1].build(&["tiny"]).unwrap()[0];
    // Phases and logs of a worker are shown by the other coordinator, too.
    wait_until_building(&clients[survivor], first);
    wait_until("the log is read", Duration::from_secs(10), || {
        let log = clients[survivor].run(&["log", &first.to_string()]).unwrap();
        log.code == 0 && log.out.contains("%prep")
    });

    scene.farm.kill_coordinator(victim);
    let died = Instant::now();
    // Asked of both, the one that lives answers; and it gives the work away in time.
    let either = scene.farm.client_of(&[0, 1]);
    let third = either.build(&["xxhash"]).unwrap()[0];
    wait_until("a task of the new build is given away", Duration::from_secs(15), || {
        attempts(&either, third) > 0
    });
    let after = died.elapsed();
    assert!(after < Duration::from_secs(15), "dispatch goes on after {after:?}");
    for build in [first, second, third] {
        either.wait(build, &["published"], PATIENCE).unwrap();
    }
    assert_once(&scene, &postgres, &[first, second, third]);
    wait_until("both workers are at the survivor", Duration::from_secs(30), || {
        alive(&clients[survivor]) == ["worker1", "worker2"]
    });

    // It comes back, and takes part.
    let settings = scene.settings.clone();
    scene.farm.restart_coordinator_of(&settings, victim).unwrap();
    wait_until("it knows them again", Duration::from_secs(30), || {
        alive(&clients[victim]) == ["worker1", "worker2"]
    });
}

/// One authority for all coordinators: a worker that was enrolled at one of them goes to another
/// with its certificate when that one dies, renews it there, and is revoked there.
#[test]
fn a_worker_with_a_certificate_goes_to_the_other_coordinator() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.database("farm").unwrap();
    let mut scene = Scene::with(|settings| {
        settings.database = Some(url);
        settings.coordinators = 2;
        settings.tls = true;
        settings.coordinator_arguments =
            ["--heartbeat", "1s", "--lease", "12s", "--certificate-seconds", "30"]
                .map(str::to_owned)
                .into();
    });
    let client = scene.farm.client_of(&[1]);
    wait_until("it is at the first", Duration::from_secs(30), || alive(&client) == ["worker1"]);
    let fingerprint = || {
        let shown = client.json(&["worker", "show", "worker1"]).unwrap();
        shown["certificates"][0]["fingerprint"].as_str().unwrap().to_owned()
    };
    let build = client.build(&["hello"]).unwrap()[0];
    wait_until_building(&client, build);
    let before = fingerprint();
    scene.farm.coordinator.kill();
    let shown = client.wait(build, &["published"], PATIENCE).unwrap();
    assert_eq!(attempts(&client, build), 2, "the build did not notice: {shown:#}");
    wait_until("a renewal by the second", PATIENCE, || fingerprint() != before);
    wait_until("it is there", Duration::from_secs(10), || alive(&client) == ["worker1"]);

    client.json(&["worker", "revoke", "worker1", "--reason", "a test"]).unwrap();
    wait_until("its end", Duration::from_secs(10), || alive(&client).is_empty());
    wait_until("it is told", Duration::from_secs(10), || {
        let log = scene.farm.directory().join("logs/worker1.log");
        std::fs::read_to_string(log).unwrap().contains("revoked: a test")
    });
    assert_once(&scene, &postgres, &[build]);
}

/// A build is cancelled at the coordinator that its worker is not connected to: the worker ends it
/// at once, not at its next heartbeat.
#[test]
fn a_build_is_cancelled_at_the_other_coordinator() {
    let (scene, _postgres) = on_postgres(2, 2);
    let clients = [scene.farm.client_of(&[0]), scene.farm.client_of(&[1])];
    wait_until("both workers are known everywhere", Duration::from_secs(30), || {
        clients.iter().all(|client| alive(client) == ["worker1", "worker2"])
    });
    let build = clients[0].build(&["hello"]).unwrap()[0];
    wait_until_building(&clients[0], build);
    let shown = clients[0].show(build).unwrap();
    let tasks = shown["tasks"].as_array().unwrap();
    let task = tasks.iter().find(|task| task["state"] == "running").unwrap();
    let worker = task["worker"].as_str().unwrap();
    let other = if worker == "worker1" { &clients[1] } else { &clients[0] };
    let log = scene.farm.directory().join("logs").join(format!("{worker}.log"));
    let ended = || std::fs::read_to_string(&log).unwrap().contains("no longer wanted");
    assert!(!ended());
    let cancelled = other.run(&["cancel", &build.to_string()]).unwrap();
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    wait_until("the worker has ended it", Duration::from_secs(2), ended);
}

/// Fault 7 of a coordinator, and I7: one is stopped for longer than a takeover and continues. The
/// work that it had under way is fenced; nothing is published twice, and no revision is lost.
#[test]
fn one_of_two_coordinators_stands_still_and_goes_on() {
    let (scene, postgres) = on_postgres(2, 2);
    let clients = [scene.farm.client_of(&[0]), scene.farm.client_of(&[1])];
    wait_until("both workers are known everywhere", Duration::from_secs(30), || {
        alive(&clients[1]) == ["worker1", "worker2"]
    });
    let first = clients[1].build(&["hello", "tiny"]).unwrap();
    // The first coordinator holds the stages: it is stopped while it has them in hand.
    wait_until_building(&clients[1], first[0]);
    scene.farm.coordinator.signal(Signal::SIGSTOP).unwrap();
    let second = clients[1].build(&["xxhash"]).unwrap();
    // The worker of the one that stands still comes to the other when its lease is over.
    wait_until("the other imports and gives away", PATIENCE, || {
        attempts(&clients[1], second[0]) > 0
    });
    let shown = clients[1].wait(second[0], &["published"], PATIENCE).unwrap();
    let revision = shown["published"]["revision"].as_i64().unwrap();
    scene.farm.coordinator.signal(Signal::SIGCONT).unwrap();
    let builds = [first, second].concat();
    for build in &builds {
        clients[0].wait(*build, &["published"], PATIENCE).unwrap();
    }
    let third = clients[0].publish(&["tiny"], PATIENCE).unwrap();
    assert!(third[0]["published"]["revision"].as_i64().unwrap() >= revision);
    assert_once(&scene, &postgres, &builds);
    let taken = postgres.sql("farm", "SELECT min(epoch) FROM stage_leases").unwrap();
    assert!(taken.trim().parse::<i64>().unwrap() >= 2, "each stage changed hands: {taken}");
}
