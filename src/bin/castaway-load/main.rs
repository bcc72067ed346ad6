//! `castaway-load`: how many listeners does this machine carry?
//!
//! Listeners and streamers in one process, cheap enough that the measured cost is the server's: no buffer for each
//! socket, clips checked while they pass. The path of a clip: [`streamer`] stamps and sends it, the server relays it,
//! each [`listener`] checks it ([`clip`]) as [`frame`] passes it on, and counts it ([`tally`]); [`run`] adds up.
//!
//! **Invariant**: a run ends by itself: the number of clips is fixed, and waits have limits.

mod audience;
mod clip;
mod cost;
mod doors;
mod frame;
mod listener;
mod options;
mod packet;
mod process;
mod report;
mod run;
mod socket;
mod streamer;
mod tally;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use options::Options;

/// Exit codes: something was lost or damaged; nothing could be measured.
const FLAWED: u8 = 1;
const FAILED: u8 = 2;

fn main() -> ExitCode {
    match load(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FLAWED),
        Err(error) => {
            // Without the backtrace that `{error:?}` would print: the chain of causes is enough.
            let _ = writeln!(std::io::stderr(), "castaway-load: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// Runs the load and prints its report. Returns whether every clip was received correctly.
fn load(options: Options) -> anyhow::Result<bool> {
    let json = options.json;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(options.threads))
        .enable_all()
        .build()?;
    let report = runtime.block_on(async { tokio::spawn(run::run(options)).await })??;
    let text = if json {
        serde_json::to_string(&report)? + "\n"
    } else {
        report.to_string()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(report.flawless())
}
