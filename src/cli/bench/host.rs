//! What the machine did meanwhile: CPU time and load.

use std::time::Duration;

use rustix::system::sysinfo;
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process, all threads, user and system.
pub(super) fn own_cpu() -> Duration {
    let at = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), u32::try_from(at.tv_nsec).unwrap_or(0))
}

/// Load average of the last minute.
pub(super) fn load() -> f64 {
    // The kernel counts in 65536ths.
    sysinfo().loads[0] as f64 / 65_536.0
}

/// Kernel ticks of `/proc/PID/stat` in a second; fixed for user space on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of these processes together; `None` if one of them is gone.
pub(super) fn cpu_of(pids: &[u32]) -> Option<Duration> {
    let mut ticks = 0;
    for pid in pids {
        // A look at the kernel's books, not at data: nothing for the disk seam.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        ticks += ticks_in(&stat)?;
    }
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// utime + stime: the 14th and 15th field. The second, the name, may hold spaces and brackets.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 1500 250 0 0 20 0 9 0 1234 0";
        assert_eq!(ticks_in(stat), Some(1750));
        assert_eq!(ticks_in("42 (x) S 1"), None);
    }

    #[test]
    fn this_process_has_used_cpu() {
        assert!(own_cpu() > Duration::ZERO);
        assert!(cpu_of(&[std::process::id()]).is_some());
        assert_eq!(cpu_of(&[u32::MAX]), None);
    }
}
