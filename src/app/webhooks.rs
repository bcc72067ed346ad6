//! The webhooks of a daemon that serves.

use tokio::sync::mpsc;

use super::Parts;
use crate::webhooks::Settling;

impl Parts {
    /// Sends messages about all events from now on, and about livestreams that did not outlive the process before.
    pub(super) fn send_webhooks(&self, failed: &mpsc::Sender<String>, settling: Option<Settling>) {
        if let Some((webhooks, settling)) = self.webhooks.clone().zip(settling) {
            webhooks.close_left_behind(|livestream| self.relay.is_known(livestream));
            let events = self.relay.subscribe();
            self.spawn(failed, "webhooks", webhooks.run(events, settling));
        }
    }
}
