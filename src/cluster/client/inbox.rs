//! Inboxes: the messages that Redis pushed, one queue for each channel.
//!
//! **Invariant**: an inbox is as large as the owner's queue for Redis, so a flush that fits one fits the other, even if
//! the livestream's task waits for Redis meanwhile. Messages beyond are dropped: the next heartbeat finds them, as far
//! as the history reaches.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// The messages of one channel.
pub(crate) struct Inbox(mpsc::Receiver<Queued>);

/// A message, and its share of the inbox's bytes.
type Queued = (Bytes, OwnedSemaphorePermit);

struct Sender {
    messages: mpsc::Sender<Queued>,
    /// The bytes that still fit.
    room: Arc<Semaphore>,
}

/// The inboxes of all channels.
pub(super) struct Inboxes {
    messages: usize,
    bytes: usize,
    // A lock, held to find an inbox.
    open: Mutex<HashMap<Bytes, Sender>>,
}

impl Inbox {
    /// The next message; none once the inbox is closed.
    pub(crate) async fn recv(&mut self) -> Option<Bytes> {
        self.0.recv().await.map(|(message, _)| message)
    }

    /// A message that is queued already.
    pub(crate) fn try_recv(&mut self) -> Option<Bytes> {
        self.0.try_recv().ok().map(|(message, _)| message)
    }
}

impl Inboxes {
    /// Inboxes of at most `messages` messages and `bytes` bytes each; one message of any size fits.
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        Self {
            messages,
            bytes: bytes.min(Semaphore::MAX_PERMITS),
            open: Mutex::default(),
        }
    }

    /// The inbox of `channel`, in place of one before.
    pub(super) fn open(&self, channel: &Bytes) -> Inbox {
        let (messages, inbox) = mpsc::channel(self.messages);
        let room = Arc::new(Semaphore::new(self.bytes));
        let sender = Sender { messages, room };
        self.open.lock().insert(channel.clone(), sender);
        Inbox(inbox)
    }

    pub(super) fn close(&self, channel: &Bytes) {
        self.open.lock().remove(channel);
    }

    /// Called by the library for everything that Redis pushes; must not wait. Notifies `lost` of the connection's end.
    #[expect(clippy::unnecessary_wraps, reason = "the library's signature")]
    pub(super) fn take(
        &self,
        push: PushInfo,
        lost: Option<&Notify>,
    ) -> Result<(), std::convert::Infallible> {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut data = push.data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(message))) =
                    (data.next(), data.next())
                {
                    self.put(&channel, message.into());
                }
            }
            PushKind::Disconnection => lost.into_iter().for_each(Notify::notify_one),
            _ => {}
        }
        Ok(())
    }

    fn put(&self, channel: &[u8], message: Bytes) {
        let open = self.open.lock();
        let Some(Sender { messages, room }) = open.get(channel) else {
            return;
        };
        let share = u32::try_from(message.len().min(self.bytes)).unwrap_or(u32::MAX);
        // Without room, or if its task has just ended, the next heartbeat finds the message.
        if let Ok(share) = room.clone().try_acquire_many_owned(share) {
            drop(messages.try_send((message, share)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const CHANNEL: &[u8] = b"channel";

    fn push(inboxes: &Inboxes, message: &[u8]) {
        let data = [CHANNEL, message].map(|part| Value::BulkString(part.to_vec()));
        let push = PushInfo {
            kind: PushKind::Message,
            data: data.to_vec(),
        };
        let Ok(()) = inboxes.take(push, None);
    }

    fn queued(inbox: &mut Inbox) -> Vec<Bytes> {
        std::iter::from_fn(|| inbox.try_recv()).collect()
    }

    #[test]
    fn inbox_holds_the_flush_after_an_outage() {
        let config = Config::default();
        let inboxes = Inboxes::new(config.cluster.queue_clips, config.cluster.queue_bytes);
        let mut inbox = inboxes.open(&Bytes::from_static(CHANNEL));
        let flush: Vec<Bytes> = (0..config.upload.clips_burst)
            .map(|clip| Bytes::from(clip.to_string()))
            .collect();
        for clip in &flush {
            push(&inboxes, clip);
        }
        assert_eq!(queued(&mut inbox), flush);
    }

    #[test]
    fn inbox_is_bounded_in_messages_and_bytes() {
        let inboxes = Inboxes::new(3, 10);
        let mut inbox = inboxes.open(&Bytes::from_static(CHANNEL));
        for _ in 0..9 {
            push(&inboxes, b"abcd");
        }
        assert_eq!(queued(&mut inbox).len(), 2, "ten bytes");
        for _ in 0..9 {
            push(&inboxes, b"a");
        }
        assert_eq!(queued(&mut inbox).len(), 3, "three messages");
    }

    #[test]
    fn message_of_any_size_fits_an_empty_inbox() {
        let inboxes = Inboxes::new(3, 10);
        let mut inbox = inboxes.open(&Bytes::from_static(CHANNEL));
        for _ in 0..2 {
            push(&inboxes, &[0; 11]);
            assert_eq!(queued(&mut inbox).len(), 1);
        }
    }
}
