//! Webhooks: messages about livestreams to a server of the operator's, after the Standard Webhooks specification.
//!
//! The relay's events become messages ([`message`]) that wait in a bounded queue ([`queue`]) and in a file of the state
//! directory ([`mod@file`]). One task takes the events, and never waits; tries to deliver run beside it ([`request`]).
//!
//! **Invariant**: a message is delivered at least once, with the same id each time, or counted as dropped. Of each
//! livestream they come in the order of its events on this node.

mod file;
mod message;
mod metrics;
mod queue;
mod request;
mod signature;
mod state;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use self::message::Message;
use self::metrics::WebhookMetrics;
use self::request::{Failed, Failure, Receiver};
use self::signature::Keys;
use self::state::State;
use crate::broadcast::LivestreamId;
use crate::config::{self, ConfigError};
use crate::google::Complaint;
use crate::metrics::Metrics;
use crate::relay::Event;

/// How often what is too old is dropped, and the metrics are set.
const TICK: Duration = Duration::from_secs(1);

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    receiver: Receiver,
    metrics: WebhookMetrics,
    /// This node's name; none without a cluster.
    node: Option<String>,
    state: Mutex<State>,
    /// There is something to send.
    work: Notify,
    /// There is something to write.
    dirty: Notify,
    /// Held while the file is written, so that writes do not overtake each other.
    writing: tokio::sync::Mutex<()>,
    settling: mpsc::Sender<oneshot::Sender<()>>,
    complaint: Complaint,
    full: Complaint,
}

/// What [`Webhooks::settle`] asks of the task.
pub struct Settling(mpsc::Receiver<oneshot::Sender<()>>);

/// The reason why webhooks cannot be sent; detected at start.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The metrics are already registered.
    #[error("the metrics of webhooks cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The secrets are malformed.
    #[error("webhooks.secrets {0}")]
    Secrets(&'static str),
    /// There is no HTTP client.
    #[error("the HTTP client of webhooks cannot be made: {0}")]
    Client(String),
}

/// The problem with the secrets, if there is one.
pub fn problem(config: &config::Webhooks) -> Option<ConfigError> {
    const KEY: &str = "webhooks.secrets";
    match &config.secrets {
        Some(secrets) => Keys::parse(secrets)
            .err()
            .map(|problem| ConfigError::value(KEY, problem)),
        None => config.url.as_ref().map(|_| {
            ConfigError::absent(
                KEY,
                "is not set, and webhooks.url needs it: receivers refuse what is not signed",
            )
        }),
    }
}

impl Webhooks {
    /// The webhooks that are configured, with those that waited in this directory; none if they are off. Without a
    /// directory, waiting messages end with the process.
    pub fn open(
        config: &config::Webhooks,
        directory: Option<&Path>,
        node: Option<&str>,
        metrics: &Metrics,
    ) -> Result<Option<(Self, Settling)>, WebhookError> {
        let own = WebhookMetrics::register(metrics.registry())?;
        let (Some(url), Some(secrets)) = (&config.url, &config.secrets) else {
            return Ok(None);
        };
        let keys = Keys::parse(secrets).map_err(WebhookError::Secrets)?;
        let receiver = Receiver::new(url, config.timeout, keys).map_err(WebhookError::Client)?;
        let (settling, asked) = mpsc::channel(1);
        let path = directory.map(|directory| directory.join("webhooks"));
        let opened = Self(Arc::new(Inner {
            receiver,
            state: Mutex::new(State::open(
                config,
                path,
                own.clone(),
                metrics.state_file_errors.clone(),
            )),
            metrics: own,
            node: node.map(str::to_owned),
            work: Notify::new(),
            dirty: Notify::new(),
            writing: tokio::sync::Mutex::default(),
            settling,
            complaint: Complaint::default(),
            full: Complaint::default(),
        }));
        opened.0.state.lock().count(Instant::now());
        Ok(Some((opened, Settling(asked))))
    }

    /// Replaces the secrets by good ones.
    pub fn set_secrets(&self, secrets: Option<&SecretString>) {
        if let Some(Ok(keys)) = secrets.map(Keys::parse) {
            self.0.receiver.set_keys(keys);
        }
    }

    /// Tells of the end of the livestreams that a process before this one left live and that are not `known` now. In a
    /// cluster the other nodes tell.
    pub fn close_left_behind(&self, known: impl Fn(&LivestreamId) -> bool) {
        if self.0.node.is_some() {
            return;
        }
        let open: BTreeSet<String> = self.0.state.lock().open.clone();
        for livestream in open {
            if !LivestreamId::new(&livestream).is_some_and(|id| known(&id)) {
                self.queue(Message::left_behind(&livestream, SystemTime::now()));
            }
        }
    }

    /// Sends messages about these events, for as long as there may be one.
    pub async fn run(
        self,
        events: mpsc::UnboundedReceiver<Arc<Event>>,
        settling: Settling,
    ) -> std::io::Result<()> {
        tokio::select! {
            () = self.take_in(events, settling) => {}
            () = self.deliver() => {}
            () = self.keep_written() => {}
        }
        Ok(())
    }

    /// At a stop: takes the events until now, and writes the waiting messages for the next process.
    pub async fn settle(&self, limit: Duration) {
        let (reply, settled) = oneshot::channel();
        let settle = async {
            if self.0.settling.send(reply).await.is_ok() {
                settled.await.ok();
            }
        };
        if timeout(limit, settle).await.is_err() {
            tracing::warn!("the webhooks that wait could not be written in time");
        }
    }

    async fn take_in(
        &self,
        mut events: mpsc::UnboundedReceiver<Arc<Event>>,
        Settling(mut settling): Settling,
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.tell(&event),
                    None => return,
                },
                _ = ticks.tick() => self.tick(),
                Some(reply) = settling.recv() => {
                    while let Ok(event) = events.try_recv() {
                        self.tell(&event);
                    }
                    self.write().await;
                    // The stop may have gone on without it.
                    reply.send(()).ok();
                }
            }
        }
    }

    fn tell(&self, event: &Event) {
        if let Some(message) = Message::of(event, self.0.node.as_deref(), SystemTime::now()) {
            self.queue(message);
        }
    }

    fn queue(&self, message: Message) {
        let kind = message.kind.clone();
        let is_tracked = self.0.node.is_none();
        let has_room = self
            .0
            .state
            .lock()
            .queue(message, is_tracked, Instant::now());
        if !has_room && self.0.full.is_due() {
            tracing::error!(
                kind,
                "a webhook is dropped: webhooks.queue_messages or webhooks.queue_bytes wait already; see to the receiver, \
                 or raise them"
            );
        }
        self.0.work.notify_one();
        self.0.dirty.notify_one();
    }

    fn tick(&self) {
        let mut state = self.0.state.lock();
        let expired = state.expire(Instant::now());
        state.count(Instant::now());
        let must_write = state.must_write();
        drop(state);
        if expired > 0 {
            tracing::error!(
                expired,
                "webhooks are dropped: they were tried for webhooks.retry_time"
            );
        }
        if must_write {
            self.0.dirty.notify_one();
        }
    }

    async fn keep_written(&self) {
        loop {
            self.0.dirty.notified().await;
            self.write().await;
        }
    }

    async fn write(&self) {
        let _writing = self.0.writing.lock().await;
        let Some(work) = self.0.state.lock().take_work() else {
            return;
        };
        let written = tokio::task::spawn_blocking(move || work.perform()).await;
        let written = written.unwrap_or_else(|failed| Err(std::io::Error::other(failed)));
        if let Err(error) = written {
            let is_due = self.0.state.lock().not_written();
            if is_due {
                tracing::error!(
                    "the webhooks that wait cannot be written, a crash loses them: {error}; see to the state directory"
                );
            }
        }
    }

    async fn deliver(&self) {
        let mut tries = JoinSet::new();
        loop {
            while let Some(message) = self.take() {
                let webhooks = self.clone();
                tries.spawn(async move {
                    let outcome = webhooks.0.receiver.post(&message).await;
                    webhooks.settle_try(&message, outcome);
                });
            }
            let due = self.0.state.lock().queue.next_due();
            tokio::select! {
                Some(_) = tries.join_next() => {}
                () = self.0.work.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn take(&self) -> Option<Arc<Message>> {
        self.0.state.lock().queue.take(Instant::now())
    }

    fn settle_try(&self, message: &Message, outcome: Result<(), Failed>) {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        let was_gone = state.queue.is_gone();
        match outcome {
            Ok(()) => state.delivered(message, now),
            Err(failed) => state.queue.failed(message, failed, rand::random(), now),
        }
        state.count(now);
        let (waiting, is_gone) = (state.queue.len(), state.queue.is_gone());
        drop(state);
        match outcome {
            Ok(()) => {
                self.0
                    .metrics
                    .sent
                    .with_label_values(&[&message.kind])
                    .inc();
                tracing::debug!(message.id, kind = message.kind, "webhook delivered");
                self.0.dirty.notify_one();
            }
            Err(Failed { failure, .. }) => self.complain(message, failure, waiting),
        }
        if is_gone && !was_gone {
            tracing::error!(
                waiting,
                "the webhooks' receiver has answered 410 Gone: nothing is sent to it any longer; restart once it takes them \
                 again, or unset webhooks.url"
            );
        }
    }

    fn complain(&self, message: &Message, failure: Failure, waiting: usize) {
        let reason = failure.as_str();
        self.0.metrics.failed.with_label_values(&[reason]).inc();
        if self.0.complaint.is_due() {
            tracing::warn!(
                message.id,
                kind = message.kind,
                reason,
                waiting,
                "a webhook is not delivered, it is tried again"
            );
        } else {
            tracing::debug!(
                message.id,
                kind = message.kind,
                reason,
                waiting,
                "a webhook is not delivered, it is tried again"
            );
        }
    }
}
