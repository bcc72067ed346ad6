//! The two events of a clip: `audio`, whose argument is the clip's bytes, and `clip`, which also says where the clip is
//! in the livestream. A listener gets one of them.

use bytes::Bytes;
use serde::Serialize;

use crate::broadcast::{Clip, ClipId, Position};

/// The namespace of listeners.
pub const LISTENER: &str = "/listener";

const AUDIO: &str = "audio";
const CLIP: &str = "clip";

/// The event that carries a listener's clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClipEvent {
    /// `audio`.
    #[default]
    Audio,
    /// `clip`, with `gap` for clips that the listener loses.
    Clip,
}

impl ClipEvent {
    /// The event's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => AUDIO,
            Self::Clip => CLIP,
        }
    }

    /// The `BINARY_EVENT` packet with one attachment, whose place is in the argument.
    pub(super) fn text(self, argument: &str) -> String {
        format!(r#"451-{LISTENER},["{}",{argument}]"#, self.name())
    }
}

/// What `clip` says of a clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    position: Position,
    sent_at: u64,
    duration_ms: Option<u64>,
    id: Option<ClipId>,
}

impl About {
    pub(super) fn new(clip: &Clip) -> Self {
        Self {
            position: clip.position,
            sent_at: clip.sent_at,
            duration_ms: clip.duration_ms(),
            id: clip.id.clone(),
        }
    }

    pub(super) fn sequence(&self) -> u64 {
        self.position.sequence
    }

    /// The argument of the event, for a library that finds the attachment itself.
    pub fn message<'a>(&'a self, bytes: &'a Bytes) -> impl Serialize + 'a {
        self.with(bytes)
    }

    /// The argument in JSON, with the attachment's place.
    pub(super) fn json(&self) -> String {
        let attachment = Placeholder {
            _placeholder: true,
            num: 0,
        };
        // Numbers and texts: this cannot fail.
        serde_json::to_string(&self.with(attachment)).unwrap_or_default()
    }

    fn with<B>(&self, bytes: B) -> ClipMessage<'_, B> {
        let Position { epoch, sequence } = self.position;
        ClipMessage {
            epoch,
            sequence,
            sent_at: self.sent_at,
            duration_ms: self.duration_ms,
            id: self.id.as_ref().map(ClipId::as_str),
            bytes,
        }
    }
}

/// The one argument of `clip`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClipMessage<'a, B> {
    epoch: u64,
    sequence: u64,
    /// Milliseconds since the Unix epoch.
    sent_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    bytes: B,
}

#[derive(Serialize)]
struct Placeholder {
    _placeholder: bool,
    num: u8,
}

/// Clips that a listener has lost, by their sequences: the one argument of `gap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The first one.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

impl Gap {
    /// The event's name on the wire.
    pub const EVENT: &str = "gap";

    /// Records the loss of a clip after those before; a clip of `audio` has no number to tell.
    pub(super) fn note(gap: &mut Option<Self>, about: Option<&About>) {
        let Some(sequence) = about.map(About::sequence) else {
            return;
        };
        match gap {
            Some(gap) => gap.to = sequence,
            None => {
                *gap = Some(Self {
                    from: sequence,
                    to: sequence,
                });
            }
        }
    }
}
