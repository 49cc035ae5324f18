//! What this coordinator has in memory and the others show: its workers, and why builds wait.
//!
//! Written while others live, when it changes, and at most once in a while; read by them to be
//! shown, never to decide.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rpmfarm_core::BuildId;

use crate::bus::Word;
use crate::farm::Farm;
use crate::fleet::WorkerView;
use crate::store;

/// How often changes are written and read.
pub const PERIOD: Duration = Duration::from_secs(1);

const WORKER: &str = "worker";
const WAIT: &str = "wait";

/// What was written last, by kind and subject.
#[derive(Debug, Default)]
pub struct Written(Mutex<BTreeMap<(&'static str, String), String>>);

/// One look: writes what has changed here, and reads what the others know.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, written: &Written, now: Instant) -> anyhow::Result<()> {
    if !farm.peers.has_others(now) {
        farm.fleet.see_elsewhere(BTreeMap::new());
        return Ok(());
    }
    let stages = farm.peers.stages(now);
    if !["resolve", "sign", "publish"].iter().any(|stage| stages.contains(stage)) {
        // Only their passes know why builds wait.
        farm.waits.clear_all();
    }
    let wanted = wanted(farm, now);
    let changes = written.changes(&wanted);
    if !changes.is_empty() {
        farm.store.write_notes(farm.peers.me(), &changes).await?;
        written.set(wanted);
        farm.voice.say(Word::Progress);
    }
    let alive: Vec<String> = farm
        .peers
        .others(now)
        .into_iter()
        .filter_map(|(row, alive)| alive.then_some(row.id))
        .collect();
    let mut elsewhere = BTreeMap::new();
    for note in farm.store.notes(WORKER, farm.peers.me()).await? {
        if let (true, Ok(view)) =
            (alive.contains(&note.coordinator), serde_json::from_str::<WorkerView>(&note.text))
        {
            elsewhere.insert(note.subject, view);
        }
    }
    farm.fleet.see_elsewhere(elsewhere);
    Ok(())
}

fn wanted(farm: &Farm, now: Instant) -> BTreeMap<(&'static str, String), String> {
    let mut wanted = BTreeMap::new();
    for (name, view) in farm.fleet.connected(now) {
        let text = serde_json::to_string(&coarse(view)).expect("a state has no maps");
        wanted.insert((WORKER, name), text);
    }
    for (build, reason) in farm.waits.all() {
        wanted.insert((WAIT, build.0.to_string()), reason);
    }
    wanted
}

/// Without what changes with each heartbeat and interests nobody far away.
fn coarse(mut view: WorkerView) -> WorkerView {
    view.state.disk_free_mib -= view.state.disk_free_mib % 1024;
    view.heard_us -= view.heard_us % 60_000_000;
    view
}

impl Written {
    fn changes(
        &self,
        wanted: &BTreeMap<(&'static str, String), String>,
    ) -> Vec<(&'static str, String, Option<String>)> {
        let written = self.0.lock().expect("no one panics while holding it");
        let news = wanted.iter().filter(|(key, text)| written.get(*key) != Some(*text));
        let gone = written.keys().filter(|key| !wanted.contains_key(*key));
        news.map(|((kind, subject), text)| (*kind, subject.clone(), Some(text.clone())))
            .chain(gone.map(|(kind, subject)| (*kind, subject.clone(), None)))
            .collect()
    }

    fn set(&self, wanted: BTreeMap<(&'static str, String), String>) {
        *self.0.lock().expect("no one panics while holding it") = wanted;
    }
}

/// Why builds wait, of which anything is known: as this coordinator knows, or another one that
/// lives. However many they are, the database is asked once.
///
/// # Errors
/// Database errors.
pub async fn wait_reasons(
    farm: &Farm,
    builds: &[BuildId],
) -> store::Result<HashMap<BuildId, String>> {
    let here = builds.iter().map(|build| (*build, farm.waits.reason(*build)));
    let mut known: HashMap<_, _> = here.filter(|(_, reason)| !reason.is_empty()).collect();
    let now = Instant::now();
    if known.len() == builds.len() || !farm.peers.has_others(now) {
        return Ok(known);
    }
    let others = farm.peers.others(now);
    let lives = |id: &str| others.iter().any(|(row, alive)| *alive && row.id == id);
    for note in farm.store.notes(WAIT, farm.peers.me()).await? {
        let of = note.subject.parse().map(BuildId);
        if let (Ok(build), true) = (of, lives(&note.coordinator)) {
            known.entry(build).or_insert(note.text);
        }
    }
    Ok(known)
}

/// The same of one build.
///
/// # Errors
/// Database errors.
pub async fn wait_reason(farm: &Farm, build: BuildId) -> store::Result<String> {
    let here = farm.waits.reason(build);
    let now = Instant::now();
    if !here.is_empty() || !farm.peers.has_others(now) {
        return Ok(here);
    }
    let others = farm.peers.others(now);
    let lives = |id: &str| others.iter().any(|(row, alive)| *alive && row.id == id);
    let notes = farm.store.notes_of(WAIT, &build.0.to_string(), farm.peers.me()).await?;
    let told = notes.into_iter().find(|note| lives(&note.coordinator));
    Ok(told.map(|note| note.text).unwrap_or_default())
}
