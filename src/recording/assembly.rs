//! Joins the clips of a recording: which of them make which file, and the manifest that says so. Pure.
//!
//! A file has one coding. Where the coding changes, as when a streamer goes on with another device, another file begins.
//!
//! **Invariant**: every clip is in the manifest once: in a file, or left out with the reason. The same contents make the
//! same manifest.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::contents::{Contents, Missing};
use super::names::{ClipName, rfc3339, sha256};
use crate::media::{self, Audio, Codec, JoinedFile, Timeline};

/// The most frames of one file, two days of AAC at 44.1 kHz: their sizes are in memory while it is joined.
const MAX_FRAMES: usize = 8 << 20;
/// The most files of one recording: each change of coding begins another one.
const MAX_FILES: usize = 100;
/// Why a clip whose sound is in a file under another name is left out.
pub(super) const SENT_AGAIN: &str = "the streamer sent it again";

/// How a recording began: the object that opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) livestream: String,
    /// The time of the first clip of the node that opened it, in milliseconds since the Unix epoch.
    pub(super) started: u64,
    pub(super) streamer: String,
    pub(super) title: Option<String>,
    /// The sequence of its first clip, if the livestream had recordings before: clips before it are not missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<u64>,
}

/// `manifest.json`: what a finished recording is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub version: u32,
    /// The server that wrote it.
    pub server: String,
    /// The livestream's id.
    pub livestream: String,
    /// Its streamer.
    pub streamer: String,
    /// Its title, as its document had it at the start.
    pub title: Option<String>,
    /// When its first clip was accepted (RFC 3339).
    pub started: String,
    /// When it ended; if no node has seen that, when its last clip was accepted.
    pub ended: String,
    /// Why it ended; none if no node has seen that.
    pub reason: Option<String>,
    /// The length of its sound.
    pub seconds: f64,
    /// The files, in the order of their sound; one, unless the coding changes. None if no clip can be joined.
    pub files: Vec<RecordedFile>,
    /// The clips in the files, in their order.
    pub clips: Vec<RecordedClip>,
    /// The clips that are in no file, and stay objects of their own.
    pub left_out: Vec<LeftOut>,
    /// The clips that were accepted and are not recorded, by epoch and sequence.
    pub missing: Vec<MissingClip>,
    /// Where the sound leaves out time.
    pub gaps: Vec<Gap>,
}

/// A file of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedFile {
    /// Its name beside the manifest.
    pub name: String,
    /// `aac` or `mp3`.
    pub codec: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// The length of its sound.
    pub seconds: f64,
    /// Its size.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: String,
}

/// A clip in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedClip {
    /// Its name below `clips/`.
    pub name: String,
    /// Its number in the livestream.
    pub sequence: u64,
    /// When it was accepted (RFC 3339).
    pub received: String,
    /// Its size.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: String,
    /// The file that it is in, from 0.
    pub file: usize,
    /// The length of its sound in the file.
    pub seconds: f64,
}

/// A clip that is in no file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name below `clips/`.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Its checksum.
    pub sha256: String,
}

/// A clip that is not recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MissingClip {
    /// The first number in the names of its owner's clips.
    pub epoch: u64,
    /// Its number in the livestream.
    pub sequence: u64,
    /// `not_received`, `spool_full`, `queue_full` or `disk`.
    pub reason: String,
}

/// Time without sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// From here (RFC 3339).
    pub from: String,
    /// To here.
    pub until: String,
    /// Its length.
    pub seconds: f64,
    /// `pause`, `link_lost`, `restart_or_takeover`, `nothing_sent`, or that of a missing clip.
    pub reason: String,
}

/// See the module documentation.
pub(super) struct Assembly {
    contents: Contents,
    missing: Vec<Missing>,
    timeline: Timeline,
    last: Option<(ClipName, u64)>,
    pub(super) files: Vec<JoinedFile>,
    clips: Vec<RecordedClip>,
    left_out: Vec<LeftOut>,
    gaps: Vec<Gap>,
}

#[expect(clippy::cast_precision_loss, reason = "a length for people")]
fn seconds(samples: u64, rate: u32) -> f64 {
    let millis = samples as f64 * 1000.0 / f64::from(rate.max(1));
    millis.round() / 1000.0
}

impl Assembly {
    pub(super) fn new(contents: Contents) -> Self {
        Self {
            missing: contents.missing(),
            contents,
            timeline: Timeline::default(),
            last: None,
            files: Vec::new(),
            clips: Vec::new(),
            left_out: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Adds the next clip in [`Contents::in_order`].
    pub(super) fn add(&mut self, name: &ClipName, bytes: &Bytes) {
        let sha256 = sha256(bytes);
        let audio = match media::read(bytes) {
            Ok(audio) => audio,
            Err(reason) => {
                self.left_out.push(LeftOut {
                    name: name.to_string(),
                    reason: reason.to_string(),
                    sha256,
                });
                return;
            }
        };
        self.note_gap(name, &audio);
        let codec = audio.codec;
        let has_room = |file: &JoinedFile| file.frame_count() + audio.frames.len() <= MAX_FRAMES;
        let fits = |file: &JoinedFile| file.codec() == codec && has_room(file);
        if !self.files.last().is_some_and(fits) {
            if self.files.len() == MAX_FILES {
                self.left_out.push(LeftOut {
                    name: name.to_string(),
                    reason: format!("the recording has {MAX_FILES} files already"),
                    sha256,
                });
                return;
            }
            self.files.push(JoinedFile::new(codec));
        }
        let file = self.files.len() - 1;
        let samples = self.files[file].add(&audio);
        self.clips.push(RecordedClip {
            name: name.to_string(),
            sequence: name.sequence,
            received: rfc3339(name.received),
            bytes: bytes.len() as u64,
            sha256,
            file,
            seconds: seconds(samples, codec.sample_rate()),
        });
    }

    fn note_gap(&mut self, name: &ClipName, audio: &Audio) {
        let place = self
            .timeline
            .place(name.epoch, name.sequence, audio, name.received);
        let starts = place.starts_at_ms();
        let ends = starts + place.duration_ms();
        if let Some((before, ended)) = &self.last
            && starts > ended + media::GAP_TOLERANCE_MS
        {
            // A clip is accepted after its sound.
            let times = (before.received.min(*ended), name.received);
            self.gaps.push(Gap {
                from: rfc3339(*ended),
                until: rfc3339(starts),
                seconds: seconds(starts - ended, 1000),
                reason: self.contents.reason(times, (before, name), &self.missing),
            });
        }
        self.last = Some((name.clone(), ends));
    }

    /// The files' names.
    pub(super) fn name(&self, file: usize) -> String {
        let extension = self.files[file].extension();
        match file {
            0 => format!("recording.{extension}"),
            _ => format!("recording-{}.{extension}", file + 1),
        }
    }

    /// The clips of a file, with their checksums.
    pub(super) fn clips_of(&self, file: usize) -> impl Iterator<Item = &RecordedClip> {
        self.clips.iter().filter(move |clip| clip.file == file)
    }

    /// What the manifest says of a file.
    pub(super) fn describe(&self, file: usize, bytes: u64, sha256: String) -> RecordedFile {
        let joined = &self.files[file];
        let codec = joined.codec();
        RecordedFile {
            name: self.name(file),
            codec: match codec {
                Codec::Aac(_) => "aac".into(),
                Codec::Mp3(_) => "mp3".into(),
            },
            sample_rate: codec.sample_rate(),
            seconds: seconds(joined.samples(), codec.sample_rate()),
            bytes,
            sha256,
        }
    }

    /// The manifest, with these descriptions of the files.
    pub(super) fn manifest(self, opening: &Opening, files: Vec<RecordedFile>) -> Manifest {
        let Self {
            contents,
            missing,
            clips,
            mut left_out,
            gaps,
            ..
        } = self;
        let taken: BTreeSet<&ClipName> = contents.in_order().into_iter().collect();
        let again = contents.clips.iter().filter(|clip| !taken.contains(clip));
        left_out.extend(again.map(|clip| LeftOut {
            name: clip.to_string(),
            reason: SENT_AGAIN.into(),
            sha256: String::new(),
        }));
        let first = contents.clips.iter().map(|clip| clip.received).min();
        let last = contents.clips.iter().map(|clip| clip.received).max();
        let ended = contents.ended();
        let missing = missing.into_iter().map(|clip| MissingClip {
            epoch: clip.epoch,
            sequence: clip.sequence,
            reason: clip.reason,
        });
        Manifest {
            version: 1,
            server: concat!("castaway-media-server/", env!("CARGO_PKG_VERSION")).into(),
            livestream: opening.livestream.clone(),
            streamer: opening.streamer.clone(),
            title: opening.title.clone(),
            started: rfc3339(first.unwrap_or(opening.started)),
            ended: rfc3339(ended.map(|(at, _)| at).or(last).unwrap_or(opening.started)),
            reason: ended.map(|(_, reason)| reason.to_owned()),
            seconds: (files.iter().map(|file| file.seconds).sum::<f64>() * 1000.0).round() / 1000.0,
            files,
            clips,
            left_out,
            missing: missing.collect(),
            gaps,
        }
    }
}

impl Manifest {
    /// The names of all clips that it lists.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        let joined = self.clips.iter().map(|clip| &clip.name);
        joined.chain(self.left_out.iter().map(|clip| &clip.name))
    }

    /// The bytes of its object.
    pub(super) fn encode(&self) -> Bytes {
        // Texts and numbers: this cannot fail.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text.into()
    }
}
