//! The fixtures are made by `fixtures/make`, with ffmpeg: what is remuxed here is compared with what ffmpeg copied.

use mp4_atom::{Decode as _, Moof, Moov, Styp};
use proptest::prelude::*;

use super::*;

const M4A: &[u8] = include_bytes!("fixtures/tone.m4a");
const M4A_WITHOUT_EDITS: &[u8] = include_bytes!("fixtures/tone-without-edits.m4a");
const ADTS: &[u8] = include_bytes!("fixtures/tone.aac");
const MP3: &[u8] = include_bytes!("fixtures/tone.mp3");
const MP3_COPIED: &[u8] = include_bytes!("fixtures/tone-copied.mp3");

/// Milliseconds since 1970.
const NOW: u64 = 1_700_000_000_000;

fn audio(clip: &'static [u8]) -> Audio {
    read(&Bytes::from_static(clip)).expect("a whole clip")
}

fn refusal(clip: impl Into<Bytes>) -> Unplayable {
    read(&clip.into()).expect_err("not playable")
}

fn segment(clip: &'static [u8]) -> Segment {
    placed(&mut Timeline::default(), audio(clip), NOW)
}

fn placed(timeline: &mut Timeline, audio: Audio, arrived_ms: u64) -> Segment {
    let place = timeline.place(7, 1, &audio, arrived_ms);
    Segment::new(place, audio).expect("its own place")
}

fn aac() -> AacConfig {
    AacConfig::with(16_000, 1).expect("a usual rate")
}

#[test]
fn m4a_becomes_the_adts_that_ffmpeg_copies() {
    let segment = segment(M4A);
    assert_eq!(segment.place.codec, Codec::Aac(aac()));
    assert_eq!(segment.stream(), ADTS);
}

#[test]
fn mp3_becomes_the_frames_that_ffmpeg_copies() {
    assert_eq!(segment(MP3).stream(), MP3_COPIED);
}

#[test]
fn adts_stays_as_it_was() {
    assert_eq!(segment(ADTS).stream(), ADTS);
}

#[test]
fn delay_and_padding_come_from_the_file() {
    // 4,800 samples in six frames of 1,024, and in eleven of 576.
    for (clip, delay, padding) in [
        (M4A, 1024, 320),
        (M4A_WITHOUT_EDITS, 0, 320),
        (ADTS, 0, 0),
        (MP3, 576 + 529, 960 - 529),
        (MP3_COPIED, 0, 0),
    ] {
        let audio = audio(clip);
        assert_eq!((audio.delay, audio.padding), (delay, padding));
    }
}

#[test]
fn frames_that_hold_only_silence_are_left_out() {
    let whole = audio(M4A);
    let heard = |delay, padding| {
        let audio = Audio {
            delay,
            padding,
            ..whole.clone()
        };
        placed(&mut Timeline::default(), audio, NOW).frames
    };
    assert_eq!(heard(1024, 1023), whole.frames);
    // The first frame with sound is decoded with the frame before it.
    assert_eq!(heard(2 * 1024 + 64, 0), whole.frames[1..]);
    assert_eq!(heard(0, 2 * 1024), whole.frames[..4]);
    assert_eq!(heard(u32::MAX, u32::MAX).len(), 1);
}

#[test]
fn fragmented_mp4_places_each_frame_in_time() {
    let audio = audio(M4A);
    let mut timeline = Timeline::default();
    placed(&mut timeline, audio.clone(), NOW);
    let written = placed(&mut timeline, audio.clone(), NOW + 384).hls();
    let mut rest = &written[..];
    Styp::decode(&mut rest).expect("the brands");
    let start = written.len() - rest.len();
    let moof = Moof::decode(&mut rest).expect("the tables");
    let track = &moof.traf[0];
    let time = track.tfdt.as_ref().expect("its time");
    assert_eq!(time.base_media_decode_time, NOW * 16);
    let run = &track.trun[0];
    let mut at = start + usize::try_from(run.data_offset.expect("its place")).expect("positive");
    for (entry, frame) in run.samples.iter().zip(&audio.frames) {
        let end = at + entry.size.expect("its size") as usize;
        assert_eq!(written[at..end], frame[..]);
        at = end;
    }
    assert_eq!(at, written.len());
}

#[test]
fn segment_after_a_gap_starts_with_the_header() {
    let mut segment = segment(M4A);
    let whole = segment.hls();
    segment.place.is_discontinuity = false;
    let bare = segment.hls();
    let header = Segment::hls_header(aac());
    assert_eq!(whole, [header, bare].concat());
}

#[test]
fn header_of_fragmented_mp4_states_the_coding() {
    let header = Segment::hls_header(aac());
    let mut rest = &header[..];
    mp4_atom::Ftyp::decode(&mut rest).expect("the brands");
    let movie = Moov::decode(&mut rest).expect("the movie");
    let [mp4_atom::Codec::Mp4a(description)] = &movie.trak[0].mdia.minf.stbl.stsd.codecs[..] else {
        panic!("not AAC: {movie:?}");
    };
    let decoder = &description.esds.es_desc.dec_config;
    let specific = decoder.dec_specific.as_ref().expect("a configuration");
    assert_eq!(AacConfig::from_specific_config(&specific.raw), Ok(aac()));
    assert_eq!(movie.trak[0].mdia.mdhd.timescale, 16_000);
}

#[test]
fn mp3_segment_starts_with_its_time() {
    let mut timeline = Timeline::default();
    placed(&mut timeline, audio(MP3), NOW);
    let written = placed(&mut timeline, audio(MP3), NOW + 396).hls();
    let tag = id3::timestamp(NOW * 90);
    assert_eq!(written[..tag.len()], tag[..]);
    assert_eq!(written[tag.len()..], MP3_COPIED[..]);
    assert_eq!(read(&written).expect("a clip of its own").frames.len(), 11);
}

#[test]
fn place_of_another_clip_is_refused() {
    let place = segment(M4A).place;
    assert!(Segment::new(place, audio(M4A)).is_ok());
    let frames = place.frames + 1;
    for place in [segment(MP3).place, Place { frames, ..place }] {
        let refused = Segment::new(place, audio(M4A));
        assert!(matches!(refused, Err(Unplayable::Damaged(_))));
    }
}

#[test]
fn other_formats_are_named_in_the_refusal() {
    for (clip, format) in [
        (&b"OggS\0\x02"[..], "Ogg"),
        (b"fLaC\0\0", "FLAC"),
        (b"\x1A\x45\xDF\xA3\x9F", "WebM"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
    ] {
        assert_eq!(refusal(clip), Unplayable::Format(format));
    }
    assert_eq!(refusal(&b"not audio at all"[..]), Unplayable::Unknown);
    assert_eq!(refusal(&b""[..]), Unplayable::Unknown);
}

#[test]
fn he_aac_is_refused() {
    // The descriptor that holds the configuration.
    let head = [0x05, 0x80, 0x80, 0x80, 0x05];
    let at = M4A.windows(5).position(|part| part == head);
    let at = at.expect("the fixture has it") + head.len();
    let mut clip = M4A.to_vec();
    clip[at] = 5 << 3 | clip[at] & 0b111;
    assert_eq!(refusal(clip), Unplayable::Format("HE-AAC"));
}

#[test]
fn cut_off_clip_is_damaged() {
    assert!(matches!(refusal(&M4A[..900]), Unplayable::Damaged(_)));
    // The last frame of a row is left out alone.
    let cut = Bytes::from_static(&ADTS[..ADTS.len() - 1]);
    assert_eq!(read(&cut).expect("five frames").frames.len(), 5);
    let cut = Bytes::from_static(&MP3_COPIED[..MP3_COPIED.len() - 1]);
    assert_eq!(read(&cut).expect("ten frames").frames.len(), 10);
}

#[test]
fn noise_between_frames_is_damage() {
    let clip = [ADTS, b"noise and more noise"].concat();
    assert!(matches!(refusal(clip), Unplayable::Damaged(_)));
    let clip = [MP3_COPIED, b"noise"].concat();
    assert!(matches!(refusal(clip), Unplayable::Damaged(_)));
}

#[test]
fn tags_around_the_frames_are_removed() {
    let mut id3v1 = [b' '; 128];
    id3v1[..3].copy_from_slice(b"TAG");
    let mut ape = [0; 32];
    ape[..8].copy_from_slice(b"APETAGEX");
    ape[12] = 32;
    let clip = [MP3, &ape, &id3v1].concat();
    assert_eq!(read(&clip.into()).expect("frames"), audio(MP3));
}

/// A clip with three chunks of one frame each, in the 600 bytes after the movie at most.
fn clip_with_chunks(offsets: [u32; 3]) -> Vec<u8> {
    let words = |words: &[u32]| -> Vec<u8> {
        let bytes = words.iter().map(|word| word.to_be_bytes());
        bytes.flatten().collect()
    };
    let start = find_box(M4A, b"stsd") - 8;
    let length = usize::from(M4A[start + 3]);
    let table = [
        M4A[start..start + length].to_vec(),
        boxed(*b"stts", &words(&[0, 0])),
        boxed(*b"stsz", &words(&[0, 600, 3])),
        boxed(*b"stsc", &words(&[0, 1, 1, 1, 1])),
        boxed(*b"stco", &words(&[&[0, 3][..], &offsets].concat())),
    ];
    let handler = boxed(*b"hdlr", b"\0\0\0\0\0\0\0\0soun");
    let media = [handler, boxed(*b"minf", &boxed(*b"stbl", &table.concat()))].concat();
    let movie = boxed(*b"moov", &boxed(*b"trak", &boxed(*b"mdia", &media)));
    let mut clip = [boxed(*b"ftyp", b"M4A \0\0\0\0"), movie].concat();
    clip.resize(clip.len().max(1_200) + 600, 0);
    clip
}

#[test]
fn frames_upon_each_other_are_refused() {
    let whole = clip_with_chunks([0, 600, 1_200]);
    assert_eq!(read(&whole.clone().into()).expect("frames").frames.len(), 3);
    let mut short = clip_with_chunks([0, 0, 0]);
    short.truncate(1_500);
    assert_eq!(
        refusal(short),
        Unplayable::Damaged("its boxes are cut off or contradict each other")
    );
}

#[test]
fn count_in_a_header_allocates_nothing() {
    let sizes = find_box(M4A, b"stsz");
    let mut clip = M4A.to_vec();
    clip[sizes + 4..sizes + 12].copy_from_slice(&[0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(refusal(clip), Unplayable::TooLong);
}

/// The start of a box's body.
fn find_box(clip: &[u8], name: &[u8]) -> usize {
    let at = clip.windows(4).position(|part| part == name);
    at.expect("the fixture has it") + 4
}

#[test]
fn nested_descriptors_do_not_recurse_without_bound() {
    let mut nested = Vec::new();
    for _ in 0..20_000 {
        // Built from the inside out, and backwards, so that each step only appends.
        let size = u32::try_from(nested.len() + 3).expect("small");
        nested.extend([0, 1, 0]);
        nested.extend((0..4).map(|group| {
            let more = if group == 0 { 0 } else { 0x80 };
            u8::try_from(size >> (7 * group) & 0x7F).expect("seven bits") | more
        }));
        nested.push(0x03);
    }
    nested.reverse();
    let mut body = vec![0; 28];
    body.extend(boxed(*b"esds", &[&[0; 4][..], &nested].concat()));
    let descriptions = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &boxed(*b"mp4a", &body)].concat();
    let table = boxed(*b"stbl", &boxed(*b"stsd", &descriptions));
    let handler = boxed(*b"hdlr", b"\0\0\0\0\0\0\0\0soun");
    let media = [handler, boxed(*b"minf", &table)].concat();
    let movie = boxed(*b"moov", &boxed(*b"trak", &boxed(*b"mdia", &media)));
    let clip = [boxed(*b"ftyp", b"M4A \0\0\0\0"), movie].concat();
    assert!(matches!(refusal(clip), Unplayable::Damaged(_)));
}

fn boxed(name: [u8; 4], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).expect("small").to_be_bytes();
    [&size[..], &name, body].concat()
}

#[test]
fn clip_with_too_many_frames_is_refused() {
    let frame = &segment(ADTS).frames[0];
    let many = adts::write(aac(), &vec![frame.slice(..1); MAX_FRAMES + 1]);
    assert_eq!(refusal(many), Unplayable::TooLong);
}

#[test]
fn mp4_with_cuts_is_refused() {
    let edits = find_box(M4A, b"elst");
    let entry = &M4A[edits + 8..edits + 20];
    let (mut clip, at) = (M4A.to_vec(), edits + 20);
    clip.splice(at..at, entry.iter().copied());
    clip[edits + 7] = 2;
    for name in [&b"elst"[..], b"edts", b"trak", b"moov"] {
        let size = find_box(&clip, name) - 8;
        let bytes: [u8; 4] = clip[size..size + 4].try_into().expect("four bytes");
        clip[size..size + 4].copy_from_slice(&(u32::from_be_bytes(bytes) + 12).to_be_bytes());
    }
    assert!(matches!(refusal(clip), Unplayable::Format(_)));
}

proptest! {
    #[test]
    fn no_input_makes_more_than_it_is(clip in any::<Vec<u8>>()) {
        check_bounds(&clip.into());
    }

    #[test]
    fn no_damage_makes_more_than_it_is(
        fixture in 0..5_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in any::<prop::sample::Index>(),
    ) {
        let mut clip = [M4A, M4A_WITHOUT_EDITS, ADTS, MP3, MP3_COPIED][fixture].to_vec();
        for (at, byte) in changes {
            let at = at.index(clip.len());
            clip[at] = byte;
        }
        clip.truncate(length.index(clip.len()) + 1);
        check_bounds(&clip.into());
    }

    #[test]
    fn adts_is_read_as_it_is_written(
        rate in 0..13_u8,
        channels in 1..8_u8,
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 1..20),
    ) {
        let config = AacConfig::new(rate, channels).expect("a usual coding");
        let frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
        let audio = read(&adts::write(config, &frames)).expect("whole");
        prop_assert_eq!(audio.codec, Codec::Aac(config));
        prop_assert_eq!(audio.frames, frames);
    }
}

fn check_bounds(clip: &Bytes) {
    if let Ok(audio) = read(clip) {
        assert!((1..=MAX_FRAMES).contains(&audio.frames.len()));
        let bytes: usize = audio.frames.iter().map(Bytes::len).sum();
        assert!(bytes <= clip.len());
        let segment = placed(&mut Timeline::default(), audio, NOW);
        assert!(!segment.frames.is_empty());
        segment.hls();
    }
}
