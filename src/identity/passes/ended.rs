//! When livestreams ended, for as long as a pass from before may last.
//!
//! **Invariant**: at most [`MOST`] ends are remembered; beyond, the oldest is forgotten. The file in the state directory
//! has one line for each end, appended at once, so that a crash forgets none; a start removes those that are over.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::broadcast::LivestreamId;
use crate::unix_time;

const FILE: &str = "passes.ended";
/// Remembered ends.
const MOST: usize = 50_000;

/// See the module.
pub(super) struct Ended {
    /// In milliseconds since the Unix epoch.
    ends: HashMap<LivestreamId, u64>,
    lifetime_ms: u64,
    file: Option<PathBuf>,
}

impl Ended {
    /// The ends in the file of `state`, which is written again without those that are over.
    pub(super) fn open(state: Option<&Path>, lifetime: Duration, now: SystemTime) -> Self {
        let mut ended = Self {
            ends: HashMap::new(),
            lifetime_ms: u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX),
            file: state.map(|state| state.join(FILE)),
        };
        if let Some(path) = &ended.file {
            match fs::read_to_string(path) {
                Ok(text) => ended.ends = text.lines().filter_map(read).collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(%error, "ends of livestreams are lost: their listening passes may count again");
                }
            }
        }
        ended.forget_old(unix_time::millis(now));
        ended.rewrite();
        ended
    }

    /// When a livestream ended last.
    pub(super) fn at(&self, livestream: &LivestreamId) -> Option<u64> {
        self.ends.get(livestream).copied()
    }

    /// Remembers an end. The caller writes it to the file.
    pub(super) fn record(&mut self, livestream: &LivestreamId, now: u64) -> UnwrittenEnd {
        self.ends.insert(livestream.clone(), now);
        if self.ends.len() > MOST {
            self.forget_old(now);
        }
        UnwrittenEnd {
            file: self.file.clone(),
            line: line(livestream, now),
        }
    }

    fn forget_old(&mut self, now: u64) {
        let oldest = now.saturating_sub(self.lifetime_ms);
        self.ends.retain(|_, ended| *ended >= oldest);
        if self.ends.len() > MOST {
            // Half of them, so that the next end need not do this again.
            let mut times: Vec<u64> = self.ends.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(MOST / 2);
            let middle = *middle;
            self.ends.retain(|_, ended| *ended > middle);
        }
    }

    fn rewrite(&self) {
        if let Some(path) = &self.file {
            let text: String = self
                .ends
                .iter()
                .map(|(id, ended)| line(id, *ended))
                .collect();
            warn(fs::write(path, text));
        }
    }
}

/// An end that the file does not have yet.
#[must_use]
pub(super) struct UnwrittenEnd {
    file: Option<PathBuf>,
    line: String,
}

impl UnwrittenEnd {
    /// Appends it to the file, if there is one. Blocks.
    pub(super) fn write(self) {
        if let Some(path) = self.file {
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).open(path);
            warn(file.and_then(|mut file| file.write_all(self.line.as_bytes())));
        }
    }
}

/// A livestream's id has no line end.
fn line(livestream: &LivestreamId, ended: u64) -> String {
    format!("{ended} {livestream}\n")
}

fn read(line: &str) -> Option<(LivestreamId, u64)> {
    let (ended, livestream) = line.split_once(' ')?;
    Some((LivestreamId::new(livestream)?, ended.parse().ok()?))
}

fn warn(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::warn!(%error, "the end of a livestream cannot be written: after a restart its listening passes may count");
    }
}
