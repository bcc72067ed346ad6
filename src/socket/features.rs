//! Features: what a client asks for by name, in a header or in its CONNECT payload.
//!
//! **Invariant**: a client that does not name a feature gets no event of it. An unknown feature is ignored, and so is what
//! is no list of names.

use axum::http::HeaderMap;
use serde_json::Value;

/// The header with features, separated by commas.
const HEADER: &str = "castaway-features";

/// The features that a client names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// A listener gets `clip` instead of `audio`, and may resume.
    pub(super) clips: bool,
    /// The event `warning`, in either role.
    pub(super) warnings: bool,
}

impl Features {
    /// Those of the headers.
    pub(super) fn in_headers(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(HEADER).into_iter();
        let lines = lines.filter_map(|line| line.to_str().ok());
        Self::default().and(lines.flat_map(|line| line.split(',').map(str::trim)))
    }

    /// These, and those of the payload.
    pub(super) fn and_listed(self, listed: Option<&Value>) -> Self {
        let listed = listed.and_then(Value::as_array);
        self.and(listed.into_iter().flatten().filter_map(Value::as_str))
    }

    fn and<'a>(mut self, names: impl Iterator<Item = &'a str>) -> Self {
        for name in names {
            match name {
                "clips" => self.clips = true,
                "warnings" => self.warnings = true,
                _ => {}
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    const CLIPS: Features = Features {
        clips: true,
        warnings: false,
    };

    fn in_header(text: &'static str) -> Features {
        let headers = [(HEADER.parse().unwrap(), HeaderValue::from_static(text))];
        Features::in_headers(&headers.into_iter().collect())
    }

    #[test]
    fn feature_is_named_in_header_or_payload() {
        assert_eq!(in_header("other, clips"), CLIPS);
        assert_eq!(in_header("clipsy,Clips"), Features::default());
        let both = Features {
            warnings: true,
            ..CLIPS
        };
        assert_eq!(
            in_header("clips").and_listed(Some(&json!(["warnings"]))),
            both
        );
        for nothing in [json!([]), json!(["Clips"]), json!("clips"), json!([7])] {
            let listed = Features::default().and_listed(Some(&nothing));
            assert_eq!(listed, Features::default(), "{nothing}");
        }
    }
}
