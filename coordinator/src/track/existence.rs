//! Whether upstream has the packages of a request, before anything is recorded about them.
//!
//! Owns how long and how often upstream is asked. The API decides what happens with a missing
//! package.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rpmfarm_core::Target;
use rpmfarm_core::track::refs::RefQuery;

use super::Tracker;
use super::ref_poll::PollError;

/// How long a request waits for the answers of upstream at most.
const PATIENCE: Duration = Duration::from_secs(8);
/// How many packages are asked for at once.
const AT_ONCE: usize = 16;
/// How many packages of one request are asked for; the import of any further ones finds out.
const MOST: usize = 512;

/// Whether upstream has repositories for some packages.
#[derive(Debug, Default)]
pub(crate) struct Existence {
    /// Packages without a repository, with upstream's answer.
    pub(crate) absent: Vec<(String, String)>,
    /// How many packages could not be asked for, and the reason for the first of them.
    pub(crate) unasked: Option<(usize, String)>,
}

impl Tracker {
    /// Asks upstream for the repositories of packages, side by side, for some seconds at most.
    pub(crate) async fn existence(&self, target: &Target, packages: &[String]) -> Existence {
        let mut found = Existence::default();
        let asked = packages.len().min(MOST);
        let ill = AtomicBool::new(false);
        let (ill, looker) = (&ill, &self.0.looker);
        let ask = |package: String| async move {
            // A host that does not answer is not asked again for each package.
            if ill.load(Ordering::Relaxed) {
                return (package, None);
            }
            let repository = target.git_url(&package);
            // Any query will do: only whether the repository answers counts.
            let question = RefQuery::name("HEAD");
            let said = looker.poll(&repository, &question, &target.private_hosts).await.err();
            if matches!(said, Some(PollError::Host { .. })) {
                ill.store(true, Ordering::Relaxed);
            }
            (package, Some(said))
        };
        let mut unasked = packages.len() - asked;
        let mut why = (unasked > 0).then(|| format!("{MOST} are asked of one request at most"));
        let mut answered = 0;
        let answers = async {
            let names = packages[..asked].to_vec();
            let mut answers = stream::iter(names).map(ask).buffer_unordered(AT_ONCE);
            while let Some((package, said)) = answers.next().await {
                answered += 1;
                match said {
                    Some(None) => {}
                    Some(Some(PollError::Missing(said) | PollError::Hidden(said))) => {
                        found.absent.push((package, said));
                    }
                    Some(Some(error)) => {
                        unasked += 1;
                        why.get_or_insert_with(|| error.to_string());
                    }
                    None => unasked += 1,
                }
            }
        };
        if tokio::time::timeout(PATIENCE, answers).await.is_err() {
            unasked += asked - answered;
            why.get_or_insert_with(|| format!("no answer within {} s", PATIENCE.as_secs()));
        }
        found.unasked = why.filter(|_| unasked > 0).map(|why| (unasked, why));
        found.absent.sort();
        found
    }
}
