//! The queue with its file: each change of the one is queued for the other.
//!
//! **Invariant**: what is not in the file yet is in `lines`, or the whole file is due to be written.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use tokio::time::Instant;

use super::file::{self, Contents, Line};
use super::message::{Effect, Message};
use super::metrics::{EXPIRED, FULL, WebhookMetrics};
use super::queue::{Limits, Queue};
use crate::config;
use crate::files;
use crate::google::Complaint;
use crate::unix_time::millis;

/// Bytes of the file about the past, besides as many as wait, before it is written again.
const SLACK: usize = 256 << 10;

/// See the module.
pub(super) struct State {
    pub(super) queue: Queue,
    /// The livestreams that are live for the receiver; none in a cluster.
    pub(super) open: BTreeSet<String>,
    /// None: waiting messages end with the process.
    path: Option<PathBuf>,
    /// For the end of the file.
    lines: Vec<u8>,
    /// In the file since it was written as a whole.
    appended: usize,
    is_whole_due: bool,
    metrics: WebhookMetrics,
    errors: IntCounter,
    complaint: Complaint,
}

/// A write to be performed, where it may block.
pub(super) struct Work {
    path: PathBuf,
    lines: Vec<u8>,
    is_whole: bool,
}

impl Work {
    pub(super) fn perform(self) -> io::Result<()> {
        if self.is_whole {
            files::replace(&self.path, &self.lines)
        } else {
            file::append(&self.path, &self.lines)
        }
    }
}

impl State {
    /// With the messages of this file. A file that cannot be read is kept as it is, and not used.
    pub(super) fn open(
        config: &config::Webhooks,
        mut path: Option<PathBuf>,
        metrics: WebhookMetrics,
        errors: IntCounter,
    ) -> Self {
        let read = path.as_deref().map_or(Ok(Contents::default()), file::read);
        let contents = read.unwrap_or_else(|error| {
            errors.inc();
            let named = path.take().unwrap_or_default();
            tracing::error!(
                "webhooks do not outlive this process: {} cannot be read: {error}; mend or remove it, and restart",
                named.display()
            );
            Contents::default()
        });
        if contents.unreadable > 0 {
            errors.inc();
            let lines = contents.unreadable;
            tracing::warn!(
                lines,
                "the file of webhooks has lines that cannot be read, as after a crash; they are ignored"
            );
        }
        let mut state = Self {
            queue: Queue::new(Limits {
                messages: config.queue_messages,
                bytes: config.queue_bytes,
                retry_time: config.retry_time,
                requests: config.max_requests,
            }),
            open: contents.open,
            is_whole_due: path.is_some(),
            path,
            lines: Vec::new(),
            appended: 0,
            metrics,
            errors,
            complaint: Complaint::default(),
        };
        let (now, clock) = (Instant::now(), millis(SystemTime::now()));
        for message in contents.messages {
            let age = Duration::from_millis(clock.saturating_sub(message.created));
            if !state.queue.push(message, age, now) {
                state.dropped(FULL);
            }
        }
        state
    }

    /// Adds a message. False if it was dropped for lack of room.
    pub(super) fn queue(&mut self, message: Message, is_tracked: bool, now: Instant) -> bool {
        if self.queue.contains(&message) {
            return true;
        }
        let effect = message.effect().filter(|_| is_tracked);
        file::apply(&mut self.open, effect, &message.lane);
        let lane = message.lane.clone();
        let mut text = Vec::new();
        let queued = Line::Queued(message);
        queued.write(&mut text);
        let Line::Queued(message) = queued else {
            return false;
        };
        let has_room = self.queue.push(message, Duration::ZERO, now);
        if has_room {
            self.add(&text);
        } else {
            self.dropped(FULL);
            match effect {
                Some(Effect::Opens) => self.add_line(&Line::Opened(lane)),
                Some(Effect::Closes) => self.add_line(&Line::Closed(lane)),
                None => {}
            }
        }
        has_room
    }

    pub(super) fn delivered(&mut self, message: &Message, now: Instant) {
        self.queue.delivered(message, now);
        self.add_line(&Line::Done(message.id.clone()));
    }

    /// Drops what is too old; returns how many.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let expired: Vec<Arc<Message>> = self.queue.expire(now);
        for message in &expired {
            self.dropped(EXPIRED);
            self.add_line(&Line::Done(message.id.clone()));
        }
        expired.len()
    }

    fn dropped(&self, reason: &str) {
        self.metrics.dropped.with_label_values(&[reason]).inc();
    }

    fn add_line(&mut self, line: &Line) {
        let mut text = Vec::new();
        line.write(&mut text);
        self.add(&text);
    }

    fn add(&mut self, text: &[u8]) {
        if self.path.is_none() || self.is_whole_due {
            return;
        }
        self.lines.extend(text);
        // A disk that hangs, or a file of the past.
        if self.appended + self.lines.len() > 2 * self.queue.bytes() + SLACK {
            self.lines = Vec::new();
            self.is_whole_due = true;
        }
    }

    pub(super) fn must_write(&self) -> bool {
        self.is_whole_due || !self.lines.is_empty()
    }

    /// What is to be written now, if anything is.
    pub(super) fn take_work(&mut self) -> Option<Work> {
        let path = self.path.clone().filter(|_| self.must_write())?;
        let is_whole = std::mem::take(&mut self.is_whole_due);
        let lines = if is_whole {
            self.whole()
        } else {
            std::mem::take(&mut self.lines)
        };
        self.appended = if is_whole {
            0
        } else {
            self.appended + lines.len()
        };
        Some(Work {
            path,
            lines,
            is_whole,
        })
    }

    fn whole(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for message in self.queue.all() {
            Line::Queued((*message).clone()).write(&mut text);
        }
        // After the messages, which have effects of their own.
        let mut of_messages = BTreeSet::new();
        for message in self.queue.all() {
            file::apply(&mut of_messages, message.effect(), &message.lane);
        }
        for livestream in self.open.difference(&of_messages) {
            Line::Opened(livestream.clone()).write(&mut text);
        }
        for livestream in of_messages.difference(&self.open) {
            Line::Closed(livestream.clone()).write(&mut text);
        }
        text
    }

    /// A write has failed: the next one writes the whole file. Returns whether to log it.
    pub(super) fn not_written(&mut self) -> bool {
        self.errors.inc();
        self.lines = Vec::new();
        self.is_whole_due = true;
        self.complaint.is_due()
    }

    /// Sets the gauges.
    pub(super) fn count(&self, now: Instant) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics.waiting.set(number(self.queue.len()));
        metrics.waiting_bytes.set(number(self.queue.bytes()));
        let oldest = self.queue.oldest(now).as_secs();
        metrics
            .oldest
            .set(i64::try_from(oldest).unwrap_or(i64::MAX));
        metrics.gone.set(i64::from(self.queue.is_gone()));
    }
}
