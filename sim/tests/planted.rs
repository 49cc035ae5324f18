//! Each rule that is broken on purpose in the coordinator's code is found within the seeds of `make test`,
//! by the invariant that it breaks.

use rpmfarm_sim::planted::{Bug, Invariant, breaks};
use rpmfarm_sim::{SEEDS, run};

fn is_found(bug: Bug) {
    let found = (0..SEEDS).find_map(|seed| run(seed, Some(bug)).violation);
    let found = found.unwrap_or_else(|| panic!("{bug} is not found in {SEEDS} seeds"));
    assert_eq!(found.invariant, breaks(bug), "{bug}: {found}");
}

macro_rules! bugs {
    ($($name:ident $bug:ident)*) => {
        $(#[test] fn $name() { is_found(Bug::$bug); })*

        #[test]
        fn every_bug_has_its_test_and_every_invariant_its_bug() {
            assert_eq!([$(Bug::$bug),*].as_slice(), Bug::ALL);
            use Invariant::{I1, I2, I3, I4, I5, I6, I7, I8, I9, I10};
            for invariant in [I1, I2, I3, I4, I5, I6, I7, I8, I9, I10] {
                let is_broken = |bug: &Bug| breaks(*bug) == invariant;
                assert!(Bug::ALL.iter().any(is_broken), "nothing breaks {invariant}");
            }
        }
    };
}

bugs! {
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
    take_unread TakeUnread
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
    one_holds_all OneHoldsAll
    one_stops_all OneStopsAll
    number_again NumberAgain
    stays_ahead StaysAhead
}
