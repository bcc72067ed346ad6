//! Clips as one file: `.m4a` with its tables in front of the sound, so that a player starts before it has all of it, or
//! `.mp3` with a table of contents.
//!
//! A file is written in two passes over its clips, so that memory holds only the sizes of frames: [`JoinedFile::add`]
//! collects them, [`JoinedFile::head`] writes the front, and then the frames follow, clip by clip.
//!
//! **Invariant**: the same clips in the same order make the same bytes. No frame that is heard is left out.

use bytes::Bytes;
use mp4_atom::{
    Co64, Codec as SampleEntry, Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Encode as _, FourCC,
    Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mvhd, Smhd, Stbl, Stco, Stsc, StscEntry, Stsd, Stsz,
    StszSamples, Stts, SttsEntry, Tkhd, Trak, Url,
};

use super::aac::{AacConfig, FRAME_SAMPLES};
use super::{Audio, Codec, cmaf, mp3};

const TRACK: u32 = 1;
const FITS: &str = "the tables of a file are below four gigabytes";

/// See the module documentation.
#[derive(Debug)]
pub struct JoinedFile {
    codec: Codec,
    /// The first bytes of the first frame.
    first: [u8; 4],
    /// The number of frames of each clip.
    clips: Vec<u32>,
    /// The bytes of each frame.
    sizes: Vec<u32>,
    bytes: u64,
    /// Samples of the first clip that are its encoder's delay.
    delay: u32,
    /// Samples of the last clip that only fill its last frame.
    padding: u32,
}

impl JoinedFile {
    /// An empty file of this coding.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            first: [0; 4],
            clips: Vec::new(),
            sizes: Vec::new(),
            bytes: 0,
            delay: 0,
            padding: 0,
        }
    }

    /// The coding.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The frames so far.
    pub fn frame_count(&self) -> usize {
        self.sizes.len()
    }

    /// The file's extension.
    pub fn extension(&self) -> &'static str {
        match self.codec {
            Codec::Aac(_) => "m4a",
            Codec::Mp3(_) => "mp3",
        }
    }

    /// Adds a clip of the file's coding; returns its samples in the file.
    pub fn add(&mut self, audio: &Audio) -> u64 {
        let samples = self.codec.frame_samples();
        let heard = audio.heard();
        let silent = |frames: usize| {
            u32::try_from(frames)
                .unwrap_or(u32::MAX)
                .saturating_mul(samples)
        };
        if self.sizes.is_empty() {
            self.delay = audio.delay.saturating_sub(silent(heard.start));
            let start = audio.frames[heard.start].iter();
            for (to, from) in self.first.iter_mut().zip(start) {
                *to = *from;
            }
        }
        let left_out = audio.frames.len() - heard.end;
        self.padding = audio.padding.saturating_sub(silent(left_out));
        let frames = &audio.frames[heard];
        let sizes = frames
            .iter()
            .map(|frame| u32::try_from(frame.len()).unwrap_or(u32::MAX));
        self.sizes.extend(sizes);
        self.bytes += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
        self.clips
            .push(u32::try_from(frames.len()).unwrap_or(u32::MAX));
        frames.len() as u64 * u64::from(samples)
    }

    /// The frames of a clip as they are in the file.
    pub fn frames(audio: Audio) -> Vec<Bytes> {
        audio.into_heard()
    }

    /// Its duration in samples of the codec's sample rate.
    pub fn samples(&self) -> u64 {
        let all = self.sizes.len() as u64 * u64::from(self.codec.frame_samples());
        match self.codec {
            Codec::Aac(_) => all.saturating_sub(u64::from(self.delay) + u64::from(self.padding)),
            Codec::Mp3(_) => all,
        }
    }

    /// What is in front of the frames.
    pub fn head(&self) -> Vec<u8> {
        match self.codec {
            Codec::Aac(config) => self.boxes(config),
            Codec::Mp3(_) => mp3::table_of_contents(self.first, &self.sizes).unwrap_or_default(),
        }
    }

    fn boxes(&self, config: AacConfig) -> Vec<u8> {
        let kind = Ftyp {
            major_brand: FourCC::from(b"M4A "),
            minor_version: 0,
            compatible_brands: [b"M4A ", b"mp42", b"isom"].map(FourCC::from).to_vec(),
        };
        let mut out = Vec::new();
        kind.encode(&mut out).expect(FITS);
        let before = out.len();
        self.movie(config, 0).encode(&mut out).expect(FITS);
        let header = if self.is_large() { 16 } else { 8 };
        let sound_at = out.len() as u64 + header;
        out.truncate(before);
        self.movie(config, sound_at).encode(&mut out).expect(FITS);
        let size = self.bytes + header;
        if self.is_large() {
            out.extend_from_slice(&1_u32.to_be_bytes());
            out.extend_from_slice(b"mdat");
            out.extend_from_slice(&size.to_be_bytes());
        } else {
            out.extend_from_slice(&u32::try_from(size).expect(FITS).to_be_bytes());
            out.extend_from_slice(b"mdat");
        }
        out
    }

    /// Whether places in the file may need more than 32 bits.
    fn is_large(&self) -> bool {
        let tables = 4 * self.sizes.len() as u64 + (16 + 12) * self.clips.len() as u64 + (64 << 10);
        self.bytes + tables > u64::from(u32::MAX)
    }

    /// The tables; the sound starts at this place of the file.
    fn movie(&self, config: AacConfig, sound_at: u64) -> Moov {
        let timescale = config.sample_rate();
        let duration = self.samples();
        let handler = Hdlr {
            handler: FourCC::from(b"soun"),
            name: "sound".into(),
        };
        Moov {
            mvhd: Mvhd {
                timescale,
                duration,
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: TRACK + 1,
                ..Mvhd::default()
            },
            trak: vec![Trak {
                tkhd: Tkhd {
                    track_id: TRACK,
                    duration,
                    enabled: true,
                    in_movie: true,
                    volume: 1.into(),
                    ..Tkhd::default()
                },
                edts: Some(Edts {
                    elst: Some(Elst {
                        entries: vec![ElstEntry {
                            segment_duration: duration,
                            media_time: Some(u64::from(self.delay)),
                            media_rate: 1.into(),
                        }],
                    }),
                }),
                mdia: Mdia {
                    mdhd: Mdhd {
                        timescale,
                        duration: self.sizes.len() as u64 * u64::from(FRAME_SAMPLES),
                        language: "und".into(),
                        ..Mdhd::default()
                    },
                    hdlr: handler,
                    minf: Minf {
                        smhd: Some(Smhd::default()),
                        dinf: Dinf {
                            dref: Dref {
                                entries: vec![DrefEntry::Url(Url::default())],
                            },
                        },
                        stbl: self.tables(config, sound_at),
                        ..Minf::default()
                    },
                },
                ..Trak::default()
            }],
            ..Moov::default()
        }
    }

    /// Each clip is a chunk.
    fn tables(&self, config: AacConfig, sound_at: u64) -> Stbl {
        let mut places = Vec::with_capacity(self.clips.len());
        let mut in_chunks: Vec<StscEntry> = Vec::new();
        let (mut at, mut sizes) = (sound_at, self.sizes.iter());
        for (number, frames) in (1..).zip(&self.clips) {
            places.push(at);
            let frames = *frames;
            at += sizes
                .by_ref()
                .take(frames as usize)
                .map(|size| u64::from(*size))
                .sum::<u64>();
            if in_chunks
                .last()
                .is_none_or(|last| last.samples_per_chunk != frames)
            {
                in_chunks.push(StscEntry {
                    first_chunk: number,
                    samples_per_chunk: frames,
                    sample_description_index: 1,
                });
            }
        }
        let (stco, co64) = if self.is_large() {
            (None, Some(Co64 { entries: places }))
        } else {
            let entries = places
                .into_iter()
                .map(|place| u32::try_from(place).expect(FITS));
            (
                Some(Stco {
                    entries: entries.collect(),
                }),
                None,
            )
        };
        Stbl {
            stsd: Stsd {
                codecs: vec![SampleEntry::Mp4a(cmaf::description(config))],
            },
            stts: Stts {
                entries: vec![SttsEntry {
                    sample_count: u32::try_from(self.sizes.len()).unwrap_or(u32::MAX),
                    sample_delta: FRAME_SAMPLES,
                }],
            },
            stsc: Stsc { entries: in_chunks },
            stsz: Stsz {
                samples: StszSamples::Different {
                    sizes: self.sizes.clone(),
                },
            },
            stco,
            co64,
            ..Stbl::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::read;

    fn aac(frames: &[&'static [u8]], delay: u32, padding: u32) -> Audio {
        Audio {
            codec: Codec::Aac(AacConfig::with(44_100, 2).expect("a usual rate")),
            frames: frames
                .iter()
                .map(|frame| Bytes::from_static(frame))
                .collect(),
            delay,
            padding,
        }
    }

    fn file(clips: &[Audio]) -> Bytes {
        let mut file = JoinedFile::new(clips[0].codec);
        for clip in clips {
            file.add(clip);
        }
        let mut out = file.head();
        for clip in clips {
            for frame in JoinedFile::frames(clip.clone()) {
                out.extend_from_slice(&frame);
            }
        }
        out.into()
    }

    #[test]
    fn m4a_has_the_frames_of_all_clips() {
        let clips = [
            aac(&[b"one", b"two", b"three"], 2112, 0),
            aac(&[b"four"], 0, 0),
            aac(&[b"five", b"six", b"padding"], 0, 1024 + 24),
        ];
        let read = read(&file(&clips)).expect("a good file");
        let frames: Vec<&[u8]> = read.frames.iter().map(|frame| &frame[..]).collect();
        let all: [&[u8]; 5] = [b"two", b"three", b"four", b"five", b"six"];
        assert_eq!(frames, all);
        assert_eq!((read.delay, read.padding), (2112 - 1024, 24));
    }

    #[test]
    fn m4a_has_its_tables_before_the_sound() {
        let file = file(&[aac(&[b"one"], 0, 0)]);
        let at = |name: &[u8]| file.windows(4).position(|it| it == name).expect("a box");
        assert!(at(b"moov") < at(b"mdat"));
        assert_eq!(&file[at(b"mdat") + 4..], b"one");
    }

    #[test]
    fn mp3_states_its_frames_and_bytes() {
        // MPEG-1, 128 kbit/s, 44.1 kHz, stereo: 417 bytes, or 418.
        let frame = |pad: u8| {
            let mut frame = vec![0xFF, 0xFB, 0x90 | pad << 1, 0x44];
            frame.resize(417 + usize::from(pad), 7);
            frame
        };
        let clip: Bytes = [frame(0), frame(1), frame(0)].concat().into();
        let one = read(&clip).expect("a good clip");
        let file = file(&[one.clone(), one.clone()]);
        let again = read(&file).expect("a good file");
        assert_eq!(again.frames, [one.frames.clone(), one.frames].concat());
        let table = file
            .windows(4)
            .position(|it| it == b"Info")
            .expect("a table");
        let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("four"));
        assert_eq!(number(table + 8), 6);
        assert_eq!(number(table + 12) as usize, file.len());
    }
}
