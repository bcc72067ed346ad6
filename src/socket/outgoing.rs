//! What is said to clients: events, and the answers to their callbacks.
//!
//! The Socket.IO library refuses what it has no room for, and closes a session that it has no room to ping. So there is
//! room for more than may ever wait: a client that takes no answers is not read ([`crate::transport::Backpressure`]).
//!
//! **Invariant**: everything is said by this module. What the library refuses all the same is counted, and unless the
//! next `state` makes up for it, the transport is closed: its client would wait forever.

use std::convert::Infallible;
use std::sync::Arc;

use serde::Serialize;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};

use super::Sockets;
use super::wire::{self, Ack};
use crate::config::Config;
use crate::transport::{READ_AT_ONCE, Session};

/// Answers that may wait for a streamer, however small its quota's burst is: a polling client may send hundreds of
/// uploads in one request, and poll only when that is over.
const LEAST_ANSWERS: usize = 1024;

/// Messages that may wait for a streamer before it is no longer read: an upload has an event and an acknowledgement.
pub(super) fn answers(config: &Config) -> usize {
    let burst = usize::try_from(config.upload.clips_burst).unwrap_or(usize::MAX / 8);
    2 * burst.max(LEAST_ANSWERS)
}

/// Messages that the library must have room for: those, the answers to what was read already, and what is said without
/// being asked for.
pub(super) fn room(config: &Config) -> usize {
    /// No upload is shorter on the wire.
    const SHORTEST: usize = 32;
    answers(config) + 2 * READ_AT_ONCE / SHORTEST + 256
}

/// The callback that came with an event, if one did.
pub(super) struct Callback(Option<(AckSender, SocketRef)>);

impl FromMessageParts<LocalAdapter> for Callback {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<Socket>,
        value: &mut Value,
        id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        if id.is_none() {
            return Ok(Self(None));
        }
        let ack = AckSender::from_message_parts(socket, value, id)?;
        Ok(Self(Some((ack, socket.clone().into()))))
    }
}

impl Sockets {
    /// Emits an event with one argument. False if it cannot be said.
    pub(super) fn emit<T: Serialize + ?Sized>(
        &self,
        socket: &SocketRef,
        event: &'static str,
        argument: &T,
    ) -> bool {
        let sent = socket.emit(event, argument);
        self.is_sent(&self.session(socket), event, sent)
    }

    /// Answers a callback; where there is none, nobody waits.
    pub(super) fn answer(&self, callback: Callback, said: &Ack) {
        if let Callback(Some((ack, socket))) = callback {
            self.is_sent(&self.session(&socket), wire::ACK, ack.send(said));
        }
    }

    fn is_sent(
        &self,
        session: &Arc<Session>,
        event: &'static str,
        sent: Result<(), SendError>,
    ) -> bool {
        match sent {
            Ok(()) => {
                session.pressure.give();
                true
            }
            // Its client is gone: nobody waits.
            Err(SendError::Socket(SocketError::Closed)) => false,
            Err(error) => {
                let unsent = &self.0.metrics.messages_unsent;
                unsent.with_label_values(&[event]).inc();
                tracing::debug!(socket.id = session.id(), event, %error, "a client cannot be told");
                if event != wire::STATE {
                    session.close();
                }
                false
            }
        }
    }
}
