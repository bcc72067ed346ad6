//! How long a connection may make others wait, and the reasons to close one that is overdue.

use std::time::Duration;

/// The reason to close a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Its request does not arrive in time.
    Headers,
    /// No further request arrives.
    Idle,
    /// The client reads nothing.
    Stalled,
    /// The client reads too little.
    Lagging,
    /// Nothing is received from it.
    Silent,
    /// It has joined no namespace.
    Unjoined,
}

impl Overdue {
    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "no_request",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Lagging => "lagging",
            Self::Silent => "heartbeat",
            Self::Unjoined => "not_joined",
        }
    }

    /// Whether the cause is a listener that does not read its clips.
    pub fn is_a_listeners(self) -> bool {
        matches!(self, Self::Stalled | Self::Lagging)
    }
}

/// How long a connection may make others wait.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a request's headers.
    pub headers: Duration,
    /// For the next request.
    pub idle: Duration,
    /// For any progress, while something waits.
    pub stall: Duration,
    /// For the oldest queued clip.
    pub lag: Duration,
}

impl Timeouts {
    /// The shortest of those that may apply to a connection.
    pub(super) fn shortest(&self) -> Duration {
        let request = self.headers.min(self.idle);
        request.min(self.shortest_for_clips())
    }

    /// The shortest of those that may apply to a WebSocket.
    pub(super) fn shortest_for_clips(&self) -> Duration {
        self.stall.min(self.lag)
    }
}
