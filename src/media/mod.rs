//! Clips as one stream, by remuxing alone: [`read`] finds the coded frames of a clip, [`Timeline`] gives clips their
//! [`Place`] one after the other, and a [`Segment`] writes them as ADTS, MP3 or fMP4 (CMAF). Nothing is decoded or encoded.
//!
//! AAC-LC (in m4a or ADTS) and MP3 can be remuxed; [`Unplayable`] names the reason for every other clip.
//!
//! **Invariant**: pure, without tokio, clock or log. A clip is foreign input: no number in it makes this module
//! allocate or loop beyond the clip's own size, and the frames of a clip share its bytes.

mod aac;
mod adts;
mod cmaf;
mod file;
mod id3;
mod m4a;
mod mp3;
mod place;
mod segment;
mod timeline;
mod window;

use bytes::Bytes;

pub use aac::AacConfig;
pub use file::JoinedFile;
pub use mp3::Mp3Config;
pub use place::Place;
pub use segment::Segment;
pub use timeline::{GAP_TOLERANCE_MS, Timeline};
pub use window::{Window, Written};

/// The most frames of one clip: more than four minutes of AAC at 64 kHz.
pub const MAX_FRAMES: usize = 16_384;

/// The coding of a clip, which a player must know before the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// AAC-LC.
    Aac(AacConfig),
    /// MPEG-1, 2 or 2.5 audio, layer III.
    Mp3(Mp3Config),
}

impl Codec {
    /// Samples per second of each channel.
    pub fn sample_rate(self) -> u32 {
        match self {
            Self::Aac(config) => config.sample_rate(),
            Self::Mp3(config) => config.sample_rate(),
        }
    }

    /// Samples of each channel that one frame decodes to.
    pub fn frame_samples(self) -> u32 {
        match self {
            Self::Aac(_) => aac::FRAME_SAMPLES,
            Self::Mp3(config) => config.frame_samples(),
        }
    }

    /// The name in a playlist's `CODECS` (RFC 6381).
    pub fn rfc6381(self) -> &'static str {
        match self {
            Self::Aac(_) => "mp4a.40.2",
            Self::Mp3(_) => "mp4a.40.34",
        }
    }
}

/// The coded frames of one clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// The coding of all frames.
    pub codec: Codec,
    /// The frames in order, at least one: of AAC without a header, of MP3 with it.
    pub frames: Vec<Bytes>,
    /// Samples at the start that are the encoder's delay, as far as the file states it.
    pub delay: u32,
    /// Samples at the end that only fill the last frame, as far as the file states it.
    pub padding: u32,
}

impl Audio {
    /// The duration of its sound in milliseconds, rounded to the nearest, as far as the file states it.
    pub fn duration_ms(&self) -> Option<u64> {
        let samples = self.frames.len() as u64 * u64::from(self.codec.frame_samples());
        let silent = u64::from(self.delay) + u64::from(self.padding);
        let rate = u64::from(self.codec.sample_rate());
        let sound = samples.checked_sub(silent)?;
        (sound * 1000 + rate / 2).checked_div(rate)
    }
}

/// Reasons why a clip cannot be remuxed. Socket.IO listeners get it all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unplayable {
    /// The format is known, and no player's stream can be made of it without transcoding.
    #[error(
        "{0} cannot be offered to other players without transcoding: send AAC-LC in m4a or ADTS, or MP3"
    )]
    Format(&'static str),
    /// The format is unknown.
    #[error("the format is unknown: send AAC-LC in m4a or ADTS, or MP3")]
    Unknown,
    /// The file contradicts its format.
    #[error("the clip is damaged: {0}")]
    Damaged(&'static str),
    /// The clip has more than [`MAX_FRAMES`] frames.
    #[error("the clip has more than {MAX_FRAMES} frames: send shorter clips")]
    TooLong,
}

impl Unplayable {
    /// The reason as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Format(_) => "format",
            Self::Unknown => "unknown",
            Self::Damaged(_) => "damaged",
            Self::TooLong => "too_long",
        }
    }
}

/// Finds the coded frames of a clip.
pub fn read(clip: &Bytes) -> Result<Audio, Unplayable> {
    if let Some(format) = foreign_format(clip) {
        return Err(Unplayable::Format(format));
    }
    if clip.get(4..8) == Some(b"ftyp") {
        return m4a::read(clip);
    }
    let sound = id3::without_tags(clip);
    if adts::is_adts(&sound) {
        adts::read(&sound)
    } else if mp3::is_mp3(&sound) {
        mp3::read(&sound)
    } else {
        Err(Unplayable::Unknown)
    }
}

/// The usual extension of a file with these first bytes; `bin` if the format is unknown.
pub fn extension(clip: &Bytes) -> &'static str {
    match foreign_format(clip) {
        Some("Ogg") => "ogg",
        Some("FLAC") => "flac",
        Some("WebM") => "webm",
        Some("WAV") => "wav",
        _ if clip.get(4..8) == Some(b"ftyp") => "m4a",
        _ => {
            let sound = id3::without_tags(clip);
            if adts::is_adts(&sound) {
                "aac"
            } else if mp3::is_mp3(&sound) {
                "mp3"
            } else {
                "bin"
            }
        }
    }
}

/// The name of a format that is recognised in order to name it in the reason.
fn foreign_format(clip: &[u8]) -> Option<&'static str> {
    match clip {
        [b'O', b'g', b'g', b'S', ..] => Some("Ogg"),
        [b'f', b'L', b'a', b'C', ..] => Some("FLAC"),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => Some("WebM"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'A',
            b'V',
            b'E',
            ..,
        ] => Some("WAV"),
        _ => None,
    }
}

/// Adds a frame, unless the clip has too many.
fn push(frames: &mut Vec<Bytes>, frame: Bytes) -> Result<(), Unplayable> {
    if frames.len() >= MAX_FRAMES {
        return Err(Unplayable::TooLong);
    }
    frames.push(frame);
    Ok(())
}

#[cfg(test)]
mod tests;
