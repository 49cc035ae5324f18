//! One random step on both stores. It mostly goes on with what waits, so that builds get on, and
//! else is anything at all.

use rpmfarm_coordinator::store as real;
use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{
    Arch, AttemptId, BuildId, BuildOptions, Epoch, Failure, FailureStage, Fault, Sha256, TaskId,
    Timestamp,
};
use rpmfarm_sim::store as model;

use super::{CHANNEL, KEY, ModelPair, TARGET};

pub(super) const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

pub(super) fn digest(text: &str) -> Sha256 {
    Sha256::compute(text.as_bytes())
}

impl ModelPair {
    pub(super) fn below(&mut self, bound: usize) -> i64 {
        i64::try_from(self.rng.below(bound as u64)).unwrap()
    }

    pub(super) fn builds(&self) -> impl Iterator<Item = BuildId> + use<> {
        (1..=i64::try_from(self.model.build_count()).unwrap()).map(BuildId)
    }

    pub(super) fn a_build(&mut self) -> BuildId {
        BuildId(1 + self.below(self.model.build_count()))
    }

    pub(super) fn a_task(&mut self) -> TaskId {
        TaskId(1 + self.below(self.model.task_count()))
    }

    /// Mostly one of those that wait.
    fn one_of(&mut self, waiting: &[model::Build]) -> BuildId {
        let any = self.a_build();
        match self.rng.pick(waiting) {
            Some(build) if !self.rng.chance(150) => build.id(),
            _ => any,
        }
    }

    /// Mostly an attempt that is live, under its epoch; or one that was.
    pub(super) fn an_attempt(&mut self) -> (AttemptId, Epoch) {
        let live = self.model.attempt_list_live(None);
        let wrong = i64::from(self.rng.chance(50));
        if let Some(live) = self.rng.pick(&live)
            && !self.rng.chance(150)
        {
            return (AttemptId(live.id), Epoch(live.epoch + wrong));
        }
        let (id, epoch) = self.rng.pick(&self.granted).copied().unwrap_or((1, 1));
        (AttemptId(id), Epoch(epoch + wrong))
    }

    pub(super) fn retry(&mut self) -> Option<i64> {
        let pause = self.below(40) * 1_000_000;
        (!self.rng.chance(60)).then_some(self.now_us + pause)
    }

    pub(super) async fn take_step(&mut self) {
        let (now, mut step) = (self.now_us, self.rng.below(30));
        // What has nothing to go on with gives way to what comes before it.
        if step < 5 && self.model.attempt_list_to_accept(now).is_empty() {
            step = 5;
        }
        if (5..10).contains(&step) && self.model.attempt_list_live(None).is_empty() {
            step = 10;
        }
        if (10..13).contains(&step) && self.model.task_list_to_dispatch(now).is_empty() {
            step = 13;
        }
        match step {
            0..5 => self.accept_or_refuse().await,
            5..10 => self.end_attempt().await,
            10..13 => self.grant().await,
            13..17 if self.rng.chance(150) => self.postpone().await,
            13..17 => self.lock().await,
            17 | 18 => self.plan().await,
            19 | 20 => self.import().await,
            21 => self.start_builds().await,
            22..26 => self.ask().await,
            26 => self.fail().await,
            27 => self.cancel_or_retry().await,
            28 => self.sign().await,
            _ => self.publish().await,
        }
    }

    pub(super) async fn start_builds(&mut self) {
        let now = self.now_us;
        let key = ["", "", "k1", "k2"][self.rng.below(4) as usize];
        let names = &["a", "b", "c"][..1 + self.rng.below(3) as usize];
        let builds: Vec<model::NewBuild> = names
            .iter()
            .map(|name| model::NewBuild {
                target: TARGET.into(),
                package: (*name).into(),
                git_ref: String::new(),
            })
            .collect();
        let expected = self.model.build_insert(&builds, "u", key, now);
        let builds: Vec<real::NewBuild> = builds
            .into_iter()
            .map(|model::NewBuild { target, package, git_ref }| {
                let (class, arches) = (PriorityClass::default(), Vec::new());
                let (modification_ref, options) = (String::new(), BuildOptions::default());
                real::NewBuild {
                    target,
                    package,
                    git_ref,
                    modification_ref,
                    class,
                    arches,
                    options,
                }
            })
            .collect();
        let found = self.real.build_insert(&builds, "u", key, self.now()).await.unwrap();
        assert_eq!((found.ids, found.new), (expected.ids, expected.new), "start_builds");
    }

    async fn import(&mut self) {
        let build = self.one_of(&self.model.build_list_to_import(self.now_us));
        let (commit, at_us) = ("c0ffee".to_owned(), self.now_us);
        let bundle = digest(&at_us.to_string());
        self.model.import_insert(build, &model::Import { commit: commit.clone(), bundle, at_us });
        let (url, subject) = ("http://git".into(), "s".into());
        let import = real::Import { url, commit, subject, bundle, at: self.now() };
        self.real.import_insert(build, &import).await.unwrap();
    }

    async fn plan(&mut self) {
        let build = self.one_of(&self.model.build_list_to_plan());
        let mut tasks = vec![(TaskKind::Srpm, Arch::X86_64)];
        if self.rng.chance(150) {
            tasks = ARCHES.map(|arch| (TaskKind::Build, arch)).into();
        }
        let of_model: Vec<_> =
            tasks.iter().map(|(kind, arch)| model::NewTask { kind: *kind, arch: *arch }).collect();
        self.model.task_insert(build, &of_model, self.now_us);
        let of_real: Vec<_> =
            tasks.iter().map(|(kind, arch)| real::NewTask { kind: *kind, arch: *arch }).collect();
        self.real.task_insert(build, &of_real, self.now()).await.unwrap();
    }

    /// Attempts that found something are taken back to wait for their batch; sometimes one of a
    /// round that nobody asked for.
    async fn postpone(&mut self) {
        let now = self.now_us;
        let rounds = self.model.round_list_to_lock(now);
        let any = (self.a_task(), u32::from(self.rng.chance(300)));
        let asked = self.rng.pick(&rounds).map(|(task, round)| (task.id, *round));
        let (task, round) = asked.filter(|_| !self.rng.chance(200)).unwrap_or(any);
        let Some(of_model) = self.model.task_fetch(task).cloned() else { return };
        let of_real = self.real.task_fetch(task).await.unwrap().expect("the model has it");
        let expected = self.model.attempt_postpone(&of_model, round, now);
        let found = self.real.attempt_postpone(&of_real, round, self.now()).await.unwrap();
        assert_eq!(found, expected, "postpone {task} of round {round}");
        self.reached.postponed += usize::from(expected);
    }

    async fn lock(&mut self) {
        if self.model.task_count() == 0 {
            return;
        }
        let now = self.now_us;
        let rounds = self.model.round_list_to_lock(now);
        let mut waiting = self.model.task_list_to_lock(TaskKind::Srpm, now);
        waiting.extend(self.model.task_list_to_lock(TaskKind::Build, now));
        let any = (self.a_task(), u32::from(self.rng.chance(300)));
        let (task, round) = match (self.rng.pick(&rounds), self.rng.pick(&waiting)) {
            (Some((task, round)), _) if self.rng.chance(300) => {
                self.reached.rounds += 1;
                (task.id, round + 1)
            }
            (_, Some(task)) if !self.rng.chance(100) => (task.id, 0),
            _ => any,
        };
        // The database refuses a lock of a task that is not there.
        if self.model.task_fetch(task).is_none() {
            return;
        }
        let lock = digest(&now.to_string());
        self.model.lock_insert(task, round, lock, now);
        self.real.lock_insert(task, round, lock, self.now()).await.unwrap();
    }

    /// Grants in one transaction; what cannot be given is left out.
    async fn grant(&mut self) {
        let now = self.now_us;
        let ready = self.model.task_list_to_dispatch(now);
        let mut grants = Vec::new();
        for _ in 0..=self.rng.below(3) {
            let any = self.a_task();
            let task = self.rng.pick(&ready).map_or(any, |task| task.id);
            let task = if self.rng.chance(100) { any } else { task };
            let Some(build) = self.model.task_fetch(task).map(|task| task.build) else { continue };
            let worker = ["w1", "w2"][self.rng.below(2) as usize].to_owned();
            grants.push(real::Grant { task, build, worker, had: Default::default() });
        }
        if !self.steady {
            // What was queued stays so when the clock goes back; the model has no memory of it.
            let builds = grants.iter().map(|grant| grant.build);
            self.real.reindex(builds, self.now()).await.unwrap();
        }
        let expected: Vec<_> = grants
            .iter()
            .filter_map(|grant| {
                self.model.attempt_grant(grant.task, grant.build, &grant.worker, now)
            })
            .map(|a| (a.id, a.task, a.epoch, a.worker, a.started_us))
            .collect();
        self.granted.extend(expected.iter().map(|row| (row.0, row.2)));
        let found = self.real.attempt_grant_all(&grants, self.now()).await.unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|a| (a.id.0, a.task.0, a.epoch.0, a.worker, a.started.as_us()))
            .collect();
        assert_eq!(found, expected, "grant_all");
    }

    async fn end_attempt(&mut self) {
        let now = self.now_us;
        let (attempt, epoch) = self.an_attempt();
        let ended = self.granted.contains(&(attempt.0, epoch.0));
        let (expected, found);
        // Attempts that have asked for something get lost more often, so that others follow them.
        let asked = self.asked.values().any(|asked| *asked == attempt);
        if self.rng.chance(if asked { 500 } else { 800 }) {
            let name = format!("p{}-1-1.x86_64.rpm", self.below(6));
            let digest = digest(&format!("{name} {}", u8::from(self.rng.chance(80))));
            let file = ResultFile { name, kind: ResultKind::Rpm, digest, size: 1 };
            let outcome = Outcome::Succeeded(Success { files: vec![file], ..Success::default() });
            expected = self.model.attempt_end_succeeded(attempt, epoch, &outcome, now);
            found = self
                .real
                .attempt_end_succeeded(attempt, epoch, &outcome, self.now())
                .await
                .unwrap();
        } else {
            let (failure, retry) =
                (Failure::new(Fault::Worker, FailureStage::Build, "lost"), self.retry());
            expected = self.model.attempt_end_failed(attempt, epoch, &failure, retry, now);
            let again = retry.map(Timestamp::from_us);
            let ended = self.real.attempt_end_failed(attempt, epoch, &failure, again, self.now());
            found = ended.await.unwrap();
        }
        assert_eq!(found, expected, "the end of attempt {attempt} under {epoch}");
        self.reached.late += usize::from(ended && !expected);
    }

    async fn ask(&mut self) {
        let (attempt, _) = self.an_attempt();
        let live = self.model.attempt_list_live(None);
        let asked = |task: i64| self.asked.keys().any(|(of, _)| of.0 == task);
        // Mostly an attempt of a task that has asked before, itself or the one before it.
        let next = live.iter().find(|live| asked(live.task)).map(|live| AttemptId(live.id));
        let attempt = next.filter(|_| !self.rng.chance(300)).unwrap_or(attempt);
        let of_attempt = live.iter().find(|live| live.id == attempt.0);
        let task = of_attempt.map_or_else(|| self.a_task(), |live| TaskId(live.task));
        let locked = self.model.lock_fetch(task).map_or(0, |lock| lock.round);
        let round = if self.rng.chance(150) { locked + 1 } else { locked };
        let before = self.model.round_list(task);
        let requires = vec![format!("r{}", self.now_us)];
        self.model.round_insert(task, attempt, round, &requires);
        let after = self.model.round_list(task);
        if after != before {
            let last = self.asked.insert((task, round), attempt);
            self.reached.taken_over += usize::from(last.is_some_and(|last| last != attempt));
        }
        let now = self.now();
        self.real.round_insert(task, attempt, round, &requires, now).await.unwrap();
    }

    async fn fail(&mut self) {
        let (build, now) = (self.a_build(), self.now_us);
        let task = self.rng.chance(500).then(|| self.a_task());
        let build = task.and_then(|id| self.model.task_fetch(id)).map_or(build, |task| task.build);
        let stage = if task.is_some() { FailureStage::Resolve } else { FailureStage::Import };
        let (failure, retry) = (Failure::new(Fault::Farm, stage, "no answer"), self.retry());
        let expected = self.model.failure_insert(build, task, &failure, retry, now);
        let again = retry.map(Timestamp::from_us);
        let found =
            self.real.failure_insert(build, task, &failure, again, self.now()).await.unwrap();
        assert_eq!(found, expected, "add_failure");
    }

    async fn cancel_or_retry(&mut self) {
        let now = self.now_us;
        if self.rng.chance(300) {
            let build = self.a_build();
            let expected = self.model.build_cancel(build, now);
            assert_eq!(
                self.real.build_cancel(build, self.now()).await.unwrap(),
                expected,
                "cancel"
            );
            self.reached.cancelled += usize::from(expected);
            return;
        }
        let closed: Vec<BuildId> =
            self.builds().filter(|build| !self.model.build_is_open(*build)).collect();
        let any = self.a_build();
        let build = self.rng.pick(&closed).copied().unwrap_or(any);
        let expected = self.model.build_retry(build, now);
        assert_eq!(self.real.build_retry(build, self.now()).await.unwrap(), expected, "retry");
        self.reached.retried += usize::from(expected);
    }

    async fn sign(&mut self) {
        let build = self.one_of(&self.model.build_list_accepted());
        let now = self.now_us;
        for row in self.model.package_list_of_build(build, KEY) {
            let (digest, signed_digest) = (row.package.digest, digest("signed"));
            let signature = model::Signature { signed_digest, signed_size: 2 };
            self.model.signature_insert(KEY, &[(digest, signature)], now);
            let signature = real::Signature { signed_digest, signed_size: 2, repodata: digest };
            self.real.signature_insert(KEY, &[(digest, signature)], &[], self.now()).await.unwrap();
        }
    }

    async fn publish(&mut self) {
        let newest = self.model.channel_fetch(TARGET, CHANNEL).map_or(0, |row| row.revision);
        let revision = (newest + self.below(3) - i64::from(self.rng.chance(300))).max(1);
        let (snapshot, packages, at_us) = (digest(&revision.to_string()), 1, self.now_us);
        let mut builds: Vec<BuildId> =
            self.model.build_list_accepted().iter().map(model::Build::id).collect();
        if self.rng.chance(100) {
            builds.push(self.a_build());
        }
        let (target, channel) = (TARGET.to_owned(), CHANNEL.to_owned());
        let row = model::Revision {
            target: target.clone(),
            channel: channel.clone(),
            revision,
            snapshot,
            packages,
            at_us,
        };
        let expected = self.model.revision_insert(&row, &builds);
        let at = self.now();
        let row = real::Revision { target, channel, revision, snapshot, packages, at };
        let change = real::ChannelChange::nothing_since(newest);
        let found = self.real.revision_insert(&row, &change, &builds).await.unwrap();
        assert_eq!(found, expected, "add_revision {revision} after {newest} of {builds:?}");
        self.reached.not_published += usize::from(!expected);
    }
}
