//! Effects of other nodes on this node's sockets.
//!
//! **Invariant**: nothing here waits; clients are notified by tasks of their own, or through their queues.

use bytes::Bytes;

use super::parting::DISCONNECT_DELAY;
use super::wire::{self, Refusal};
use super::{Sockets, now};
use crate::broadcast::{LivestreamId, Role};
use crate::cluster::{Node, RemoteStatus, Standing};

impl Node for Sockets {
    fn standing(&self, id: &LivestreamId) -> Standing {
        self.0.relay.standing(id)
    }

    fn listeners(&self, id: &LivestreamId) -> usize {
        self.0.relay.listeners(id)
    }

    fn clip(&self, id: &LivestreamId, clip: Bytes) {
        self.0.relay.accept_remote_clip(id, clip, now());
    }

    fn seen(&self, id: &LivestreamId, seen: RemoteStatus) {
        self.conclude_soon(self.0.relay.follow(id, seen, now()));
    }

    fn superseded(&self, id: &LivestreamId) {
        if let Some(streamer) = self.0.relay.yield_to_other(id) {
            self.dismiss(Role::Streamer, streamer, &wire::taken_over(id));
        }
    }

    fn come_again(&self, id: &LivestreamId) {
        let Some(streamer) = self.0.relay.yield_to_other(id) else {
            return;
        };
        if let Some(socket) = self.find(Role::Streamer, streamer) {
            self.emit(&socket, wire::ERROR, &Refusal::Unavailable.text());
        }
        // Closes its transport, with all its sockets: its client connects again, and the latest streamer stays.
        let sockets = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DISCONNECT_DELAY).await;
            sockets.close(streamer);
        });
    }

    fn over(&self, id: &LivestreamId) {
        self.0.relay.write_ended(id);
    }

    fn still_live(&self, id: &LivestreamId) {
        self.0.relay.write_live_again(id);
    }

    fn release(&self, id: &LivestreamId) -> bool {
        self.0.relay.release(id)
    }
}
