//! Fragmented mp4 (CMAF): one header for all segments of a coding, and segments that state their place in time.

use bytes::Bytes;
use mp4_atom::{
    Audio, Codec, Dinf, Dref, DrefEntry, Encode as _, FourCC, Ftyp, Hdlr, Mdhd, Mdia, Mfhd, Minf,
    Moof, Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Styp, Tfdt, Tfhd, Tkhd, Traf, Trak, Trex,
    Trun, TrunEntry, Url, esds,
};

use super::aac::{AacConfig, FRAME_SAMPLES};

const TRACK: u32 = 1;
const BOX_HEADER: usize = 8;
const FITS: &str = "boxes of a clip's size are below four gigabytes";

fn brands() -> Vec<FourCC> {
    [b"iso6", b"cmfc", b"mp41"].map(FourCC::from).to_vec()
}

/// The header (`EXT-X-MAP`). Its timescale is the sample rate.
pub(super) fn header(config: AacConfig) -> Bytes {
    let mut out = Vec::new();
    write_header(config, &mut out);
    out.into()
}

fn write_header(config: AacConfig, out: &mut Vec<u8>) {
    let brands = Ftyp {
        major_brand: FourCC::from(b"iso6"),
        minor_version: 0,
        compatible_brands: brands(),
    };
    brands.encode(out).expect(FITS);
    movie(config).encode(out).expect(FITS);
}

fn movie(config: AacConfig) -> Moov {
    let timescale = config.sample_rate();
    Moov {
        mvhd: Mvhd {
            timescale,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: TRACK + 1,
            ..Mvhd::default()
        },
        mvex: Some(Mvex {
            trex: vec![Trex {
                track_id: TRACK,
                default_sample_description_index: 1,
                default_sample_duration: FRAME_SAMPLES,
                ..Trex::default()
            }],
            ..Mvex::default()
        }),
        trak: vec![Trak {
            tkhd: Tkhd {
                track_id: TRACK,
                enabled: true,
                in_movie: true,
                volume: 1.into(),
                ..Tkhd::default()
            },
            mdia: Mdia {
                mdhd: Mdhd {
                    timescale,
                    language: "und".into(),
                    ..Mdhd::default()
                },
                hdlr: Hdlr {
                    handler: FourCC::from(b"soun"),
                    name: "sound".into(),
                },
                minf: Minf {
                    smhd: Some(Smhd::default()),
                    dinf: Dinf {
                        dref: Dref {
                            entries: vec![DrefEntry::Url(Url::default())],
                        },
                    },
                    stbl: Stbl {
                        stsd: Stsd {
                            codecs: vec![Codec::Mp4a(description(config))],
                        },
                        stco: Some(Stco::default()),
                        ..Stbl::default()
                    },
                    ..Minf::default()
                },
            },
            ..Trak::default()
        }],
        ..Moov::default()
    }
}

pub(super) fn description(config: AacConfig) -> Mp4a {
    let raw = config.specific_config();
    Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: config.channels(),
            sample_size: 16,
            // Rates above 65,535 do not fit; then the decoder's own configuration counts.
            sample_rate: u16::try_from(config.sample_rate()).unwrap_or(0).into(),
        },
        esds: esds::Esds {
            es_desc: esds::EsDescriptor {
                es_id: 1,
                depends_on_es_id: None,
                url: None,
                ocr_es_id: None,
                stream_priority: 0,
                dec_config: esds::DecoderConfig {
                    object_type_indication: 0x40,
                    stream_type: 5,
                    dec_specific: Some(esds::DecoderSpecific {
                        profile: 2,
                        freq_index: config.rate_index(),
                        chan_conf: config.channel_configuration(),
                        raw: raw.to_vec(),
                    }),
                    ..esds::DecoderConfig::default()
                },
                sl_config: esds::SLConfig {},
            },
        },
        btrt: None,
        taic: None,
    }
}

/// A segment that starts `start` samples after 1970, with the header of this coding before it, if there is one.
pub(super) fn segment(
    header: Option<AacConfig>,
    sequence: u64,
    start: u64,
    frames: &[Bytes],
) -> Bytes {
    let payload: usize = frames.iter().map(Bytes::len).sum();
    let mut out = Vec::new();
    if let Some(config) = header {
        write_header(config, &mut out);
    }
    let brands = Styp {
        major_brand: FourCC::from(b"cmfs"),
        minor_version: 0,
        compatible_brands: brands(),
    };
    brands.encode(&mut out).expect(FITS);
    let before = out.len();
    fragment(sequence, start, 0, frames)
        .encode(&mut out)
        .expect(FITS);
    let data_offset = out.len() - before + BOX_HEADER;
    out.truncate(before);
    fragment(sequence, start, data_offset, frames)
        .encode(&mut out)
        .expect(FITS);
    let size = u32::try_from(payload + BOX_HEADER).expect(FITS);
    out.reserve(payload + BOX_HEADER);
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(b"mdat");
    for frame in frames {
        out.extend_from_slice(frame);
    }
    out.into()
}

fn fragment(sequence: u64, start: u64, data_offset: usize, frames: &[Bytes]) -> Moof {
    // The number rises from segment to segment; players read no more in it.
    #[expect(clippy::cast_possible_truncation, reason = "it may wrap around")]
    let sequence_number = sequence as u32;
    let entries = frames.iter().map(|frame| TrunEntry {
        size: Some(u32::try_from(frame.len()).expect(FITS)),
        ..TrunEntry::default()
    });
    Moof {
        mfhd: Mfhd { sequence_number },
        traf: vec![Traf {
            tfhd: Tfhd {
                track_id: TRACK,
                default_base_is_moof: true,
                default_sample_duration: Some(FRAME_SAMPLES),
                ..Tfhd::default()
            },
            tfdt: Some(Tfdt {
                base_media_decode_time: start,
            }),
            trun: vec![Trun {
                data_offset: Some(i32::try_from(data_offset).expect(FITS)),
                samples: entries.collect::<Vec<_>>().into(),
            }],
            ..Traf::default()
        }],
    }
}
