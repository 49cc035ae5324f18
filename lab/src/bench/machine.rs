//! The host of the measurements.

use std::fmt;
use std::fs;

/// A description of this host.
pub(super) struct Machine {
    processor: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    load: String,
}

impl Machine {
    /// This host. Unknown values are `?`.
    pub(super) fn here() -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let unknown = || "?".to_owned();
        let line = |file: &str| {
            fs::read_to_string(file).map_or_else(|_| unknown(), |text| text.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kib / 1024,
            kernel: line("/proc/sys/kernel/osrelease"),
            load: line("/proc/loadavg"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_mib, kernel, load } = self;
        writeln!(f, "{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}")?;
        write!(f, "load before: {load}")
    }
}
