//! What is read of a handover is in the file, clip for clip, and nothing of the file is left over.
#![no_main]

use bytes::Bytes;
use castaway_media_server::handover::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok((_, snapshots)) = decode(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let clips: Vec<u8> = snapshots
        .iter()
        .flat_map(|snapshot| &snapshot.clips)
        .flat_map(|clip| &clip.bytes)
        .copied()
        .collect();
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a header");
    assert_eq!(clips, &bytes[end + 1..]);
});
