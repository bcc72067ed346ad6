//! The two names everything turns on: which livestream, and who.

use std::fmt;
use std::sync::Arc;

/// The id of a Firestore document `livestreams/{id}`, known to be a sound path segment.
///
/// Percent-encoding protects nothing there (`a%2Fb` becomes a path), so an id that is no sound segment is no id:
/// it names no livestream, and no call is made for it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LivestreamId(Arc<str>);

impl LivestreamId {
    /// The longest id, in bytes (Firestore's own limit).
    pub const MAX_BYTES: usize = 1500;

    /// Takes `id` if it can name a document: 1–1500 bytes, no `/`, not `.` or `..`, not `__…__`, no control
    /// characters.
    pub fn new(id: &str) -> Option<Self> {
        let reserved = id.len() >= 4 && id.starts_with("__") && id.ends_with("__");
        let sound = !id.is_empty()
            && id.len() <= Self::MAX_BYTES
            && id != "."
            && id != ".."
            && !reserved
            && !id.contains('/')
            && !id.chars().any(char::is_control);
        sound.then(|| Self(id.into()))
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
    /// Takes `id` as it is.
    pub fn new(id: &str) -> Self {
        Self(id.into())
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
shown_as_text!(LivestreamId, UserId);

/// On which side of a livestream a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sends clips.
    Streamer,
    /// Hears them.
    Listener,
}

impl Role {
    /// The word on the wire, in logs and in metrics.
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
    fn an_id_that_is_no_path_segment_names_no_livestream() {
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
    fn any_other_id_does() {
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
}
