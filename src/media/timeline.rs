//! The timeline of a livestream: clips one after the other, and gaps where the streamer recorded nothing.
//!
//! A clip states no time. It was recorded before it arrived, so it starts at its arrival less its duration, or where the
//! clip before ended, whichever is later. A late clip is no gap: the clips after it make up for the time.
//!
//! Time counts from 1970. So a segment is later than those before also where their places are unknown, after a crash: a
//! player that goes on there sees a gap, and no step back.
//!
//! Frames that hold only the encoder's delay or padding are left out, as far as a decoder does not need them: one frame
//! of delay stays, since a frame of AAC is decoded with the one before it. The rest, less than two frames a clip, is
//! part of the stream, as it is for a concatenation without transcoding.
//!
//! **Invariant**: places do not overlap, and without a discontinuity a place starts where the one before ended. Sequences
//! rise, and so do the numbers of discontinuities.

use std::ops::Range;

use super::place::{milliseconds, scaled};
use super::{Audio, Codec, Place};

/// A clip that starts later than this after the end of the clip before follows a gap; less is the network's jitter.
pub const GAP_TOLERANCE_MS: u64 = 500;

/// How far the timeline may be ahead of the clock before it is set again: the clock was set back.
const MAX_AHEAD_MS: u64 = 120_000;

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Timeline {
    last: Option<Place>,
}

impl Timeline {
    /// Continues after a clip that was placed elsewhere, unless a later one is known.
    pub fn follow(&mut self, place: Place) {
        if self.last.is_none_or(|last| last.sequence < place.sequence) {
            self.last = Some(place);
        }
    }

    /// The place of the latest clip.
    pub fn last(&self) -> Option<Place> {
        self.last
    }

    /// Places a clip that arrived at the streamer's node at this time, in milliseconds since 1970. `epoch` and `sequence`
    /// are its own: no two clips have the same.
    pub fn place(&mut self, epoch: u64, sequence: u64, audio: &Audio, arrived_ms: u64) -> Place {
        let frames = audio.heard().len();
        let mut place = Place {
            epoch,
            sequence,
            // More than any count before: a discontinuity belongs to a clip, and this clip is a later one.
            discontinuities: sequence,
            is_discontinuity: true,
            target_seconds: 1,
            codec: audio.codec,
            // At most `MAX_FRAMES`.
            frames: u32::try_from(frames).unwrap_or(u32::MAX),
            start: 0,
            ahead_ms: 0,
        };
        let recorded_ms = arrived_ms.saturating_sub(milliseconds(place.samples(), place.codec));
        match self.last {
            Some(last) => place.put_after(&last, recorded_ms, arrived_ms),
            None => place.put_at(recorded_ms, scaled(recorded_ms, place.rate(), 1000)),
        }
        let seconds = u32::try_from((place.duration_ms() + 500) / 1000).unwrap_or(u32::MAX);
        place.target_seconds = place.target_seconds.max(seconds);
        self.last = Some(place);
        place
    }
}

impl Place {
    fn rate(&self) -> u64 {
        u64::from(self.codec.sample_rate())
    }

    fn put_at(&mut self, starts_at_ms: u64, start: u64) {
        let sample_ms = i128::from(milliseconds(start, self.codec));
        self.start = start;
        self.ahead_ms = i64::try_from(sample_ms - i128::from(starts_at_ms)).unwrap_or(0);
    }

    fn put_after(&mut self, last: &Self, recorded_ms: u64, arrived_ms: u64) {
        let next = last.sequence.saturating_add(1);
        self.sequence = self.sequence.max(next);
        self.target_seconds = last.target_seconds;
        let ends_at_ms = last.ends_at_ms();
        let gap_ms = recorded_ms.saturating_sub(ends_at_ms);
        let is_ahead = ends_at_ms > arrived_ms.saturating_add(MAX_AHEAD_MS);
        let is_gap = gap_ms > GAP_TOLERANCE_MS || self.sequence != next;
        self.is_discontinuity = is_gap || is_ahead || self.codec != last.codec;
        let more = u64::from(self.is_discontinuity);
        self.discontinuities = last.discontinuities.saturating_add(more);
        if !self.is_discontinuity {
            (self.start, self.ahead_ms) = (last.end(), last.ahead_ms);
            return;
        }
        let starts_at_ms = if is_ahead {
            recorded_ms
        } else {
            ends_at_ms.saturating_add(gap_ms)
        };
        // One more than the quotient, so that a change of rate makes no overlap.
        let end = if self.rate() == last.rate() {
            last.end()
        } else {
            scaled(last.end(), self.rate(), last.rate()).saturating_add(1)
        };
        let gap = scaled(gap_ms, self.rate(), 1000);
        self.put_at(starts_at_ms, end.saturating_add(gap));
    }
}

impl Audio {
    /// The frames without those that hold only delay or padding and that no other frame needs; at least one.
    pub(super) fn heard(&self) -> Range<usize> {
        let samples = self.codec.frame_samples();
        let padding = (self.padding / samples) as usize;
        let end = self.frames.len().saturating_sub(padding).max(1);
        // A frame of MP3 may hold bits of the frames after it.
        let Codec::Aac(_) = self.codec else {
            return 0..end;
        };
        let delay = (self.delay / samples).saturating_sub(1) as usize;
        delay.min(end - 1)..end
    }

    pub(super) fn into_heard(mut self) -> Vec<bytes::Bytes> {
        let heard = self.heard();
        self.frames.truncate(heard.end);
        self.frames.drain(..heard.start);
        self.frames
    }
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
            let place = timeline.place(1, number + 1, &four_seconds(), NOW + 4_000 * number + late);
            assert_eq!(place.start, START + number * 128_000);
            assert_eq!(place.starts_at_ms(), NOW - 4_000 + number * 4_000);
            assert_eq!(place.is_discontinuity, number == 0);
        }
    }

    #[test]
    fn recorder_that_pauses_makes_gaps() {
        let mut timeline = Timeline::default();
        for number in 0..3 {
            let place = timeline.place(1, number + 1, &four_seconds(), NOW + 5_000 * number);
            assert_eq!(place.start, START + number * 160_000);
            assert_eq!(place.starts_at_ms(), NOW - 4_000 + number * 5_000);
            assert!(place.is_discontinuity);
        }
    }

    #[test]
    fn timeline_after_a_restart_goes_on() {
        let mut before = Timeline::default();
        before.place(1, 1, &four_seconds(), NOW);
        let last = before.place(1, 2, &four_seconds(), NOW + 4_000);
        let again = Timeline::default().place(1, 3, &four_seconds(), NOW + 8_000);
        assert_eq!(again.start, last.start + last.samples());
    }

    #[test]
    fn clips_after_an_outage_follow_each_other() {
        let mut timeline = Timeline::default();
        timeline.place(1, 1, &four_seconds(), NOW);
        // Recorded in time, and sent at once a minute later: the first of them cannot be told from a gap.
        let first = timeline.place(1, 2, &four_seconds(), NOW + 60_000);
        let second = timeline.place(1, 3, &four_seconds(), NOW + 60_001);
        assert!(first.is_discontinuity && !second.is_discontinuity);
        assert_eq!(second.start, first.start + 128_000);
    }

    #[test]
    fn clip_after_a_missing_one_is_a_discontinuity() {
        let mut timeline = Timeline::default();
        let first = timeline.place(1, 1, &four_seconds(), NOW);
        let third = timeline.place(1, 3, &four_seconds(), NOW + 4_000);
        assert_eq!((third.sequence, third.start), (3, first.end()));
        assert_eq!(third.discontinuities, first.discontinuities + 1);
        assert!(third.is_discontinuity);
    }

    #[test]
    fn clip_that_comes_late_moves_no_other() {
        let (mut streamer, mut follower) = (Timeline::default(), Timeline::default());
        let places: Vec<Place> = (1..=3)
            .map(|number| streamer.place(1, number, &four_seconds(), NOW + 4_000 * number))
            .collect();
        for at in [0, 2, 1] {
            follower.follow(places[at]);
        }
        let next = |timeline: &mut Timeline| timeline.place(2, 4, &four_seconds(), NOW + 16_000);
        assert_eq!(next(&mut follower), next(&mut streamer));
    }

    #[test]
    fn other_sample_rate_is_a_discontinuity() {
        let mut timeline = Timeline::default();
        timeline.place(1, 1, &four_seconds(), NOW);
        let place = timeline.place(1, 2, &clip(48_000, 10), NOW + 213);
        assert!(place.is_discontinuity);
        assert_eq!(place.start, NOW * 48 + 1);
        assert_eq!(place.starts_at_ms(), NOW);
    }

    #[test]
    fn clock_that_is_set_back_is_followed() {
        let mut timeline = Timeline::default();
        timeline.place(1, 1, &four_seconds(), NOW);
        let place = timeline.place(1, 2, &four_seconds(), NOW - 3_600_000);
        assert!(place.is_discontinuity);
        assert_eq!(place.start, START + 128_000);
        assert_eq!(place.starts_at_ms(), NOW - 3_604_000);
    }

    #[test]
    fn times_do_not_drift_in_a_day() {
        let mut timeline = Timeline::default();
        // 44,100 is no whole number of samples a millisecond.
        let (mut arrived, first) = (0, NOW * 441 / 10);
        for number in 0..21_600_u64 {
            let samples = (number + 1) * 172 * 1024;
            arrived = NOW + samples * 1000 / 44_100;
            let place = timeline.place(1, number, &clip(44_100, 172), arrived);
            assert_eq!(place.start, first + number * 172 * 1024);
        }
        let last = timeline.last.expect("a segment");
        assert!(last.ends_at_ms().abs_diff(arrived) <= 1);
    }

    proptest! {
        #[test]
        fn places_never_overlap(
            clips in prop::collection::vec((0..3_usize, 1..400_usize, 0..20_000_u64), 1..50),
        ) {
            let mut timeline = Timeline::default();
            let (mut arrived, mut end) = (NOW, (0_u64, 1_u64));
            for (number, (rate, frames, pause)) in (1..).zip(clips) {
                arrived += pause;
                let rate = [48_000, 44_100, 16_000][rate];
                let place = timeline.place(1, number, &clip(rate, frames), arrived);
                let rate = u64::from(rate);
                prop_assert!(place.start * end.1 >= end.0 * rate, "it starts before the end");
                prop_assert!(place.is_discontinuity || (place.start, rate) == end);
                end = (place.start + place.samples(), rate);
            }
        }
    }
}
