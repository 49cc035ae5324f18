//! The rows of a list of ended builds, by the same few queries for one and for a thousand.
//!
//! Owns that such a list reads neither tasks nor packages. The API interprets the facts.

use std::collections::HashMap;

use rpmfarm_core::{BuildId, Failure, Timestamp};

use super::lists::{numbers, rows};
use super::{BuildEnd, Publication, Result, Store, parsed, unjson};

/// The facts of a build that has ended, as far as a list shows them.
#[derive(Debug, Clone)]
pub struct EndedBuildRow {
    pub end: BuildEnd,
    /// Empty when it got no SRPM.
    pub srpm: String,
    /// Where it was published first.
    pub publication: Option<Publication>,
    /// When it was last cancelled; `None` when never.
    pub cancelled_at: Option<Timestamp>,
    /// When the last try began that a call or the farm made after a failure; `None` when there was
    /// one try.
    pub retried_at: Option<Timestamp>,
    /// The failure that ended it, and when; only of one that failed.
    pub failure: Option<(Failure, Timestamp)>,
}

impl Store {
    /// The rows of ended builds for a list; open builds are left out.
    pub async fn build_list_ended(
        &self,
        builds: &[BuildId],
    ) -> Result<HashMap<BuildId, EndedBuildRow>> {
        let ids = numbers(builds.iter().copied());
        let mut all = self.ended_with_results(&ids).await?;
        self.ended_with_calls(&ids, &mut all).await?;
        self.ended_with_failures(&ids, &mut all).await?;
        Ok(all)
    }

    /// Reads how builds ended, their SRPMs and where they were published.
    async fn ended_with_results(&self, ids: &str) -> Result<HashMap<BuildId, EndedBuildRow>> {
        let query = format!(
            "SELECT e.build, e.state, COALESCE(s.nevra, ''), COALESCE(p.channel, ''),
             COALESCE(p.revision, 0), COALESCE(p.at_us, 0)
             FROM build_ends e LEFT JOIN srpms s ON s.build = e.build
             LEFT JOIN publications p ON p.build = e.build WHERE e.build IN ({ids})
             AND NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = e.build)
             ORDER BY p.at_us DESC"
        );
        type Row = (i64, String, String, String, i64, i64);
        let mut all = HashMap::new();
        // The oldest publication comes last and stays.
        for (build, state, srpm, channel, revision, at) in rows!(self, Row, query) {
            let (build, at) = (BuildId(build), Timestamp::from_us(at));
            let end = BuildEnd::of(parsed("build_ends", "a state of builds", &state)?);
            let Some(end) = end else { continue };
            let publication =
                (!channel.is_empty()).then_some(Publication { build, channel, revision, at });
            let row = EndedBuildRow {
                end,
                srpm,
                publication,
                cancelled_at: None,
                retried_at: None,
                failure: None,
            };
            all.insert(build, row);
        }
        Ok(all)
    }

    /// Reads when builds were cancelled and retried.
    async fn ended_with_calls(
        &self,
        ids: &str,
        all: &mut HashMap<BuildId, EndedBuildRow>,
    ) -> Result<()> {
        for (table, which) in [("cancellations", 0), ("retries", 1)] {
            let query = format!(
                "SELECT build, MAX(at_us) FROM {table} WHERE build IN ({ids}) GROUP BY build"
            );
            for (build, at) in rows!(self, (i64, i64), query) {
                let at = Some(Timestamp::from_us(at));
                match all.get_mut(&BuildId(build)) {
                    Some(row) if which == 0 => row.cancelled_at = at,
                    Some(row) => row.retried_at = at,
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Reads the failures since the last retry. Failures that were followed by another try have the
    /// time when it began.
    async fn ended_with_failures(
        &self,
        ids: &str,
        all: &mut HashMap<BuildId, EndedBuildRow>,
    ) -> Result<()> {
        let query = format!(
            "SELECT build, failure, at_us, retry_us FROM failures WHERE build IN ({ids})
             ORDER BY at_us"
        );
        let called: HashMap<BuildId, Option<Timestamp>> =
            all.iter().map(|(build, row)| (*build, row.retried_at)).collect();
        for (build, failure, at, retry) in rows!(self, (i64, String, i64, i64), query) {
            let (id, at) = (BuildId(build), Timestamp::from_us(at));
            let Some(row) = all.get_mut(&id) else { continue };
            if Some(at) <= called.get(&id).copied().flatten() {
                continue;
            }
            match Timestamp::from_us(retry).known() {
                Some(retry) => row.retried_at = row.retried_at.max(Some(retry)),
                None if row.end == BuildEnd::Failed => {
                    row.failure = Some((unjson("failures", "a failure", &failure)?, at));
                }
                None => {}
            }
        }
        Ok(())
    }
}
