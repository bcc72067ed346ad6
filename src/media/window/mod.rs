//! The window of a livestream that players may ask for: its latest segments, written once for all of them, and the
//! playlist of HLS (RFC 8216bis) that lists them.
//!
//! All that is told of a segment comes from its [`Place`]: so windows of the same clips, on several nodes or before and
//! after a restart, list the same.
//!
//! The playlist is written here: `m3u8-rs` has no `EXT-X-SERVER-CONTROL`, and its durations are not exact.
//!
//! **Invariant**: sequences rise. What a player was once told of a segment (its sequence, discontinuity sequence, name and
//! content) does not change, unless the clips of another node replace it. There are at most `max_segments`; two or more
//! have at most `max_bytes` in all.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::{Codec, Place, Segment};

/// A segment as it is sent.
#[derive(Debug, Clone)]
pub struct Written {
    /// The clip's place.
    pub place: Place,
    /// Rises with each later clip, also where sequences do not.
    pub arrival: i64,
    /// The part of the endless stream.
    pub stream: Bytes,
    /// The segment of HLS.
    pub hls: Bytes,
}

impl Written {
    fn new(segment: &Segment, arrival: i64) -> Self {
        Self {
            place: segment.place,
            arrival,
            stream: segment.stream(),
            hls: segment.hls(),
        }
    }

    fn bytes(&self) -> usize {
        self.stream.len() + self.hls.len()
    }

    fn sequence(&self) -> u64 {
        self.place.sequence
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Window {
    max_segments: usize,
    max_bytes: usize,
    segments: VecDeque<Written>,
    bytes: usize,
    /// The arrival of the next clip.
    arrivals: i64,
    ended: bool,
}

impl Window {
    /// An empty window.
    pub fn new(max_segments: usize, max_bytes: usize) -> Self {
        Self {
            max_segments: max_segments.max(1),
            max_bytes,
            segments: VecDeque::new(),
            bytes: 0,
            arrivals: 0,
            ended: false,
        }
    }

    /// Adds the segment of a clip that has just come, and removes the oldest ones beyond a bound.
    ///
    /// After an outage, clips of a streamer's node that did not know of clips here may have the same sequences: these
    /// replace them. A clip that comes late is put where it belongs.
    pub fn push(&mut self, segment: &Segment) {
        let place = segment.place;
        let is_known = |it: &Written| it.place.epoch == place.epoch;
        if self.latest().is_some_and(|latest| place.sequence <= latest) {
            if self.segments.iter().any(is_known) {
                return self.insert(segment);
            }
            while self.latest().is_some_and(|latest| place.sequence <= latest) {
                let replaced = self.segments.pop_back();
                self.bytes -= replaced.map_or(0, |it| it.bytes());
            }
        }
        let written = Written::new(segment, self.arrivals);
        self.arrivals += 1;
        self.bytes += written.bytes();
        self.segments.push_back(written);
        self.remove_beyond_bounds();
    }

    /// Adds the segments of earlier clips, oldest first, that are not there yet, and as many as there is room for.
    pub fn fill(&mut self, earlier: &[Segment]) {
        for segment in earlier.iter().rev() {
            self.insert(segment);
            let oldest = self.segments.front().map(Written::sequence);
            if oldest > Some(segment.place.sequence) {
                return;
            }
        }
    }

    fn insert(&mut self, segment: &Segment) {
        let sequence = segment.place.sequence;
        let Err(at) = self
            .segments
            .binary_search_by_key(&sequence, Written::sequence)
        else {
            return;
        };
        // No stream that is past its neighbour sends it.
        let arrival = match (at.checked_sub(1), self.segments.front()) {
            (Some(before), _) => self.segments[before].arrival,
            (None, Some(first)) => first.arrival - 1,
            (None, None) => self.arrivals,
        };
        let written = Written::new(segment, arrival);
        self.bytes += written.bytes();
        self.segments.insert(at, written);
        self.arrivals = self.arrivals.max(arrival + 1);
        self.remove_beyond_bounds();
    }

    /// Clips that could not be remuxed count as well: each has its line in the playlist.
    fn remove_beyond_bounds(&mut self) {
        let latest = self.latest().unwrap_or(0);
        while let Some(oldest) = self.segments.front() {
            let span = latest.saturating_sub(oldest.sequence());
            let is_beyond =
                span >= self.max_segments as u64 || (self.bytes > self.max_bytes && span > 0);
            if !is_beyond {
                return;
            }
            self.bytes -= oldest.bytes();
            self.segments.pop_front();
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
        self.segments.back().map(Written::sequence)
    }

    /// The segment of this name, as the playlist has it: `{epoch}-{sequence}.{m4s|mp3}`.
    pub fn segment(&self, name: &str) -> Option<&Written> {
        let (stem, extension) = name.rsplit_once('.')?;
        let (epoch, sequence) = stem.split_once('-')?;
        let sequence: u64 = sequence.parse().ok()?;
        let mut segments = self.segments.iter();
        let found = segments.find(|segment| segment.sequence() == sequence)?;
        // Compared as text, so that a segment has one name only.
        let own = epoch == found.place.epoch.to_string() && stem == format!("{epoch}-{sequence}");
        (own && extension == extension_of(found.place.codec)).then_some(found)
    }

    /// The playlist; none before the first segment.
    pub fn playlist(&self) -> Option<String> {
        let (first, last) = (self.segments.front()?.place, self.segments.back()?.place);
        let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        let target = last.target_seconds;
        let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target}");
        let _ = writeln!(
            text,
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK={}.0",
            target * 3
        );
        let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", first.sequence);
        // Its own is listed.
        let before =
            first.discontinuities - u64::from(first.is_discontinuity && first.discontinuities > 0);
        let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{before}");
        let mut header = None;
        let mut expected = first.sequence;
        for segment in &self.segments {
            let place = segment.place;
            // A clip that could not be remuxed keeps its number, so that the media sequence is the clip's.
            while expected < place.sequence {
                let _ = writeln!(text, "#EXT-X-GAP\n#EXTINF:{target}.000,");
                list_name(
                    &mut text,
                    &Place {
                        sequence: expected,
                        ..place
                    },
                );
                expected += 1;
            }
            expected = place.sequence.saturating_add(1);
            list(&mut text, &place, &mut header);
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        Some(text)
    }

    /// The multivariant playlist, which names the coding; none before the first segment. `media` is the address of the
    /// playlist of segments.
    pub fn multivariant(&self, media: &str) -> Option<String> {
        let latest = self.segments.back()?;
        let peak = self.segments.iter().map(bits_per_second).max()?;
        Some(format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH={peak},CODECS=\"{}\"\n{media}\n",
            latest.place.codec.rfc6381()
        ))
    }
}

fn list(text: &mut String, place: &Place, header: &mut Option<Codec>) {
    if place.is_discontinuity {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if let Codec::Aac(config) = place.codec
        && *header != Some(place.codec)
    {
        *header = Some(place.codec);
        let (rate, channels) = (config.sample_rate(), config.channels());
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"aac-{rate}-{channels}.mp4\"");
    }
    let time = UNIX_EPOCH + Duration::from_millis(place.starts_at_ms());
    let time = humantime_serde::re::humantime::format_rfc3339_millis(time);
    let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{time}");
    let duration_ms = place.duration_ms();
    let (seconds, rest) = (duration_ms / 1000, duration_ms % 1000);
    let _ = writeln!(text, "#EXTINF:{seconds}.{rest:03},");
    list_name(text, place);
}

fn list_name(text: &mut String, place: &Place) {
    let extension = extension_of(place.codec);
    let _ = writeln!(text, "{}-{}.{extension}", place.epoch, place.sequence);
}

fn bits_per_second(segment: &Written) -> u64 {
    (segment.hls.len() as u64 * 8 * 1000).div_ceil(segment.place.duration_ms().max(1))
}

fn extension_of(codec: Codec) -> &'static str {
    match codec {
        Codec::Aac(_) => "m4s",
        Codec::Mp3(_) => "mp3",
    }
}

#[cfg(test)]
mod tests;
