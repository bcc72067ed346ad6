//! What is read of a node's message is in the message, byte for byte.
#![no_main]

use bytes::Bytes;
use castaway_media_server::cluster::{Message, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(Message::Clip(clip)) = decode(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let whole = [
        &[1, 1][..],
        &clip.epoch.to_be_bytes(),
        &clip.sequence.to_be_bytes(),
        &[u8::try_from(clip.node.len()).expect("a length in one byte")],
        clip.node.as_bytes(),
        &clip.bytes,
    ]
    .concat();
    assert_eq!(whole, bytes);
});
