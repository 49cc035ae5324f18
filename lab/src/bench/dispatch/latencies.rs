//! Latencies, computed from the events of the fleet.

use std::collections::HashMap;

use super::RETRIES;
use super::fleet::Event;

/// Latencies, in milliseconds, ascending.
pub(super) struct Latencies(pub(super) Vec<f64>);

impl Latencies {
    pub(super) fn of(all: impl IntoIterator<Item = i64>) -> Self {
        let mut all: Vec<f64> = all.into_iter().map(|us| us as f64 / 1000.0).collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }

    pub(super) fn at(&self, share: f64) -> f64 {
        let index = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// The measurements with one queue length.
pub(super) struct MeasuredLatencies {
    pub(super) ready: Latencies,
    pub(super) turn: Latencies,
}

impl MeasuredLatencies {
    pub(super) fn p99(&self) -> f64 {
        self.ready.at(0.99).max(self.turn.at(0.99))
    }

    pub(super) fn median(&self) -> f64 {
        self.ready.at(0.5).max(self.turn.at(0.5))
    }

    pub(super) fn note(&self) -> String {
        let of = |latencies: &Latencies| {
            format!(
                "{} times, median {:.1} ms, p99 {:.1} ms",
                latencies.0.len(),
                latencies.at(0.5),
                latencies.at(0.99)
            )
        };
        format!("ready to assigned {}; slot free to next {}", of(&self.ready), of(&self.turn))
    }
}

/// When builds were retried, and when a worker received them.
#[derive(Default)]
pub(super) struct DispatchTimes {
    pub(super) asked: HashMap<i64, i64>,
    pub(super) assigned: HashMap<i64, i64>,
}

impl DispatchTimes {
    pub(super) fn note(&mut self, event: &Event) {
        match event.event.as_str() {
            "retried" => self.asked.insert(event.build, event.at),
            "assigned" => self.assigned.insert(event.build, event.at),
            _ => None,
        };
    }

    pub(super) fn is_all(&self) -> bool {
        self.asked.len() == RETRIES as usize
            && self.asked.keys().all(|build| self.assigned.contains_key(build))
    }
}

/// From each end to the same worker's next assignment.
pub(super) fn turns(events: &[Event]) -> Vec<i64> {
    let mut ended = HashMap::new();
    let mut turns = Vec::new();
    for event in events {
        match event.event.as_str() {
            "ended" => {
                ended.insert(event.worker.as_str(), event.at);
            }
            "assigned" => turns.extend(ended.remove(event.worker.as_str()).map(|at| event.at - at)),
            _ => {}
        }
    }
    turns
}
