//! The listeners' side of `clips` and `resume`: what a client asks for, and what it is told.
//!
//! **Invariant**: a client that does not name the feature gets no event of it. What a client asks for in a wrong shape
//! keeps it from nothing else: an unknown feature is ignored, and a malformed `resume` is a position that is unknown.

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::Value;

use crate::broadcast::Position;
use crate::relay::Resumed;
use crate::transport::ClipEvent;

/// The feature: `clip` instead of `audio`.
const CLIPS: &str = "clips";
/// The header with features, separated by commas.
const HEADER: &str = "castaway-features";
/// A position that no clip has.
const UNKNOWN: Position = (u64::MAX, 0);

/// What a listener asks for besides its livestream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) event: ClipEvent,
    /// The clip after which it goes on.
    pub(super) resume: Option<Position>,
}

impl Wishes {
    /// By the header, and by `features` and `resume` of the CONNECT payload.
    pub(super) fn new(in_header: bool, features: Option<&Value>, resume: Option<&Value>) -> Self {
        let listed = features.and_then(Value::as_array);
        let in_payload = listed.is_some_and(|features| features.iter().any(|it| it == CLIPS));
        if !in_header && !in_payload {
            return Self::default();
        }
        let resume = resume.filter(|it| !it.is_null());
        Self {
            event: ClipEvent::Clip,
            resume: resume.map(|it| position(it).unwrap_or(UNKNOWN)),
        }
    }
}

fn position(resume: &Value) -> Option<Position> {
    let number = |name| resume.get(name).and_then(Value::as_u64);
    Some((number("epoch")?, number("sequence")?))
}

/// Whether the headers name the feature.
pub(super) fn is_in(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(HEADER).into_iter();
    let mut lines = lines.filter_map(|line| line.to_str().ok());
    lines.any(names_clips)
}

fn names_clips(header: &str) -> bool {
    header.split(',').any(|feature| feature.trim() == CLIPS)
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

    fn wishes(features: &Value, resume: &Value) -> Wishes {
        Wishes::new(false, Some(features), Some(resume))
    }

    #[test]
    fn feature_is_named_in_header_or_payload() {
        let at = json!({ "epoch": 7, "sequence": 9 });
        let asked = Wishes {
            event: ClipEvent::Clip,
            resume: Some((7, 9)),
        };
        assert_eq!(wishes(&json!(["other", "clips"]), &at), asked);
        assert_eq!(Wishes::new(true, None, Some(&at)), asked);
        for features in [json!([]), json!(["Clips"]), json!("clips"), json!([7])] {
            assert_eq!(wishes(&features, &at), Wishes::default());
        }
        assert!(names_clips("other, clips") && !names_clips("clipsy"));
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
            assert_eq!(wishes(&json!(["clips"]), &resume).resume, Some(UNKNOWN));
        }
        assert_eq!(wishes(&json!(["clips"]), &Value::Null).resume, None);
    }
}
