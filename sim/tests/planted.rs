//! Each rule that is broken on purpose in the coordinator's code is found within the seeds of `make
//! test`, by the invariant that it breaks.

use rpmfarm_sim::planted_bugs::{Invariant, PlantedBug, broken_invariant};
use rpmfarm_sim::{run, seeds_of};

/// A bug that shows only on some kinds of day is searched on these, which saves most of the time.
fn is_found(bug: PlantedBug, days: &[&str]) {
    let found = seeds_of(days).find_map(|seed| run(seed, Some(bug)).violation);
    let found = found.unwrap_or_else(|| panic!("{bug} is not found by any seed"));
    assert_eq!(found.invariant, broken_invariant(bug), "{bug}: {found}");
}

macro_rules! bugs {
    ($($(#[$attribute:meta])* $name:ident $bug:ident $($day:literal)*;)*) => {
        $(#[test] $(#[$attribute])* fn $name() { is_found(PlantedBug::$bug, &[$($day),*]); })*

        #[test]
        fn every_bug_has_its_test_and_every_invariant_its_bug() {
            assert_eq!([$(PlantedBug::$bug),*].as_slice(), PlantedBug::ALL);
            use Invariant::{I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11};
            for invariant in [I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11] {
                let is_broken = |bug: &PlantedBug| broken_invariant(*bug) == invariant;
                assert!(PlantedBug::ALL.iter().any(is_broken), "nothing breaks {invariant}");
            }
        }
    };
}

bugs! {
    cancel_after_end CancelAfterEnd;
    request_twice RequestTwice;
    publish_cancelled PublishCancelled "users" "pairs";
    grant_twice GrantTwice;
    late_report LateReport;
    accept_twice AcceptTwice;
    foreign_files ForeignFiles "liars";
    lost_worker_as_package_fault LostWorkerAsPackageFault;
    broken_file_as_package_fault BrokenFileAsPackageFault "liars";
    publish_unsigned PublishUnsigned;
    unverified_upload UnverifiedUpload;
    show_before_placed ShowBeforePlaced;
    remove_generations_in_use RemoveGenerationsInUse;
    #[ignore = "found by no seed of these since publications are gathered; to be made likelier"]
    publish_unchecked PublishUnchecked "pairs";
    #[ignore = "found by no seed of these since publications are gathered; to be made likelier"]
    record_old_revision RecordOldRevision "pairs";
    two_digests TwoDigests;
    lost_requirements LostRequirements;
    unfenced_write UnfencedWrite "pairs";
    stages_not_taken_over StagesNotTakenOver;
    orphaned_workers OrphanedWorkers "pairs" "everything";
    show_truncated ShowTruncated "farm" "pairs" "everything";
    leases_never_end LeasesNeverEnd "workers" "crashes";
    wall_clock WallClock;
    far_future_retry FarFutureRetry;
    no_poll NoPoll;
    one_attempt_blocks_worker OneAttemptBlocksWorker "farm" "everything";
    one_build_blocks_target OneBuildBlocksTarget "farm";
    reuse_generation_number ReuseGenerationNumber;
    unrecorded_generation UnrecordedGeneration "users" "crashes" "pairs";
    lock_before_needed LockBeforeNeeded;
}
