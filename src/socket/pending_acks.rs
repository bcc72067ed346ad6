//! Pending acks: the answers to a streamer's uploads, which wait for the publication of the clips to other nodes, and for
//! their recording to be safe.
//!
//! **Invariant**: a streamer's uploads are answered one after the other, in their order; each is answered when its
//! clip is published, when it no longer fits the queue, or, at the latest, when this node no longer owns the
//! livestream. Pending acks count as queued messages of the streamer, which is not read while these are at their
//! limit.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::Sockets;
use super::outgoing::Callback;
use super::wire::{self, Ack, Refusal};
use crate::broadcast::{Role, UserId};
use crate::recording::Recorded;
use crate::relay::{SocketId, Ticket, Unpublished};
use crate::transport::Session;

/// The messages that answer an upload: an event and an acknowledgement.
const MESSAGES: u64 = 2;

/// The answer to a clip that was relayed here, and is not published or not on the disk yet.
pub(super) struct PendingAck {
    /// The clip's sequence here.
    pub(super) sequence: u64,
    /// None without a cluster.
    pub(super) ticket: Option<Ticket>,
    /// None if nothing is recorded.
    pub(super) recorded: Option<Recorded>,
    pub(super) listeners: usize,
    pub(super) is_duplicate: bool,
    pub(super) callback: Callback,
}

pub(super) struct PendingAcks {
    sockets: Sockets,
    socket: SocketId,
    session: Arc<Session>,
    user: UserId,
    // Without a cluster and without recordings no ack is pending, and there is no task.
    open: OnceLock<mpsc::UnboundedSender<PendingAck>>,
}

impl PendingAcks {
    pub(super) fn new(
        sockets: &Sockets,
        socket: SocketId,
        session: Arc<Session>,
        user: &UserId,
    ) -> Self {
        Self {
            sockets: sockets.clone(),
            socket,
            session,
            user: user.clone(),
            open: OnceLock::new(),
        }
    }

    /// Answers an upload when its clip is published, after those before it.
    pub(super) fn push(&self, pending_ack: PendingAck) {
        let open = self.open.get_or_init(|| {
            // Bounded by the session, which counts owed messages.
            let (open, pending_acks) = mpsc::unbounded_channel();
            let task = AckTask {
                sockets: self.sockets.clone(),
                socket: self.socket,
                session: self.session.clone(),
                user: self.user.clone(),
            };
            tokio::spawn(task.run(pending_acks));
            open
        });
        self.session.activity.pressure.owe(MESSAGES);
        if open.send(pending_ack).is_err() {
            // The task ends after this sender only, or with the runtime.
            self.session.activity.pressure.settle(MESSAGES);
        }
    }
}

struct AckTask {
    sockets: Sockets,
    socket: SocketId,
    session: Arc<Session>,
    user: UserId,
}

impl AckTask {
    async fn run(self, mut pending_acks: mpsc::UnboundedReceiver<PendingAck>) {
        while let Some(PendingAck {
            sequence,
            ticket,
            recorded,
            listeners,
            is_duplicate,
            callback,
        }) = pending_acks.recv().await
        {
            if let Some(recorded) = recorded {
                recorded.wait().await;
            }
            let published = match ticket {
                Some(ticket) => ticket.answer().await,
                None => Ok(sequence),
            };
            let ack = match published {
                Ok(sequence) => {
                    self.emit(wire::SUCCESS, &wire::received(&self.user));
                    Ack::uploaded(sequence, listeners, is_duplicate)
                }
                Err(Unpublished::Superseded) => Ack::error(wire::NOT_ON_AIR),
                Err(Unpublished::Away) => {
                    let text = Refusal::Unavailable.text();
                    self.emit(wire::ERROR, &text);
                    Ack::error(&text)
                }
            };
            self.sockets.answer(callback, &ack);
            self.session.activity.pressure.settle(MESSAGES);
        }
    }

    /// The socket is found each time: a task must not keep one.
    fn emit(&self, event: &'static str, text: &str) {
        if let Some(socket) = self.sockets.find(Role::Streamer, self.socket) {
            self.sockets.emit(&socket, event, text);
        }
    }
}
