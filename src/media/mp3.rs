//! MP3: a row of frames with headers. The first may hold no sound but a table of contents (Xing, Info or VBRI), which
//! would mislead a player in the middle of a stream; it states the encoder's delay and is removed.

use bytes::Bytes;

use super::{Audio, Codec, Unplayable, push};

const HEADER: usize = 4;

/// Kilobits per second of layer III, by index: of MPEG-1, and of MPEG-2 and 2.5.
const BIT_RATES: [[u32; 15]; 2] = [
    [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];

/// The delay of every decoder, which the encoder's number leaves out.
const DECODER_DELAY: u32 = 529;

/// MPEG version, sample rate and channels of MP3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mp3Config {
    version: Version,
    sample_rate: u32,
    channels: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Version {
    Mpeg1,
    Mpeg2,
    Mpeg25,
}

impl Version {
    /// The part of the sample rates of MPEG-1 that it has.
    fn divides(self) -> u32 {
        match self {
            Self::Mpeg1 => 1,
            Self::Mpeg2 => 2,
            Self::Mpeg25 => 4,
        }
    }
}

impl Mp3Config {
    /// Samples per second of each channel.
    pub fn sample_rate(self) -> u32 {
        self.sample_rate
    }

    /// The number of channels.
    pub fn channels(self) -> u16 {
        self.channels
    }

    /// Samples of each channel in one frame.
    pub(super) fn frame_samples(self) -> u32 {
        match self.version {
            Version::Mpeg1 => 1152,
            Version::Mpeg2 | Version::Mpeg25 => 576,
        }
    }

    /// Version and sample rate in one number, and the channels.
    pub(super) fn encode(self) -> [u8; 2] {
        let divided = self.version.divides();
        let rates = SAMPLE_RATES.iter().zip(0..);
        let mut found = rates.filter(|(rate, _)| **rate / divided == self.sample_rate);
        let rate = found.next().map_or(0, |(_, index)| index);
        let version = match self.version {
            Version::Mpeg1 => 0,
            Version::Mpeg2 => 1,
            Version::Mpeg25 => 2,
        };
        [version * 3 + rate, if self.channels == 1 { 1 } else { 2 }]
    }

    pub(super) fn decode([rate, channels]: [u8; 2]) -> Option<Self> {
        let version = match rate / 3 {
            0 => Version::Mpeg1,
            1 => Version::Mpeg2,
            2 => Version::Mpeg25,
            _ => return None,
        };
        (1..=2).contains(&channels).then(|| Self {
            version,
            sample_rate: SAMPLE_RATES[usize::from(rate % 3)] / version.divides(),
            channels: channels.into(),
        })
    }

    /// Bytes between the header and the main data.
    fn side_information(self) -> usize {
        match (self.version, self.channels) {
            (Version::Mpeg1, 1) => 17,
            (Version::Mpeg1, _) => 32,
            (_, 1) => 9,
            (_, _) => 17,
        }
    }
}

/// Whether the bytes start with a header of MP3.
pub(super) fn is_mp3(bytes: &[u8]) -> bool {
    header(bytes).is_some()
}

/// The coding and the length in bytes of the frame that starts here.
fn header(bytes: &[u8]) -> Option<(Mp3Config, usize)> {
    let [0xFF, second, third, fourth] = *bytes.first_chunk()? else {
        return None;
    };
    let version = match second & 0b1111_1110 {
        0b1111_1010 => Version::Mpeg1,
        0b1111_0010 => Version::Mpeg2,
        0b1110_0010 => Version::Mpeg25,
        _ => return None,
    };
    let rate = *SAMPLE_RATES.get(usize::from((third >> 2) & 0b11))?;
    let sample_rate = rate / version.divides();
    let table = usize::from(version != Version::Mpeg1);
    let kilobits = *BIT_RATES[table].get(usize::from(third >> 4))?;
    // Index 0 is a free format: no frame says how long it is.
    if kilobits == 0 {
        return None;
    }
    let config = Mp3Config {
        version,
        sample_rate,
        channels: if fourth >> 6 == 0b11 { 1 } else { 2 },
    };
    let pad = u32::from(third >> 1 & 1);
    let length = config.frame_samples() / 8 * kilobits * 1000 / sample_rate + pad;
    Some((config, usize::try_from(length).ok()?))
}

/// Reads a clip whose tags are removed. A last frame that is cut off is left out, and zeros after the last frame.
pub(super) fn read(clip: &Bytes) -> Result<Audio, Unplayable> {
    let (config, _) = header(clip).ok_or(Unplayable::Unknown)?;
    let (mut at, mut frames) = (0, Vec::new());
    while clip.len() - at >= HEADER {
        let rest = &clip[at..];
        let Some((here, length)) = header(rest) else {
            if rest.iter().all(|byte| *byte == 0) {
                break;
            }
            return Err(Unplayable::Damaged("bytes between its frames are no frame"));
        };
        if here != config {
            return Err(Unplayable::Damaged("its coding changes in the middle"));
        }
        if length > rest.len() {
            break;
        }
        push(&mut frames, clip.slice(at..at + length))?;
        at += length;
    }
    let contents = frames.first().and_then(|frame| contents(config, frame));
    if contents.is_some() {
        frames.remove(0);
    }
    if frames.is_empty() {
        return Err(Unplayable::Damaged("it has no whole frame"));
    }
    let (delay, padding) = contents.unwrap_or_default();
    Ok(Audio {
        codec: Codec::Mp3(config),
        frames,
        delay,
        padding,
    })
}

/// A frame without sound for the front of a file with frames of these sizes, the first of which starts with `first`: it
/// states their number and bytes and, for each percent of the time, the place in the file.
pub(super) fn table_of_contents(first: [u8; HEADER], sizes: &[u32]) -> Option<Vec<u8>> {
    const FRAMES_BYTES_PLACES: u32 = 0b111;
    let (config, _) = header(&first)?;
    let at = HEADER + config.side_information();
    // Any bit rate whose frames have room.
    let mut frame = (1..15).find_map(|bit_rate: u8| {
        // Without a checksum and without a byte of padding.
        let head = [
            0xFF,
            first[1] | 1,
            bit_rate << 4 | first[2] & 0b1100,
            first[3],
        ];
        let (_, length) = header(&head).filter(|(_, length)| *length >= at + 16 + 100)?;
        let mut frame = head.to_vec();
        frame.resize(length, 0);
        Some(frame)
    })?;
    let own = frame.len() as u64;
    let total = own + sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
    let (smallest, largest) = (sizes.iter().min()?, sizes.iter().max()?);
    let is_constant = largest - smallest <= 1;
    let table = &mut frame[at..];
    table[..4].copy_from_slice(if is_constant { b"Info" } else { b"Xing" });
    let count = u32::try_from(sizes.len()).unwrap_or(u32::MAX);
    let bytes = u32::try_from(total).unwrap_or(u32::MAX);
    for (place, number) in [(4, FRAMES_BYTES_PLACES), (8, count), (12, bytes)] {
        table[place..place + 4].copy_from_slice(&number.to_be_bytes());
    }
    let (mut before, mut next) = (own, 0);
    for percent in 0..100 {
        let until = sizes.len() * percent / 100;
        before += sizes[next..until]
            .iter()
            .map(|size| u64::from(*size))
            .sum::<u64>();
        next = until;
        table[16 + percent] = u8::try_from(before * 256 / total).unwrap_or(u8::MAX);
    }
    Some(frame)
}

/// Delay and padding, in samples, if the frame is a table of contents; 0 where it does not state them.
fn contents(config: Mp3Config, frame: &[u8]) -> Option<(u32, u32)> {
    if frame.get(HEADER + 32..)?.starts_with(b"VBRI") {
        return Some((0, 0));
    }
    let table = frame.get(HEADER + config.side_information()..)?;
    if !table.starts_with(b"Xing") && !table.starts_with(b"Info") {
        return None;
    }
    Some(encoder_delay(table).unwrap_or_default())
}

/// Delay and padding from the encoder's part of the table, which follows the fields that the flags name.
fn encoder_delay(table: &[u8]) -> Option<(u32, u32)> {
    let flags = table.get(7)?;
    let fields = [(1, 4), (2, 4), (4, 100), (8, 4)];
    let named = fields.iter().filter(|(flag, _)| flags & flag != 0);
    let encoder = table.get(8 + named.map(|(_, length)| length).sum::<usize>()..)?;
    if ![b"LAME", b"Lavf", b"Lavc"]
        .iter()
        .any(|name| encoder.starts_with(*name))
    {
        return None;
    }
    let [first, second, third] = *encoder.get(21..)?.first_chunk()?;
    let number = u32::from_be_bytes([0, first, second, third]);
    let (delay, padding) = (number >> 12, number & 0xFFF);
    Some((delay + DECODER_DELAY, padding.saturating_sub(DECODER_DELAY)))
}
