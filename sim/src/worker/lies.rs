//! What a lying worker does that a coordinator can tell from the truth: it breaks files, leaves out
//! uploads, uses bad names, passes off another's files, repeats old reports and reports what is not
//! its own.
//!
//! A worker that lies about the package itself (that it does not compile, say) cannot be told
//! from an honest one by anybody; that lie is not in the simulation.

use rpmfarm_core::results::ResultFile;
use rpmfarm_core::task::{AttemptReport, Outcome, Progress, Success};
use rpmfarm_core::{AttemptId, Epoch, TaskId};

use super::attempt::BuiltFile;
use crate::outside::Rpm;
use crate::scenario::Temper;
use crate::world::World;

impl World {
    fn lies(&mut self, w: usize, per_mille: u32) -> bool {
        let worker = &self.workers[w];
        worker.host.temper == Temper::Lying && !worker.tamed && self.rng.chance(per_mille)
    }

    /// Invents reports.
    pub(super) fn lie(&mut self, w: usize, reports: &mut Vec<AttemptReport>) {
        if !self.lies(w, 300) {
            return;
        }
        let ended = reports.iter().filter(|report| matches!(report.progress, Progress::Ended(_)));
        let ended: Vec<AttemptReport> = ended.cloned().collect();
        reports.extend(self.workers[w].old_reports.iter().cloned());
        self.workers[w].old_reports.extend(ended);
        self.workers[w].old_reports.truncate(8);
        // Any attempt of the farm, under any epoch.
        let newest = self.facts.attempts.keys().next_back().map_or(0, |id| id.0.unsigned_abs());
        let attempt = AttemptId(self.rng.below(newest + 1).cast_signed());
        let epoch = Epoch(self.rng.range(1, 3).cast_signed());
        // It may report anything about its own attempts.
        let holder = self.facts.attempts.get(&attempt).map(|row| row.worker.as_str());
        if holder != Some(self.workers[w].host.name.as_str()) {
            let outcome = Outcome::Succeeded(Success::default());
            reports.push(AttemptReport { attempt, epoch, progress: Progress::Ended(outcome) });
        }
    }

    /// Damages a file before its digest is computed.
    pub(super) fn break_result(&mut self, w: usize, file: &mut Rpm) {
        if self.lies(w, 300) {
            file.whole = false;
        }
    }

    /// An announcement that does not match the files.
    pub(super) fn break_success(
        &mut self,
        w: usize,
        task: TaskId,
        files: &mut Vec<BuiltFile>,
        success: &mut Success,
    ) {
        if !self.lies(w, 500) {
            return;
        }
        match self.rng.below(6) {
            // Never uploaded.
            0 => files.clear(),
            // What another attempt has uploaded, if one has.
            1 | 2 => {
                if let Some(first) = self.uploads.get(&task).and_then(|all| all.first()) {
                    success.files.clone_from(first);
                }
            }
            3 => {
                let twice: Vec<ResultFile> = success.files.clone();
                success.files.extend(twice);
            }
            4 => {
                if let Some(file) = success.files.first_mut() {
                    file.name = "../../etc/passwd".into();
                }
            }
            _ => {
                if let Some(file) = success.files.first_mut() {
                    file.name = format!("x{}", file.name);
                }
            }
        }
    }
}
