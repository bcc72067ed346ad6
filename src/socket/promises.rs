//! What a streamer is told once other nodes have its clips.
//!
//! **Invariant**: a streamer's promises are kept one after the other, in the order of its uploads; each is kept when its
//! clip is published, when it no longer fits the queue, or, at the latest, when the livestream is no more this node's.

use std::sync::OnceLock;

use socketioxide::extract::AckSender;
use tokio::sync::mpsc;

use super::Sockets;
use super::streamer::taken;
use super::wire::{self, Ack, Refusal};
use crate::broadcast::{Role, UserId};
use crate::cluster::{Ticket, Unpublished};
use crate::relay::SocketId;

/// Promises that may be open at once: more than clips can wait for the engine in any sensible configuration.
const MOST: usize = 4096;

/// A clip that was relayed here and is on its way to other nodes.
pub(super) struct Promise {
    pub(super) ticket: Ticket,
    pub(super) listeners: usize,
    pub(super) ack: AckSender,
}

/// See the module.
pub(super) struct Promises {
    sockets: Sockets,
    socket: SocketId,
    user: UserId,
    // Without a cluster there is nothing to wait for, and no task.
    open: OnceLock<mpsc::Sender<Promise>>,
}

impl Promises {
    pub(super) fn new(sockets: &Sockets, socket: SocketId, user: &UserId) -> Self {
        Self {
            sockets: sockets.clone(),
            socket,
            user: user.clone(),
            open: OnceLock::new(),
        }
    }

    /// Answers an upload when its clip is published, after those before it.
    pub(super) fn keep(&self, promise: Promise) {
        let open = self.open.get_or_init(|| {
            let (open, promises) = mpsc::channel(MOST);
            let teller = Teller {
                sockets: self.sockets.clone(),
                socket: self.socket,
                user: self.user.clone(),
            };
            tokio::spawn(teller.run(promises));
            open
        });
        if let Err(refused) = open.try_send(promise) {
            let promise = refused.into_inner();
            promise
                .ack
                .send(&Ack::error(&Refusal::Unavailable.text()))
                .ok();
        }
    }
}

struct Teller {
    sockets: Sockets,
    socket: SocketId,
    user: UserId,
}

impl Teller {
    async fn run(self, mut promises: mpsc::Receiver<Promise>) {
        while let Some(Promise {
            ticket,
            listeners,
            ack,
        }) = promises.recv().await
        {
            let said = match ticket.await.unwrap_or(Err(Unpublished::Away)) {
                Ok(sequence) => {
                    self.emit(wire::SUCCESS, &wire::received(&self.user));
                    taken(sequence, listeners)
                }
                Err(Unpublished::Superseded) => Ack::error(wire::NOT_ON_AIR),
                Err(Unpublished::Away) => {
                    let text = Refusal::Unavailable.text();
                    self.emit(wire::ERROR, &text);
                    Ack::error(&text)
                }
            };
            ack.send(&said).ok();
        }
    }

    /// The socket is found anew each time: nothing that waits may hold one.
    fn emit(&self, event: &str, text: &str) {
        if let Some(socket) = self.sockets.find(Role::Streamer, self.socket) {
            socket.emit(event, text).ok();
        }
    }
}
