//! Steps of several coordinators on both stores: beats, stages that change hands, fences, and who
//! owns a worker. What a step acts on was seen before, and may have moved since.

use rpmfarm_coordinator::store as real;
use rpmfarm_core::stage_lease::StageLease;
use rpmfarm_core::{Stage, Timestamp};
use rpmfarm_sim::Rng;

use super::ModelPair;

const STEPS: usize = 150;
const COORDINATORS: [&str; 3] = ["c0", "c1", "c2"];
const STAGES: [Stage; 2] = [Stage::Import, Stage::Publish];

/// What a coordinator saw of a stage when it looked: the lease, and the holder's beat.
type Seen = (Stage, Option<StageLease>, Option<i64>);

impl ModelPair {
    /// Many steps of coordinators, compared after each. Draws from a stream of its own.
    pub(super) async fn coordinate(&mut self) {
        let mut rng = Rng::new(self.seed + 1_000);
        let mut seen = Vec::<Seen>::new();
        let mut fences = Vec::<real::Fence>::new();
        for _ in 0..STEPS {
            let me = *rng.pick(&COORDINATORS).unwrap();
            let stage = *rng.pick(&STAGES).unwrap();
            match rng.below(8) {
                0 | 1 => self.beat(me).await,
                2 => {
                    let lease = self.model.stage_lease_fetch(stage.as_str()).cloned();
                    let holder = lease.as_ref().map(|lease| lease.holder.as_str());
                    let beat = self.model.coordinator_list().find(|(id, _)| Some(*id) == holder);
                    let beat = beat.map(|(_, beat)| beat);
                    seen.push((stage, lease, beat));
                }
                3 | 4 => {
                    let Some((stage, lease, beat)) = rng.pick(&seen).cloned() else { continue };
                    let expected =
                        self.model.stage_lease_acquire(stage.as_str(), me, lease.as_ref(), beat);
                    let found =
                        self.real.stage_lease_acquire(stage, me, lease.as_ref(), beat).await;
                    let found = found.unwrap();
                    assert_eq!(found.as_ref().map(real::Fence::epoch), expected, "take_stage");
                    if let Some(fence) = found {
                        assert_eq!((fence.stage(), fence.holder()), (stage, me), "take_stage");
                        self.reached.taken += 1;
                        fences.push(fence);
                    } else {
                        self.reached.not_taken += 1;
                    }
                }
                5 => {
                    let Some(fence) = rng.pick(&fences).cloned() else { continue };
                    self.stand(fence).await;
                }
                6 if rng.chance(300) => {
                    self.model.coordinator_delete(me);
                    self.real.coordinator_delete(me).await.unwrap();
                }
                _ => {
                    let worker = *rng.pick(&["w0", "w1"]).unwrap();
                    let expected = self.model.worker_owner_upsert(worker, me);
                    let found = self.real.worker_owner_upsert(worker, me).await.unwrap();
                    assert_eq!(found.newest_attempt, expected, "own_worker");
                }
            }
            self.compare_tenure().await;
        }
    }

    async fn beat(&mut self, me: &str) {
        self.model.coordinator_raise_heartbeat(me);
        let row = real::CoordinatorRow {
            id: me.into(),
            address: String::new(),
            base_url: String::new(),
            version: String::new(),
            started: Timestamp::ZERO,
            beat: 0,
        };
        self.real.coordinator_raise_heartbeat(&row).await.unwrap();
    }

    async fn stand(&mut self, fence: real::Fence) {
        let expected =
            self.model.fence_stands(fence.stage().as_str(), fence.holder(), fence.epoch());
        let found = real::FencedStore::new(&self.real, fence).check_fence().await;
        match (expected, found) {
            (true, Ok(())) => self.reached.stood += 1,
            (false, Err(real::StoreError::Fenced { .. })) => self.reached.fenced += 1,
            (expected, found) => panic!("a fence is to hold: {expected}, and the store: {found:?}"),
        }
    }

    async fn compare_tenure(&self) {
        let found = self.real.coordinator_list().await.unwrap();
        let found: Vec<_> = found.into_iter().map(|row| (row.id, row.beat)).collect();
        let expected: Vec<_> =
            self.model.coordinator_list().map(|(id, beat)| (id.to_owned(), beat)).collect();
        assert_eq!(found, expected, "coordinators");
        let found = self.real.stage_lease_list().await.unwrap();
        for stage in STAGES {
            let lease = found.iter().find(|(of, _)| of == stage.as_str()).map(|(_, lease)| lease);
            assert_eq!(lease, self.model.stage_lease_fetch(stage.as_str()), "stage_leases");
        }
        for row in self.real.worker_owner_list().await.unwrap() {
            let owner = self.model.worker_owner_fetch(&row.worker);
            assert_eq!(owner, Some(row.coordinator.as_str()), "worker_owners");
        }
    }
}
