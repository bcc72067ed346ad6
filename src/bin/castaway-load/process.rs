//! Costs and limits of processes: the server's CPU and memory from `/proc`, and this process's limit of open files.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a run needs in addition to its sockets.
const OTHER_FILES: u64 = 64;
/// Linux counts processor time in hundredths of a second for every architecture that this crate builds for.
const TICK: Duration = Duration::from_millis(10);

/// Resource use of a process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time so far, user and system.
    pub(crate) cpu: Duration,
    /// Resident memory, in bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// Resource use of process `pid` until now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{pid}/{name}"))
                .with_context(|| format!("cannot measure process {pid}"))
        };
        Self::parse(&read("stat")?, &read("status")?)
            .with_context(|| format!("cannot understand /proc/{pid}"))
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name, in parentheses, may contain any character; fields are counted after it, starting with the third.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = resident.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            cpu: TICK * (ticks(14)? + ticks(15)?),
            rss: kilobytes << 10,
        })
    }
}

/// Raises the limit for `sockets` open sockets, or fails with instructions.
pub(crate) fn make_room(sockets: u64) -> anyhow::Result<()> {
    let need = sockets + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= need) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < need) {
        let maximum = maximum.unwrap_or_default();
        bail!(
            "{need} open files are needed and {maximum} allowed: as root, run `ulimit -n {need}` first, or start it \
             with `systemd-run --scope -p LimitNOFILE={need}`; the server needs as many"
        );
    }
    let wanted = Rlimit {
        current: Some(need),
        maximum,
    };
    setrlimit(Resource::Nofile, wanted).with_context(|| {
        format!("cannot raise the limit of open files: run `ulimit -n {need}` first")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_for_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 9 1 1";
        let usage = Usage::parse(stat, "Name:\tx\nVmRSS:\t    12 kB\n");
        assert_eq!(
            usage,
            Some(Usage {
                cpu: Duration::from_secs(2),
                rss: 12 << 10
            })
        );
    }

    #[test]
    fn this_process_can_be_measured() {
        assert!(Usage::of(std::process::id()).unwrap().rss > 0);
    }

    #[test]
    fn too_many_sockets_fail_with_instructions() {
        let error = make_room(u64::MAX / 2);
        if let Err(error) = error {
            assert!(error.to_string().contains("ulimit -n"), "{error}");
        }
    }
}
