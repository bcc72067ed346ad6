use std::collections::HashMap;

use proptest::prelude::*;

use super::super::{AacConfig, Audio, Timeline};
use super::*;

const NOW: u64 = 1_700_000_000_000;

fn four_seconds() -> Audio {
    Audio {
        codec: Codec::Aac(AacConfig::with(32_000, 2).expect("a usual coding")),
        frames: vec![Bytes::from_static(b"frame"); 125],
        delay: 0,
        padding: 0,
    }
}

fn segment_of(place: Place) -> Segment {
    Segment::new(place, four_seconds()).expect("its own place")
}

fn segment(sequence: u64, discontinuities: u64, is_discontinuity: bool) -> Segment {
    segment_of(Place {
        epoch: 7,
        sequence,
        discontinuities,
        is_discontinuity,
        target_seconds: 4,
        codec: four_seconds().codec,
        frames: 125,
        start: (NOW + sequence * 4_000) * 32,
        ahead_ms: 0,
    })
}

/// The names that a playlist lists.
fn listed(window: &Window) -> Vec<String> {
    let playlist = window.playlist().unwrap_or_default();
    let lines = playlist.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn playlist_lists_the_latest_segments() {
    let mut window = Window::new(3, 1 << 20);
    assert_eq!(window.playlist(), None);
    for (sequence, discontinuities, is_apart) in
        [(5, 5, true), (6, 6, true), (7, 7, true), (9, 8, true)]
    {
        window.push(&segment(sequence, discontinuities, is_apart));
    }
    window.end();
    let expected = "\
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-TARGETDURATION:4
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=12.0
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-DISCONTINUITY-SEQUENCE:6
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI=\"aac-32000-2.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:48.000Z
#EXTINF:4.000,
7-7.m4s
#EXT-X-GAP
#EXTINF:4.000,
7-8.m4s
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:56.000Z
#EXTINF:4.000,
7-9.m4s
#EXT-X-ENDLIST
";
    assert_eq!(window.playlist().as_deref(), Some(expected));
}

#[test]
fn segment_has_one_name() {
    let mut window = Window::new(3, 1 << 20);
    window.push(&segment(12, 1, true));
    let found = window.segment("7-12.m4s");
    assert_eq!(found.map(|it| it.place.sequence), Some(12));
    for other in [
        "6-12.m4s",
        "7-11.m4s",
        "7-12.mp3",
        "7-012.m4s",
        "07-12.m4s",
        "7-+12.m4s",
        "7-12",
        "-12.m4s",
        "7-.m4s",
        "",
        "7-99999999999999999999.m4s",
    ] {
        assert!(window.segment(other).is_none(), "{other}");
    }
}

#[test]
fn multivariant_playlist_names_the_coding() {
    let mut window = Window::new(3, 1 << 20);
    assert_eq!(window.multivariant("live.m3u8"), None);
    window.push(&segment(12, 1, true));
    let text = window.multivariant("live.m3u8").expect("a segment");
    assert!(text.contains("CODECS=\"mp4a.40.2\"\nlive.m3u8\n"), "{text}");
}

#[test]
fn another_nodes_clips_replace_own_ones() {
    let mut window = Window::new(9, 1 << 20);
    (1..=5).for_each(|sequence| window.push(&segment(sequence, 1, sequence == 1)));
    let later = window.segments().next_back().map_or(0, |it| it.arrival);
    let place = segment(4, 2, true).place;
    window.push(&segment_of(Place { epoch: 9, ..place }));
    let names = ["7-1.m4s", "7-2.m4s", "7-3.m4s", "9-4.m4s"];
    assert_eq!(listed(&window), names);
    let latest = window.segments().next_back().expect("a segment");
    assert!(latest.arrival > later, "streams send it");
    let held: usize = window.segments().map(Written::bytes).sum();
    assert_eq!(window.bytes(), held);
}

#[test]
fn late_clip_is_put_where_it_belongs() {
    let mut window = Window::new(9, 1 << 20);
    for sequence in [1, 3, 4] {
        window.push(&segment(sequence, 1, sequence == 1));
    }
    window.push(&segment(2, 1, false));
    window.push(&segment(2, 1, false));
    let sequences = window.segments().map(|it| it.place.sequence);
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3, 4]);
    let arrivals: Vec<i64> = window.segments().map(|it| it.arrival).collect();
    assert!(arrivals.is_sorted(), "{arrivals:?}");
}

#[test]
fn clips_before_one_without_room_stay_out() {
    // The second has a header, so that it is larger.
    let segments: Vec<Segment> = (1..=4)
        .map(|sequence| segment(sequence, 1, sequence == 2))
        .collect();
    let three = 3 * Written::new(&segments[0], 0).bytes();
    let mut window = Window::new(9, three);
    segments[2..].iter().for_each(|later| window.push(later));
    window.fill(&segments);
    assert_eq!(listed(&window), ["7-3.m4s", "7-4.m4s"]);
}

/// The discontinuity sequence of each listed segment, as a player counts it.
fn counted(playlist: &str) -> Vec<(String, u64)> {
    let (mut count, mut found) = (0, Vec::new());
    for line in playlist.lines() {
        if let Some(number) = line.strip_prefix("#EXT-X-DISCONTINUITY-SEQUENCE:") {
            count = number.parse().expect("a number");
        } else if line == "#EXT-X-DISCONTINUITY" {
            count += 1;
        } else if !line.starts_with('#') {
            found.push((line.to_owned(), count));
        }
    }
    found
}

/// The segments of a streamer's clips, of which so many before each are not playable, and which come after such pauses.
fn placed(steps: &[(u64, u64)]) -> Vec<Segment> {
    let (mut timeline, mut sequence, mut arrived) = (Timeline::default(), 0, NOW);
    let segment = |(skipped, pause_ms): &(u64, u64)| {
        sequence += 1 + skipped;
        arrived += pause_ms;
        segment_of(timeline.place(7, sequence, &four_seconds(), arrived))
    };
    steps.iter().map(segment).collect()
}

fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0..3_u64, 3_000..6_000_u64), 1..60)
}

proptest! {
    #[test]
    fn nothing_that_was_told_changes(
        steps in steps(), max_segments in 1..8_usize, max_bytes in 0..20_000_usize,
    ) {
        let mut window = Window::new(max_segments, max_bytes);
        let (mut told, mut media) = (HashMap::new(), 0);
        for segment in placed(&steps) {
            let sequence = segment.place.sequence;
            window.push(&segment);
            prop_assert_eq!(window.latest(), Some(sequence));
            let held: usize = window.segments.iter().map(Written::bytes).sum();
            prop_assert_eq!(window.bytes(), held);
            prop_assert!(held <= max_bytes || window.segments.len() == 1);
            let playlist = window.playlist().expect("a segment");
            let listed = counted(&playlist);
            prop_assert!(listed.len() <= max_segments);
            let first = sequence + 1 - listed.len() as u64;
            let line = format!("#EXT-X-MEDIA-SEQUENCE:{first}\n");
            prop_assert!(playlist.contains(&line), "{}", playlist);
            prop_assert!(first >= media);
            media = first;
            for (name, count) in listed {
                if window.segment(&name).is_some() {
                    prop_assert_eq!(*told.entry(name).or_insert(count), count);
                }
            }
        }
    }

    /// One has all clips; the other gets those from `joined` on, and then the earlier ones from the history.
    #[test]
    fn windows_of_the_same_clips_are_equal(
        steps in steps(), max_segments in 1..8_usize, max_bytes in 0..20_000_usize,
        joined in any::<prop::sample::Index>(), filled in any::<prop::sample::Index>(),
    ) {
        let segments = placed(&steps);
        let (joined, filled) = (joined.index(segments.len()), filled.index(segments.len()));
        let mut whole = Window::new(max_segments, max_bytes);
        let mut late = Window::new(max_segments, max_bytes);
        let mut is_filled = joined == 0;
        for (at, segment) in segments.iter().enumerate() {
            whole.push(segment);
            if at >= joined {
                late.push(segment);
            }
            if at >= joined.max(filled) && !is_filled {
                late.fill(&segments[..=at]);
                is_filled = true;
            }
            if is_filled {
                prop_assert_eq!(whole.playlist(), late.playlist());
                prop_assert_eq!(whole.bytes(), late.bytes());
                for (one, other) in whole.segments().zip(late.segments()) {
                    prop_assert_eq!((&one.hls, &one.stream), (&other.hls, &other.stream));
                }
            }
        }
    }
}
