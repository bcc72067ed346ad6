//! How a livestream is going.

/// The state of a livestream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// No streamer has come yet.
    Waiting,
    /// On air.
    Live,
    /// In its grace period.
    Reconnecting,
    /// Over.
    Ended,
}

impl State {
    /// The name on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Reconnecting => "reconnecting",
            Self::Ended => "ended",
        }
    }

    /// Whether it counts as started for a listener: on air, or in its grace period.
    pub fn is_started(self) -> bool {
        matches!(self, Self::Live | Self::Reconnecting)
    }
}
