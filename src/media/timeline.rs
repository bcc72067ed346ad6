//! The timeline of a livestream: clips one after the other, and gaps where the streamer recorded nothing.
//!
//! A clip states no time. It was recorded before it arrived, so it starts at its arrival less its duration, or where the
//! clip before ended, whichever is later. A late clip is no gap: the clips after it make up for the time.
//!
//! Time counts from 1970. So a segment after a restart of the server, or from another node, is later than those before:
//! a player that goes on there sees a gap, and no step back.
//!
//! Frames that hold only the encoder's delay or padding are left out, as far as a decoder does not need them: one frame
//! of delay stays, since a frame of AAC is decoded with the one before it. The rest, less than two frames a clip, is
//! part of the stream, as it is for a concatenation without transcoding.
//!
//! **Invariant**: segments do not overlap, and without a discontinuity a segment starts where the one before ended.

use super::{Audio, Codec, Segment};

/// A clip that starts later than this after the end of the clip before follows a gap; less is the network's jitter.
pub const GAP_TOLERANCE_MS: u64 = 500;

/// How far the timeline may be ahead of the clock before it is set again: the clock was set back.
const MAX_AHEAD_MS: u64 = 120_000;

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Timeline {
    last: Option<Last>,
}

/// The end of the latest segment.
#[derive(Debug, Clone, Copy)]
struct Last {
    codec: Codec,
    /// In samples since 1970.
    end: u64,
    /// A time and its sample, to which the times of later samples refer without adding up errors of rounding.
    anchor_ms: u64,
    anchor: u64,
}

impl Last {
    fn ends_at_ms(&self) -> u64 {
        self.anchor_ms + milliseconds(self.end - self.anchor, self.codec)
    }
}

fn milliseconds(samples: u64, codec: Codec) -> u64 {
    scaled(samples, 1000, u64::from(codec.sample_rate()))
}

fn scaled(number: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(number) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

impl Timeline {
    /// Places a clip that arrived at the streamer's node at this time, in milliseconds since 1970.
    pub fn place(&mut self, sequence: u64, audio: Audio, arrived_ms: u64) -> Segment {
        let codec = audio.codec;
        let frames = heard_frames(audio);
        let samples = frames.len() as u64 * u64::from(codec.frame_samples());
        let recorded_ms = arrived_ms.saturating_sub(milliseconds(samples, codec));
        let (mut last, discontinuity) = self.next(codec, recorded_ms, arrived_ms);
        let segment = Segment {
            sequence,
            codec,
            frames,
            start: last.end,
            starts_at_ms: last.ends_at_ms(),
            discontinuity,
        };
        last.end = last.end.saturating_add(samples);
        self.last = Some(last);
        segment
    }

    /// Where the next segment starts, and whether that is a discontinuity.
    fn next(&self, codec: Codec, recorded_ms: u64, arrived_ms: u64) -> (Last, bool) {
        let Some(last) = self.last else {
            let start = scaled(recorded_ms, u64::from(codec.sample_rate()), 1000);
            let first = Last {
                codec,
                end: start,
                anchor_ms: recorded_ms,
                anchor: start,
            };
            return (first, true);
        };
        let ends_at_ms = last.ends_at_ms();
        let gap_ms = recorded_ms.saturating_sub(ends_at_ms);
        let ahead = ends_at_ms > arrived_ms.saturating_add(MAX_AHEAD_MS);
        if last.codec == codec && gap_ms <= GAP_TOLERANCE_MS && !ahead {
            return (last, false);
        }
        let starts_at_ms = if ahead {
            recorded_ms
        } else {
            ends_at_ms.saturating_add(gap_ms)
        };
        let (rate, before) = (codec.sample_rate(), last.codec.sample_rate());
        // One more than the quotient, so that a change of rate makes no overlap.
        let end = if rate == before {
            last.end
        } else {
            scaled(last.end, u64::from(rate), u64::from(before)).saturating_add(1)
        };
        let end = end.saturating_add(scaled(gap_ms, u64::from(rate), 1000));
        let next = Last {
            codec,
            end,
            anchor_ms: starts_at_ms,
            anchor: end,
        };
        (next, true)
    }
}

/// The frames, without those that hold only delay or padding and that no other frame needs; at least one.
fn heard_frames(audio: Audio) -> Vec<bytes::Bytes> {
    let samples = audio.codec.frame_samples();
    let mut frames = audio.frames;
    let padding = (audio.padding / samples) as usize;
    frames.truncate(frames.len().saturating_sub(padding).max(1));
    // A frame of MP3 may hold bits of the frames after it.
    if let Codec::Aac(_) = audio.codec {
        let delay = (audio.delay / samples).saturating_sub(1) as usize;
        frames.drain(..delay.min(frames.len() - 1));
    }
    frames
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::AacConfig;
    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    /// Four seconds before, in samples at 32 kHz.
    const START: u64 = (NOW - 4_000) * 32;

    /// A clip of so many frames.
    fn clip(rate: u32, frames: usize) -> Audio {
        Audio {
            codec: Codec::Aac(AacConfig::with(rate, 1).expect("a usual rate")),
            frames: vec![Bytes::from_static(b"frame"); frames],
            delay: 0,
            padding: 0,
        }
    }

    /// 125 frames of 1,024 samples at 32 kHz: four seconds.
    fn four_seconds() -> Audio {
        clip(32_000, 125)
    }

    #[test]
    fn clips_on_time_make_no_gap() {
        let mut timeline = Timeline::default();
        for (number, late) in [(0, 0), (1, 300), (2, 0), (3, 450)] {
            let segment = timeline.place(number, four_seconds(), NOW + 4_000 * number + late);
            assert_eq!(segment.start, START + number * 128_000);
            assert_eq!(segment.starts_at_ms, NOW - 4_000 + number * 4_000);
            assert_eq!(segment.discontinuity, number == 0);
        }
    }

    #[test]
    fn recorder_that_pauses_makes_gaps() {
        let mut timeline = Timeline::default();
        for number in 0..3 {
            let segment = timeline.place(number, four_seconds(), NOW + 5_000 * number);
            assert_eq!(segment.start, START + number * 160_000);
            assert_eq!(segment.starts_at_ms, NOW - 4_000 + number * 5_000);
            assert!(segment.discontinuity);
        }
    }

    #[test]
    fn timeline_after_a_restart_goes_on() {
        let mut before = Timeline::default();
        before.place(1, four_seconds(), NOW);
        let last = before.place(2, four_seconds(), NOW + 4_000);
        let again = Timeline::default().place(3, four_seconds(), NOW + 8_000);
        assert_eq!(again.start, last.start + last.samples());
    }

    #[test]
    fn clips_after_an_outage_follow_each_other() {
        let mut timeline = Timeline::default();
        timeline.place(1, four_seconds(), NOW);
        // Recorded in time, and sent at once a minute later: the first of them cannot be told from a gap.
        let first = timeline.place(2, four_seconds(), NOW + 60_000);
        let second = timeline.place(3, four_seconds(), NOW + 60_001);
        assert!(first.discontinuity && !second.discontinuity);
        assert_eq!(second.start, first.start + 128_000);
    }

    #[test]
    fn other_sample_rate_is_a_discontinuity() {
        let mut timeline = Timeline::default();
        timeline.place(1, four_seconds(), NOW);
        let segment = timeline.place(2, clip(48_000, 10), NOW + 213);
        assert!(segment.discontinuity);
        assert_eq!(segment.start, NOW * 48 + 1);
        assert_eq!(segment.starts_at_ms, NOW);
    }

    #[test]
    fn clock_that_is_set_back_is_followed() {
        let mut timeline = Timeline::default();
        timeline.place(1, four_seconds(), NOW);
        let segment = timeline.place(2, four_seconds(), NOW - 3_600_000);
        assert!(segment.discontinuity);
        assert_eq!(segment.start, START + 128_000);
        assert_eq!(segment.starts_at_ms, NOW - 3_604_000);
    }

    #[test]
    fn times_do_not_drift_in_a_day() {
        let mut timeline = Timeline::default();
        // 44,100 is no whole number of samples a millisecond.
        let (mut arrived, first) = (0, NOW * 441 / 10);
        for number in 0..21_600_u64 {
            let samples = (number + 1) * 172 * 1024;
            arrived = NOW + samples * 1000 / 44_100;
            let segment = timeline.place(number, clip(44_100, 172), arrived);
            assert_eq!(segment.start, first + number * 172 * 1024);
        }
        let last = timeline.last.expect("a segment");
        assert!(last.ends_at_ms().abs_diff(arrived) <= 1);
    }

    proptest! {
        #[test]
        fn segments_never_overlap(
            clips in prop::collection::vec((0..3_usize, 1..400_usize, 0..20_000_u64), 1..50),
        ) {
            let mut timeline = Timeline::default();
            let (mut arrived, mut end) = (NOW, (0_u64, 1_u64));
            for (number, (rate, frames, pause)) in (1..).zip(clips) {
                arrived += pause;
                let rate = [48_000, 44_100, 16_000][rate];
                let segment = timeline.place(number, clip(rate, frames), arrived);
                let rate = u64::from(rate);
                prop_assert!(segment.start * end.1 >= end.0 * rate, "it starts before the end");
                prop_assert!(segment.discontinuity || (segment.start, rate) == end);
                end = (segment.start + segment.samples(), rate);
            }
        }
    }
}
