//! The options of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use humantime_serde::re::humantime::parse_duration;

/// Loads a Castaway media server with listeners and streamers, and checks every clip that they hear.
///
/// Each streamer sends clips at a steady pace; each listener checks that it hears all of
/// them, whole, in order, and nothing else. The end of the run prints deliveries, loss and
/// latencies, and, with --pid, what a delivery and a listener cost the server. It ends with 0
/// when nothing was lost or damaged, with 1 when something was, with 2 when it could not run.
///
/// Try it against the demo server:
///
///     castaway-media-server demo &
///     castaway-load --demo --listeners 500 --pid $!
///
/// Latency is the time from the upload's first byte to the listener's last. Where server and
/// load share a machine, CPU per delivery is the server's own, but latency is not. The server's
/// limits apply to a load, too: raise its upload.* quotas and connections per address.
#[derive(Debug, Clone, Parser)]
#[command(version, verbatim_doc_comment, max_term_width = 110)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
pub(crate) struct Options {
    /// The server's URL; plain HTTP (give a TLS proxy's backend).
    #[arg(default_value = "http://127.0.0.1:3000")]
    pub(crate) server: String,

    /// Listeners, spread over the livestreams.
    #[arg(
        short = 'n',
        long,
        default_value_t = 100,
        value_name = "N",
        help_heading = "Load"
    )]
    pub(crate) listeners: u32,

    /// How many of a hundred listeners get the event `clip` instead of `audio`.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", help_heading = "Load",
          value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) clip_listeners: u32,

    /// Streamers, each with a livestream of its own.
    #[arg(short, long, default_value_t = 1, value_name = "S", help_heading = "Load",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streamers: u32,

    /// Clips that each streamer sends.
    #[arg(
        short,
        long,
        default_value_t = 50,
        value_name = "N",
        help_heading = "Load"
    )]
    pub(crate) clips: u64,

    /// The time from one clip to the next.
    #[arg(short, long, default_value = "500ms", value_name = "TIME", value_parser = parse_duration,
          help_heading = "Load")]
    pub(crate) pace: Duration,

    /// The size of a clip, in bytes; at least 32.
    #[arg(
        short,
        long,
        default_value_t = 80_000,
        value_name = "BYTES",
        help_heading = "Load"
    )]
    pub(crate) bytes: usize,

    /// Send this file's bytes, each time behind a stamp of 32 bytes, instead of noise.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "bytes",
        help_heading = "Load"
    )]
    pub(crate) file: Option<PathBuf>,

    /// Listeners that may be joining at once.
    #[arg(long, default_value_t = 50, value_name = "N", help_heading = "Load",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) joining: u32,

    /// How long nothing happens between the joins and the first clip: what an idle listener costs the server.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = parse_duration, help_heading = "Load")]
    pub(crate) idle: Duration,

    /// Say on standard error that all have joined, and send the first clip when a line comes on standard input.
    #[arg(long, help_heading = "Load")]
    pub(crate) wait: bool,

    /// How long listeners may take to hear the last clip.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_duration,
          help_heading = "Load")]
    pub(crate) drain: Duration,

    /// Listeners, beside the others, that read nothing once they have joined.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Trouble")]
    pub(crate) stalled: u32,

    /// Listeners, beside the others, that read slowly.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Trouble")]
    pub(crate) slow: u32,

    /// What a slow listener reads, in bytes a second.
    #[arg(
        long,
        default_value_t = 20_000,
        value_name = "BYTES",
        help_heading = "Trouble"
    )]
    pub(crate) slow_rate: usize,

    /// Listeners, beside the others, that leave and come back all the time: one half say so, the others break off.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Trouble")]
    pub(crate) passing: u32,

    /// How long such a listener stays, about.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_duration,
          help_heading = "Trouble")]
    pub(crate) stay: Duration,

    /// Break off each streamer's connection after so many clips; it comes back.
    #[arg(long, value_name = "CLIPS", help_heading = "Trouble", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cut_every: Option<u64>,

    /// Ask a demo server for livestreams and tokens.
    #[arg(long, conflicts_with_all = ["token", "token_file", "livestream"], help_heading = "Who")]
    pub(crate) demo: bool,

    /// The streamer's ID token; listeners use it too, so raise the server's `server.max_sockets_per_user`.
    #[arg(long, conflicts_with = "token_file", help_heading = "Who")]
    pub(crate) token: Option<String>,

    /// A file with one ID token a line, one for each streamer; keeps tokens out of the list of processes.
    #[arg(long, value_name = "FILE", help_heading = "Who")]
    pub(crate) token_file: Option<PathBuf>,

    /// A livestream's id; once for each streamer, in the order of their tokens.
    #[arg(long, value_name = "ID", help_heading = "Who")]
    pub(crate) livestream: Vec<String>,

    /// The server's process on this machine: also measure its CPU and memory.
    #[arg(long, value_name = "PID", help_heading = "Report")]
    pub(crate) pid: Option<u32>,

    /// Print the result as one JSON object, and progress to stderr only.
    #[arg(long, help_heading = "Report")]
    pub(crate) json: bool,

    /// Also print one JSON object a line for every such time: what was delivered and lost in it, and how fast.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "json", help_heading = "Report")]
    pub(crate) samples: Option<Duration>,

    /// No progress.
    #[arg(short, long, help_heading = "Report")]
    pub(crate) quiet: bool,

    /// Threads for all clients together.
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Report",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn options_are_consistent() {
        Options::command().debug_assert();
    }
}
