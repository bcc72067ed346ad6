//! The queue compared with a plain writer, under every split of writes above and below.

use std::io::IoSlice;

use proptest::prelude::*;

use super::*;
use crate::broadcast::{Clip, Position};
use crate::transport::ClipEvent;

const BOUNDS: QueueBounds = QueueBounds {
    clips: 3,
    bytes: 200_000,
};

/// A frame of the library, a clip, or a write to the kernel.
#[derive(Debug, Clone)]
enum Step {
    /// A frame with this opcode and length.
    Frame { opcode: u8, length: usize },
    /// A text frame as long as the mark, but with another text.
    Lookalike,
    /// The mark.
    Mark,
    /// The library's ping.
    Ping,
    /// A ping of the server, in the middle of the library's next frame.
    OurPing,
    /// A clip of this size.
    Clip { size: usize },
    /// The kernel takes this many bytes.
    Write { most: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop::sample::select(vec![0, 1, 60, 125, 126, 127, 4000, 65_535, 65_536]);
    let opcode = prop::sample::select(vec![0x81_u8, 0x82, 0x89, 0x8a, 0x01, 0x80]);
    prop_oneof![
        3 => (opcode, length).prop_map(|(opcode, length)| Step::Frame { opcode, length }),
        1 => Just(Step::Lookalike),
        2 => Just(Step::Mark),
        2 => Just(Step::Ping),
        2 => Just(Step::OurPing),
        6 => (0..70_000_usize).prop_map(|size| Step::Clip { size }),
        6 => (1..100_000_usize).prop_map(|most| Step::Write { most }),
    ]
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode];
    match payload.len() {
        short @ 0..126 => frame.push(u8::try_from(short).unwrap()),
        medium @ 126..=65_535 => {
            frame.push(126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

fn clip(sequence: u64, size: usize) -> Arc<ClipFrame> {
    // Each clip's bytes identify it.
    let bytes: Bytes = sequence
        .to_be_bytes()
        .into_iter()
        .cycle()
        .take(size)
        .collect();
    Arc::new(ClipFrame::new(
        &Clip::new(
            sequence,
            Position::new(1, sequence),
            bytes.into(),
            Instant::now(),
        ),
        Instant::now(),
    ))
}

fn wire(frame: &ClipFrame) -> Vec<u8> {
    [&frame.head[..], &frame.payload].concat()
}

/// Writes at most `most` of the bytes that may leave.
fn write(queue: &mut SendQueue, most: usize, out: &mut Vec<u8>) {
    queue.place_gap();
    let mut slices = [IoSlice::new(&[]); SLICES];
    let filled = queue.slices(&mut slices);
    let filled = slices[..filled].iter();
    let all: Vec<u8> = filled.flat_map(|slice| slice.iter().copied()).collect();
    if let Some(only) = queue.only() {
        assert!(only == all, "the only piece is all there is");
    }
    let bytes = &all[..most.min(all.len())];
    out.extend(bytes);
    queue.advance(bytes.len());
}

/// The wire without the library's pings, and the number of pings.
fn without_pings(wire: &[u8]) -> (Vec<u8>, usize) {
    let (mut rest, mut frames, mut pings) = (wire, Vec::new(), 0);
    while !rest.is_empty() {
        let (header, length) = match rest[1] {
            127 => (
                10,
                usize::try_from(u64::from_be_bytes(rest[2..10].try_into().unwrap())).unwrap(),
            ),
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            short => (2, usize::from(short)),
        };
        let (whole, after) = rest.split_at(header + length);
        if whole == frame(0x81, PING) {
            pings += 1;
        } else {
            frames.extend(whole);
        }
        rest = after;
    }
    (frames, pings)
}

/// Splits `wire` into its units, the library's frames and the clips, or returns the rest that is neither.
fn units(
    mut wire: &[u8],
    passing: &[Vec<u8>],
    clips: &[Arc<ClipFrame>],
) -> Result<Vec<u64>, String> {
    let (mut passing, mut clips) = (passing.iter(), clips.iter().enumerate());
    let mut heard = Vec::new();
    let mut next = passing.next();
    while !wire.is_empty() {
        if let Some(frame) = next
            && let Some(rest) = wire.strip_prefix(&frame[..])
        {
            wire = rest;
            next = passing.next();
            continue;
        }
        let found = clips.find_map(|(index, clip)| {
            wire.strip_prefix(&self::wire(clip)[..])
                .map(|rest| (index, rest))
        });
        let Some((index, rest)) = found else {
            return Err(format!("{} bytes are neither", wire.len()));
        };
        heard.push(index as u64);
        wire = rest;
    }
    next.map_or(Ok(heard), |_| {
        Err("a frame of the library's is missing".into())
    })
}

#[test]
fn own_frame_waits_for_gate_and_boundary() {
    let mark = Mark::random();
    let mut queue = SendQueue::new(&mark);
    let said = Bytes::from(frame(0x81, b"42/listener,[]"));
    assert!(!queue.say(&said), "the gate is shut");
    queue.accept(&frame(0x81, mark.message.as_bytes()));
    queue.accept(&[0x81]);
    assert!(!queue.say(&said), "a frame of the library is unfinished");
    queue.accept(&[3, b'4', b'3', b'x']);
    assert!(queue.say(&said));
    let sent = std::iter::from_fn(|| {
        let piece = queue.items.pop_front()?;
        let Item::Passing(bytes) = piece else {
            panic!("no clip")
        };
        Some(bytes)
    });
    let sent = sent.collect::<Vec<_>>().concat();
    assert_eq!(sent, [frame(0x81, b"43x"), said.to_vec()].concat());
    // One that reads nothing cannot make the queue grow.
    let taken = (0..PASSING_BYTES).take_while(|_| queue.say(&said)).count();
    assert!(taken * said.len() <= PASSING_BYTES);
    queue.close(Closing::Normal);
    assert!(!queue.say(&said));
}

proptest! {
    #[test]
    fn clips_leave_whole_in_order_or_are_counted(
        steps in prop::collection::vec(step(), 1..60),
        cut in prop_oneof![1..40_usize, 1000..200_000_usize],
    ) {
        let mark = Mark::random();
        let mut queue = SendQueue::new(&mark);
        let (mut out, mut passing, mut clips) = (Vec::new(), Vec::new(), Vec::new());
        let (mut dropped, mut pings) = (0, 0);
        let mut opened = false;
        let mut before_gate = 0;
        let mut our_ping = false;
        for step in steps {
            let bytes = match step {
                Step::Frame { opcode, length } => frame(opcode, &vec![b'x'; length]),
                Step::Ping => {
                    pings += 1;
                    frame(0x81, PING)
                }
                Step::Lookalike => frame(0x81, &vec![b'4'; mark.message.len()]),
                // Once the gate is open a mark would pass like any other frame; the library sends none.
                Step::Mark if opened => continue,
                Step::Mark => frame(0x81, mark.message.as_bytes()),
                Step::Clip { size } => {
                    let clip = clip(clips.len() as u64, size);
                    clips.push(clip.clone());
                    dropped += queue.push_clip(clip, BOUNDS);
                    prop_assert!(queue.clips <= BOUNDS.clips || queue.clips == 1);
                    continue;
                }
                Step::OurPing => {
                    our_ping = true;
                    continue;
                }
                Step::Write { most } => {
                    write(&mut queue, most, &mut out);
                    continue;
                }
            };
            if matches!(step, Step::Mark) {
                opened = true;
                before_gate = passing.len();
            } else if !matches!(step, Step::Ping) {
                passing.push(bytes.clone());
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let taken = queue.accept(&rest[..cut.min(rest.len())]);
                if taken == 0 {
                    write(&mut queue, 50_000, &mut out);
                }
                rest = &rest[taken..];
                // A second ping while the first waits is the same ping.
                if std::mem::take(&mut our_ping) {
                    queue.ping();
                    pings += 1;
                }
            }
        }
        while !queue.is_drained() {
            write(&mut queue, usize::MAX, &mut out);
        }
        let (out, pinged) = without_pings(&out);
        prop_assert_eq!(pinged, pings);
        if !opened {
            prop_assert_eq!(&out, &passing.concat(), "the gate was never open");
            return Ok(());
        }
        prop_assert!(out.starts_with(&passing[..before_gate].concat()), "no clip before the gate");
        let heard = units(&out, &passing, &clips).map_err(TestCaseError::fail)?;
        prop_assert!(heard.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(heard.len() + dropped, clips.len(), "each clip left or was counted");
        prop_assert!(queue.is_empty() && queue.clips == 0 && queue.clip_bytes == 0 && queue.passing == 0);
    }
}

/// The texts of all text frames.
fn texts(mut wire: &[u8]) -> Vec<String> {
    let mut tracker = FrameTracker::default();
    let mut texts = Vec::new();
    while !wire.is_empty() {
        let taken = match tracker.next(wire) {
            Piece::Header { taken, text, .. } => {
                let length = text.map_or(0, |length| usize::try_from(length).unwrap());
                let text = &wire[taken..taken + length];
                texts.extend((length > 0).then(|| String::from_utf8(text.to_vec()).unwrap()));
                taken
            }
            Piece::Payload(taken) | Piece::Part(taken) => taken,
        };
        wire = &wire[taken..];
    }
    texts
}

proptest! {
    #[test]
    fn gap_is_told_before_the_next_clip(
        steps in prop::collection::vec((0..8_u8, 1..3000_usize), 1..80),
    ) {
        let mut queue = SendQueue::new(&Mark::random());
        queue.open = true;
        let (mut out, mut pushed) = (Vec::new(), 0);
        for (kind, size) in steps {
            match kind {
                0..4 => {
                    pushed += 1;
                    let clip = Clip::new(pushed, Position::new(1, pushed), Bytes::from(vec![b'x'; size]).into(), Instant::now());
                    let frame = ClipFrame::of(ClipEvent::Clip, &clip, Instant::now());
                    queue.push_clip(Arc::new(frame), BOUNDS);
                }
                4 => drop(queue.accept(&frame(0x82, &vec![b'y'; size]))),
                5 => drop(queue.drop_waiting()),
                _ => write(&mut queue, size, &mut out),
            }
        }
        while queue.place_gap() || !queue.is_drained() {
            write(&mut queue, usize::MAX, &mut out);
        }
        let mut next = 1;
        for text in texts(&out) {
            let json = text.split_once(',').unwrap().1;
            let event: serde_json::Value = serde_json::from_str(json).unwrap();
            let (from, to) = match event[0].as_str() {
                Some("gap") => ("from", "to"),
                _ => ("sequence", "sequence"),
            };
            prop_assert_eq!(event[1][from].as_u64(), Some(next));
            next = event[1][to].as_u64().unwrap() + 1;
        }
        prop_assert_eq!(next, pushed + 1);
        prop_assert_eq!(queue.passing, 0);
    }
}

#[test]
fn oldest_clips_are_dropped_unless_half_written() {
    let mut queue = SendQueue::new(&Mark::random());
    queue.open = true;
    let clips: Vec<_> = (0..6).map(|sequence| clip(sequence, 1000)).collect();
    let mut out = Vec::new();
    queue.push_clip(clips[0].clone(), BOUNDS);
    write(&mut queue, 10, &mut out);
    let dropped: usize = clips[1..]
        .iter()
        .map(|clip| queue.push_clip(clip.clone(), BOUNDS))
        .sum();
    assert_eq!(dropped, 3);
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(units(&out, &[], &clips).unwrap(), [0, 4, 5]);
}

#[test]
fn ping_overtakes_clips_that_are_not_begun() {
    let mut queue = SendQueue::new(&Mark::random());
    queue.open = true;
    let clips: Vec<_> = (0..3).map(|sequence| clip(sequence, 1000)).collect();
    let mut out = Vec::new();
    queue.push_clip(clips[0].clone(), BOUNDS);
    queue.push_clip(clips[1].clone(), BOUNDS);
    write(&mut queue, 10, &mut out);
    queue.accept(&frame(0x81, b"41/listener,"));
    queue.accept(&frame(0x81, PING));
    write(&mut queue, usize::MAX, &mut out);
    let expected = [
        wire(&clips[0]),
        frame(0x81, PING),
        wire(&clips[1]),
        frame(0x81, b"41/listener,"),
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn close_frame_of_the_library_gets_a_code() {
    for (goodbye, closing) in [(false, Closing::MALFORMED), (true, Closing::Normal)] {
        let mut queue = SendQueue::new(&Mark::random());
        queue.open = true;
        if goodbye {
            queue.says_goodbye(Closing::Normal);
        }
        let close = [frame(0x81, b"1"), vec![0x88, 0], frame(0x81, b"more")].concat();
        assert_eq!(queue.accept(&close), close.len());
        assert_eq!(queue.push_clip(clip(1, 10), BOUNDS), 1, "dropped");
        queue.ping();
        assert_eq!(queue.close(Closing::TooLarge), 0, "once only");
        let mut out = Vec::new();
        write(&mut queue, usize::MAX, &mut out);
        assert_eq!(out, [&frame(0x81, b"1")[..], &closing.frame()].concat());
    }
}

#[test]
fn close_frame_waits_for_the_frames_end() {
    let mut queue = SendQueue::new(&Mark::random());
    queue.open = true;
    let (mut out, begun, text) = (Vec::new(), clip(1, 1000), frame(0x81, b"text"));
    queue.push_clip(begun.clone(), BOUNDS);
    queue.push_clip(clip(2, 1000), BOUNDS);
    write(&mut queue, 10, &mut out);
    queue.accept(&text[..3]);
    assert_eq!(
        queue.close(Closing::GoingAway),
        1,
        "the clip that had not begun"
    );
    queue.accept(&text[3..]);
    queue.accept(&frame(0x81, b"more"));
    write(&mut queue, usize::MAX, &mut out);
    let expected = [wire(&begun), text, Closing::GoingAway.frame().to_vec()];
    assert_eq!(out, expected.concat());
}

#[test]
fn answers_to_the_greeting_are_swallowed() {
    let greeting = Greeting::random();
    let mut queue = SendQueue::new(&Mark::random());
    queue.greets(greeting.clone());
    let name = greeting.namespace();
    let connect = frame(
        0x81,
        format!(r#"40{name},{{"sid":"0123456789abcdef"}}"#).as_bytes(),
    );
    let other = frame(0x81, b"40/listener,{}");
    let disconnect = frame(0x81, format!("41{name},").as_bytes());
    for bytes in [connect, other.clone(), disconnect].concat().chunks(7) {
        assert!(queue.is_greeting());
        queue.accept(bytes);
    }
    assert!(!queue.is_greeting());
    let mut out = Vec::new();
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(out, other);
}

#[test]
fn clip_equal_to_the_mark_is_a_clip() {
    let mark = Mark::random();
    let mut queue = SendQueue::new(&mark);
    queue.open = true;
    let bytes = Bytes::from(frame(0x81, mark.message.as_bytes()));
    let clip = Arc::new(ClipFrame::new(
        &Clip::new(1, Position::new(1, 1), bytes.into(), Instant::now()),
        Instant::now(),
    ));
    queue.push_clip(clip.clone(), BOUNDS);
    let mut out = Vec::new();
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(out, wire(&clip));
}

#[test]
fn library_waits_while_the_connection_is_full() {
    let mut queue = SendQueue::new(&Mark::random());
    let text = frame(0x82, &vec![0; 100_000]);
    let taken = queue.accept(&text);
    assert_eq!(taken, PASSING_BYTES);
    assert_eq!(queue.accept(&text[taken..]), 0);
    let mut out = Vec::new();
    write(&mut queue, 1000, &mut out);
    // Room is made piece by piece, when a whole piece has left.
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(queue.accept(&text[taken..]), text.len() - taken);
}
