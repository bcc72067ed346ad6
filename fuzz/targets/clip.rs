//! A clip of any bytes is read or refused; what is read is at most the clip, and is read again as it is written.
#![no_main]

use bytes::Bytes;
use castaway_media_server::media::{self, MAX_FRAMES, Segment, Timeline};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|clip: &[u8]| {
    let clip = Bytes::copy_from_slice(clip);
    let Ok(audio) = media::read(&clip) else {
        return;
    };
    assert!((1..=MAX_FRAMES).contains(&audio.frames.len()));
    let bytes: usize = audio.frames.iter().map(Bytes::len).sum();
    assert!(bytes <= clip.len());
    let place = Timeline::default().place(1, 1, &audio, 1_700_000_000_000);
    let segment = Segment::new(place, audio).expect("its own place");
    assert!(!segment.hls().is_empty());
    // A first frame of MP3 may be taken for a table of contents, if the table before it is removed; and the end of the last
    // ones for a tag, which a piece of a frame hid before it was left out.
    if let Ok(again) = media::read(&segment.stream()) {
        assert_eq!(again.codec, segment.place.codec);
        let mut runs = segment.frames.windows(again.frames.len());
        assert!(runs.any(|run| run == again.frames));
    }
});
