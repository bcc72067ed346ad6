//! The messages of a channel: a clip with its position in the livestream, or a change of the record.
//!
//! ```text
//! version 1 │ kind 5 │ epoch 8 │ sequence 8 │ sent at 8 │ came 8 │ length of the node's name 1 │ the name
//!           │ length of the clip's id 2 │ the id │ the clip's own bytes
//! version 1 │ kind 6 │ the same, with the clip's place on the timeline of players before its own bytes
//! version 1 │ kind 2                                                      (the record has changed)
//! ```
//!
//! Numbers are big-endian; a clip without an id has one of length 0.
//!
//! **Invariant**: a message of another version is refused; no byte of a clip is changed.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::broadcast::{ClipId, NewClip, Position};
use crate::media::Place;

const VERSION: u8 = 1;
const CHANGED_KIND: u8 = 2;
/// 1, 3 and 4 were those of pre-releases.
const CLIP: u8 = 5;
const PLACED_CLIP: u8 = 6;
/// Version, kind, epoch, sequence, two times, length of the name, length of the id.
const FIXED: usize = 1 + 1 + 8 + 8 + 8 + 8 + 1 + 2;

/// A clip that another node received from its streamer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteClip {
    /// Its place in the livestream, by its publication.
    pub position: Position,
    /// The node that published it.
    pub node: String,
    /// The streamer's own id for it.
    pub id: Option<ClipId>,
    /// The time at which that node accepted it, in milliseconds of Redis's clock.
    pub sent_at: u64,
    /// The time at which its streamer came, in microseconds of Redis's clock; 0 if it is unknown.
    pub came: u64,
    /// Its place on the timeline of players; none if it is not for them.
    pub place: Option<Place>,
    /// The clip's own bytes.
    pub bytes: Bytes,
}

impl From<RemoteClip> for NewClip {
    fn from(clip: RemoteClip) -> Self {
        Self {
            position: Some(clip.position),
            bytes: clip.bytes,
            id: clip.id,
            sent_at: clip.sent_at,
            place: clip.place,
        }
    }
}

/// A message of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A clip.
    Clip(RemoteClip),
    /// The livestream's record has changed.
    Changed,
}

/// Encodes a clip of a streamer that `came` at this time. `node` has at most 255 bytes: a longer name is cut.
pub(crate) fn encode(position: Position, node: &str, came: u64, clip: &NewClip) -> Bytes {
    let name = &node.as_bytes()[..node.len().min(255)];
    let id = clip.id.as_ref().map_or("", ClipId::as_str).as_bytes();
    let place = clip.place.map(|place| place.encode());
    let place = place.as_ref().map_or(&[][..], |place| &place[..]);
    let length = FIXED + name.len() + id.len() + place.len() + clip.bytes.len();
    let mut message = BytesMut::with_capacity(length);
    message.put_u8(VERSION);
    message.put_u8(if place.is_empty() { CLIP } else { PLACED_CLIP });
    message.put_u64(position.epoch);
    message.put_u64(position.sequence);
    message.put_u64(clip.sent_at);
    message.put_u64(came);
    #[expect(clippy::cast_possible_truncation, reason = "255 at most")]
    message.put_u8(name.len() as u8);
    message.put_slice(name);
    #[expect(clippy::cast_possible_truncation, reason = "64 characters at most")]
    message.put_u16(id.len() as u16);
    message.put_slice(id);
    message.put_slice(place);
    message.put_slice(&clip.bytes);
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
        kind @ (CLIP | PLACED_CLIP) if bytes.len() >= FIXED - 2 => {
            let position = Position::new(bytes.get_u64(), bytes.get_u64());
            let (sent_at, came) = (bytes.get_u64(), bytes.get_u64());
            let length = usize::from(bytes.get_u8());
            if length > bytes.len() {
                return None;
            }
            let node = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
            let id = take_text(&mut bytes)?;
            let id = match id.as_str() {
                "" => None,
                id => Some(ClipId::new(id)?),
            };
            let place = match kind {
                CLIP => None,
                _ if bytes.len() < Place::LENGTH => return None,
                _ => Some(Place::decode(&bytes.split_to(Place::LENGTH))?),
            };
            Some(Message::Clip(RemoteClip {
                position,
                node,
                id,
                sent_at,
                came,
                place,
                bytes,
            }))
        }
        _ => None,
    }
}

fn take_text(bytes: &mut Bytes) -> Option<String> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    if length > bytes.len() {
        return None;
    }
    String::from_utf8(bytes.split_to(length).to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{AacConfig, Codec, Timeline};

    fn place() -> Place {
        let audio = crate::media::Audio {
            codec: Codec::Aac(AacConfig::with(48_000, 2).expect("a usual coding")),
            frames: vec![Bytes::from_static(b"frame")],
            delay: 0,
            padding: 0,
        };
        Timeline::default().place(1, 2, &audio, 1_700_000_000_000)
    }

    proptest! {
        #[test]
        fn clip_comes_out_as_it_went_in(
            epoch: u64, sequence: u64, sent_at: u64, came: u64, node in "\\PC{0,60}",
            id in prop::option::of("\\PC{1,64}"), is_placed: bool,
            clip in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let id = id.map(|id| ClipId::new(&id).expect("an id"));
            let bytes = Bytes::from(clip);
            let place = is_placed.then(place);
            let clip = NewClip { id: id.clone(), sent_at, place, ..bytes.clone().into() };
            let position = Position::new(epoch, sequence);
            let wire = encode(position, &node, came, &clip);
            let expected = Message::Clip(RemoteClip { position, node, id, sent_at, came, place, bytes });
            prop_assert_eq!(decode(wire), Some(expected));
        }

        #[test]
        fn junk_is_refused_or_read(junk in prop::collection::vec(any::<u8>(), 0..100)) {
            decode(junk.into());
        }
    }

    #[test]
    fn message_of_another_version_or_cut_is_refused() {
        let clip = NewClip::from(Bytes::new());
        let wire = encode(Position::new(1, 2), "node", 3, &clip).to_vec();
        let id = ClipId::new("id");
        let place = Some(place());
        let placed = encode(
            Position::new(1, 2),
            "node",
            3,
            &NewClip {
                place,
                ..clip.clone()
            },
        );
        let with_id = encode(Position::new(1, 2), "node", 3, &NewClip { id, ..clip });
        for wire in [&with_id[..], &placed[..], &wire[..]] {
            for length in 0..wire.len() {
                assert_eq!(decode(Bytes::copy_from_slice(&wire[..length])), None);
            }
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
