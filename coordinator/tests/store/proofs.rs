//! Proofs of channels, and the problems that persons accepted.

use std::time::Duration;

use rpmfarm_coordinator::store::{AcceptedProblemRow, ProofRow};
use rpmfarm_core::Arch;
use rpmfarm_core::proof::{AcceptedProblem, MAX_PROBLEMS, Problem, ProblemKind};

use crate::common::on_both;
use crate::{NOW, digest};

fn problem(number: usize) -> Problem {
    let package = format!("app{number}-1-1.x86_64").parse().unwrap();
    Problem::new(ProblemKind::Lost, package, "engine = 1", Arch::X86_64)
        .with_other("lib-1-1.noarch".parse().unwrap())
        .with_chain(["app requires 'engine'".to_owned()])
}

fn proof(seconds: u64, problems: Vec<Problem>) -> ProofRow {
    ProofRow {
        target: "lab".into(),
        channel: "testing".into(),
        at: NOW + Duration::from_secs(seconds),
        content: digest("content"),
        took: Duration::from_millis(12),
        total: problems.len(),
        problems,
        unproven: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_proof_of_a_channel_counts_and_its_problems_are_bounded() {
    on_both(|store| async move {
        assert_eq!(store.proof_fetch("lab", "testing").await.unwrap(), None);
        let many = proof(2, (0..MAX_PROBLEMS + 3).map(problem).collect());
        store.proof_insert(&many).await.unwrap();
        store.proof_insert(&proof(1, Vec::new())).await.unwrap();
        let mut other = proof(3, Vec::new());
        other.channel = "stable".into();
        other.unproven = "the repositories do not answer".into();
        store.proof_insert(&other).await.unwrap();
        let found = store.proof_fetch("lab", "testing").await.unwrap().unwrap();
        assert_eq!((found.total, found.problems.len()), (MAX_PROBLEMS + 3, MAX_PROBLEMS));
        assert_eq!((found.at, found.took, found.content), (many.at, many.took, many.content));
        assert_eq!(found.problems[..], many.problems[..MAX_PROBLEMS]);
        assert_eq!(store.proof_fetch("lab", "stable").await.unwrap(), Some(other));
        // The same time once more changes nothing.
        store.proof_insert(&proof(2, Vec::new())).await.unwrap();
        assert_eq!(store.proof_fetch("lab", "testing").await.unwrap(), Some(found));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_problems_are_read_as_they_were_written() {
    on_both(|store| async move {
        let row = |seconds: u64, what: &str, until| AcceptedProblemRow {
            accepted: AcceptedProblem {
                kind: ProblemKind::Files,
                package: "app".into(),
                what: what.into(),
                until,
            },
            who: "ann".into(),
            reason: "nobody installs both".into(),
            at: NOW + Duration::from_secs(seconds),
        };
        let first = row(1, "/usr/bin/app", Some(NOW + Duration::from_secs(9)));
        let second = row(2, "", None);
        for row in [&first, &second, &first] {
            store.problem_accept_insert("lab", "testing", row).await.unwrap();
        }
        store.problem_accept_insert("lab", "stable", &row(3, "", None)).await.unwrap();
        let newest = store.problem_accept_newest("lab", "testing").await.unwrap();
        assert_eq!(newest, Some(second.at));
        assert_eq!(store.problem_accept_newest("lab", "none").await.unwrap(), None);
        let found = store.problem_accept_list("lab", "testing").await.unwrap();
        assert_eq!(found, [second, first]);
    })
    .await;
}
