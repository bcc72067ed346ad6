//! The webhooks of a daemon that serves.

use tokio::sync::mpsc;

use super::Parts;

impl Parts {
    /// Sends messages about all events from now on, and about livestreams that did not outlive the process before.
    pub(super) fn send_webhooks(&self, failed: &mpsc::Sender<String>) {
        if let Some(webhooks) = self.webhooks.clone() {
            webhooks.close_left_behind(|livestream| self.relay.is_known(livestream));
            let events = self.relay.subscribe();
            self.spawn(failed, "webhooks", webhooks.run(events));
        }
    }
}
