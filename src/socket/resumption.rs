//! The listeners' side of `clips` and `resume`: what a client asks for, and what it is told.
//!
//! **Invariant**: what a client asks for in a wrong shape keeps it from nothing else: a malformed `resume` is a position
//! that is unknown.

use serde::Serialize;
use serde_json::Value;

use super::features::Features;
use crate::broadcast::Position;
use crate::relay::Resumed;
use crate::transport::ClipEvent;

/// A position that no clip has.
const UNKNOWN: Position = Position::new(u64::MAX, 0);

/// What a listener asks for besides its livestream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) event: ClipEvent,
    /// The event `warning`.
    pub(super) warnings: bool,
    /// The clip after which it goes on.
    pub(super) resume: Option<Position>,
}

impl Wishes {
    /// By its features, and by `resume` of the CONNECT payload.
    pub(super) fn new(features: Features, resume: Option<&Value>) -> Self {
        let warnings = features.warnings;
        if !features.clips {
            return Self {
                warnings,
                ..Self::default()
            };
        }
        let resume = resume.filter(|it| !it.is_null());
        Self {
            event: ClipEvent::Clip,
            warnings,
            resume: resume.map(|it| position(it).unwrap_or(UNKNOWN)),
        }
    }
}

fn position(resume: &Value) -> Option<Position> {
    let number = |name| resume.get(name).and_then(Value::as_u64);
    Some(Position::new(number("epoch")?, number("sequence")?))
}

/// The one argument of `resumed`.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum ResumedMessage {
    /// The sequences of the first and the last clip that follow at once; null if none does.
    Recovered {
        recovered: bool,
        from: Option<u64>,
        to: Option<u64>,
    },
    /// The number of clips that are lost; null if it is unknown.
    Missed {
        recovered: bool,
        missed: Option<u64>,
    },
}

impl From<Resumed> for ResumedMessage {
    fn from(resumed: Resumed) -> Self {
        match resumed {
            Resumed::Recovered(span) => Self::Recovered {
                recovered: true,
                from: span.map(|(from, _)| from),
                to: span.map(|(_, to)| to),
            },
            Resumed::Missed(missed) => Self::Missed {
                recovered: false,
                missed,
            },
        }
    }
}

/// The metric's label.
pub(super) fn outcome(resumed: Resumed) -> &'static str {
    match resumed {
        Resumed::Recovered(_) => "recovered",
        Resumed::Missed(_) => "missed",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wishes(clips: bool, resume: &Value) -> Wishes {
        let features = Features {
            clips,
            ..Features::default()
        };
        Wishes::new(features, Some(resume))
    }

    #[test]
    fn resume_needs_the_feature() {
        let at = json!({ "epoch": 7, "sequence": 9 });
        let asked = Wishes {
            event: ClipEvent::Clip,
            warnings: false,
            resume: Some(Position::new(7, 9)),
        };
        assert_eq!(wishes(true, &at), asked);
        assert_eq!(wishes(false, &at), Wishes::default());
    }

    #[test]
    fn malformed_resume_is_an_unknown_position() {
        for resume in [
            json!(7),
            json!({}),
            json!({ "epoch": "7", "sequence": 9 }),
            json!({ "epoch": 7, "sequence": -1 }),
            json!({ "epoch": 7, "sequence": 0.5 }),
        ] {
            assert_eq!(wishes(true, &resume).resume, Some(UNKNOWN));
        }
        assert_eq!(wishes(true, &Value::Null).resume, None);
    }
}
