//! The endless HTTP stream.
//!
//! **Invariant**: a listener holds no clip of its own but the one that is written: it takes the next one from the
//! window when the one before is on its way. One that is slower than the window misses its oldest clips; one that reads
//! nothing for `listener.stall_timeout` is disconnected. A body is whole only if the livestream or its coding ended: a
//! player that was told to reconnect does so when the server stops.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use prometheus::IntCounter;
use tokio::sync::watch;

use super::count::Counted;
use super::icy::Icy;
use super::livestream::Livestream;
use crate::broadcast::{LivestreamId, UserId};
use crate::media::Codec;
use crate::relay::{Player, Relay};
use crate::transport::Connection;

pub(super) struct Listening {
    livestream: Arc<Livestream>,
    changes: watch::Receiver<u64>,
    /// The coding that the player was told.
    codec: Codec,
    /// The arrival of the next clip.
    next: i64,
    /// What is left of the latest clip.
    parts: VecDeque<Bytes>,
    icy: Option<Icy>,
    missed: IntCounter,
    place: Place,
}

/// What a listener takes up as long as it listens.
pub(super) struct Place {
    pub(super) _player: Player,
    pub(super) _counted: Counted,
    /// None in tests without a network.
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) relay: Relay,
    /// The share of a drain's time after which it must go, 0 to 1.
    pub(super) turn: f64,
    /// None if everybody may listen.
    pub(super) user: Option<UserId>,
    pub(super) id: LivestreamId,
}

impl Place {
    fn is_banned(&self) -> bool {
        self.relay.is_banned(self.user.as_ref(), &self.id)
    }

    fn is_sent_away(&self) -> bool {
        let now = tokio::time::Instant::now().into_std();
        let drained = self.relay.drained(now);
        drained.is_some_and(|passed| passed >= self.turn)
    }

    fn waits(&self) {
        if let Some(connection) = &self.connection {
            connection.request_begins();
        }
    }

    fn writes(&self) {
        if let Some(connection) = &self.connection {
            connection.part_begins(now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.request_ends(now());
        }
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

impl Listening {
    /// Starts with the latest clips of the coding of the latest clip; none before the first clip.
    pub(super) fn new(
        livestream: Arc<Livestream>,
        burst: usize,
        missed: IntCounter,
        place: Place,
    ) -> Option<Self> {
        let changes = livestream.changes();
        let (codec, next) = {
            let state = livestream.state();
            let segments = || state.window.segments();
            let codec = segments().next_back()?.place.codec;
            let skipped = segments().len().saturating_sub(burst.max(1));
            let burst = segments().skip(skipped);
            let own = burst.rev().take_while(|it| it.place.codec == codec);
            (codec, own.last()?.arrival)
        };
        Some(Self {
            livestream,
            changes,
            codec,
            next,
            parts: VecDeque::new(),
            icy: None,
            missed,
            place,
        })
    }

    /// Sends metadata as well.
    pub(super) fn with_title(mut self, title: &str) -> Self {
        self.icy = Some(Icy::new(title));
        self
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Ends with the livestream, before the next clip for a banned user, and when the streamer changes the coding: the
    /// player asks again. Breaks off when this node
    /// stops.
    pub(super) fn body(self) -> Body {
        let clips = stream::unfold(self, |mut listening| async move {
            let part = listening.next_part().await?;
            Some((part, listening))
        });
        Body::from_stream(clips)
    }

    /// None at the end.
    async fn next_part(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                self.place.writes();
                return Some(Ok(part));
            }
            self.changes.mark_unchanged();
            match self.take() {
                Next::Clip(_) if self.place.is_banned() => return None,
                // Broken off, so that its player connects again.
                Next::Clip(_) if self.place.is_sent_away() => {
                    return Some(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                Next::Clip(clip) => {
                    self.parts = match &mut self.icy {
                        Some(icy) => icy.weave(clip),
                        None => VecDeque::from([clip]),
                    };
                }
                Next::NotYet => {
                    self.place.waits();
                    self.changes.changed().await.ok()?;
                }
                Next::End => return None,
                Next::BrokenOff => return Some(Err(io::ErrorKind::ConnectionAborted.into())),
            }
        }
    }

    fn take(&mut self) -> Next {
        let state = self.livestream.state();
        let segments = || state.window.segments();
        let oldest = segments().next().map_or(0, |it| it.arrival);
        let Some(segment) = segments().find(|it| it.arrival >= self.next) else {
            return match (state.window.has_ended(), state.is_closed) {
                (true, _) => Next::End,
                (false, true) => Next::BrokenOff,
                (false, false) => Next::NotYet,
            };
        };
        let missed = u64::try_from(oldest.saturating_sub(self.next));
        self.missed.inc_by(missed.unwrap_or(0));
        self.next = segment.arrival + 1;
        if segment.place.codec == self.codec {
            Next::Clip(segment.stream.clone())
        } else {
            Next::End
        }
    }
}

/// What follows in a stream.
enum Next {
    Clip(Bytes),
    NotYet,
    End,
    /// The livestream continues in the next process, or on another node.
    BrokenOff,
}
