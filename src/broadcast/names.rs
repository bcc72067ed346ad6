//! The ids of livestreams, users and clips, and the two roles.

use std::fmt;
use std::sync::Arc;

/// The id of a Firestore document `livestreams/{id}`, checked to be a valid path segment.
///
/// Percent-encoding protects nothing there (`a%2Fb` becomes a path). So an invalid segment names no livestream, and
/// causes no call.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LivestreamId(Arc<str>);

impl LivestreamId {
    /// The longest id, in bytes (Firestore's own limit).
    pub const MAX_BYTES: usize = 1500;

    /// Accepts `id` if it can name a document: 1–1500 bytes, no `/`, not `.` or `..`, not `__…__`, no control
    /// characters.
    pub fn new(id: &str) -> Option<Self> {
        let reserved = id.len() >= 4 && id.starts_with("__") && id.ends_with("__");
        let valid = !id.is_empty()
            && id.len() <= Self::MAX_BYTES
            && id != "."
            && id != ".."
            && !reserved
            && !id.contains('/')
            && !id.chars().any(char::is_control);
        valid.then(|| Self(id.into()))
    }

    /// The id as it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A Firebase user's id, 1–128 characters: the `sub` of a verified token, or a document's `artistId`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Accepts `id` unchecked.
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The id as it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A streamer's own id for a clip, by which it recognises a clip that is sent again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClipId(Arc<str>);

impl ClipId {
    /// The longest id, in characters.
    pub const MAX_CHARS: usize = 64;

    /// Accepts `id` if it has 1 to 64 characters.
    pub fn new(id: &str) -> Option<Self> {
        // The bytes first: a text of megabytes is not counted.
        let is_valid = !id.is_empty()
            && id.len() <= 4 * Self::MAX_CHARS
            && id.chars().count() <= Self::MAX_CHARS;
        is_valid.then(|| Self(id.into()))
    }

    /// The id as it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}
shown_as_text!(LivestreamId, UserId, ClipId);

/// A client's side of a livestream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sends clips.
    Streamer,
    /// Receives clips.
    Listener,
}

impl Role {
    /// The name on the wire, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Streamer => "streamer",
            Self::Listener => "listener",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_that_is_no_path_segment_is_refused() {
        for id in [
            "",
            ".",
            "..",
            "a/b",
            "__x__",
            "____",
            "a\0b",
            "a\nb",
            "a\u{7f}b",
            &"x".repeat(1501),
        ] {
            assert!(LivestreamId::new(id).is_none(), "{id:?}");
        }
    }

    #[test]
    fn id_that_is_a_path_segment_is_accepted() {
        for id in [
            "x",
            "...",
            "__",
            "___",
            "a b",
            "a%2Fb",
            "é",
            "日本",
            &"x".repeat(1500),
        ] {
            assert_eq!(
                LivestreamId::new(id)
                    .map(|it| it.as_str().to_owned())
                    .as_deref(),
                Some(id)
            );
        }
    }

    #[test]
    fn clip_id_has_one_to_64_characters() {
        for id in ["a".into(), "é".repeat(64), "𝄞".repeat(64)] {
            assert!(ClipId::new(&id).is_some(), "{id}");
        }
        for id in [String::new(), "a".repeat(65), "é".repeat(65)] {
            assert!(ClipId::new(&id).is_none(), "{id}");
        }
    }
}
