//! One clip in its place on the timeline, written in the formats that players read.

use bytes::{Bytes, BytesMut};

use super::{AacConfig, Audio, Codec, Place, Unplayable, adts, cmaf, id3};

/// The clock of HLS, in ticks per second.
const HLS_CLOCK: u64 = 90_000;

/// A clip's frames, and their place in the livestream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The place.
    pub place: Place,
    /// The frames, at least one.
    pub frames: Vec<Bytes>,
}

impl Segment {
    /// The clip in its place. It has come with the clip from another node: a place of other sound is refused.
    pub fn new(place: Place, audio: Audio) -> Result<Self, Unplayable> {
        let codec = audio.codec;
        let frames = audio.into_heard();
        if codec != place.codec || frames.len() != place.frames as usize {
            return Err(Unplayable::Damaged("its place is that of another clip"));
        }
        Ok(Self { place, frames })
    }

    /// The frames as a part of an endless stream, without a start or an end: ADTS or MP3.
    pub fn stream(&self) -> Bytes {
        match self.place.codec {
            Codec::Aac(config) => adts::write(config, &self.frames),
            Codec::Mp3(_) => {
                let mut out = BytesMut::with_capacity(self.frames.iter().map(Bytes::len).sum());
                for frame in &self.frames {
                    out.extend_from_slice(frame);
                }
                out.freeze()
            }
        }
    }

    /// The segment of HLS: fMP4 for AAC, MP3 with its time in a tag otherwise. After a discontinuity an fMP4 contains what
    /// [`Self::hls_header`] gives: VLC 3 starts a new decoder there, and fetches the header only once.
    pub fn hls(&self) -> Bytes {
        match self.place.codec {
            Codec::Aac(config) => {
                let header = self.place.is_discontinuity.then_some(config);
                cmaf::segment(header, self.place.sequence, self.place.start, &self.frames)
            }
            Codec::Mp3(_) => {
                let rate = u128::from(self.place.codec.sample_rate());
                let ticks = u128::from(self.place.start) * u128::from(HLS_CLOCK) / rate;
                // The tag has room for 33 bits of it.
                #[expect(clippy::cast_possible_truncation, reason = "modulo 2^33 either way")]
                let tag = id3::timestamp(ticks as u64);
                let mut out = BytesMut::from(tag);
                out.extend_from_slice(&self.stream());
                out.freeze()
            }
        }
    }

    /// The header that players need before the first segment of this coding, for `EXT-X-MAP`.
    pub fn hls_header(config: AacConfig) -> Bytes {
        cmaf::header(config)
    }
}
