//! ADTS: AAC as a row of frames, each with a header of its own, so that a player may start at any of them.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::aac::AacConfig;
use super::{Audio, Codec, Unplayable, push};

const HEADER: usize = 7;
/// The header's field for the frame's length has 13 bits.
const MAX_FRAME: usize = (1 << 13) - 1;

/// The largest frame that ADTS can carry, in bytes without its header.
pub(super) const MAX_PAYLOAD: usize = MAX_FRAME - HEADER;

/// Whether the bytes start with a header of ADTS.
pub(super) fn is_adts(bytes: &[u8]) -> bool {
    matches!(bytes, [0xFF, second, ..] if second & 0xF6 == 0xF0)
}

struct Header {
    config: AacConfig,
    /// Bytes of the header itself, and of the frame with it.
    size: usize,
    frame: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Unplayable> {
        if !is_adts(bytes) {
            return Err(Unplayable::Damaged("a frame of ADTS has no header"));
        }
        let [_, second, third, fourth, fifth, sixth, seventh, ..] = *bytes else {
            return Err(Unplayable::Damaged("a header of ADTS is cut off"));
        };
        if third >> 6 != 1 {
            return Err(Unplayable::Format("AAC other than LC"));
        }
        if seventh & 0b11 != 0 {
            return Err(Unplayable::Format("ADTS with several blocks in a frame"));
        }
        let channels = (third & 1) << 2 | fourth >> 6;
        let size = if second & 1 == 1 { HEADER } else { HEADER + 2 };
        let frame =
            usize::from(fourth & 0b11) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
        if frame <= size {
            return Err(Unplayable::Damaged("a frame of ADTS is empty"));
        }
        Ok(Self {
            config: AacConfig::new((third >> 2) & 0b1111, channels)?,
            size,
            frame,
        })
    }
}

/// Reads a clip whose tags are removed. A last frame that is cut off is left out.
pub(super) fn read(clip: &Bytes) -> Result<Audio, Unplayable> {
    let first = Header::read(clip)?;
    let (mut at, mut frames) = (0, Vec::new());
    while clip.len() - at >= HEADER {
        let header = Header::read(&clip[at..])?;
        if header.config != first.config {
            return Err(Unplayable::Damaged("its coding changes in the middle"));
        }
        if header.frame > clip.len() - at {
            break;
        }
        push(&mut frames, clip.slice(at + header.size..at + header.frame))?;
        at += header.frame;
    }
    if frames.is_empty() {
        return Err(Unplayable::Damaged("it has no whole frame"));
    }
    Ok(Audio {
        codec: Codec::Aac(first.config),
        frames,
        delay: 0,
        padding: 0,
    })
}

/// Writes frames of at most [`MAX_PAYLOAD`] bytes with their headers.
pub(super) fn write(config: AacConfig, frames: &[Bytes]) -> Bytes {
    let payload: usize = frames.iter().map(Bytes::len).sum();
    let mut out = BytesMut::with_capacity(payload + frames.len() * HEADER);
    for frame in frames {
        out.put_slice(&header(config, frame.len()));
        out.put_slice(frame);
    }
    out.freeze()
}

fn header(config: AacConfig, payload: usize) -> [u8; HEADER] {
    let length = (payload + HEADER).min(MAX_FRAME);
    let channels = config.channel_configuration();
    // Each cast keeps the bits that the field has.
    #[expect(clippy::cast_possible_truncation, reason = "13 bits in three fields")]
    let (high, middle, low) = (
        (length >> 11) as u8,
        (length >> 3) as u8,
        (length << 5) as u8,
    );
    [
        0xFF,
        0xF1,
        1 << 6 | config.rate_index() << 2 | channels >> 2,
        channels << 6 | high,
        middle,
        // Buffer fullness 0x7FF: the rate varies.
        low | 0x1F,
        0xFC,
    ]
}
