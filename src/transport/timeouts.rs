//! How long a connection may keep others waiting, and what it is called when it does so for longer.

use std::time::Duration;

/// Why a connection should be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Its request does not come.
    Headers,
    /// No request comes any more.
    Idle,
    /// It takes nothing.
    Stalled,
    /// It takes too little.
    Lagging,
    /// Nothing is heard from it.
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

    /// Whether it is clips that are not taken.
    pub fn is_a_listeners(self) -> bool {
        matches!(self, Self::Stalled | Self::Lagging)
    }
}

/// How long a connection may keep others waiting.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a request's headers.
    pub headers: Duration,
    /// For the next request.
    pub idle: Duration,
    /// For any progress, while something waits.
    pub stall: Duration,
    /// For the oldest clip that waits.
    pub lag: Duration,
}
