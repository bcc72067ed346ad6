//! What a delivery costs, each way: from one clip to the next, so that what the kernel sends later is counted, too.
//!
//! The clip before the streamer leaves is not counted: its time would contain the end of all connections.

use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::clip::Manner;

/// `/proc/stat` counts in hundredths of a second.
const TICK_MILLIS: u64 = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    process: Duration,
    machine: Duration,
}

#[derive(Debug, Default)]
struct Sum {
    clips: u32,
    deliveries: u32,
    spent: Spent,
}

pub(crate) struct Account {
    manners: &'static [Manner],
    sums: Vec<Sum>,
    clips: usize,
    since: Spent,
    deliveries: u32,
}

impl Account {
    pub(crate) fn new(manners: &'static [Manner]) -> Self {
        Self {
            manners,
            sums: manners.iter().map(|_| Sum::default()).collect(),
            clips: 0,
            since: Spent::default(),
            deliveries: 0,
        }
    }

    /// Counts the clip before this one. Returns which manner is this one's.
    pub(crate) fn next_clip(&mut self) -> io::Result<usize> {
        if self.manners.len() > 1 {
            let now = Spent::now()?;
            if let Some(last) = self.clips.checked_sub(1) {
                let sum = &mut self.sums[last % self.manners.len()];
                sum.clips += 1;
                sum.deliveries += self.deliveries;
                sum.spent.process += now.process.saturating_sub(self.since.process);
                sum.spent.machine += now.machine.saturating_sub(self.since.machine);
            }
            self.since = now;
        }
        let manner = self.clips % self.manners.len();
        self.clips += 1;
        Ok(manner)
    }

    pub(crate) fn delivered(&mut self, deliveries: u32) {
        self.deliveries = deliveries;
    }

    /// Prints what each manner cost, and begins again.
    pub(crate) fn report(&mut self) -> io::Result<()> {
        let sums = std::mem::replace(self, Self::new(self.manners)).sums;
        for (manner, sum) in self.manners.iter().zip(&sums) {
            if sum.deliveries > 0 {
                let each = |spent: Duration| spent.as_secs_f64() * 1e6 / f64::from(sum.deliveries);
                writeln!(
                    io::stdout(),
                    "{}: {} clips, {} deliveries, {:.1} µs of this process and {:.1} µs of all processors each",
                    manner.name(),
                    sum.clips,
                    sum.deliveries,
                    each(sum.spent.process),
                    each(sum.spent.machine),
                )?;
            }
        }
        Ok(())
    }
}

impl Spent {
    fn now() -> io::Result<Self> {
        let process = clock_gettime(ClockId::ProcessCPUTime);
        let process = Duration::new(
            process.tv_sec.unsigned_abs(),
            u32::try_from(process.tv_nsec).unwrap_or_default(),
        );
        let machine = busy(&fs::read_to_string("/proc/stat")?)
            .ok_or_else(|| io::Error::other("cannot understand /proc/stat"))?;
        Ok(Self { process, machine })
    }
}

/// The time that processors worked: all but `idle` and `iowait`, the fourth and the fifth of the first line.
fn busy(stat: &str) -> Option<Duration> {
    let times = stat.lines().next()?.split_whitespace().skip(1);
    let times: Option<Vec<u64>> = times.map(|time| time.parse().ok()).collect();
    let times = times?;
    // Guests' time, the last two, is in the first two already.
    let worked = times.iter().take(8).enumerate();
    let worked = worked.filter(|(place, _)| ![3, 4].contains(place));
    let ticks: u64 = worked.map(|(_, time)| time).sum();
    Some(Duration::from_millis(ticks * TICK_MILLIS))
}
