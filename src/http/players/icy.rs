//! Metadata within a stream, as Icecast sends it to players that ask with `Icy-MetaData: 1`: after each
//! [`INTERVAL`] bytes of audio a block of a length byte, in units of 16, and the text.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes of audio between two blocks.
pub(super) const INTERVAL: usize = 16_000;

/// The blocks of one stream.
pub(super) struct Icy {
    /// Bytes of audio before the next block.
    left: usize,
    /// The first block; those after it are empty, for nothing changes.
    title: Option<Bytes>,
}

impl Icy {
    /// `title` is one line, as [`About::title`](crate::directory::About::title).
    pub(super) fn new(title: &str) -> Self {
        // A straight quote would end the title, and the length byte counts to 255.
        let title: String = title.replace('\'', "’").chars().take(500).collect();
        let mut text = format!("StreamTitle='{title}';").into_bytes();
        let units = text.len().div_ceil(16).min(255);
        text.resize(units * 16, 0);
        text.insert(0, u8::try_from(units).unwrap_or(u8::MAX));
        Self {
            left: INTERVAL,
            title: Some(text.into()),
        }
    }

    /// The audio with the blocks that are due in it; the audio's bytes are shared.
    pub(super) fn weave(&mut self, mut audio: Bytes) -> VecDeque<Bytes> {
        let mut parts = VecDeque::new();
        while audio.len() >= self.left {
            parts.push_back(audio.split_to(self.left));
            let block = self.title.take();
            parts.push_back(block.unwrap_or_else(|| Bytes::from_static(&[0])));
            self.left = INTERVAL;
        }
        self.left -= audio.len();
        if !audio.is_empty() {
            parts.push_back(audio);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn audio_is_whole_between_the_blocks(lengths in prop::collection::vec(0..20_000_usize, 0..6)) {
            let mut icy = Icy::new("it's");
            let (mut sent, mut audio) = (Vec::new(), Vec::new());
            for (number, length) in (1..).zip(lengths) {
                let clip = vec![number; length];
                audio.extend_from_slice(&clip);
                sent.extend(icy.weave(clip.into()).into_iter().flatten());
            }
            let (mut rest, mut heard, mut texts) = (&sent[..], Vec::new(), Vec::new());
            while rest.len() > INTERVAL {
                heard.extend_from_slice(&rest[..INTERVAL]);
                let length = usize::from(rest[INTERVAL]) * 16;
                texts.push(&rest[INTERVAL + 1..][..length]);
                rest = &rest[INTERVAL + 1 + length..];
            }
            heard.extend_from_slice(rest);
            prop_assert_eq!(heard, audio);
            for (number, text) in texts.iter().enumerate() {
                let expected: &[u8] = if number == 0 { "StreamTitle='it’s';\0\0\0\0\0\0\0\0\0\0\0".as_bytes() } else { b"" };
                prop_assert_eq!(*text, expected);
            }
        }
    }
}
