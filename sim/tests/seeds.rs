//! The seeds of `make test`, in shares that run side by side. A violation is reported with the events
//! before it and the command that replays it.

use rpmfarm_sim::{SEEDS, report, run, seeds_of};

const SHARES: u64 = 10;

/// Kinds of day.
const DAYS: [&str; 12] = [
    "calm",
    "lossy",
    "crashes",
    "partitions",
    "liars",
    "workers",
    "clocks",
    "farm",
    "users",
    "pairs",
    "rivals",
    "everything",
];

fn share(number: u64) {
    let size = SEEDS / SHARES;
    for seed in number * size..(number + 1) * size {
        if run(seed, None).violation.is_some() {
            panic!("{}", report(seed, None));
        }
    }
}

macro_rules! shares {
    ($($name:ident $number:literal)*) => {
        $(#[test] fn $name() { share($number); })*
    };
}

shares! {
    seeds_of_share_0 0
    seeds_of_share_1 1
    seeds_of_share_2 2
    seeds_of_share_3 3
    seeds_of_share_4 4
    seeds_of_share_5 5
    seeds_of_share_6 6
    seeds_of_share_7 7
    seeds_of_share_8 8
    seeds_of_share_9 9
}

#[test]
fn a_seed_is_a_run() {
    for seed in [1, 2, 14] {
        let (one, two) = (rpmfarm_sim::replay(seed, None), rpmfarm_sim::replay(seed, None));
        assert_eq!(one.steps, two.steps);
        assert!(one.trace.lines().len() > 100, "seed {seed} does something");
        assert_eq!(one.trace.lines(), two.trace.lines());
    }
}

/// The days are not so bad that nothing would be left to go wrong.
#[test]
fn builds_are_published_on_every_kind_of_day() {
    assert_eq!(seeds_of(&DAYS).count(), seeds_of(&[]).count(), "there are other kinds of day");
    for day in DAYS {
        let is_published = seeds_of(&[day]).any(|seed| run(seed, None).published > 0);
        assert!(is_published, "nothing is published on a day of {day}");
    }
}

/// Two coordinators take stages from each other and workers move between them, late writes are
/// refused, and disks are full: the seeds really contain the events that they are to test.
#[test]
fn what_may_go_wrong_does() {
    let mut missing = vec![
        "a day of pairs, coordinators: 2",
        "a day of calm, coordinators: 1",
        "commits for publish, epoch",
        "is stopped for",
        "is gone for good",
        "ends connection",
        "rests",
        "c0 dies",
        "is full for",
        "beyond round",
        "is shown, with",
    ];
    for seed in seeds_of(&["calm", "pairs"]) {
        let outcome = rpmfarm_sim::replay(seed, None);
        missing.retain(|what| !outcome.trace.lines().iter().any(|line| line.contains(what)));
        if missing.is_empty() {
            return;
        }
    }
    panic!("never seen: {missing:?}");
}
