//! The messages that wait, and when the next one is due. Pure: time is an argument.
//!
//! A *lane* is a livestream, or a user. Its first message is tried until it is delivered or too old; then comes the next.
//! A lane that fails waits longer each time, so that one message that the receiver does not like delays its own livestream
//! alone. The receiver as a whole waits, too: after a failure one message at a time is tried, and none before the pause is
//! over.
//!
//! **Invariant**: of one lane at most one message is being sent, and the order is that of the events. Messages and their
//! bytes are within their limits; what does not fit is refused and changes nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::message::Message;
use super::request::{Failed, Failure};

/// The wait after the first failure; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// The longest wait that a receiver may ask for.
const LONGEST_WISH: Duration = Duration::from_hours(24);

/// The limits of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) retry_time: Duration,
    /// Concurrent tries.
    pub(super) requests: usize,
}

struct Waiting {
    /// Its place among all messages.
    number: u64,
    message: Arc<Message>,
    queued: Instant,
    /// In processes before this one.
    age_before: Duration,
}

impl Waiting {
    fn age(&self, now: Instant) -> Duration {
        self.age_before + now.saturating_duration_since(self.queued)
    }
}

#[derive(Default)]
struct Lane {
    /// Never empty.
    waiting: VecDeque<Waiting>,
    failures: u32,
    /// None while its first message is being sent.
    due: Option<Instant>,
}

/// See the module.
pub(super) struct Queue {
    limits: Limits,
    lanes: HashMap<Arc<str>, Lane>,
    /// The lanes that are not being sent: when they are due, and the number of their first message.
    ready: BTreeSet<(Instant, u64, Arc<str>)>,
    messages: usize,
    bytes: usize,
    next_number: u64,
    /// Tries under way.
    tries: usize,
    /// Failures since the latest success.
    failures: u32,
    paused_until: Option<Instant>,
    is_gone: bool,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            messages: 0,
            bytes: 0,
            next_number: 0,
            tries: 0,
            failures: 0,
            paused_until: None,
            is_gone: false,
        }
    }

    /// Adds a message of this age. False if there is no room for it.
    pub(super) fn push(&mut self, message: Message, age_before: Duration, now: Instant) -> bool {
        let bytes = message.bytes();
        if self.messages >= self.limits.messages || self.bytes + bytes > self.limits.bytes {
            return false;
        }
        let name: Arc<str> = message.lane.as_str().into();
        let number = self.next_number;
        let waiting = Waiting {
            number,
            message: Arc::new(message),
            queued: now,
            age_before,
        };
        let lane = self.lanes.entry(name.clone()).or_default();
        if lane.waiting.is_empty() {
            lane.due = Some(now);
            self.ready.insert((now, number, name));
        }
        lane.waiting.push_back(waiting);
        self.next_number += 1;
        self.messages += 1;
        self.bytes += bytes;
        true
    }

    /// The next message to send; the caller says what became of it.
    pub(super) fn take(&mut self, now: Instant) -> Option<Arc<Message>> {
        let most = if self.failures > 0 {
            1
        } else {
            self.limits.requests
        };
        let is_paused = self.paused_until.is_some_and(|until| until > now);
        if self.is_gone || is_paused || self.tries >= most {
            return None;
        }
        let (due, ..) = self.ready.first()?;
        if *due > now {
            return None;
        }
        let (_, _, name) = self.ready.pop_first()?;
        let lane = self.lanes.get_mut(&name)?;
        lane.due = None;
        self.tries += 1;
        Some(lane.waiting.front()?.message.clone())
    }

    /// When [`Self::take`] may have a message, if nothing else happens; none: not by time alone.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let most = if self.failures > 0 {
            1
        } else {
            self.limits.requests
        };
        if self.is_gone || self.tries >= most {
            return None;
        }
        let (due, ..) = self.ready.first()?;
        Some(self.paused_until.map_or(*due, |until| until.max(*due)))
    }

    /// A message that was taken is delivered.
    pub(super) fn delivered(&mut self, message: &Message, now: Instant) {
        self.tries -= 1;
        self.failures = 0;
        self.paused_until = None;
        self.drop_first(&message.lane, now);
    }

    /// A message that was taken is not delivered. `jitter` is between 0 and 1.
    pub(super) fn failed(&mut self, message: &Message, failed: Failed, jitter: f64, now: Instant) {
        self.tries -= 1;
        self.is_gone |= failed.failure == Failure::Gone;
        // Tries that began before the pause count once.
        if self.paused_until.is_none_or(|until| until <= now) {
            self.failures = self.failures.saturating_add(1);
            let wish = failed.retry_after.unwrap_or_default().min(LONGEST_WISH);
            self.paused_until = Some(now + wait(self.failures, jitter).max(wish));
        }
        let Some((name, lane)) = self.lanes.get_key_value(&*message.lane) else {
            return;
        };
        let (name, first) = (name.clone(), lane.waiting.front().map(|it| it.number));
        if let (Some(lane), Some(first)) = (self.lanes.get_mut(&name), first) {
            lane.failures = lane.failures.saturating_add(1);
            let due = now + wait(lane.failures, jitter);
            lane.due = Some(due);
            self.ready.insert((due, first, name));
        }
    }

    /// Removes the messages that are too old, and returns them. One that is being sent waits for its answer.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Arc<Message>> {
        let mut expired = Vec::new();
        let is_old = |waiting: &Waiting| waiting.age(now) >= self.limits.retry_time;
        let names = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.due.is_some() && lane.waiting.front().is_some_and(is_old));
        let names: Vec<Arc<str>> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            while let Some(first) = self.lanes.get(&name).and_then(|lane| lane.waiting.front())
                && first.age(now) >= self.limits.retry_time
            {
                expired.push(first.message.clone());
                self.drop_first(&name, now);
            }
        }
        expired
    }

    fn drop_first(&mut self, name: &str, now: Instant) {
        let Some((name, _)) = self.lanes.get_key_value(name) else {
            return;
        };
        let name = name.clone();
        let Some(lane) = self.lanes.get_mut(&name) else {
            return;
        };
        let Some(first) = lane.waiting.pop_front() else {
            return;
        };
        self.messages -= 1;
        self.bytes -= first.message.bytes();
        if let Some(due) = lane.due {
            self.ready.remove(&(due, first.number, name.clone()));
        }
        match lane.waiting.front() {
            Some(next) => {
                lane.failures = 0;
                lane.due = Some(now);
                self.ready.insert((now, next.number, name));
            }
            None => drop(self.lanes.remove(&name)),
        }
    }

    /// Whether a message with this id waits in its lane.
    pub(super) fn contains(&self, message: &Message) -> bool {
        let lane = self.lanes.get(&*message.lane);
        lane.is_some_and(|lane| lane.waiting.iter().any(|it| it.message.id == message.id))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    pub(super) fn len(&self) -> usize {
        self.messages
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The age of the oldest message; zero without one.
    pub(super) fn oldest(&self, now: Instant) -> Duration {
        let firsts = self.lanes.values().filter_map(|lane| lane.waiting.front());
        let ages = firsts.map(|waiting| waiting.age(now));
        ages.max().unwrap_or_default()
    }

    /// All messages, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Message>> {
        let waiting = self.lanes.values().flat_map(|lane| &lane.waiting);
        let mut all: Vec<_> = waiting.map(|it| (it.number, it.message.clone())).collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, message)| message).collect()
    }
}

/// The wait after so many failures in a row: between a half and the whole of what doubles each time.
fn wait(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled
        .min(LONGEST_WAIT)
        .mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests;
