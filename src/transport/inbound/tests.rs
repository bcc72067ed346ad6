//! Valid and invalid client frames, split in every way.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 70_000;
const MASK: [u8; 4] = [7, 77, 177, 250];

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..=65_535 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0xff);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// Follows the stream in pieces of `cut` bytes. Returns the number of messages, the number of bytes passed on, and the
/// reason for a refusal.
fn follow(stream: &[u8], cut: usize) -> (usize, usize, Option<Closing>) {
    let (mut inbound, mut messages, mut passed) = (Inbound::default(), 0, 0);
    for piece in stream.chunks(cut) {
        match inbound.follow(piece, LIMIT) {
            Ok(heard) => {
                messages += usize::from(heard.message);
                passed += piece.len();
            }
            Err(refused) => return (messages, passed + refused.before, Some(refused.why)),
        }
    }
    (messages, passed, None)
}

fn end(stream: &[u8]) -> Option<Closing> {
    let ends = [1, 2, 3, 7, 64, 1 << 20].map(|cut| follow(stream, cut).2);
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    ends[0]
}

#[test]
fn violations_have_their_close_code() {
    let good = frame(0x81, "ünï🎧".as_bytes());
    let with = |bad: Vec<u8>| end(&[good.clone(), bad, good.clone()].concat());
    let code = |closing: Option<Closing>| closing.map(Closing::code);
    assert_eq!(with(Vec::new()), None);
    assert_eq!(code(with(frame(0xc1, b"x"))), Some(1002), "reserved bits");
    assert_eq!(code(with(frame(0x83, b"x"))), Some(1002), "opcode 3");
    assert_eq!(code(with(frame(0x8b, b"x"))), Some(1002), "opcode 11");
    assert_eq!(code(with(frame(0x80, b"x"))), Some(1002), "continuation");
    assert_eq!(code(with(frame(0x09, b"x"))), Some(1002), "a cut ping");
    assert_eq!(
        code(with(frame(0x89, &[0; 126]))),
        Some(1002),
        "a long ping"
    );
    assert_eq!(code(with(frame(0x88, b"x"))), Some(1002), "half a code");
    assert_eq!(code(with(vec![0x81, 1, b'x'])), Some(1002), "no mask");
    let nested = [frame(0x01, b"x"), frame(0x81, b"y")].concat();
    assert_eq!(code(with(nested)), Some(1002), "nested");
    assert_eq!(code(with(frame(0x81, b"\xff"))), Some(1007), "no UTF-8");
    assert_eq!(code(with(frame(0x81, b"x\xc3"))), Some(1007), "cut UTF-8");
    let in_two = [frame(0x01, b"\xc3"), frame(0x80, b"\xbc")].concat();
    assert_eq!(with(in_two), None, "a character in two fragments");
    assert_eq!(with(frame(0x82, b"\xff")), None, "binary may be anything");
    assert_eq!(code(with(frame(0x82, &vec![0; LIMIT + 1]))), Some(1009));
    let in_two = [frame(0x02, &vec![0; LIMIT]), frame(0x80, b"x")].concat();
    assert_eq!(code(with(in_two)), Some(1009), "too large in all");
    assert_eq!(with(frame(0x82, &vec![0; LIMIT])), None);
}

#[test]
fn large_message_is_refused_by_its_header() {
    let header = [0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(end(&header), Some(Closing::TooLarge));
}

#[test]
fn goodbye_is_the_text_1_alone() {
    for (payload, opcode, goodbye) in [("1", 0x81, true), ("11", 0x81, false), ("1", 0x82, false)] {
        let mut inbound = Inbound::default();
        inbound
            .follow(&frame(opcode, payload.as_bytes()), LIMIT)
            .unwrap();
        assert_eq!(inbound.said_goodbye(), goodbye, "{payload} {opcode}");
    }
}

#[test]
fn unfinished_message_is_no_message() {
    let stream = [frame(0x02, b"x"), frame(0x00, b"y"), frame(0x80, b"z")];
    assert_eq!(follow(&stream[..2].concat(), 1).0, 0);
    assert_eq!(follow(&stream.concat(), 1).0, 1);
    assert_eq!(
        follow(&[&frame(0x02, b"x")[..], &frame(0x8a, b"")].concat(), 1).0,
        0,
        "a pong inside"
    );
}

proptest! {
    #[test]
    fn valid_frames_pass_and_an_invalid_one_not(
        lengths in prop::collection::vec(prop::sample::select(vec![0, 1, 125, 126, 65_535, 65_536]), 0..4),
        cut in 1..3000_usize,
    ) {
        let good: Vec<u8> = lengths.iter().flat_map(|length| frame(0x82, &vec![9; *length])).collect();
        let stream = [good.clone(), frame(0xff, b"bad"), good.clone()].concat();
        let (_, passed, end) = follow(&stream, cut);
        prop_assert!(matches!(end, Some(Closing::Protocol(_))));
        // Of the refused frame, at most the part of its header that came with an earlier read.
        prop_assert!((good.len()..good.len() + 2).contains(&passed), "{} {}", passed, good.len());
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..500), cut in 1..50_usize) {
        follow(&bytes, cut);
    }
}
