//! Connecting to Redis, and detecting an unusable connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue as _, ProtocolVersion, PushInfo,
    RedisError, ServerErrorKind, Value,
};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{CommandError, Connection, Connections, Redis, refusal};

/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection is dropped after so many failed checks.
const FAILED_QUESTIONS: u32 = 2;

impl Redis {
    /// Maintains a connection for as long as the process lives.
    pub(in super::super) async fn run(self: Arc<Self>) {
        let mut failures = 0_u32;
        loop {
            match self.connect().await {
                Ok((connections, lost)) => {
                    failures = 0;
                    let sharded = matches!(connections.timely, Connection::Many(_));
                    tracing::info!(sharded, "Redis answers");
                    *self.lock() = Some(connections);
                    self.in_contact();
                    self.metrics.up.set(1);
                    self.generation.send_modify(|generation| *generation += 1);
                    self.until_lost(&lost).await;
                    tracing::warn!(
                        "Redis is away: livestreams continue for this node's own listeners"
                    );
                    *self.lock() = None;
                    self.metrics.up.set(0);
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures.is_power_of_two() {
                        tracing::warn!(%error, attempts = failures, "Redis cannot be reached");
                    }
                    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(8));
                    tokio::time::sleep(longest.min(LONGEST_PAUSE)).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<(Connections, Arc<Notify>), CommandError> {
        // Longer than for a command: it includes name resolution, TLS, and the search for all shards.
        timeout(self.timeout * 4, self.connect_to_any())
            .await
            .map_err(|_| CommandError::Away)?
            .map_err(|error| refusal(&error))
    }

    /// The connections, and a signal when the first one ends.
    async fn connect_to_any(&self) -> Result<(Connections, Arc<Notify>), RedisError> {
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
        if field(&said, "mode").as_deref() != Some("cluster") {
            return if is_replica(&said) {
                Err((ErrorKind::Server(ServerErrorKind::ReadOnly), "a replica").into())
            } else {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(Some(self.bulk_timeout()));
                let bulk = first
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?;
                let connections = Connections {
                    timely: Connection::One(one),
                    bulk: Connection::One(bulk),
                };
                Ok((connections, lost))
            };
        }
        let connections = Connections {
            timely: Connection::Many(self.connect_to_shards(self.timeout).await?),
            bulk: Connection::Many(self.connect_to_shards(self.bulk_timeout()).await?),
        };
        // One shard of many may be lost: the library reconnects by itself, and the checks detect when all are lost.
        Ok((connections, Arc::new(Notify::new())))
    }

    async fn connect_to_shards(&self, timeout: Duration) -> Result<ClusterConnection, RedisError> {
        let inboxes = self.inboxes.clone();
        ClusterClient::builder([self.info.clone()])
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(self.timeout)
            .response_timeout(timeout)
            .overall_response_timeout(Some(timeout))
            .push_sender(move |push: PushInfo| inboxes.take(push, None))
            .build()?
            .get_async_connection()
            .await
    }

    async fn until_lost(&self, lost: &Notify) {
        let mut failed = 0;
        while failed < FAILED_QUESTIONS {
            let either = async {
                tokio::select! {
                    () = lost.notified() => {}
                    () = self.bulk_lost.notified() => {}
                }
            };
            if timeout(self.heartbeat, either).await.is_ok() {
                return;
            }
            match self.is_of_use().await {
                Ok(true) => failed = 0,
                Ok(false) => return,
                Err(_) => failed += 1,
            }
        }
    }

    /// The answer of any shard; none of a Redis without shards.
    async fn ask_any_shard(&self) -> Option<Result<(), CommandError>> {
        let connections = self.lock().clone()?;
        let Connection::Many(mut shards) = connections.timely else {
            return None;
        };
        let asked = shards.route_command(redis::cmd("PING"), any_shard());
        let answered = match timeout(self.timeout, asked).await {
            Ok(Ok(_)) => {
                self.in_contact();
                Ok(())
            }
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => Err(CommandError::Away),
        };
        Some(answered)
    }

    /// Whether it answers and accepts writes: after a failover it may be a replica.
    async fn is_of_use(&self) -> Result<bool, CommandError> {
        if let Some(answered) = self.ask_any_shard().await {
            return answered.map(|()| true);
        }
        let said: HashMap<String, Value> = self.call(&redis::cmd("HELLO")).await?;
        Ok(!is_replica(&said))
    }
}

/// One answer is enough: `PING` by itself succeeds only if all shards answer.
fn any_shard() -> RoutingInfo {
    let shards = MultipleNodeRoutingInfo::AllMasters;
    RoutingInfo::MultiNode((shards, Some(ResponsePolicy::OneSucceeded)))
}

fn field(said: &HashMap<String, Value>, of: &str) -> Option<String> {
    String::from_redis_value_ref(said.get(of)?).ok()
}

fn is_replica(said: &HashMap<String, Value>) -> bool {
    matches!(field(said, "role").as_deref(), Some("replica" | "slave"))
}
