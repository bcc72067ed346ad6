//! Tags around the frames of MP3 and ADTS: they are removed from clips, and one is written for HLS.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes of a tag's head, at the front, and of `ID3v1` at the end.
const HEAD: usize = 10;
const ID3V1: usize = 128;
const APE_FOOTER: usize = 32;

/// The owner of the frame in which HLS states the time of packed audio (RFC 8216, 3.4).
const TIMESTAMP_OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";

/// The clip without `ID3v2` at its front and `ID3v1` and APE at its end.
pub(super) fn without_tags(clip: &Bytes) -> Bytes {
    let mut sound = clip.clone();
    while let Some(length) = front_tag(&sound) {
        sound = sound.slice(length.min(sound.len())..);
    }
    if let Some(start) = sound.len().checked_sub(ID3V1)
        && sound[start..].starts_with(b"TAG")
    {
        sound.truncate(start);
    }
    if let Some(length) = ape_tag(&sound) {
        sound.truncate(sound.len().saturating_sub(length));
    }
    sound
}

/// The length of the tag at the front, at least [`HEAD`].
fn front_tag(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..HEAD)?;
    if !head.starts_with(b"ID3") || head[6..].iter().any(|byte| byte & 0x80 != 0) {
        return None;
    }
    let body = head[6..]
        .iter()
        .fold(0, |size, byte| size << 7 | usize::from(*byte));
    let footer = if head[5] & 0x10 == 0 { 0 } else { HEAD };
    Some(HEAD + body + footer)
}

fn ape_tag(bytes: &[u8]) -> Option<usize> {
    let footer = bytes.last_chunk::<APE_FOOTER>()?;
    if !footer.starts_with(b"APETAGEX") {
        return None;
    }
    let size = u32::from_le_bytes(*footer[12..].first_chunk()?);
    let flags = u32::from_le_bytes(*footer[20..].first_chunk()?);
    let header = if flags >> 31 == 1 { APE_FOOTER } else { 0 };
    usize::try_from(size).ok()?.checked_add(header)
}

/// The tag that starts a segment of packed audio: its time on the clock of 90 kHz, modulo 2³³.
pub(super) fn timestamp(ticks: u64) -> Bytes {
    let frame = TIMESTAMP_OWNER.len() + 8;
    // Both are below 128, so they are written the same way with seven bits a byte.
    let frame_size = u8::try_from(frame).unwrap_or(0);
    let mut tag = BytesMut::with_capacity(2 * HEAD + frame);
    tag.put_slice(&[b'I', b'D', b'3', 4, 0, 0, 0, 0, 0, frame_size + 10]);
    tag.put_slice(&[b'P', b'R', b'I', b'V', 0, 0, 0, frame_size, 0, 0]);
    tag.put_slice(TIMESTAMP_OWNER);
    tag.put_u64(ticks & ((1 << 33) - 1));
    tag.freeze()
}
