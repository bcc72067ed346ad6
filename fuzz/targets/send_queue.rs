//! The queue against a plain writer: the library's frames whole and in order, whole clips between them and in order,
//! none before the mark, and all of them accounted for.
#![no_main]

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use castaway_media_server::broadcast::{Clip, Position};
use castaway_media_server::transport::{ClipFrame, Mark, QueueBounds, SLICES, SendQueue};
use libfuzzer_sys::fuzz_target;

const BOUNDS: QueueBounds = QueueBounds {
    clips: 4,
    bytes: 3000,
};

/// What one script does, and what it expects.
struct Model {
    queue: SendQueue,
    mark: Vec<u8>,
    /// The library's bytes that the queue has not taken yet.
    library: Vec<u8>,
    /// The library's frames that must come out, in order, and before which of them the gate opens.
    frames: Vec<Vec<u8>>,
    /// After how many of the frames a clip may first come.
    opens_after: Option<usize>,
    clips: Vec<Arc<ClipFrame>>,
    dropped: usize,
    sent: u64,
    out: Vec<u8>,
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short @ 0..126) => frame.push(short),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

impl Model {
    fn new() -> Self {
        let mark = Mark::random();
        let text = format!("42/listener,[\"{}\",\"{}\"]", Mark::EVENT, mark.as_str());
        Self {
            queue: SendQueue::new(&mark),
            mark: frame(1, text.as_bytes()),
            library: Vec::new(),
            frames: Vec::new(),
            opens_after: None,
            clips: Vec::new(),
            dropped: 0,
            sent: 0,
            out: Vec::new(),
        }
    }

    fn step(&mut self, operation: u8, value: u8) {
        let size = usize::from(value);
        match operation % 6 {
            0 => self.library_writes(1, &vec![b'w'; size * 3]),
            1 => self.library_writes(2, &vec![value; size]),
            // As long as the mark, but not it.
            2 => self.library_writes(1, &vec![b'm'; self.mark.len() - 2]),
            3 if self.opens_after.is_none() => {
                self.opens_after = Some(self.frames.len());
                self.library.extend(self.mark.clone());
            }
            3 | 4 => self.push(size * 8),
            _ => {}
        }
        match operation / 6 % 4 {
            0 => self.feed(size + 1),
            1 => self.write(size * 4 + 1),
            2 => self.feed(usize::MAX),
            _ => {}
        }
    }

    fn library_writes(&mut self, opcode: u8, payload: &[u8]) {
        let frame = frame(opcode, payload);
        self.library.extend(&frame);
        self.frames.push(frame);
    }

    fn push(&mut self, size: usize) {
        let sequence = self.clips.len() as u64;
        let bytes: Bytes = sequence
            .to_be_bytes()
            .into_iter()
            .cycle()
            .take(size)
            .collect();
        let accepted_at = Instant::now();
        let clip = Arc::new(ClipFrame::new(
            &Clip::new(
                sequence,
                Position::new(1, sequence),
                bytes.into(),
                accepted_at,
            ),
            accepted_at,
        ));
        self.clips.push(clip.clone());
        self.dropped += self.queue.push_clip(clip, BOUNDS);
    }

    fn feed(&mut self, most: usize) {
        let length = most.min(self.library.len());
        let taken = self.queue.accept(&self.library[..length]);
        assert!(taken <= length);
        self.library.drain(..taken);
    }

    fn write(&mut self, most: usize) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = self.queue.slices(&mut slices);
        if let Some(only) = self.queue.only() {
            assert!(
                filled == 1 && *only == *slices[0],
                "the only piece is all there is"
            );
        }
        let bytes: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .take(most)
            .collect();
        self.out.extend(&bytes);
        self.sent += self.queue.advance(bytes.len()).clips;
    }

    fn finish(mut self) {
        while !self.library.is_empty() || !self.queue.is_drained() {
            self.feed(usize::MAX);
            self.write(usize::MAX);
        }
        let left = self.queue.clear();
        assert_eq!(self.sent as usize + self.dropped + left, self.clips.len());
        if self.opens_after.is_some() {
            assert_eq!(left, 0, "the gate is open, and clips are held");
        }
        let (mut wire, mut frames, mut clips) = (&self.out[..], 0, 0);
        let mut heard = 0;
        while !wire.is_empty() {
            if let Some(next) = self.frames.get(frames)
                && let Some(rest) = wire.strip_prefix(&next[..])
            {
                wire = rest;
                frames += 1;
                continue;
            }
            let found = (clips..self.clips.len()).find_map(|index| {
                let clip = &self.clips[index];
                let rest = wire
                    .strip_prefix(&clip.head[..])?
                    .strip_prefix(&clip.payload[..])?;
                Some((index, rest))
            });
            let (index, rest) = found.expect("whole frames and whole clips, in order");
            assert!(
                self.opens_after.is_some_and(|after| frames >= after),
                "before the mark"
            );
            (clips, wire) = (index + 1, rest);
            heard += 1;
        }
        assert_eq!(frames, self.frames.len());
        assert_eq!(heard, self.sent);
    }
}

fuzz_target!(|script: &[u8]| {
    let mut model = Model::new();
    for step in script.chunks_exact(2).take(500) {
        model.step(step[0], step[1]);
    }
    model.finish();
});
