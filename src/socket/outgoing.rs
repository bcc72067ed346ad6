//! Messages to clients: events, and the answers to their callbacks.
//!
//! The Socket.IO library refuses a message that it has no room for, and closes a session that it has no room to ping.
//! So its room exceeds the limit of queued messages: a client that takes no answers is not read
//! ([`crate::transport::Backpressure`]).
//!
//! **Invariant**: every answer is sent by this module. A message that the library refuses all the same is counted, and
//! unless the next `state` makes up for it or it is a mere warning, the transport is closed: its client would wait forever.

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

/// The least limit of queued answers for a streamer, for a quota with a small burst: a polling client may send hundreds
/// of uploads in one request, and poll only after it.
const LEAST_ANSWERS: usize = 1024;

/// The limit of queued messages, at which a streamer is no longer read: an upload has an event and an acknowledgement.
pub(super) fn answers(config: &Config) -> usize {
    let burst = usize::try_from(config.upload.clips_burst).unwrap_or(usize::MAX / 8);
    2 * burst.max(LEAST_ANSWERS)
}

/// Messages that the library must have room for: those, the answers to input that was read already, and unsolicited
/// messages.
pub(super) fn room(config: &Config) -> usize {
    /// The shortest upload on the wire, in bytes.
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
    /// Emits an event with one argument. False if it is not sent.
    pub(super) fn emit<T: Serialize + ?Sized>(
        &self,
        socket: &SocketRef,
        event: &'static str,
        argument: &T,
    ) -> bool {
        let sent = socket.emit(event, argument);
        self.record_send(&self.session(socket), event, sent)
    }

    /// Answers a callback, if there is one.
    pub(super) fn answer(&self, callback: Callback, answer: &Ack) {
        if let Callback(Some((ack, socket))) = callback {
            self.record_send(&self.session(&socket), wire::ACK, ack.send(answer));
        }
    }

    fn record_send(
        &self,
        session: &Arc<Session>,
        event: &'static str,
        sent: Result<(), SendError>,
    ) -> bool {
        match sent {
            Ok(()) => {
                session.activity.pressure.give();
                true
            }
            // Its client is gone: nobody waits for the message.
            Err(SendError::Socket(SocketError::Closed)) => false,
            Err(error) => {
                let unsent = &self.0.metrics.messages_unsent;
                unsent.with_label_values(&[event]).inc();
                tracing::debug!(socket.id = session.id(), event, %error, "message not sent");
                if ![wire::STATE, wire::WARNING].contains(&event) {
                    session.close();
                }
                false
            }
        }
    }
}
