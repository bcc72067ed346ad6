//! What a run costs the server, from its resource use between the parts of the run.

use std::time::Duration;

use crate::process::Usage;
use crate::report::{Cost, ratio};

/// The server's resource use at the ends of a run's parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Before the first join.
    pub(crate) before: Usage,
    /// After the last join.
    pub(crate) joined: Usage,
    /// When the memory of joins is released.
    pub(crate) settled: Usage,
    /// After the time without clips.
    pub(crate) idle: Usage,
    /// Before the first clip.
    pub(crate) start: Usage,
    /// After the last delivery.
    pub(crate) after: Usage,
}

impl Course {
    /// Shared among so many clients and deliveries, with nothing to do for the time `idle`.
    pub(crate) fn cost(&self, clients: u64, deliveries: u64, idle: Duration) -> Cost {
        let clients = clients.max(1);
        let micros = |from: Usage, to: Usage| to.cpu.saturating_sub(from.cpu).as_secs_f64() * 1e6;
        let grown = |to: Usage| {
            let grown = to.rss.cast_signed() - self.before.rss.cast_signed();
            grown / clients.cast_signed()
        };
        let idle_seconds = ratio(clients, 1) * idle.as_secs_f64();
        Cost {
            cpu_us_per_delivery: micros(self.start, self.after) / ratio(deliveries.max(1), 1),
            cpu_us_per_idle_second: (idle_seconds > 0.0)
                .then(|| micros(self.settled, self.idle) / idle_seconds),
            cpu_us_per_join: micros(self.before, self.joined) / ratio(clients, 1),
            rss_before: self.before.rss,
            rss_per_listener_idle: grown(self.idle),
            rss_per_listener_after: grown(self.after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_shared_among_clients_and_deliveries() {
        let at = |millis, rss| Usage {
            cpu: Duration::from_millis(millis),
            rss,
        };
        let course = Course {
            before: at(0, 1000),
            joined: at(10, 4000),
            settled: at(20, 3000),
            idle: at(40, 2000),
            start: at(50, 2000),
            after: at(100, 1800),
        };
        let cost = course.cost(100, 1000, Duration::from_secs(10));
        assert!((cost.cpu_us_per_join - 100.0).abs() < 1e-9);
        assert!((cost.cpu_us_per_idle_second.unwrap() - 20.0).abs() < 1e-9);
        assert!((cost.cpu_us_per_delivery - 50.0).abs() < 1e-9);
        assert_eq!(
            (cost.rss_per_listener_idle, cost.rss_per_listener_after),
            (10, 8)
        );
        let busy = course.cost(100, 1000, Duration::ZERO);
        assert_eq!(busy.cpu_us_per_idle_second, None);
    }
}
