//! In any order and at any time of arrival, segments do not overlap, and the playlist lists what the window holds.
#![no_main]

use bytes::Bytes;
use castaway_media_server::media::{AacConfig, Audio, Codec, Segment, Timeline, Window};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<(u8, u8, u8, u32, u32, u32)>| {
    let (mut timeline, mut window) = (Timeline::default(), Window::new(4, 1 << 16));
    let (mut sequence, mut end) = (0, (0_u128, 1_u128));
    for (rate, frames, skipped, arrived, delay, padding) in steps {
        sequence += 1 + u64::from(skipped);
        let rate = [48_000, 44_100, 8_000][usize::from(rate % 3)];
        let audio = Audio {
            codec: Codec::Aac(AacConfig::with(rate, 2).expect("a usual coding")),
            frames: vec![Bytes::from_static(b"frame"); usize::from(frames) + 1],
            delay,
            padding,
        };
        let place = timeline.place(1, sequence, &audio, u64::from(arrived) << 8);
        let segment = Segment::new(place, audio).expect("its own place");
        let start = u128::from(place.start);
        assert!(start * end.1 >= end.0 * u128::from(rate));
        end = (start + u128::from(place.samples()), u128::from(rate));
        window.push(&segment);
        let playlist = window.playlist().expect("a segment");
        let listed = playlist.lines().filter(|line| !line.starts_with('#'));
        let listed: Vec<_> = listed.collect();
        assert!(listed.len() <= 4);
        let found = listed.iter().filter(|name| window.segment(name).is_some());
        assert_eq!(found.count(), window.segments().len());
    }
});
