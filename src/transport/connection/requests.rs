//! What an HTTP connection waits for: the timeouts depend on it.

use std::time::Instant;

use super::{Connection, Phase};

/// What an HTTP connection waits for, and since when.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// A request's headers: since their first byte or the start of the connection, and the number of bytes received.
    Headers(Instant, usize),
    /// An answer of the server.
    Nothing,
    /// The next request, or the delivery of the answer to the client.
    Next(Instant),
    /// The delivery of a part of an endless answer: since the part, or the latest write of it.
    Part(Instant),
}

impl Connection {
    /// Records that a request's headers are complete.
    pub fn request_begins(&self) {
        if let Phase::Http(wait) = &mut self.lock().phase {
            *wait = Wait::Nothing;
        }
    }

    /// Records that a request is answered.
    pub fn request_ends(&self, now: Instant) {
        if let Phase::Http(wait) = &mut self.lock().phase {
            *wait = Wait::Next(now);
        }
    }

    /// Records that a part of an endless answer is there to be written. Between parts the answer waits for the server, as
    /// after [`Self::request_begins`].
    pub fn part_begins(&self, now: Instant) {
        if let Phase::Http(wait) = &mut self.lock().phase {
            *wait = Wait::Part(now);
        }
    }
}
