//! The metrics: their names, units and help texts, which docs/metrics.md repeats.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use rpmfarm_core::{Arch, Failure};

/// Labels, each a name and a value.
pub(crate) type Labels = Vec<(&'static str, String)>;

type Counts = Family<Labels, Gauge>;
type Seconds = Family<Labels, Gauge<f64, AtomicU64>>;
type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// All metrics of this coordinator. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<MetricsState>);

struct MetricsState {
    registry: Registry,
    dispatch: Durations,
    stages: Durations,
    faults: Family<Labels, Counter>,
    pub(crate) gauges: Gauges,
}

/// Gauges that are set at each scrape.
pub(crate) struct Gauges {
    pub(crate) queue: Counts,
    pub(crate) oldest: Seconds,
    pub(crate) slots: Counts,
    pub(crate) busy: Counts,
    pub(crate) workers: Counts,
    pub(crate) builds: Counts,
    pub(crate) root_hits: Counts,
    pub(crate) root_misses: Counts,
    pub(crate) stages_held: Counts,
    pub(crate) coordinators: Counts,
    pub(crate) database_up: Gauge,
    pub(crate) free: Gauge,
    statements: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}

/// Buckets in seconds, from a millisecond to a quarter of an hour.
const LATENCIES: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0, 900.0];

/// Buckets in seconds, from a hundredth of a second to several hours.
const WORK: [f64; 14] =
    [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1200.0, 3600.0, 14400.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new("unknown")
    }
}

impl Metrics {
    /// Metrics without any count, of a coordinator with this kind of database.
    #[must_use]
    pub fn new(database: &'static str) -> Self {
        let mut registry = Registry::with_prefix("rpmfarm");
        let dispatch = Durations::new_with_constructor(|| Histogram::new(LATENCIES));
        let stages = Durations::new_with_constructor(|| Histogram::new(WORK));
        registry.register_with_unit(
            "dispatch_latency",
            "Time from a task being ready to its grant to a worker, by architecture",
            Unit::Seconds,
            dispatch.clone(),
        );
        registry.register_with_unit(
            "stage_duration",
            "Duration of a piece of work of a stage: import, resolve, build, accept, sign, publish",
            Unit::Seconds,
            stages.clone(),
        );
        let faults = registered(
            &mut registry,
            "faults",
            "Failures by fault (package, worker, farm) and by the stage that failed",
        );
        let gauges = Gauges::register(&mut registry);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let info = Counts::default();
        info.get_or_create(&vec![("version", version), ("database", database.to_owned())]).set(1);
        registry.register("coordinator", "Always 1; the version and the database are labels", info);
        Self(Arc::new(MetricsState { registry, dispatch, stages, faults, gauges }))
    }

    /// Counts a task that was granted so long after it was ready.
    pub fn dispatched(&self, arch: Arch, waited: Duration) {
        let labels = vec![("arch", arch.to_string())];
        self.0.dispatch.get_or_create(&labels).observe(waited.as_secs_f64());
    }

    /// Counts a piece of work of a stage that has ended.
    pub fn worked(&self, stage: &str, took: Duration) {
        let labels = vec![("stage", stage.to_owned())];
        self.0.stages.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a failure.
    pub fn failed(&self, failure: &Failure) {
        let labels =
            vec![("fault", failure.fault.to_string()), ("stage", failure.stage.to_string())];
        self.0.faults.get_or_create(&labels).inc();
    }

    /// Adds to a worker's counts of stored roots that it found, and of those that it did not.
    pub fn roots(&self, worker: &str, hits: u64, misses: u64) {
        let labels = vec![("worker", worker.to_owned())];
        let gauges = &self.0.gauges;
        gauges.root_hits.get_or_create(&labels).set(hits.cast_signed());
        gauges.root_misses.get_or_create(&labels).set(misses.cast_signed());
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.0.gauges
    }

    /// All metrics in the text form of OpenMetrics.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("a String takes all");
        text
    }
}

/// Registers a metric.
fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a metric with a unit.
fn in_unit<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
) -> M {
    let metric = M::default();
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

impl Gauges {
    fn register(registry: &mut Registry) -> Self {
        Self {
            oldest: in_unit(
                registry,
                "queue_oldest",
                "How long the longest waiting task has waited, by architecture and priority",
                Unit::Seconds,
            ),
            database_up: registered(registry, "database_up", "Whether the database answers"),
            statements: registered(
                registry,
                "statements",
                "Statements that this coordinator has sent to its database",
            ),
            free: in_unit(
                registry,
                "data_free",
                "Free space of the file systems of blobs and repositories",
                Unit::Bytes,
            ),
            queue: registered(
                registry,
                "queue_tasks",
                "Tasks that are ready and wait for a worker, by architecture and priority",
            ),
            slots: registered(registry, "slots", "Attempts that connected workers run at once"),
            busy: registered(registry, "slots_busy", "Attempts that workers hold"),
            workers: registered(registry, "workers", "Workers by liveness: alive, stale, gone"),
            builds: registered(
                registry,
                "builds",
                "Builds by state: importing, srpm, building, finishing, published, cancelled, failed",
            ),
            root_hits: registered(
                registry,
                "worker_root_hits",
                "How often a build found its root in the worker's store, since the worker's start",
            ),
            root_misses: registered(
                registry,
                "worker_root_misses",
                "How often a root, or a layer of it, had to be made, since the worker's start",
            ),
            stages_held: registered(
                registry,
                "stage_held",
                "Whether this coordinator runs the stage (1) or another one does (0)",
            ),
            coordinators: registered(
                registry,
                "coordinators",
                "Coordinators that this one sees, itself included, by state: alive, dead",
            ),
        }
    }

    /// So many statements were sent in all.
    pub(crate) fn set_statements(&self, count: u64) {
        // What is counted elsewhere already, and only rises.
        self.statements.inner().fetch_max(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::{FailureStage, Fault};

    use super::*;

    #[test]
    fn every_metric_has_help_and_a_line_in_the_manual() {
        let metrics = Metrics::new("sqlite");
        metrics.dispatched(Arch::X86_64, Duration::from_millis(30));
        metrics.worked("sign", Duration::from_secs(2));
        metrics.failed(&Failure::new(Fault::Worker, FailureStage::Lease, "not heard"));
        metrics.roots("w1", 7, 2);
        metrics.gauges().set_statements(12);
        metrics.gauges().set_statements(11);
        let text = metrics.text();
        for line in [
            "rpmfarm_dispatch_latency_seconds_bucket{le=\"0.05\",arch=\"x86_64\"} 1",
            "rpmfarm_stage_duration_seconds_count{stage=\"sign\"} 1",
            "rpmfarm_faults_total{fault=\"worker\",stage=\"lease\"} 1",
            "rpmfarm_statements_total 12",
            "rpmfarm_worker_root_hits{worker=\"w1\"} 7",
            "database=\"sqlite\"} 1",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
        let manual = include_str!("../../docs/metrics.md");
        let help: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
        // What was never observed is not printed.
        assert!(help.len() >= 8, "{text}");
        for line in help {
            let (name, help) = line.split_once(' ').unwrap();
            assert!(help.len() > 10, "{name}");
            assert!(manual.contains(&format!("`{name}")), "docs/metrics.md lacks {name}");
        }
    }
}
