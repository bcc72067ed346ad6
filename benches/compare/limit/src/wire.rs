//! As much of WebSocket and Socket.IO as `castaway-load` needs.

pub(crate) const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                                   Sec-WebSocket-Accept: aR1XtGNNhVMpZTTRaUfbpDHy0w4=\r\n\r\n";
pub(crate) const OPEN: &str = r#"0{"sid":"limit","upgrades":[],"pingInterval":3600000,"pingTimeout":3600000,"maxPayload":8388608}"#;
pub(crate) const AUDIO: &str = r#"451-/listener,["audio",{"_placeholder":true,"num":0}]"#;
pub(crate) const RECEIVED: &str = r#"42/streamer,["success","Packet received from user bench"]"#;
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;

/// Takes the next whole message of a client, unmasked: the first byte of its frame, and its payload.
pub(crate) fn take_message(received: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let bytes = &*received;
    let first = *bytes.first()?;
    let (length, mask) = match usize::from(bytes.get(1)? & 0x7f) {
        126 => (big_endian(bytes.get(2..4)?), 4),
        127 => (big_endian(bytes.get(2..10)?), 10),
        length => (length, 2),
    };
    let key: [u8; 4] = bytes.get(mask..mask + 4)?.try_into().ok()?;
    let masked = bytes.get(mask + 4..mask + 4 + length)?;
    let payload = masked.iter().zip(key.iter().cycle());
    let payload = payload.map(|(byte, key)| byte ^ key).collect();
    received.drain(..mask + 4 + length);
    Some((first, payload))
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// A server's frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let length = (payload.len() as u64).to_be_bytes();
    match payload.len() {
        0..=125 => frame.push(length[7]),
        126..=0xffff => {
            frame.push(0x7e);
            frame.extend_from_slice(&length[6..]);
        }
        _ => {
            frame.push(0x7f);
            frame.extend_from_slice(&length);
        }
    }
    frame.extend_from_slice(payload);
    frame
}
