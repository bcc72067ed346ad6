//! What goes over a channel: a clip with its place in the show, or word that a livestream's record has changed.
//!
//! ```text
//! version 1 │ kind 1 │ epoch 8 │ sequence 8 │ length of the node's name 1 │ the name │ the clip's own bytes
//! version 1 │ kind 2                                                               (the record has changed)
//! ```
//!
//! Numbers are big-endian. The engine puts the sequence in: it is the one that knows it.
//!
//! **Invariant**: what is decoded was encoded by a node of this version, or it is refused; no byte of a clip is changed.

use bytes::{Buf as _, BufMut as _, Bytes};

const VERSION: u8 = 1;
const CLIP: u8 = 1;
const CHANGED: u8 = 2;
/// Version, kind, epoch, sequence, length of the name.
const FIXED: usize = 1 + 1 + 8 + 8 + 1;

/// A clip as another node had it from its streamer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteClip {
    /// The epoch of the lease under which it was taken.
    pub epoch: u64,
    /// Its place in the show.
    pub sequence: u64,
    /// The node that took it.
    pub node: String,
    /// The clip's own bytes.
    pub bytes: Bytes,
}

/// What came over a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A clip.
    Clip(RemoteClip),
    /// The livestream's record has changed.
    Changed,
}

/// What comes before a clip's sequence.
pub(super) fn head(epoch: u64) -> [u8; 10] {
    let mut head = [0; 10];
    let mut rest = &mut head[..];
    rest.put_u8(VERSION);
    rest.put_u8(CLIP);
    rest.put_u64(epoch);
    head
}

/// What comes after a clip's sequence. `node` has at most 255 bytes: what is longer is cut.
pub(super) fn tail(node: &str, clip: &[u8]) -> Vec<u8> {
    let name = &node.as_bytes()[..node.len().min(255)];
    let mut tail = Vec::with_capacity(1 + name.len() + clip.len());
    #[expect(clippy::cast_possible_truncation, reason = "255 at most")]
    tail.put_u8(name.len() as u8);
    tail.put_slice(name);
    tail.put_slice(clip);
    tail
}

/// Word that a record has changed.
pub(super) const WORD: [u8; 2] = [VERSION, CHANGED];

/// Reads a message; none if it is not one of ours.
pub fn decode(mut bytes: Bytes) -> Option<Message> {
    if bytes.len() < 2 || bytes.get_u8() != VERSION {
        return None;
    }
    match bytes.get_u8() {
        CHANGED if bytes.is_empty() => Some(Message::Changed),
        CLIP if bytes.len() >= FIXED - 2 => {
            let (epoch, sequence) = (bytes.get_u64(), bytes.get_u64());
            let length = usize::from(bytes.get_u8());
            if length > bytes.len() {
                return None;
            }
            let node = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
            Some(Message::Clip(RemoteClip {
                epoch,
                sequence,
                node,
                bytes,
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_clip_comes_out_as_it_went_in(
            epoch: u64, sequence: u64, node in "\\PC{0,60}", clip in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let wire = [&head(epoch)[..], &sequence.to_be_bytes(), &tail(&node, &clip)].concat();
            let bytes = Bytes::from(clip);
            let expected = Message::Clip(RemoteClip { epoch, sequence, node, bytes });
            prop_assert_eq!(decode(wire.into()), Some(expected));
        }

        #[test]
        fn junk_is_refused_or_read_and_breaks_nothing(junk in prop::collection::vec(any::<u8>(), 0..100)) {
            decode(junk.into());
        }
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_is_refused() {
        let wire = [&head(1)[..], &2_u64.to_be_bytes(), &tail("node", b"")[..]].concat();
        for length in 0..wire.len() {
            assert_eq!(decode(Bytes::copy_from_slice(&wire[..length])), None);
        }
        let mut other = wire;
        other[0] = 2;
        assert_eq!(decode(other.into()), None);
        assert_eq!(decode(Bytes::from_static(&WORD)), Some(Message::Changed));
        assert_eq!(decode(Bytes::from_static(&[VERSION, CHANGED, 0])), None);
    }
}
