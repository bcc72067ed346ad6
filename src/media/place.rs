//! The place of a clip on the livestream's timeline. The streamer's node decides it once; the clip carries it to other
//! nodes and to the next process, so that all of them write the same segment of it.
//!
//! **Invariant**: a place says all that the place of the next clip depends on.

use super::{Codec, MAX_FRAMES, aac::AacConfig, mp3::Mp3Config};

/// The last millisecond of the year 9999, which dates of playlists can state.
const LAST_MS: u64 = 253_402_300_799_999;

/// See the module documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Tells segments of one sequence apart: the epoch in which the clip was placed.
    pub epoch: u64,
    /// The media sequence: the clip's number in the livestream, or more after an outage.
    pub sequence: u64,
    /// The discontinuities up to this clip, its own included.
    pub discontinuities: u64,
    /// Whether it does not continue the clip before: a gap, or another coding.
    pub is_discontinuity: bool,
    /// The longest clip so far, in seconds rounded to the nearest, at least 1: `EXT-X-TARGETDURATION`.
    pub target_seconds: u32,
    /// The coding.
    pub codec: Codec,
    /// The frames that are part of the stream.
    pub frames: u32,
    /// Samples from 1970 to the first frame, at the codec's sample rate.
    pub start: u64,
    /// What `start` is ahead of the clock of the streamer's node, in milliseconds.
    pub ahead_ms: i64,
}

impl Place {
    /// Bytes of its encoded form.
    pub const LENGTH: usize = 8 + 8 + 8 + 1 + 4 + 3 + 4 + 8 + 8;

    /// Its duration in samples.
    pub fn samples(&self) -> u64 {
        u64::from(self.frames) * u64::from(self.codec.frame_samples())
    }

    /// Its duration in milliseconds, rounded to the nearest.
    pub fn duration_ms(&self) -> u64 {
        let rate = u64::from(self.codec.sample_rate());
        (self.samples() * 1000 + rate / 2) / rate
    }

    /// The first sample after it.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.samples())
    }

    /// The estimated time of its first sample at the streamer, in milliseconds since 1970.
    pub fn starts_at_ms(&self) -> u64 {
        self.time_of(self.start)
    }

    pub(super) fn ends_at_ms(&self) -> u64 {
        self.time_of(self.end())
    }

    fn time_of(&self, sample: u64) -> u64 {
        let ahead = i128::from(self.ahead_ms);
        let time = i128::from(milliseconds(sample, self.codec)) - ahead;
        u64::try_from(time.max(0)).map_or(LAST_MS, |time| time.min(LAST_MS))
    }

    /// Its encoded form: numbers in the order of the fields, big-endian.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let parts: [&[u8]; 9] = [
            &self.epoch.to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &self.discontinuities.to_be_bytes(),
            &[u8::from(self.is_discontinuity)],
            &self.target_seconds.to_be_bytes(),
            &self.codec.encode(),
            &self.frames.to_be_bytes(),
            &self.start.to_be_bytes(),
            &self.ahead_ms.to_be_bytes(),
        ];
        let mut bytes = [0; Self::LENGTH];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote; none if it is anything else.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let place = Self {
            epoch: u64::from_be_bytes(take(bytes)?),
            sequence: u64::from_be_bytes(take(bytes)?),
            discontinuities: u64::from_be_bytes(take(bytes)?),
            is_discontinuity: match take(bytes)? {
                [0] => false,
                [1] => true,
                _ => return None,
            },
            target_seconds: u32::from_be_bytes(take(bytes)?),
            codec: Codec::decode(take(bytes)?)?,
            frames: u32::from_be_bytes(take(bytes)?),
            start: u64::from_be_bytes(take(bytes)?),
            ahead_ms: i64::from_be_bytes(take(bytes)?),
        };
        let is_possible = (1..=MAX_FRAMES).contains(&(place.frames as usize));
        (bytes.is_empty() && is_possible).then_some(place)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

pub(super) fn milliseconds(samples: u64, codec: Codec) -> u64 {
    scaled(samples, 1000, u64::from(codec.sample_rate()))
}

pub(super) fn scaled(number: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(number) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

const AAC: u8 = 1;
const MP3: u8 = 2;

impl Codec {
    fn encode(self) -> [u8; 3] {
        let (kind, [first, second]) = match self {
            Self::Aac(config) => (AAC, [config.rate_index(), config.channel_configuration()]),
            Self::Mp3(config) => (MP3, config.encode()),
        };
        [kind, first, second]
    }

    fn decode([kind, first, second]: [u8; 3]) -> Option<Self> {
        match kind {
            AAC => AacConfig::new(first, second).ok().map(Self::Aac),
            MP3 => Mp3Config::decode([first, second]).map(Self::Mp3),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codec() -> impl Strategy<Value = Codec> {
        let aac = (0..13_u8, 1..8_u8).prop_map(|(rate, channels)| [AAC, rate, channels]);
        let mp3 = (0..9_u8, 1..3_u8).prop_map(|(rate, channels)| [MP3, rate, channels]);
        prop_oneof![aac, mp3].prop_map(|bytes| Codec::decode(bytes).expect("a coding"))
    }

    proptest! {
        #[test]
        fn place_comes_out_as_it_went_in(
            numbers: (u64, u64, u64, bool, u32, u64, i64),
            codec in codec(),
            frames in 1..=u32::try_from(MAX_FRAMES).expect("small"),
        ) {
            let (epoch, sequence, discontinuities, is_discontinuity, target_seconds, start, ahead_ms) = numbers;
            let place = Place {
                epoch, sequence, discontinuities, is_discontinuity, target_seconds, codec, frames, start, ahead_ms,
            };
            let encoded = place.encode();
            prop_assert_eq!(Place::decode(&encoded), Some(place));
            prop_assert_eq!(Place::decode(&encoded[1..]), None);
            // No number makes it overflow.
            place.starts_at_ms();
            place.ends_at_ms();
        }

        #[test]
        fn junk_is_refused_or_canonical(junk: [u8; Place::LENGTH]) {
            if let Some(place) = Place::decode(&junk) {
                prop_assert_eq!(place.encode(), junk);
            }
        }
    }
}
