//! The relay's events, told to clients.
//!
//! **Invariant**: one task takes the events in their order, so a client's last `state` is the latest one, and nothing
//! follows its DISCONNECT. The task waits for no client: each has a queue.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::parting::DISCONNECT_DELAY;
use super::wire::{self, Refusal, StateMessage, WarningMessage};
use super::{Sockets, streamer};
use crate::broadcast::{LivestreamId, Role};
use crate::relay::{Ending, Event, Listener, Replacement, SocketId, Standing, StreamerId};
use crate::transport::event_frame;

/// Sockets that the task notifies before it yields.
const BATCH: usize = 256;

impl Sockets {
    /// Notifies clients of the relay's events, for as long as there may be one.
    pub async fn notify(
        self,
        mut events: mpsc::UnboundedReceiver<Arc<Event>>,
    ) -> std::io::Result<()> {
        while let Some(event) = events.recv().await {
            self.tell(&event).await;
        }
        Ok(())
    }

    async fn tell(&self, event: &Event) {
        match event {
            // The socket itself is greeted, or gone; or no client here is concerned.
            Event::StreamerCame { .. }
            | Event::StreamerLost { .. }
            | Event::StreamerRefused { .. }
            | Event::UserBanned { .. }
            | Event::UserUnbanned { .. }
            | Event::RecordingReady { .. }
            | Event::RecordingRegistered { .. }
            | Event::RecordingSpool { .. }
            | Event::OrphanEnded { .. } => {}
            Event::Silent {
                streamer,
                lasted,
                audience,
                ..
            } => {
                let message = WarningMessage::silence(*lasted);
                if let Some((streamer, _)) = streamer {
                    self.warn_streamer(*streamer, &message);
                }
                self.each(audience, |listener| {
                    self.warn(Role::Listener, listener.socket, &message);
                })
                .await;
            }
            Event::Dismissed {
                role, socket, text, ..
            } => self.dismiss(*role, *socket, text),
            Event::SentAway { sockets, at_once } => {
                for socket in sockets {
                    self.send_away(*socket, *at_once);
                }
            }
            Event::StreamerReplaced {
                livestream,
                streamer,
                replacement,
            } => {
                if let Some(streamer) = streamer {
                    self.replaced(livestream, *streamer, *replacement);
                }
            }
            Event::StateChanged {
                standing,
                streamer,
                audience,
                ..
            } => {
                let message = StateMessage::from(*standing);
                if let Some(streamer) = streamer {
                    self.send_state(Role::Streamer, streamer.socket, &message);
                }
                let frame = event_frame(wire::STATE, &message).ok();
                self.each(audience, |listener| {
                    self.send_listener_state(listener, &message, frame.as_ref());
                })
                .await;
            }
            Event::LivestreamEnded {
                livestream,
                ending,
                streamer,
                audience,
                ..
            } => {
                self.revoke_passes(livestream, *ending);
                if let Some(streamer) = streamer {
                    self.end_streamer(*streamer, *ending);
                }
                let message = StateMessage::from(Standing::ENDED);
                let frame = event_frame(wire::STATE, &message).ok();
                self.each(audience, |listener| {
                    self.send_listener_state(listener, &message, frame.as_ref());
                    self.disconnect(Role::Listener, listener.socket);
                })
                .await;
            }
        }
    }

    async fn each(&self, audience: &[Arc<Listener>], notify: impl Fn(&Listener)) {
        for batch in audience.chunks(BATCH) {
            for listener in batch {
                notify(listener);
            }
            tokio::task::yield_now().await;
        }
    }

    fn send_state(&self, role: Role, socket: SocketId, message: &StateMessage) {
        if let Some(socket) = self.find(role, socket) {
            self.emit(&socket, wire::STATE, message);
        }
    }

    /// Sends the frame that all listeners share where the outbox takes it, and the message otherwise.
    fn send_listener_state(
        &self,
        listener: &Listener,
        message: &StateMessage,
        frame: Option<&Bytes>,
    ) {
        if !frame.is_some_and(|frame| listener.outbox.say(frame)) {
            self.send_state(Role::Listener, listener.socket, message);
        }
    }

    fn warn(&self, role: Role, socket: SocketId, message: &WarningMessage) {
        if let Some(socket) = self.find(role, socket) {
            self.emit(&socket, wire::WARNING, message);
        }
    }

    fn warn_streamer(&self, streamer: StreamerId, message: &WarningMessage) {
        let socket = self.find(Role::Streamer, streamer.socket);
        if socket.is_some_and(|socket| streamer::wants_warnings(&socket)) {
            self.warn(Role::Streamer, streamer.socket, message);
        }
    }

    fn replaced(&self, livestream: &LivestreamId, old: StreamerId, replacement: Replacement) {
        // The client may have left, and may have come again on its session, with the same socket id.
        let Some(socket) = self.find(Role::Streamer, old.socket) else {
            return;
        };
        if !streamer::is_under(&socket, old.epoch) {
            return;
        }
        match replacement {
            Replacement::Here | Replacement::Elsewhere => {
                self.dismiss(Role::Streamer, old.socket, &wire::taken_over(livestream));
            }
            Replacement::Undecided => {
                self.emit(&socket, wire::ERROR, &Refusal::Unavailable.text());
                // Closes its transport, with all its sockets: its client connects again, and the latest streamer stays.
                let sockets = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(DISCONNECT_DELAY).await;
                    sockets.close(old.socket);
                });
            }
        }
    }

    /// Notifies a streamer that is still connected.
    fn end_streamer(&self, streamer: StreamerId, ending: Ending) {
        match ending {
            Ending::Deleted | Ending::Operator => {
                let message = StateMessage::from(Standing::ENDED);
                self.send_state(Role::Streamer, streamer.socket, &message);
                self.disconnect(Role::Streamer, streamer.socket);
            }
            Ending::Disowned => {
                self.dismiss(Role::Streamer, streamer.socket, wire::TOKEN_INVALID);
            }
            Ending::Banned => self.dismiss(Role::Streamer, streamer.socket, wire::BANNED),
            // It left by itself, or there is none.
            Ending::Ended | Ending::Abandoned | Ending::Expired | Ending::Elsewhere => {}
        }
    }
}
