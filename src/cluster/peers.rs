//! Requests from node to node, for the operator's API.
//!
//! A node publishes a request on the channel of another one, which stores its reply under a key of the asking node and
//! publishes that it is there. So a large reply waits in Redis until it is fetched, and does not fill the buffer of a
//! subscription.
//!
//! **Invariant**: a request has a reply or an error within `api.peer_timeout`, and no reply outlives it for long. The
//! numbers of requests that are asked and answered at the same time are bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::client::{CommandError, Redis};
use super::metrics::Metrics;
use crate::config::Config;

/// Requests of this node that wait for a reply.
const ASKED: usize = 256;
/// Requests of other nodes that are answered at the same time; a further one is not answered.
const ANSWERED: usize = 32;
/// The largest reply, in bytes.
const MAX_REPLY: usize = 16 << 20;

/// A request of the operator's API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerRequest {
    /// Who asks, for the log.
    pub operator: String,
    /// The method of HTTP.
    pub method: String,
    /// The path with its query.
    pub path: String,
}

/// The answer to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerReply {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Reasons why another node's reply is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Redis does not answer.
    #[error("Redis is away")]
    Away,
    /// No such node listens.
    #[error("no such node listens")]
    Gone,
    /// It does not reply in time.
    #[error("it does not reply in time")]
    Silent,
    /// Too many requests wait.
    #[error("too many requests wait for other nodes")]
    Busy,
}

impl From<CommandError> for PeerError {
    fn from(_: CommandError) -> Self {
        Self::Away
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    Request {
        id: String,
        from: String,
        request: PeerRequest,
    },
    Replied {
        id: String,
    },
}

/// See the module.
pub struct Peers {
    redis: Arc<Redis>,
    node: String,
    prefix: String,
    timeout: Duration,
    metrics: Metrics,
    asked: Semaphore,
    answered: Arc<Semaphore>,
    // A lock, held to find a request.
    waiting: Mutex<HashMap<String, oneshot::Sender<()>>>,
}

impl Peers {
    pub(super) fn new(redis: Arc<Redis>, node: &str, config: &Config, metrics: Metrics) -> Self {
        Self {
            redis,
            node: node.to_owned(),
            prefix: config.cluster.prefix.clone(),
            timeout: config.api.peer_timeout,
            metrics,
            asked: Semaphore::new(ASKED),
            answered: Arc::new(Semaphore::new(ANSWERED)),
            waiting: Mutex::default(),
        }
    }

    fn channel(&self, node: &str) -> Bytes {
        format!("{}:{{N{node}}}:requests", self.prefix).into()
    }

    fn reply_key(&self, node: &str, id: &str) -> String {
        format!("{}:{{N{node}}}:reply:{id}", self.prefix)
    }

    /// Asks a node.
    pub async fn ask(&self, node: &str, request: &PeerRequest) -> Result<PeerReply, PeerError> {
        let asked = timeout(self.timeout, self.ask_and_wait(node, request)).await;
        let reply = asked.unwrap_or(Err(PeerError::Silent));
        let outcome = match &reply {
            Ok(_) => "ok",
            Err(PeerError::Away) => "redis_away",
            Err(PeerError::Gone | PeerError::Silent) => "silent",
            Err(PeerError::Busy) => "busy",
        };
        let requests = &self.metrics.peer_requests;
        requests.with_label_values(&[outcome]).inc();
        reply
    }

    async fn ask_and_wait(
        &self,
        node: &str,
        request: &PeerRequest,
    ) -> Result<PeerReply, PeerError> {
        let _permit = self.asked.try_acquire().map_err(|_| PeerError::Busy)?;
        let id = format!("{:032x}", rand::random::<u128>());
        let (replied, reply) = oneshot::channel();
        self.waiting.lock().insert(id.clone(), replied);
        let _waiting = Waiting {
            peers: self,
            id: &id,
        };
        let message = Message::Request {
            id: id.clone(),
            from: self.node.clone(),
            request: request.clone(),
        };
        if self.send(node, &message).await? == 0 {
            return Err(PeerError::Gone);
        }
        reply.await.map_err(|_| PeerError::Silent)?;
        let key = self.reply_key(&self.node, &id);
        let mut get = redis::cmd("GET");
        let text: Option<String> = self.redis.call_bulk(get.arg(&key)).await?;
        let mut forget = redis::cmd("DEL");
        // It expires by itself as well.
        drop(self.redis.call::<u64>(forget.arg(&key)).await);
        let reply = text.and_then(|text| serde_json::from_str(&text).ok());
        reply.ok_or(PeerError::Silent)
    }

    /// Returns the number of receivers.
    async fn send(&self, node: &str, message: &Message) -> Result<usize, CommandError> {
        let mut command = redis::cmd(self.redis.publish_command());
        let text = serde_json::to_string(message).unwrap_or_default();
        command.arg(&self.channel(node)[..]).arg(text);
        self.redis.call(&command).await
    }

    /// Answers the requests of other nodes with `answer`, which gets the name of the asking node as well, and takes their
    /// replies; for as long as the process lives.
    pub async fn run<F, A>(self: Arc<Self>, answer: F)
    where
        F: Fn(String, PeerRequest) -> A,
        A: Future<Output = PeerReply> + Send + 'static,
    {
        let channel = self.channel(&self.node);
        let mut inbox = self.redis.inbox(&channel);
        let mut generation = self.redis.generation();
        let mut is_subscribed = false;
        loop {
            tokio::select! {
                Ok(()) = generation.changed() => is_subscribed = false,
                Some(message) = inbox.recv() => self.take(&message, &answer),
                () = tokio::time::sleep(self.timeout), if !is_subscribed => {}
            }
            if !is_subscribed && self.redis.is_up() {
                is_subscribed = self.redis.subscribe(&channel, true).await.is_ok();
            }
        }
    }

    fn take<F, A>(self: &Arc<Self>, message: &[u8], answer: &F)
    where
        F: Fn(String, PeerRequest) -> A,
        A: Future<Output = PeerReply> + Send + 'static,
    {
        match serde_json::from_slice(message) {
            Ok(Message::Request { id, from, request }) => {
                let Ok(permit) = self.answered.clone().try_acquire_owned() else {
                    tracing::warn!("too many requests of other nodes: one is not answered");
                    return;
                };
                let (peers, answer) = (self.clone(), answer(from.clone(), request));
                tokio::spawn(async move {
                    if let Ok(reply) = timeout(peers.timeout, answer).await
                        && let Err(error) = peers.reply(&from, id, &reply).await
                    {
                        tracing::debug!(%error, node = from, "a reply cannot be sent");
                    }
                    drop(permit);
                });
            }
            Ok(Message::Replied { id }) => {
                let waiting = self.waiting.lock().remove(&id);
                // Else it came too late.
                waiting.map(|waiting| waiting.send(()).ok());
            }
            Err(error) => tracing::debug!(%error, "no message of this version"),
        }
    }

    async fn reply(&self, to: &str, id: String, reply: &PeerReply) -> Result<(), CommandError> {
        let mut text = serde_json::to_string(reply).unwrap_or_default();
        if text.len() > MAX_REPLY {
            tracing::warn!(bytes = text.len(), "a reply to another node is too large");
            text = String::from(r#"{"status":507,"body":""}"#);
        }
        let mut command = redis::cmd("SET");
        let lifetime = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        command.arg(self.reply_key(to, &id)).arg(text);
        command.arg("PX").arg(lifetime.max(1));
        self.redis.call_bulk::<String>(&command).await?;
        self.send(to, &Message::Replied { id }).await.map(drop)
    }
}

/// A request that waits, until it is dropped.
struct Waiting<'a> {
    peers: &'a Peers,
    id: &'a str,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.peers.waiting.lock().remove(self.id);
    }
}
