//! What is read of a node's message is in the message, byte for byte.
#![no_main]

use bytes::Bytes;
use castaway_media_server::cluster::{Message, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(Message::Clip(clip)) = decode(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let id = clip.id.as_ref().map(|id| id.as_str().as_bytes());
    let id_length = id.map_or(0, <[u8]>::len);
    let place = clip.place.map(|place| place.encode());
    let kind = if place.is_some() { 6 } else { 5 };
    let whole = [
        &[1, kind][..],
        &clip.position.epoch.to_be_bytes(),
        &clip.position.sequence.to_be_bytes(),
        &clip.sent_at.to_be_bytes(),
        &clip.came.to_be_bytes(),
        &[u8::try_from(clip.node.len()).expect("a length in one byte")],
        clip.node.as_bytes(),
        &u16::try_from(id_length)
            .expect("a length in two bytes")
            .to_be_bytes(),
        id.unwrap_or_default(),
        place.as_ref().map_or(&[][..], |place| &place[..]),
        &clip.bytes,
    ]
    .concat();
    assert_eq!(whole, bytes);
});
