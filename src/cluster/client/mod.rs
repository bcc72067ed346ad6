//! The connections to Redis: standalone, or Redis Cluster.
//!
//! One connection carries commands and subscriptions (RESP3), another one bulk transfers of the history, so that no
//! timely command waits behind them. [`Redis::run`] opens both, checks the first one at every heartbeat, and connects
//! again after a loss. Each connection is a new *generation*, in which every livestream subscribes again.
//!
//! **Invariant**: no command takes longer than its timeout, and without a connection every call fails at once. A
//! subscription is only a short cut: the next heartbeat finds lost messages.

mod connecting;
mod inbox;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{
    Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo as _, ProtocolVersion,
    RedisError, ServerErrorKind, Value,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

pub(crate) use inbox::Inbox;
use inbox::Inboxes;

use super::metrics::Metrics;
use crate::config;

/// A command failed, or its result is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// There is no connection, or no answer in time. The command may have taken effect.
    #[error("Redis is away")]
    Away,
    /// The script itself must be sent.
    #[error("Redis does not know the script")]
    UnknownScript,
    /// Redis answered with an error.
    #[error("Redis refuses: {0}")]
    Refused(String),
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Many(ClusterConnection),
}

#[derive(Clone)]
struct Connections {
    timely: Connection,
    bulk: Connection,
}

/// See the module.
pub(crate) struct Redis {
    info: ConnectionInfo,
    pub(crate) timeout: Duration,
    heartbeat: Duration,
    metrics: Metrics,
    // A lock, held to clone a handle.
    connections: Mutex<Option<Connections>>,
    contact: Mutex<Instant>,
    generation: watch::Sender<u64>,
    inboxes: Arc<Inboxes>,
    /// The bulk connection has ended.
    bulk_lost: Notify,
}

/// A Lua script, known to Redis by its hash.
pub(crate) struct Script(redis::Script, &'static str);

impl Script {
    pub(crate) fn new(code: &'static str) -> Self {
        Self(redis::Script::new(code), code)
    }
}

impl Redis {
    pub(crate) fn new(
        url: &str,
        config: &config::Cluster,
        metrics: Metrics,
    ) -> Result<Self, String> {
        // The error's text may contain the URL and so the password; a validated configuration has a sound URL.
        let wrong = |_: RedisError| "cannot be used".to_owned();
        let info = url.into_connection_info().map_err(wrong)?;
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        Ok(Self {
            info: info.set_redis_settings(settings),
            timeout: config.timeout,
            heartbeat: config.heartbeat,
            metrics,
            connections: Mutex::default(),
            contact: Mutex::new(Instant::now()),
            generation: watch::Sender::new(0),
            inboxes: Arc::new(Inboxes::new(config.queue_clips, config.queue_bytes)),
            bulk_lost: Notify::new(),
        })
    }

    /// The number of connections so far: a new connection has no subscriptions. The present connection is a change that
    /// the receiver has not seen, because the caller may come after it was made.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        let mut generation = self.generation.subscribe();
        if *generation.borrow() > 0 {
            generation.mark_changed();
        }
        generation
    }

    /// Records that Redis has answered.
    fn in_contact(&self) {
        *self.contact.lock() = Instant::now();
    }

    /// The time since Redis answered last; since the start, if it never did.
    pub(crate) fn silence(&self) -> Duration {
        self.contact.lock().elapsed()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether Redis is a Redis Cluster: then channels are sharded.
    fn is_sharded(&self) -> bool {
        matches!(&*self.lock(), Some(it) if matches!(it.timely, Connection::Many(_)))
    }

    /// The command for publishing.
    pub(crate) fn publish_command(&self) -> &'static str {
        if self.is_sharded() {
            "SPUBLISH"
        } else {
            "PUBLISH"
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connections>> {
        self.connections.lock()
    }

    /// A timeout for answers as large as the history.
    fn bulk_timeout(&self) -> Duration {
        self.timeout * 2
    }

    /// Sends a command.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CommandError> {
        let answer = self.answer(command, false).await;
        self.read(answer)
    }

    /// Sends a command whose answer may be large.
    pub(crate) async fn call_bulk<T: FromRedisValue>(
        &self,
        command: &Cmd,
    ) -> Result<T, CommandError> {
        let answer = self.answer(command, true).await;
        self.read(answer)
    }

    /// Decodes an answer; counts it if it has another type.
    fn read<T: FromRedisValue>(
        &self,
        answer: Result<Value, CommandError>,
    ) -> Result<T, CommandError> {
        answer
            .and_then(|value| {
                T::from_redis_value(value)
                    .map_err(|error| CommandError::Refused(loggable(&error.to_string())))
            })
            .inspect_err(|error| self.count(error))
    }

    /// Runs a script on `keys`, which must lie in one slot.
    pub(crate) async fn run_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<T, CommandError> {
        let answer = self.eval(script, keys, arguments, false).await;
        self.read(answer)
    }

    /// Runs a script with a large argument, on the bulk connection.
    pub(crate) async fn run_bulk_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<T, CommandError> {
        let answer = self.eval(script, keys, arguments, true).await;
        self.read(answer)
    }

    async fn eval(
        &self,
        script: &Script,
        keys: &[&[u8]],
        arguments: &[&[u8]],
        is_bulk: bool,
    ) -> Result<Value, CommandError> {
        let command = |how: &str, what: &str| {
            let mut command = redis::cmd(how);
            command.arg(what).arg(keys.len());
            for part in keys.iter().chain(arguments) {
                command.arg(*part);
            }
            command
        };
        let known = command("EVALSHA", script.0.get_hash());
        let mut answer = self.answer(&known, is_bulk).await;
        if answer == Err(CommandError::UnknownScript) {
            answer = self.answer(&command("EVAL", script.1), is_bulk).await;
        }
        answer
    }

    async fn answer(&self, command: &Cmd, is_bulk: bool) -> Result<Value, CommandError> {
        let connections = self.lock().clone().ok_or(CommandError::Away)?;
        let is_one = matches!(connections.bulk, Connection::One(_));
        let (connection, limit) = if is_bulk {
            (connections.bulk, self.bulk_timeout())
        } else {
            (connections.timely, self.timeout)
        };
        let begun = Instant::now();
        let answer = timeout(limit, async move {
            match connection {
                Connection::One(mut one) => one.send_packed_command(command).await,
                Connection::Many(mut many) => command.query_async(&mut many).await,
            }
        })
        .await;
        self.metrics.commands.observe(begun.elapsed().as_secs_f64());
        match answer {
            Err(_) => Err(CommandError::Away),
            Ok(Err(error)) => {
                let refusal = refusal(&error);
                // To a lost shard the library reconnects by itself.
                if is_bulk && is_one && refusal == CommandError::Away && !error.is_timeout() {
                    self.bulk_lost.notify_one();
                }
                Err(refusal)
            }
            Ok(Ok(value)) => {
                self.in_contact();
                value.extract_error().map_err(|error| refusal(&error))
            }
        }
    }

    fn count(&self, error: &CommandError) {
        let reason = match error {
            CommandError::Away => "away",
            CommandError::UnknownScript | CommandError::Refused(_) => "refused",
        };
        let failures = self.metrics.failures.with_label_values(&[reason]);
        failures.inc();
        if let CommandError::Refused(why) = error
            && failures.get().is_power_of_two()
        {
            tracing::warn!(%why, times = failures.get(), "Redis refuses a command");
        }
    }

    /// The inbox for messages of `channel`. The caller subscribes to the channel separately.
    pub(crate) fn inbox(&self, channel: &Bytes) -> Inbox {
        self.inboxes.open(channel)
    }

    /// Drops messages of `channel` from now on.
    pub(crate) fn close_inbox(&self, channel: &Bytes) {
        self.inboxes.close(channel);
    }

    /// Subscribes to `channel`, or unsubscribes.
    pub(crate) async fn subscribe(&self, channel: &[u8], wanted: bool) -> Result<(), CommandError> {
        let connection = self.lock().clone().ok_or(CommandError::Away)?.timely;
        let asked = timeout(self.timeout, async move {
            match (connection, wanted) {
                (Connection::One(mut one), true) => one.subscribe(channel).await,
                (Connection::One(mut one), false) => one.unsubscribe(channel).await,
                (Connection::Many(mut many), true) => many.ssubscribe(channel).await,
                (Connection::Many(mut many), false) => many.sunsubscribe(channel).await,
            }
        });
        let done = asked.await.map_err(|_| CommandError::Away);
        done.and_then(|done| done.map_err(|error| refusal(&error)))
            .inspect_err(|error| self.count(error))
    }
}

fn refusal(error: &RedisError) -> CommandError {
    let gone = error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error();
    // A wrong password must be reported, and the text contains no secret.
    if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
        CommandError::UnknownScript
    } else if gone && error.code().is_none() {
        CommandError::Away
    } else {
        CommandError::Refused(loggable(&error.to_string()))
    }
}

/// The part of an error that may be logged: at most a line, without the arguments, which Redis repeats for an unknown
/// command (a proxy that does not know HELLO repeats the password).
fn loggable(text: &str) -> String {
    let text = text.split(", with args").next().unwrap_or_default();
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logged_error_contains_no_arguments() {
        let text =
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'node' 'secret'";
        assert_eq!(loggable(text), "ERR unknown command 'HELLO'");
        assert_eq!(loggable(&"é".repeat(500)).chars().count(), 200);
    }

    #[tokio::test]
    async fn present_connection_is_new_to_a_late_caller() {
        let config = config::Cluster::default();
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let redis = Redis::new("redis://127.0.0.1:1", &config, metrics).unwrap();
        assert!(!redis.generation().has_changed().unwrap());
        redis.generation.send_modify(|generation| *generation += 1);
        let late = redis.generation();
        assert!(late.has_changed().unwrap());
    }
}
