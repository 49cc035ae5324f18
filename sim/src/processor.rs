//! One processor for a run: it hands over to the database's thread and back at each query, which
//! takes twice as long from one processor to another.

use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// This thread, and those that it starts, stay on one processor until this is dropped.
#[derive(Debug)]
pub(crate) struct OneProcessor {
    before: CpuSet,
}

impl OneProcessor {
    /// Chooses the processor. `None` when the system does not say or allow it; the run is slower
    /// then.
    pub(crate) fn choose() -> Option<Self> {
        let this_thread = Pid::from_raw(0);
        let before = sched_getaffinity(this_thread).ok()?;
        // The system looks for an idle processor when a thread wakes.
        thread::sleep(Duration::from_millis(1));
        let mut one = CpuSet::new();
        one.set(sched_getcpu().ok()?).ok()?;
        sched_setaffinity(this_thread, &one).ok()?;
        Some(Self { before })
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // A thread that keeps to one processor is slower, and nothing worse.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}
