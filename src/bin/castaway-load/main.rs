//! `castaway-load`: how many listeners does this machine carry?
//!
//! Listeners and streamers in one process, cheap enough that the server is what is measured: no buffer for each
//! socket, clips checked while they pass. The way of a clip: [`streamer`] stamps and sends it, the server relays it,
//! each [`listener`] checks it ([`clip`]) as [`frame`] hands it on, and counts it ([`tally`]); [`run`] adds up.
//!
//! **Invariant**: a run ends by itself: clips are counted, waits have limits.

mod clip;
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

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
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
    Ok(if report.flawless() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
