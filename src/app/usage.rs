//! What the process uses of its machine, as Linux tells in `/proc` (proc(5)).

use std::{fs, time::Duration};

/// What the process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Memory that is held in RAM.
    pub(super) resident_bytes: u64,
    /// How many file descriptors are open.
    pub(super) open_files: u64,
    /// Processor time that was used, by the system for it too.
    pub(super) processor: Duration,
    /// When the process was started, in seconds of Unix time; a sandbox may hide when the machine was.
    pub(super) started: Option<u64>,
}

/// `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // What stands before it is the name of the program, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second();
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let since_boot = field(22)?.checked_div(ticks)?;
    let used = field(14)?.checked_add(field(15)?)?;
    Some(Usage {
        resident_bytes: pages.checked_mul(page)?,
        open_files: u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
        processor: Duration::from_millis(used.checked_mul(1_000)?.checked_div(ticks)?),
        started: boot().and_then(|boot| boot.checked_add(since_boot)),
    })
}

/// When the machine was started, in seconds of Unix time.
#[cfg(target_os = "linux")]
fn boot() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Only Linux is asked.
#[cfg(not(target_os = "linux"))]
pub(super) fn usage() -> Option<Usage> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_more_is_told() {
        let before = usage().unwrap();
        let now = u64::try_from(crate::clock::now().utc.as_second()).unwrap();
        assert!(before.started.is_some_and(|at| at <= now && at > now - 24 * 3_600), "{before:?}");
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let after = usage().unwrap();
        assert!(after.open_files >= before.open_files + 40, "{before:?} {after:?}");
        assert!(after.resident_bytes >= before.resident_bytes + (48 << 20), "{before:?} {after:?}");
        assert!(after.processor >= before.processor);
        drop((files, memory));
    }
}
