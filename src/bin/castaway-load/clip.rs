//! The clips of a run: each is stamped with its run, its streamer, its sequence number and its time, and checked byte
//! for byte by its listeners while it passes.
//!
//! **Invariant**: a [`Check`] finds a clip whole exactly if its bytes are those of [`Clips::make`].

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Length of a stamp, in bytes; no clip is shorter.
pub(crate) const STAMP_BYTES: usize = 32;
/// Bodies of neighbouring clips differ by a shift, so that a mixture of two is noticed.
const SHIFTS: u64 = 64;

/// Stamp of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    run: u64,
    /// The streamer that sent it.
    pub(crate) streamer: u32,
    length: u32,
    /// Its number among the clips of that streamer, from 0.
    pub(crate) sequence: u64,
    sent: u64,
}

impl Stamp {
    fn bytes(&self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.streamer.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[24..].copy_from_slice(&self.sent.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8; STAMP_BYTES]) -> Self {
        let number = |from: usize, to: usize| {
            bytes[from..to]
                .iter()
                .fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
        };
        let small = |from: usize| u32::try_from(number(from, from + 4)).unwrap_or(u32::MAX);
        Self {
            run: number(0, 8),
            streamer: small(8),
            length: small(12),
            sequence: number(16, 24),
            sent: number(24, 32),
        }
    }
}

/// Creates a run's clips, and recognizes them.
#[derive(Debug, Clone)]
pub(crate) struct Clips {
    run: u64,
    began: Instant,
    body: Arc<[u8]>,
    /// Length of a body, in bytes; `body` is longer, to leave room for the shifts.
    length: usize,
}

impl Clips {
    /// Clips of `bytes` bytes of noise, which no compression on the path makes cheaper.
    pub(crate) fn generated(bytes: usize, run: u64) -> Self {
        let length = bytes.max(STAMP_BYTES) - STAMP_BYTES;
        let mut noise = run | 1;
        let body = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()[3]
        });
        let room = usize::try_from(SHIFTS).unwrap_or_default();
        Self::new(body.take(length + room).collect(), length, run)
    }

    /// Clips that are this file behind a stamp.
    pub(crate) fn from_file(file: Vec<u8>, run: u64) -> Self {
        let length = file.len();
        Self::new(file, length, run)
    }

    fn new(body: Vec<u8>, length: usize, run: u64) -> Self {
        Self {
            run,
            began: Instant::now(),
            body: body.into(),
            length,
        }
    }

    /// The length of every clip, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.length + STAMP_BYTES
    }

    /// Clip number `sequence` of `streamer`, stamped with this moment.
    pub(crate) fn make(&self, streamer: u32, sequence: u64) -> Vec<u8> {
        let stamp = Stamp {
            run: self.run,
            streamer,
            length: u32::try_from(self.length).unwrap_or(u32::MAX),
            sequence,
            sent: self.now(),
        };
        let mut clip = Vec::with_capacity(self.bytes());
        clip.extend_from_slice(&stamp.bytes());
        clip.extend_from_slice(self.body(sequence));
        clip
    }

    fn body(&self, sequence: u64) -> &[u8] {
        let room = (self.body.len() - self.length) as u64;
        let shift = usize::try_from(sequence % room.max(1)).unwrap_or_default();
        &self.body[shift..shift + self.length]
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Result of the check of a clip.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is whole, and took this long.
    Whole(Stamp, Duration),
    /// A byte, or its length, differs from the sent clip.
    Corrupt,
    /// It is not of this run.
    Foreign,
}

/// Checks one clip after another, piece by piece.
#[derive(Debug)]
pub(crate) struct Check {
    head: [u8; STAMP_BYTES],
    seen: usize,
    stamp: Option<Stamp>,
    sound: bool,
}

impl Check {
    /// A check at the start of a clip.
    pub(crate) fn new() -> Self {
        Self {
            head: [0; STAMP_BYTES],
            seen: 0,
            stamp: None,
            sound: true,
        }
    }

    /// Checks the clip's next bytes.
    pub(crate) fn feed(&mut self, clips: &Clips, mut piece: &[u8]) {
        if self.seen < STAMP_BYTES {
            let take = piece.len().min(STAMP_BYTES - self.seen);
            self.head[self.seen..self.seen + take].copy_from_slice(&piece[..take]);
            self.seen += take;
            piece = &piece[take..];
            if self.seen == STAMP_BYTES {
                self.stamp = Some(Stamp::read(&self.head));
            }
        }
        let Some(stamp) = self.stamp.filter(|stamp| stamp.run == clips.run) else {
            return;
        };
        let from = self.seen - STAMP_BYTES;
        let expected = clips.body(stamp.sequence).get(from..from + piece.len());
        self.sound &= expected == Some(piece);
        self.seen += piece.len();
    }

    /// Ends the clip and returns its verdict. The next clip begins.
    pub(crate) fn end(&mut self, clips: &Clips) -> Verdict {
        let check = std::mem::replace(self, Self::new());
        match check.stamp {
            Some(stamp) if stamp.run != clips.run => Verdict::Foreign,
            Some(stamp) if check.sound && check.seen == clips.bytes() => {
                let took = clips.now().saturating_sub(stamp.sent);
                Verdict::Whole(stamp, Duration::from_nanos(took))
            }
            _ => Verdict::Corrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdict(clips: &Clips, pieces: &[&[u8]]) -> Verdict {
        let mut check = Check::new();
        for piece in pieces {
            check.feed(clips, piece);
        }
        check.end(clips)
    }

    proptest! {
        #[test]
        fn whole_clip_is_recognized_under_any_split(
            bytes in 32_usize..5_000,
            sequence: u64,
            cut: prop::sample::Index,
        ) {
            let clips = Clips::generated(bytes, 7);
            let clip = clips.make(3, sequence);
            let (one, two) = clip.split_at(cut.index(clip.len() + 1));
            let Verdict::Whole(stamp, _) = verdict(&clips, &[one, two]) else {
                panic!("not whole");
            };
            prop_assert_eq!((stamp.streamer, stamp.sequence), (3, sequence));
        }

        #[test]
        fn wrong_byte_of_the_body_is_detected(at in 32_usize..1_000, sequence: u64) {
            let clips = Clips::generated(1_000, 7);
            let mut clip = clips.make(0, sequence);
            clip[at] ^= 0x10;
            prop_assert_eq!(verdict(&clips, &[&clip]), Verdict::Corrupt);
        }
    }

    #[test]
    fn cut_long_or_mixed_clip_is_detected() {
        let clips = Clips::generated(1_000, 7);
        let (one, two) = (clips.make(0, 1), clips.make(0, 2));
        assert_eq!(verdict(&clips, &[&one[..999]]), Verdict::Corrupt);
        assert_eq!(verdict(&clips, &[&one, b"x"]), Verdict::Corrupt);
        assert_eq!(
            verdict(&clips, &[&one[..500], &two[500..]]),
            Verdict::Corrupt
        );
        assert_eq!(verdict(&clips, &[]), Verdict::Corrupt);
    }

    #[test]
    fn clip_of_another_run_is_foreign() {
        let clip = Clips::generated(1_000, 8).make(0, 0);
        assert_eq!(
            verdict(&Clips::generated(1_000, 7), &[&clip]),
            Verdict::Foreign
        );
    }

    #[test]
    fn file_is_sent_unchanged_behind_its_stamp() {
        let clips = Clips::from_file(b"audio".to_vec(), 7);
        let clip = clips.make(0, 5);
        assert_eq!(&clip[STAMP_BYTES..], b"audio");
        assert!(matches!(verdict(&clips, &[&clip]), Verdict::Whole(..)));
    }
}
