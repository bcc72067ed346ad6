//! The names of a recording's objects. They say all that finishing needs to know of a clip or of an event, so that a
//! listing is enough. Pure.
//!
//! ```text
//! {livestream}/{number}.json                        the opening of its recordings, one after the other
//! {livestream}/{start}/clips/{epoch}-{sequence}-{received}[-{id}].{ext}
//! {livestream}/{start}/marks/{time}-{mark}          what happened, in the name alone
//! {livestream}/{start}/recording.{ext}              the file, and manifest.json
//! __recordings__/{start}.{livestream}.{number}      each recording
//! __pending__/{start}.{livestream}.{number}         those with something left to be done
//! ```
//!
//! **Invariant**: a name is read as it was written. No livestream's part is one of ours: no id of a livestream begins and
//! ends with two underscores.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256, digest};
use humantime_serde::re::humantime::format_rfc3339_millis;

/// Where each recording has an empty object.
pub(super) const RECORDINGS: &str = "__recordings__";
/// Where each recording with something left to be done has one.
pub(super) const PENDING: &str = "__pending__";

/// The epoch in the name of a clip that came again and that another process had accepted, in an epoch that is not known:
/// no owner has it.
pub(super) const SENT_AGAIN: u64 = 0;

/// The longest part of a path that stands for a livestream, in bytes.
const MAX_KEY: usize = 200;

/// The id of a recording: `{start}.{livestream}.{number}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordingId {
    start: String,
    key: String,
    number: u64,
}

impl RecordingId {
    /// The `number`th recording of a livestream, which started at this time in milliseconds since the Unix epoch.
    pub(super) fn new(started: u64, livestream: &str, number: u64) -> Self {
        let mut start = rfc3339(started);
        start.retain(|letter| letter.is_ascii_alphanumeric());
        Self {
            start,
            key: key(livestream),
            number,
        }
    }

    /// Reads an id.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, number) = text.rsplit_once('.')?;
        let (start, key) = rest.split_once('.')?;
        let is_word = |text: &str| {
            let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte);
            !text.is_empty() && text.len() <= MAX_KEY + 8 && text.bytes().all(is_ours)
        };
        (is_word(start) && is_word(key)).then_some(Self {
            start: start.to_owned(),
            key: key.to_owned(),
            number: number.parse().ok()?,
        })
    }

    /// The path below which its objects are.
    pub fn directory(&self) -> String {
        format!("{}/{}", self.key, self.start)
    }

    /// The path of its opening.
    pub(super) fn opening(&self) -> String {
        opening(&self.key, self.number)
    }
}

impl RecordingId {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether its livestream is the one with this key.
    pub(super) fn is_of(&self, key: &str) -> bool {
        self.key == key
    }
}

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.start, self.key, self.number)
    }
}

/// The path of the opening of a livestream's `number`th recording.
pub(super) fn opening(key: &str, number: u64) -> String {
    format!("{key}/{number:06}.json")
}

/// The number in the name of an opening.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}

/// A time in milliseconds since the Unix epoch as text.
pub(super) fn rfc3339(millis: u64) -> String {
    // Later than the year 9999 there is no text; no clock says so.
    let millis = millis.min(253_402_300_799_000);
    format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}

/// The digest as hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(digest(&SHA256, bytes).as_ref())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A livestream's part of paths: letters and digits as they are, any other byte as `=` and two digits; a long
/// one by its digest.
pub(super) fn key(livestream: &str) -> String {
    let mut key = String::new();
    for byte in livestream.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            key.push(char::from(byte));
        } else {
            let _ = write!(key, "={byte:02X}");
        }
    }
    if key.len() > MAX_KEY {
        return format!("=sha256-{}", sha256(livestream.as_bytes()));
    }
    key
}

/// A clip's object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClipName {
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    /// When its node accepted it, in milliseconds since the Unix epoch.
    pub(super) received: u64,
    /// What stands for the streamer's own id and the bytes, if it gave an id.
    pub(super) id: Option<String>,
    pub(super) extension: String,
}

impl ClipName {
    /// What stands for a streamer's own id of a clip and its bytes: ids are used again, as by a client that counts from 1.
    pub(super) fn digest(id: &str, bytes: &[u8]) -> String {
        let mut digest = Context::new(&SHA256);
        for part in [&(id.len() as u64).to_be_bytes(), id.as_bytes(), bytes] {
            digest.update(part);
        }
        hexadecimal(&digest.finish().as_ref()[..8])
    }

    /// Its epoch and sequence.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.epoch, self.sequence)
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let (stem, extension) = name.split_once('.')?;
        let mut parts = stem.split('-');
        let mut number = || parts.next()?.parse().ok();
        let (epoch, sequence, received) = (number()?, number()?, number()?);
        Some(Self {
            epoch,
            sequence,
            received,
            id: parts.next().map(str::to_owned),
            extension: extension.to_owned(),
        })
    }
}

impl fmt::Display for ClipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.sequence, self.received)?;
        if let Some(id) = &self.id {
            write!(f, "-{id}")?;
        }
        write!(f, ".{}", self.extension)
    }
}

/// What happened at some time of a recording.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// The streamer's connection was lost.
    LinkLost,
    /// A clip was accepted, and is not recorded.
    ClipLost {
        epoch: u64,
        sequence: u64,
        reason: String,
    },
    /// Nothing is recorded, on purpose.
    Paused,
    /// Clips with sequences from the first to before the second were not recorded on purpose.
    LeftOut { from: u64, until: u64 },
    /// Clips that are recorded under other numbers were published again under these.
    Repeated { epoch: u64, from: u64, until: u64 },
    /// The livestream ended.
    Ended {
        reason: String,
        /// The epoch and the sequence of its latest clip, if they are known.
        latest: Option<(u64, u64)>,
    },
}

impl Mark {
    pub(super) fn name(&self, at: u64) -> String {
        match self {
            Self::LinkLost => format!("{at}-link_lost"),
            Self::ClipLost {
                epoch,
                sequence,
                reason,
            } => {
                format!("{at}-clip_lost-{epoch}-{sequence}-{reason}")
            }
            Self::Paused => format!("{at}-paused"),
            Self::LeftOut { from, until } => format!("{at}-left_out-{from}-{until}"),
            Self::Repeated { epoch, from, until } => {
                format!("{at}-repeated-{epoch}-{from}-{until}")
            }
            Self::Ended {
                reason,
                latest: None,
            } => format!("{at}-ended-{reason}"),
            Self::Ended {
                reason,
                latest: Some((epoch, sequence)),
            } => format!("{at}-ended-{reason}-{epoch}-{sequence}"),
        }
    }

    /// The time and the mark.
    pub(super) fn parse(name: &str) -> Option<(u64, Self)> {
        let mut parts = name.split('-');
        let at = parts.next()?.parse().ok()?;
        let mark = match parts.next()? {
            "link_lost" => Self::LinkLost,
            "clip_lost" => Self::ClipLost {
                epoch: parts.next()?.parse().ok()?,
                sequence: parts.next()?.parse().ok()?,
                reason: parts.next()?.to_owned(),
            },
            "paused" => Self::Paused,
            "left_out" => Self::LeftOut {
                from: parts.next()?.parse().ok()?,
                until: parts.next()?.parse().ok()?,
            },
            "repeated" => Self::Repeated {
                epoch: parts.next()?.parse().ok()?,
                from: parts.next()?.parse().ok()?,
                until: parts.next()?.parse().ok()?,
            },
            "ended" => {
                let reason = parts.next()?.to_owned();
                let mut number = || parts.next()?.parse().ok();
                let latest = number().and_then(|epoch| Some((epoch, number()?)));
                Self::Ended { reason, latest }
            }
            _ => return None,
        };
        Some((at, mark))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn id_is_read_as_it_was_written() {
        for livestream in ["show", "a.b c/é", "=2E", &"x".repeat(1500)] {
            let id = RecordingId::new(1_764_460_027_123, livestream, 3);
            assert_eq!(RecordingId::parse(&id.to_string()), Some(id));
        }
        let id = RecordingId::new(1_764_460_027_123, "show.1", 3);
        assert_eq!(id.to_string(), "20251129T234707123Z.show=2E1.3");
        assert_eq!(id.directory(), "show=2E1/20251129T234707123Z");
        assert_eq!(id.opening(), "show=2E1/000003.json");
    }

    #[test]
    fn id_that_is_a_path_is_refused() {
        for bad in ["", "a.b", "a.b.c", "../a.b.1", "a./.1", "a.b/c.1", "a..1"] {
            assert_eq!(RecordingId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn livestreams_have_keys_of_their_own() {
        let long = ["x".repeat(300), "x".repeat(301)];
        let keys = ["a", "A", "a=", "a.", "é", &long[0], &long[1]].map(key);
        for (number, key) in keys.iter().enumerate() {
            assert!(
                key.len() <= MAX_KEY && !keys[..number].contains(key),
                "{key}"
            );
        }
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_were_written(epoch: u64, sequence: u64, at: u64, has_id: bool) {
            let clip = ClipName {
                epoch,
                sequence,
                received: at,
                id: has_id.then(|| ClipName::digest("one-1.mp3", b"clip")),
                extension: "m4a".into(),
            };
            prop_assert_eq!(ClipName::parse(&clip.to_string()), Some(clip));
            for mark in [
                Mark::LinkLost,
                Mark::Paused,
                Mark::LeftOut { from: sequence, until: epoch },
                Mark::ClipLost { epoch, sequence, reason: "spool_full".into() },
                Mark::Repeated { epoch, from: sequence, until: at },
                Mark::Ended { reason: "expired".into(), latest: None },
                Mark::Ended { reason: "expired".into(), latest: Some((epoch, sequence)) },
            ] {
                prop_assert_eq!(Mark::parse(&mark.name(at)), Some((at, mark)));
            }
        }
    }
}
