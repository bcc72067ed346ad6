//! The messages of a channel: a clip with its position in the livestream, or a change of the record.
//!
//! ```text
//! version 1 │ kind 1 │ epoch 8 │ sequence 8 │ length of the node's name 1 │ the name │ the clip's own bytes
//! version 1 │ kind 2                                                               (the record has changed)
//! ```
//!
//! Numbers are big-endian.
//!
//! **Invariant**: a message of another version is refused; no byte of a clip is changed.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::broadcast::Position;

const VERSION: u8 = 1;
const CLIP: u8 = 1;
const CHANGED_KIND: u8 = 2;
/// Version, kind, epoch, sequence, length of the name.
const FIXED: usize = 1 + 1 + 8 + 8 + 1;

/// A clip that another node received from its streamer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteClip {
    /// The epoch of its publication.
    pub epoch: u64,
    /// Its number in the livestream.
    pub sequence: u64,
    /// The node that published it.
    pub node: String,
    /// The clip's own bytes.
    pub bytes: Bytes,
}

/// A message of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A clip.
    Clip(RemoteClip),
    /// The livestream's record has changed.
    Changed,
}

/// Encodes a clip. `node` has at most 255 bytes: a longer name is cut.
pub(crate) fn encode((epoch, sequence): Position, node: &str, clip: &[u8]) -> Bytes {
    let name = &node.as_bytes()[..node.len().min(255)];
    let mut message = BytesMut::with_capacity(FIXED + name.len() + clip.len());
    message.put_u8(VERSION);
    message.put_u8(CLIP);
    message.put_u64(epoch);
    message.put_u64(sequence);
    #[expect(clippy::cast_possible_truncation, reason = "255 at most")]
    message.put_u8(name.len() as u8);
    message.put_slice(name);
    message.put_slice(clip);
    message.freeze()
}

/// The message that the record has changed.
pub(crate) const CHANGED: [u8; 2] = [VERSION, CHANGED_KIND];

/// Decodes a message; none if it is not one of ours.
pub fn decode(mut bytes: Bytes) -> Option<Message> {
    if bytes.len() < 2 || bytes.get_u8() != VERSION {
        return None;
    }
    match bytes.get_u8() {
        CHANGED_KIND if bytes.is_empty() => Some(Message::Changed),
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
        fn clip_comes_out_as_it_went_in(
            epoch: u64, sequence: u64, node in "\\PC{0,60}", clip in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let wire = encode((epoch, sequence), &node, &clip);
            let bytes = Bytes::from(clip);
            let expected = Message::Clip(RemoteClip { epoch, sequence, node, bytes });
            prop_assert_eq!(decode(wire), Some(expected));
        }

        #[test]
        fn junk_is_refused_or_read(junk in prop::collection::vec(any::<u8>(), 0..100)) {
            decode(junk.into());
        }
    }

    #[test]
    fn message_of_another_version_or_cut_is_refused() {
        let wire = encode((1, 2), "node", b"").to_vec();
        for length in 0..wire.len() {
            assert_eq!(decode(Bytes::copy_from_slice(&wire[..length])), None);
        }
        let mut other = wire;
        other[0] = 2;
        assert_eq!(decode(other.into()), None);
        assert_eq!(decode(Bytes::from_static(&CHANGED)), Some(Message::Changed));
        assert_eq!(
            decode(Bytes::from_static(&[VERSION, CHANGED_KIND, 0])),
            None
        );
    }
}
