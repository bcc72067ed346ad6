//! The connection to the engine: Redis or Valkey, standalone or a cluster itself.
//!
//! One connection carries commands and subscriptions (RESP3). It is made by [`Engine::run`], tried with a question at every
//! pulse, and made anew when it is lost; with each a *generation* begins, in which everybody subscribes again.
//!
//! **Invariant**: no command takes longer than the configured timeout, and while there is no connection every call fails at
//! once. A subscription is a short cut: what it loses is found by the next look at the record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind, RedisError, ServerErrorKind,
    Value,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout};

use super::figures::Figures;
use crate::config;

/// Messages of one channel that may wait to be looked at; what does not fit is found by the next look at the record.
const INBOX: usize = 32;
/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Questions that fail before a connection is given up.
const FAILED_QUESTIONS: u32 = 2;

/// The engine did not do what it was asked, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EngineError {
    /// There is no connection, or it took too long.
    #[error("the engine is away")]
    Away,
    /// It must be told the script itself.
    #[error("the engine does not know the script")]
    UnknownScript,
    /// It said no.
    #[error("the engine refuses: {0}")]
    Refused(String),
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Many(ClusterConnection),
}

/// See the module.
pub(super) struct Engine {
    info: ConnectionInfo,
    pub(super) timeout: Duration,
    pulse: Duration,
    figures: Figures,
    // A lock, held to clone the handle.
    connection: Mutex<Option<Connection>>,
    generation: watch::Sender<u64>,
    inboxes: Arc<Inboxes>,
}

// A lock, held to find an inbox.
#[derive(Default)]
struct Inboxes(Mutex<HashMap<Bytes, mpsc::Sender<Bytes>>>);

/// A Lua script, known to the engine by its hash.
pub(super) struct Script(redis::Script, &'static str);

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        Self(redis::Script::new(code), code)
    }
}

impl Engine {
    pub(super) fn new(
        url: &str,
        config: &config::Cluster,
        figures: Figures,
    ) -> Result<Self, String> {
        // The error's text may hold the URL, and so the password; a configuration that was validated has a sound one.
        let wrong = |_: RedisError| "cannot be used".to_owned();
        let info = url.into_connection_info().map_err(wrong)?;
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        Ok(Self {
            info: info.set_redis_settings(settings),
            timeout: config.timeout,
            pulse: config.pulse,
            figures,
            connection: Mutex::default(),
            generation: watch::Sender::new(0),
            inboxes: Arc::default(),
        })
    }

    /// How often a connection was made: a new one knows no subscriptions.
    pub(super) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    pub(super) fn is_up(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether the engine is a cluster itself: then channels are sharded.
    fn is_sharded(&self) -> bool {
        matches!(&*self.lock(), Some(Connection::Many(_)))
    }

    /// The command that publishes.
    pub(super) fn publish_command(&self) -> &'static str {
        if self.is_sharded() {
            "SPUBLISH"
        } else {
            "PUBLISH"
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection for as long as the process lives.
    pub(super) async fn run(self: Arc<Self>) {
        let mut failures = 0_u32;
        loop {
            match self.connect().await {
                Ok((connection, lost)) => {
                    failures = 0;
                    let sharded = matches!(connection, Connection::Many(_));
                    tracing::info!(sharded, "the cluster's engine answers");
                    *self.lock() = Some(connection);
                    self.figures.up.set(1);
                    self.generation.send_modify(|generation| *generation += 1);
                    self.until_lost(&lost).await;
                    tracing::warn!(
                        "the cluster's engine is away: shows go on for this node's listeners"
                    );
                    *self.lock() = None;
                    self.figures.up.set(0);
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures.is_power_of_two() {
                        tracing::warn!(%error, attempts = failures, "the cluster's engine cannot be reached");
                    }
                    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(8));
                    tokio::time::sleep(longest.min(LONGEST_PAUSE)).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<(Connection, Arc<Notify>), EngineError> {
        // Longer than for a command: names are looked up, TLS is agreed on, all shards are found.
        timeout(self.timeout * 4, self.connect_to_any())
            .await
            .map_err(|_| EngineError::Away)?
            .map_err(|error| refusal(&error))
    }

    /// The connection, and what tells of its end at once.
    async fn connect_to_any(&self) -> Result<(Connection, Arc<Notify>), RedisError> {
        let (inboxes, lost) = (self.inboxes.clone(), Arc::new(Notify::new()));
        let ended = lost.clone();
        let first = Client::open(self.info.clone())?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(move |push: PushInfo| inboxes.take(push, Some(&ended)));
        let mut one = first
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut hello = redis::cmd("HELLO");
        let said: HashMap<String, Value> = hello.arg(3).query_async(&mut one).await?;
        if word(&said, "mode").as_deref() != Some("cluster") {
            return if is_replica(&said) {
                Err((ErrorKind::Server(ServerErrorKind::ReadOnly), "a replica").into())
            } else {
                Ok((Connection::One(one), lost))
            };
        }
        let inboxes = self.inboxes.clone();
        let many = ClusterClient::builder([self.info.clone()])
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(self.timeout)
            .response_timeout(self.timeout)
            .overall_response_timeout(Some(self.timeout))
            .push_sender(move |push: PushInfo| inboxes.take(push, None))
            .build()?
            .get_async_connection()
            .await?;
        // One shard of many may be lost: the library connects to it anew by itself, and PINGs tell when all are.
        Ok((Connection::Many(many), Arc::new(Notify::new())))
    }

    async fn until_lost(&self, lost: &Notify) {
        let mut failed = 0;
        while failed < FAILED_QUESTIONS {
            if timeout(self.pulse, lost.notified()).await.is_ok() {
                return;
            }
            match self.is_of_use().await {
                Ok(true) => failed = 0,
                Ok(false) => return,
                Err(_) => failed += 1,
            }
        }
    }

    /// Whether it answers, and takes what is written: after a failover it may be a replica.
    async fn is_of_use(&self) -> Result<bool, EngineError> {
        if self.is_sharded() {
            return self.call::<Value>(&redis::cmd("PING")).await.map(|_| true);
        }
        let said: HashMap<String, Value> = self.call(&redis::cmd("HELLO")).await?;
        Ok(!is_replica(&said))
    }

    /// Does a command.
    pub(super) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, EngineError> {
        let answer = self.answer(command).await;
        self.read(answer)
    }

    /// Reads an answer as what was asked for; counts it if it is none.
    fn read<T: FromRedisValue>(
        &self,
        answer: Result<Value, EngineError>,
    ) -> Result<T, EngineError> {
        answer
            .and_then(|value| {
                T::from_redis_value(value)
                    .map_err(|error| EngineError::Refused(told(&error.to_string())))
            })
            .inspect_err(|error| self.count(error))
    }

    /// Runs a script on `keys`, which must lie in one slot.
    pub(super) async fn run_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<T, EngineError> {
        let command = |how: &str, what: &str| {
            let mut command = redis::cmd(how);
            command.arg(what).arg(keys.len());
            for part in keys.iter().chain(arguments) {
                command.arg(*part);
            }
            command
        };
        let known = command("EVALSHA", script.0.get_hash());
        match self.answer(&known).await {
            Err(EngineError::UnknownScript) => self.call(&command("EVAL", script.1)).await,
            answer => self.read(answer),
        }
    }

    async fn answer(&self, command: &Cmd) -> Result<Value, EngineError> {
        let connection = self.lock().clone().ok_or(EngineError::Away)?;
        let begun = Instant::now();
        let answer = timeout(self.timeout, async move {
            match connection {
                Connection::One(mut one) => one.send_packed_command(command).await,
                Connection::Many(mut many) => command.query_async(&mut many).await,
            }
        })
        .await;
        self.figures.commands.observe(begun.elapsed().as_secs_f64());
        match answer {
            Err(_) => Err(EngineError::Away),
            Ok(Err(error)) => Err(refusal(&error)),
            Ok(Ok(value)) => value.extract_error().map_err(|error| refusal(&error)),
        }
    }

    fn count(&self, error: &EngineError) {
        let reason = match error {
            EngineError::Away => "away",
            EngineError::UnknownScript | EngineError::Refused(_) => "refused",
        };
        let failures = self.figures.failures.with_label_values(&[reason]);
        failures.inc();
        if let EngineError::Refused(why) = error
            && failures.get().is_power_of_two()
        {
            tracing::warn!(%why, times = failures.get(), "the cluster's engine refuses a command");
        }
    }

    /// Where what comes over `channel` is found from now on; the engine must be asked for it, too.
    pub(super) fn inbox(&self, channel: &Bytes) -> mpsc::Receiver<Bytes> {
        let (sender, inbox) = mpsc::channel(INBOX);
        self.inboxes.lock().insert(channel.clone(), sender);
        inbox
    }

    /// Nobody looks at what comes over `channel` any more.
    pub(super) fn close_inbox(&self, channel: &Bytes) {
        self.inboxes.lock().remove(channel);
    }

    /// Asks for what is published on `channel`.
    pub(super) async fn subscribe(&self, channel: &[u8], wanted: bool) -> Result<(), EngineError> {
        let connection = self.lock().clone().ok_or(EngineError::Away)?;
        let asked = timeout(self.timeout, async move {
            match (connection, wanted) {
                (Connection::One(mut one), true) => one.subscribe(channel).await,
                (Connection::One(mut one), false) => one.unsubscribe(channel).await,
                (Connection::Many(mut many), true) => many.ssubscribe(channel).await,
                (Connection::Many(mut many), false) => many.sunsubscribe(channel).await,
            }
        });
        let done = asked.await.map_err(|_| EngineError::Away);
        done.and_then(|done| done.map_err(|error| refusal(&error)))
            .inspect_err(|error| self.count(error))
    }
}

fn word(said: &HashMap<String, Value>, of: &str) -> Option<String> {
    String::from_redis_value_ref(said.get(of)?).ok()
}

fn is_replica(said: &HashMap<String, Value>) -> bool {
    matches!(word(said, "role").as_deref(), Some("replica" | "slave"))
}

fn refusal(error: &RedisError) -> EngineError {
    let gone = error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error();
    // A wrong password is worth a word, and no secret is in it.
    if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
        EngineError::UnknownScript
    } else if gone && error.code().is_none() {
        EngineError::Away
    } else {
        EngineError::Refused(told(&error.to_string()))
    }
}

/// What may be told of an error: not what was asked, which an engine repeats if it does not know the command (a proxy that
/// does not know HELLO repeats the password), and no more than a line.
fn told(text: &str) -> String {
    let text = text.split(", with args").next().unwrap_or_default();
    text.chars().take(200).collect()
}

impl Inboxes {
    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, mpsc::Sender<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the library for whatever the engine says by itself; must not wait.
    #[expect(clippy::unnecessary_wraps, reason = "the library's signature")]
    fn take(&self, push: PushInfo, lost: Option<&Notify>) -> Result<(), std::convert::Infallible> {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut data = push.data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(message))) =
                    (data.next(), data.next())
                    && let Some(inbox) = self.lock().get(channel.as_slice())
                {
                    // Full: the next look at the record finds what is missing.
                    inbox.try_send(message.into()).ok();
                }
            }
            PushKind::Disconnection => lost.into_iter().for_each(Notify::notify_one),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_not_told_with_an_error() {
        let text =
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'node' 'secret'";
        assert_eq!(told(text), "ERR unknown command 'HELLO'");
        assert_eq!(told(&"é".repeat(500)).chars().count(), 200);
    }
}
