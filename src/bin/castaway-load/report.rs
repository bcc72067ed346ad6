//! The result of a run, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The result of a run. Times are in milliseconds, sizes in bytes, where a name does not say otherwise.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// Listeners that joined.
    pub(crate) listeners: u64,
    /// Listeners that could not join.
    pub(crate) not_joined: u64,
    /// The reason for the first of them.
    pub(crate) first_refusal: Option<String>,
    /// Streamers.
    pub(crate) streamers: u32,
    /// The size of a clip.
    pub(crate) clip_bytes: usize,
    /// Clips that were sent.
    pub(crate) clips_sent: u64,
    /// Clips that the server refused.
    pub(crate) clips_refused: u64,
    /// Clips that the server acknowledged.
    pub(crate) clips_confirmed: u64,
    /// The first failure of a streamer.
    pub(crate) first_trouble: Option<String>,
    /// Clips received whole and in order.
    pub(crate) deliveries: u64,
    /// Clips that should have been received and were not.
    pub(crate) lost: u64,
    /// Clips with a wrong byte.
    pub(crate) corrupt: u64,
    /// Clips that came twice or out of order.
    pub(crate) disordered: u64,
    /// Clips of another livestream.
    pub(crate) mixed: u64,
    /// Healthy listeners that the server closed.
    pub(crate) closed: u64,
    /// From the first clip to the last delivery.
    pub(crate) seconds: f64,
    /// Delivered, in millions of bytes a second.
    pub(crate) megabytes_per_second: f64,
    /// From upload to delivery.
    pub(crate) latency_ms: Quantiles,
    /// From connect to `success`.
    pub(crate) join_ms: Quantiles,
    /// Cost for the server.
    pub(crate) server: Option<Cost>,
    /// Result of the stalled listeners.
    pub(crate) stalled: Option<Impaired>,
    /// Result of the slow listeners.
    pub(crate) slow: Option<Impaired>,
    /// Result of the listeners that come and go.
    pub(crate) passing: Option<Passing>,
    /// Connections that streamers lost; they came back.
    pub(crate) returns: u64,
}

/// Quantiles of durations.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Quantiles {
    /// Upper bound of 50 of 100.
    pub(crate) p50: f64,
    /// Upper bound of 95 of 100.
    pub(crate) p95: f64,
    /// Upper bound of 99 of 100.
    pub(crate) p99: f64,
    /// Maximum.
    pub(crate) max: f64,
}

/// Cost of a run for the server.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    /// Processor time per delivery, in microseconds.
    pub(crate) cpu_us_per_delivery: f64,
    /// Processor time of a second of an idle listener, in microseconds.
    pub(crate) cpu_us_per_idle_second: Option<f64>,
    /// Processor time per join, in microseconds.
    pub(crate) cpu_us_per_join: f64,
    /// Resident memory before the first join.
    pub(crate) rss_before: u64,
    /// Resident memory per listener, after all joins and before the first clip.
    pub(crate) rss_per_listener_idle: i64,
    /// Resident memory per listener after the last clip.
    pub(crate) rss_per_listener_after: i64,
}

/// Result of the listeners that do not keep up.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Impaired {
    /// Number of these listeners.
    pub(crate) listeners: u64,
    /// Number of them that the server had closed by the end.
    pub(crate) closed: u64,
    /// Seconds from the first clip until the last of these was closed, as the client sees it.
    pub(crate) closed_after_seconds: Option<f64>,
    /// Clips that they received.
    pub(crate) received: u64,
    /// Clips that came damaged or out of order.
    pub(crate) damaged: u64,
}

/// Result of the listeners that come and go.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Passing {
    /// Number of these listeners.
    pub(crate) listeners: u64,
    /// Number of their stays.
    pub(crate) stays: u64,
    /// Failed attempts to come back.
    pub(crate) refused: u64,
    /// Stays that the server ended.
    pub(crate) ended: u64,
    /// Clips that they received.
    pub(crate) received: u64,
    /// Clips between two others of one stay that did not come.
    pub(crate) missed: u64,
    /// Clips that came damaged or out of order.
    pub(crate) damaged: u64,
}

/// What happened since the last sample.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    /// Since the first clip.
    pub(crate) seconds: f64,
    /// Clips received whole and in order.
    pub(crate) deliveries: u64,
    /// From upload to delivery.
    pub(crate) latency_ms: Quantiles,
    /// The listeners that come and go, since the first clip.
    pub(crate) passing: Passing,
    /// Connections that streamers lost, since the first clip.
    pub(crate) returns: u64,
    /// Healthy listeners that the server has closed, since the first clip.
    pub(crate) closed: u64,
}

impl Report {
    /// Whether every clip was received correctly.
    pub(crate) fn flawless(&self) -> bool {
        let passing = self.passing.unwrap_or_default();
        let passing = passing.refused + passing.ended + passing.missed + passing.damaged;
        let damaged = self.lost + self.corrupt + self.disordered + self.mixed + passing;
        damaged + self.not_joined + self.closed == 0 && self.first_trouble.is_none()
    }
}

/// Milliseconds for a report.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p95, p99, max } = self;
        write!(
            f,
            "p50 {p50:.2} ms · p95 {p95:.2} ms · p99 {p99:.2} ms · max {max:.2} ms"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "clips       {} sent by {} of {} bytes, {} confirmed, {} refused",
            self.clips_sent,
            plural(u64::from(self.streamers), "streamer"),
            self.clip_bytes,
            self.clips_confirmed,
            self.clips_refused
        )?;
        if let Some(trouble) = &self.first_trouble {
            writeln!(f, "            first trouble: {trouble}")?;
        }
        writeln!(
            f,
            "deliveries  {} to {} in {:.1} s, {:.1} MB/s",
            self.deliveries,
            plural(self.listeners, "listener"),
            self.seconds,
            self.megabytes_per_second
        )?;
        if let Some(refusal) = &self.first_refusal {
            writeln!(
                f,
                "            {} could not join: {refusal}",
                self.not_joined
            )?;
        }
        writeln!(
            f,
            "loss        {} lost, {} corrupt, {} out of order, {} of another livestream, {} closed",
            self.lost,
            self.corrupt,
            self.disordered,
            self.mixed,
            plural(self.closed, "listener")
        )?;
        writeln!(f, "latency     {}", self.latency_ms)?;
        writeln!(f, "join        {}", self.join_ms)?;
        for (name, impaired) in [("stalled", self.stalled), ("slow", self.slow)] {
            if let Some(it) = impaired {
                write!(f, "{name:<11} {} of {} closed", it.closed, it.listeners)?;
                if let Some(seconds) = it.closed_after_seconds {
                    write!(f, " within {seconds:.1} s")?;
                }
                writeln!(
                    f,
                    ", {} clips received, {} damaged",
                    it.received, it.damaged
                )?;
            }
        }
        if let Some(it) = self.passing {
            writeln!(
                f,
                "passing     {} stays of {}, {} refused, {} ended by the server, {} clips missed, {} damaged",
                it.stays,
                plural(it.listeners, "listener"),
                it.refused,
                it.ended,
                it.missed,
                it.damaged
            )?;
        }
        if let Some(cost) = &self.server {
            writeln!(
                f,
                "server      {:.2} µs CPU per delivery, {:.0} µs per join",
                cost.cpu_us_per_delivery, cost.cpu_us_per_join
            )?;
            if let Some(idle) = cost.cpu_us_per_idle_second {
                writeln!(
                    f,
                    "            {idle:.2} µs CPU per idle listener and second"
                )?;
            }
            writeln!(
                f,
                "            {:.1} KiB per listener idle, {:.1} KiB after, {:.1} MiB before all",
                kib(cost.rss_per_listener_idle),
                kib(cost.rss_per_listener_after),
                ratio(cost.rss_before, 1 << 20)
            )?;
        }
        Ok(())
    }
}

fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[expect(clippy::cast_precision_loss, reason = "a report's numbers are rounded")]
fn kib(bytes: i64) -> f64 {
    bytes as f64 / 1024.0
}

/// `one` by `other`, rounded; zero for a divisor of zero.
#[expect(clippy::cast_precision_loss, reason = "a report's numbers are rounded")]
pub(crate) fn ratio(one: u64, other: u64) -> f64 {
    if other == 0 {
        return 0.0;
    }
    one as f64 / other as f64
}
