//! The file of the state directory with the waiting messages: a line of JSON for each change, so that a new message costs one
//! line; it is written again when most of it is about the past.
//!
//! **Invariant**: a line counts if it is whole. After a crash the file has every message whose write had ended, and perhaps
//! some that were delivered already: these are sent again, with the same id.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::message::{Effect, Message};

/// A change.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// A message waits.
    Queued(Message),
    /// The message with this id does so no longer.
    Done(String),
    /// A livestream is live for the receiver, or would be if a message had had room.
    Opened(String),
    /// It is over for the receiver.
    Closed(String),
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Oldest first.
    pub(super) messages: Vec<Message>,
    /// The livestreams that are live for the receiver.
    pub(super) open: BTreeSet<String>,
    /// Lines that could not be read.
    pub(super) unreadable: usize,
}

impl Line {
    /// Adds it to the end of the text.
    pub(super) fn write(&self, text: &mut Vec<u8>) {
        // Strings and numbers: this cannot fail, and an empty line is skipped.
        text.extend(serde_json::to_vec(self).unwrap_or_default());
        text.push(b'\n');
    }
}

impl Contents {
    fn apply(&mut self, line: Line) {
        match line {
            Line::Queued(message) => {
                apply(&mut self.open, message.effect(), &message.lane);
                self.messages.push(message);
            }
            Line::Done(id) => {
                // The oldest is nearly always the first one.
                if let Some(at) = self.messages.iter().position(|message| message.id == id) {
                    self.messages.remove(at);
                }
            }
            Line::Opened(livestream) => apply(&mut self.open, Some(Effect::Opens), &livestream),
            Line::Closed(livestream) => apply(&mut self.open, Some(Effect::Closes), &livestream),
        }
    }
}

pub(super) fn apply(open: &mut BTreeSet<String>, effect: Option<Effect>, livestream: &str) {
    match effect {
        Some(Effect::Opens) => drop(open.insert(livestream.to_owned())),
        Some(Effect::Closes) => drop(open.remove(livestream)),
        None => {}
    }
}

/// Reads the file; nothing if there is none.
pub(super) fn read(path: &Path) -> io::Result<Contents> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        Err(error) => return Err(error),
    };
    let mut contents = Contents::default();
    let lines = bytes.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(line) => contents.apply(line),
            Err(_) => contents.unreadable += 1,
        }
    }
    Ok(contents)
}

/// Adds whole lines to the file.
pub(super) fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o600).open(path)?;
    file.write_all(lines)?;
    file.sync_data()
}
