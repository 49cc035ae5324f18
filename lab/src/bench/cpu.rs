//! How much of a processor processes take, as the kernel counts it.

use anyhow::Context as _;

use crate::farm::Process;

/// Clock ticks a second, as Linux counts processes' time for everybody.
const TICKS: f64 = 100.0;

/// The processor time of a process, in seconds.
pub(super) fn seconds(process: &Process) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
    // The name, in parentheses, may hold blanks.
    let (_, rest) = stat.rsplit_once(") ").context("no such form of stat")?;
    let field = |n: usize| rest.split(' ').nth(n).and_then(|value| value.parse::<f64>().ok());
    let (user, system) = field(11).zip(field(12)).context("no times in stat")?;
    Ok((user + system) / TICKS)
}
