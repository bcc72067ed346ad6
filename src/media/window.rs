//! The window of a livestream that players may ask for: its latest segments, written once for all of them, and the
//! playlist of HLS (RFC 8216bis) that lists them.
//!
//! A number in the names of segments tells windows of one livestream apart: after a restart of the server the same
//! sequence may lie elsewhere on the timeline, and a cached segment must not be taken for it.
//!
//! The playlist is written here: `m3u8-rs` has no `EXT-X-SERVER-CONTROL`, and its durations are not exact.
//!
//! **Invariant**: segments are consecutive or marked with a discontinuity. What a player was once told of a segment
//! (its sequence, discontinuity sequence, name and content) does not change. There are at most `max_segments`; two or
//! more have at most `max_bytes` in all. `EXT-X-TARGETDURATION` rises with the longest clip, and never falls.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::{Codec, Segment};

/// A segment as it is sent.
#[derive(Debug, Clone)]
pub struct Written {
    /// The clip's number in the livestream.
    pub sequence: u64,
    /// The coding.
    pub codec: Codec,
    /// The part of the endless stream.
    pub stream: Bytes,
    /// The segment of HLS.
    pub hls: Bytes,
    duration_ms: u64,
    starts_at_ms: u64,
    discontinuity: bool,
}

impl Written {
    fn bytes(&self) -> usize {
        self.stream.len() + self.hls.len()
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Window {
    name: u64,
    max_segments: usize,
    max_bytes: usize,
    segments: VecDeque<Written>,
    bytes: usize,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`: discontinuities before the first listed segment.
    discontinuities: u64,
    target_seconds: u64,
    ended: bool,
}

impl Window {
    /// An empty window. `name` is the number in the names of its segments; of two windows of a livestream the later one
    /// has the larger number.
    pub fn new(name: u64, max_segments: usize, max_bytes: usize) -> Self {
        Self {
            name,
            max_segments: max_segments.max(1),
            max_bytes,
            segments: VecDeque::new(),
            bytes: 0,
            discontinuities: 0,
            target_seconds: 1,
            ended: false,
        }
    }

    /// Adds a segment, and removes the oldest ones beyond a bound.
    pub fn push(&mut self, segment: &Segment) -> Written {
        let last = self.segments.back().map(|last| last.sequence);
        if last.is_none() {
            // More than any earlier window counted: a discontinuity belongs to a clip, and this clip is a later one.
            self.discontinuities = segment.sequence;
        }
        let skipped = last.is_some_and(|last| last + 1 != segment.sequence);
        let is_apart = segment.discontinuity || skipped;
        let written = Written {
            sequence: segment.sequence,
            codec: segment.codec,
            stream: segment.stream(),
            hls: segment.hls(is_apart),
            duration_ms: segment.duration_ms(),
            starts_at_ms: segment.starts_at_ms,
            discontinuity: last.is_some() && is_apart,
        };
        self.target_seconds = self.target_seconds.max((written.duration_ms + 500) / 1000);
        self.bytes += written.bytes();
        self.segments.push_back(written.clone());
        while self.is_beyond_a_bound(segment.sequence) {
            self.remove_oldest();
        }
        written
    }

    /// Clips that could not be remuxed count as well: each has its line in the playlist.
    fn is_beyond_a_bound(&self, latest: u64) -> bool {
        let Some(oldest) = self.segments.front() else {
            return false;
        };
        let span = latest.saturating_sub(oldest.sequence);
        span >= self.max_segments as u64 || (self.bytes > self.max_bytes && span > 0)
    }

    fn remove_oldest(&mut self) {
        if let Some(oldest) = self.segments.pop_front() {
            self.bytes -= oldest.bytes();
            self.discontinuities += u64::from(oldest.discontinuity);
        }
    }

    /// The livestream is over: no segment follows.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the livestream is over.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The number in the names of its segments.
    pub fn name(&self) -> u64 {
        self.name
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &Written> + ExactSizeIterator {
        self.segments.iter()
    }

    /// The sequence of the latest segment.
    pub fn latest(&self) -> Option<u64> {
        self.segments.back().map(|last| last.sequence)
    }

    /// The segment of this name, as the playlist has it: `{window}-{sequence}.{m4s|mp3}`.
    pub fn segment(&self, name: &str) -> Option<&Written> {
        let (stem, extension) = name.rsplit_once('.')?;
        let (window, sequence) = stem.split_once('-')?;
        let sequence: u64 = sequence.parse().ok()?;
        let found = self
            .segments
            .iter()
            .find(|segment| segment.sequence == sequence)?;
        // Compared as text, so that a segment has one name only.
        let own = window == self.name.to_string() && stem == format!("{window}-{sequence}");
        (own && extension == extension_of(found.codec)).then_some(found)
    }

    /// The playlist; none before the first segment.
    pub fn playlist(&self) -> Option<String> {
        let first = self.segments.front()?;
        let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        let target = self.target_seconds;
        let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target}");
        let _ = writeln!(
            text,
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK={}.0",
            target * 3
        );
        let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", first.sequence);
        let _ = writeln!(
            text,
            "#EXT-X-DISCONTINUITY-SEQUENCE:{}",
            self.discontinuities
        );
        let mut header = None;
        let mut expected = first.sequence;
        for segment in &self.segments {
            // A clip that could not be remuxed keeps its place, so that the media sequence is the clip's.
            while expected < segment.sequence {
                self.list_missing(&mut text, segment, expected);
                expected += 1;
            }
            expected += 1;
            self.list(&mut text, segment, &mut header);
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        Some(text)
    }

    fn list_missing(&self, text: &mut String, next: &Written, sequence: u64) {
        let _ = writeln!(
            text,
            "#EXT-X-GAP\n#EXTINF:{}.000,\n{}-{sequence}.{}",
            self.target_seconds,
            self.name,
            extension_of(next.codec)
        );
    }

    fn list(&self, text: &mut String, segment: &Written, header: &mut Option<Codec>) {
        if segment.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if let Codec::Aac(config) = segment.codec
            && *header != Some(segment.codec)
        {
            *header = Some(segment.codec);
            let (rate, channels) = (config.sample_rate(), config.channels());
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"aac-{rate}-{channels}.mp4\"");
        }
        let time = UNIX_EPOCH + Duration::from_millis(segment.starts_at_ms);
        let _ = writeln!(
            text,
            "#EXT-X-PROGRAM-DATE-TIME:{}",
            humantime_serde::re::humantime::format_rfc3339_millis(time)
        );
        let _ = writeln!(
            text,
            "#EXTINF:{}.{:03},\n{}-{}.{}",
            segment.duration_ms / 1000,
            segment.duration_ms % 1000,
            self.name,
            segment.sequence,
            extension_of(segment.codec)
        );
    }

    /// The multivariant playlist, which names the coding; none before the first segment. `media` is the address of the
    /// playlist of segments.
    pub fn multivariant(&self, media: &str) -> Option<String> {
        let latest = self.segments.back()?;
        let peak = self.segments.iter().map(bits_per_second).max()?;
        Some(format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH={peak},CODECS=\"{}\"\n{media}\n",
            latest.codec.rfc6381()
        ))
    }
}

fn bits_per_second(segment: &Written) -> u64 {
    (segment.hls.len() as u64 * 8 * 1000).div_ceil(segment.duration_ms.max(1))
}

fn extension_of(codec: Codec) -> &'static str {
    match codec {
        Codec::Aac(_) => "m4s",
        Codec::Mp3(_) => "mp3",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::AacConfig;
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn segment(sequence: u64, discontinuity: bool) -> Segment {
        Segment {
            sequence,
            codec: Codec::Aac(AacConfig::with(32_000, 2).expect("a usual coding")),
            frames: vec![Bytes::from_static(b"frame"); 125],
            start: sequence * 128_000,
            starts_at_ms: NOW + sequence * 4_000,
            discontinuity,
        }
    }

    #[test]
    fn playlist_lists_the_latest_segments() {
        let mut window = Window::new(7, 3, 1 << 20);
        assert_eq!(window.playlist(), None);
        for (sequence, discontinuity) in [(5, true), (6, true), (7, false), (9, false)] {
            window.push(&segment(sequence, discontinuity));
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
    fn later_window_counts_more_discontinuities() {
        let mut before = Window::new(1, 3, 1 << 20);
        (1..=20).for_each(|sequence| {
            before.push(&segment(sequence, true));
        });
        let mut after = Window::new(2, 3, 1 << 20);
        after.push(&segment(21, true));
        assert!(before.discontinuities + 3 <= after.discontinuities);
    }

    #[test]
    fn segment_has_one_name() {
        let mut window = Window::new(7, 3, 1 << 20);
        window.push(&segment(12, true));
        assert_eq!(window.segment("7-12.m4s").map(|it| it.sequence), Some(12));
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
        let mut window = Window::new(7, 3, 1 << 20);
        assert_eq!(window.multivariant("live.m3u8"), None);
        window.push(&segment(12, true));
        let text = window.multivariant("live.m3u8").expect("a segment");
        assert!(text.contains("CODECS=\"mp4a.40.2\"\nlive.m3u8\n"), "{text}");
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

    proptest! {
        #[test]
        fn nothing_that_was_told_changes(
            steps in prop::collection::vec((1..4_u64, any::<bool>()), 1..60),
            max_segments in 1..8_usize,
            max_bytes in 0..20_000_usize,
        ) {
            let mut window = Window::new(7, max_segments, max_bytes);
            let (mut told, mut sequence, mut media) = (HashMap::new(), 0, 0);
            for (step, discontinuity) in steps {
                sequence += step;
                window.push(&segment(sequence, discontinuity));
                prop_assert_eq!(window.latest(), Some(sequence));
                let held: usize = window.segments.iter().map(Written::bytes).sum();
                prop_assert_eq!(window.bytes(), held);
                prop_assert!(held <= max_bytes || window.segments.len() == 1);
                let playlist = window.playlist().expect("a segment");
                let listed = counted(&playlist);
                prop_assert!(listed.len() <= max_segments);
                let first = format!("#EXT-X-MEDIA-SEQUENCE:{}\n", sequence + 1 - listed.len() as u64);
                prop_assert!(playlist.contains(&first), "{}", playlist);
                prop_assert!(sequence + 1 - listed.len() as u64 >= media);
                media = sequence + 1 - listed.len() as u64;
                for (name, count) in listed {
                    if window.segment(&name).is_some() {
                        prop_assert_eq!(*told.entry(name).or_insert(count), count);
                    }
                }
            }
        }
    }
}
