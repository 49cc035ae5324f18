//! The simulation bites: each rule that is broken on purpose is found within twice the seeds of
//! `make test`, by the invariant that it breaks. Some need a rare race.

use rpmfarm_sim::planted::{Invariant, PlantedBug};
use rpmfarm_sim::{SEEDS, run};

fn is_found(plant: PlantedBug) {
    let found = (0..2 * SEEDS).find_map(|seed| run(seed, Some(plant)).violation);
    let found = found.unwrap_or_else(|| panic!("{plant} is not found in {} seeds", 2 * SEEDS));
    assert_eq!(found.invariant, plant.breaks(), "{plant}: {found}");
}

macro_rules! plants {
    ($($name:ident $plant:ident)*) => {
        $(#[test] fn $name() { is_found(PlantedBug::$plant); })*

        #[test]
        fn every_plant_has_its_test_and_every_invariant_its_plant() {
            assert_eq!([$(PlantedBug::$plant),*].as_slice(), PlantedBug::ALL);
            use Invariant::{I1, I2, I3, I4, I5, I6, I7, I8, I9, I10};
            for invariant in [I1, I2, I3, I4, I5, I6, I7, I8, I9, I10] {
                let breaks = |plant: &PlantedBug| plant.breaks() == invariant;
                assert!(PlantedBug::ALL.iter().any(breaks), "nothing breaks {invariant}");
            }
        }
    };
}

plants! {
    cancel_after_end CancelAfterEnd
    request_twice RequestTwice
    publish_cancelled PublishCancelled
    grant_twice GrantTwice
    late_report LateReport
    accept_twice AcceptTwice
    files_of_task FilesOfTask
    lost_is_packages LostIsPackages
    broken_is_packages BrokenIsPackages
    publish_unsigned PublishUnsigned
    accept_unread AcceptUnread
    show_first ShowFirst
    forget_at_once ForgetAtOnce
    publish_blind PublishBlind
    revision_back RevisionBack
    two_digests TwoDigests
    round_of_the_dead RoundOfTheDead
    late_write LateWrite
    kept_by_the_dead KeptByTheDead
    orphans_kept OrphansKept
    show_half ShowHalf
    no_leases NoLeases
    wall_clock WallClock
    far_retry FarRetry
    no_poll NoPoll
}
