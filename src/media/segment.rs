//! One clip in its place on the timeline, written in the formats that players read.

use bytes::{Bytes, BytesMut};

use super::{AacConfig, Codec, adts, cmaf, id3};

/// The clock of HLS, in ticks per second.
const HLS_CLOCK: u64 = 90_000;

/// A clip's frames, and their place in the livestream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The clip's number in the livestream.
    pub sequence: u64,
    /// The coding.
    pub codec: Codec,
    /// The frames, at least one.
    pub frames: Vec<Bytes>,
    /// Samples from 1970 to the first frame, at the codec's sample rate.
    pub start: u64,
    /// The estimated time of its first sample at the streamer, in milliseconds since 1970.
    pub starts_at_ms: u64,
    /// Whether it does not continue the segment before: a gap, or another coding.
    pub discontinuity: bool,
}

impl Segment {
    /// Its duration in samples of the codec's sample rate.
    pub fn samples(&self) -> u64 {
        self.frames.len() as u64 * u64::from(self.codec.frame_samples())
    }

    /// Its duration in milliseconds, rounded to the nearest.
    pub fn duration_ms(&self) -> u64 {
        let rate = u64::from(self.codec.sample_rate());
        (self.samples() * 1000 + rate / 2) / rate
    }

    /// The frames as a part of an endless stream, without a start or an end: ADTS or MP3.
    pub fn stream(&self) -> Bytes {
        match self.codec {
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

    /// The segment of HLS: fMP4 for AAC, MP3 with its time in a tag otherwise. With `header` an fMP4 contains what
    /// [`Self::hls_header`] gives: VLC 3 starts a new decoder at a discontinuity, and fetches the header only once.
    pub fn hls(&self, header: bool) -> Bytes {
        match self.codec {
            Codec::Aac(config) => {
                let header = header.then_some(config);
                cmaf::segment(header, self.sequence, self.start, &self.frames)
            }
            Codec::Mp3(_) => {
                let rate = u128::from(self.codec.sample_rate());
                let ticks = u128::from(self.start) * u128::from(HLS_CLOCK) / rate;
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
