//! What Redis knows of a livestream, and the scripts that change it.
//!
//! All keys of a livestream lie in one slot (`{L…}`, the `L` so that no id can empty the braces). The Lua in `scripts/` is
//! the truth; each script is atomic.
//!
//! **Invariant**: an epoch is given to one node alone and never twice, and only the epoch that is in the record can
//! publish. A claim is done within the timeout of its command or never.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::client::{CommandError, Redis, Script};
use super::follower::Position;
use super::frame::{self, Message, RemoteClip};
use crate::broadcast::LivestreamId;
use crate::broadcast::ownership::{Release, Renewal};
use crate::config::Config;

/// How a livestream is going, over all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Redis knows nothing of it.
    Unknown,
    /// On air.
    Live,
    /// Its streamer is gone, and awaited for so long yet.
    Grace(Duration),
    /// Over.
    Ended,
}

impl Phase {
    /// On air, or in its grace period.
    pub fn is_started(self) -> bool {
        matches!(self, Self::Live | Self::Grace(_))
    }
}

/// A livestream's record, as a node read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: u64,
    pub(super) node: String,
    pub(super) phase: Phase,
    pub(super) sequence: u64,
    /// Redis's clock, in milliseconds, and when the answer came.
    pub(super) read_at: (u64, Instant),
}

/// What a heartbeat led to.
pub(super) struct Heartbeat {
    pub(super) record: Record,
    pub(super) remote_listeners: usize,
    pub(super) is_restored: bool,
}

/// What a claim led to.
pub(super) enum Claimed {
    Granted {
        epoch: u64,
        sequence: u64,
        before: Record,
    },
    Refused(Record),
}

/// What a look at a livestream that is due led to.
pub(super) enum Expired {
    /// It is over, by this call or an earlier one.
    Ended,
    /// There is no record.
    Missing,
    /// It is to be looked at again after this time.
    NotYet(Duration),
}

/// A clip for the history: where it belongs, and what goes over the channel.
pub(super) struct Publication<'a> {
    pub(super) place: Position,
    pub(super) message: &'a [u8],
    /// What the history must have reached before.
    pub(super) after: u64,
    /// It was published before, and Redis lost it: other nodes fetch it if they lack it.
    pub(super) is_again: bool,
}

/// See the module.
pub(super) struct Records {
    pub(super) redis: Arc<Redis>,
    /// Unlike any other process's.
    pub(super) node: String,
    prefix: String,
    lease: Duration,
    grace: Duration,
    heartbeat: Duration,
    history_clips: usize,
    claim: Script,
    heartbeat_script: Script,
    publish: Script,
    release: Script,
    expire: Script,
}

/// What scripts return of a record.
type Told = (u64, u64, String, String, u64, u64);

/// The keys of one livestream.
pub(super) struct Keys {
    record: String,
    history: String,
    listeners: String,
    pub(super) channel: Bytes,
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn flag(value: bool) -> &'static [u8] {
    if value { b"1" } else { b"0" }
}

fn record((now, epoch, node, phase, left, sequence): Told) -> Record {
    let phase = match phase.as_str() {
        "live" => Phase::Live,
        "grace" | "expired" => Phase::Grace(Duration::from_millis(left)),
        "ended" => Phase::Ended,
        _ => Phase::Unknown,
    };
    Record {
        epoch,
        node,
        phase,
        sequence,
        read_at: (now, Instant::now()),
    }
}

impl Records {
    pub(super) fn new(redis: Arc<Redis>, node: String, config: &Config) -> Self {
        let cluster = &config.cluster;
        Self {
            redis,
            node,
            prefix: cluster.prefix.clone(),
            lease: cluster.lease,
            grace: config.livestream.grace,
            heartbeat: cluster.heartbeat,
            history_clips: cluster.history_clips,
            claim: script!("clock", "record", "claim"),
            heartbeat_script: script!("clock", "record", "heartbeat"),
            publish: script!("clock", "record", "publish"),
            release: script!("clock", "record", "release"),
            expire: script!("clock", "record", "expire"),
        }
    }

    pub(super) fn keys(&self, id: &LivestreamId) -> Keys {
        let of = |what: &str| format!("{}:{{L{id}}}:{what}", self.prefix);
        Keys {
            record: of("owner"),
            history: of("history"),
            listeners: of("listeners"),
            channel: of("clips").into(),
        }
    }

    /// The keys that scripts share which change a record and say so.
    fn written(keys: &Keys) -> [&[u8]; 3] {
        [
            keys.record.as_bytes(),
            keys.history.as_bytes(),
            &keys.channel,
        ]
    }

    /// Makes this node the owner, if `seen` is still the newest record. `sequence` is what this node knows itself.
    pub(super) async fn claim(
        &self,
        keys: &Keys,
        seen: &Record,
        sequence: u64,
        is_fresh: bool,
    ) -> Result<Claimed, CommandError> {
        // By Redis's own clock: later than this, the answer is no longer waited for, and the claim must do nothing.
        let (then, read) = seen.read_at;
        let passed = u64::try_from((read.elapsed() + self.redis.timeout).as_millis());
        let deadline = then.saturating_add(passed.unwrap_or(u64::MAX));
        let (epoch, sequence, before): (u64, u64, Told) = self
            .redis
            .run_script(
                &self.claim,
                &Self::written(keys),
                &[
                    self.node.as_bytes(),
                    seen.epoch.to_string().as_bytes(),
                    deadline.to_string().as_bytes(),
                    millis(self.lease).as_bytes(),
                    millis(self.grace).as_bytes(),
                    sequence.to_string().as_bytes(),
                    flag(is_fresh),
                    self.redis.publish_command().as_bytes(),
                    &frame::CHANGED,
                ],
            )
            .await?;
        let before = record(before);
        Ok(if epoch == 0 {
            Claimed::Refused(before)
        } else {
            Claimed::Granted {
                epoch,
                sequence,
                before,
            }
        })
    }

    /// Reads a record, says how many listen here, and renews the lease of what it owns.
    pub(super) async fn heartbeat(
        &self,
        keys: &Keys,
        listeners: usize,
        renewal: Option<Renewal>,
    ) -> Result<Heartbeat, CommandError> {
        self.ask(keys, &listeners.to_string(), renewal).await
    }

    /// Reads a record.
    pub(super) async fn read(&self, keys: &Keys) -> Result<Record, CommandError> {
        self.ask(keys, "-1", None).await.map(|it| it.record)
    }

    async fn ask(
        &self,
        keys: &Keys,
        listeners: &str,
        renewal: Option<Renewal>,
    ) -> Result<Heartbeat, CommandError> {
        let held = renewal.map(|renewal| renewal.held);
        let (epoch, sequence) = held.map_or((0, 0), |held| (held.epoch, held.sequence));
        let may_restore = renewal.is_some_and(|renewal| renewal.may_restore);
        let (told, remote_listeners, is_restored): (Told, usize, String) = self
            .redis
            .run_script(
                &self.heartbeat_script,
                &[
                    keys.record.as_bytes(),
                    keys.listeners.as_bytes(),
                    keys.history.as_bytes(),
                ],
                &[
                    self.node.as_bytes(),
                    listeners.as_bytes(),
                    millis(self.heartbeat * 3 + self.redis.timeout).as_bytes(),
                    epoch.to_string().as_bytes(),
                    millis(self.lease).as_bytes(),
                    millis(self.grace).as_bytes(),
                    sequence.to_string().as_bytes(),
                    flag(may_restore),
                ],
            )
            .await?;
        Ok(Heartbeat {
            record: record(told),
            remote_listeners,
            is_restored: is_restored == "1",
        })
    }

    /// Hands a clip to every node that wants it, and adds it to the history; the record then. At most `most` clips are
    /// kept.
    pub(super) async fn publish(
        &self,
        keys: &Keys,
        epoch: u64,
        clip: Publication<'_>,
        most: usize,
    ) -> Result<Record, CommandError> {
        let command = if clip.is_again {
            ""
        } else {
            self.redis.publish_command()
        };
        let (placed_in, sequence) = clip.place;
        let (epoch, sequence, after) = (
            epoch.to_string(),
            sequence.to_string(),
            clip.after.to_string(),
        );
        let (lease, most) = (millis(self.lease), most.min(self.history_clips).to_string());
        let placed_in = placed_in.to_string();
        let (keys, arguments) = (
            Self::written(keys),
            [
                epoch.as_bytes(),
                sequence.as_bytes(),
                after.as_bytes(),
                lease.as_bytes(),
                most.as_bytes(),
                command.as_bytes(),
                clip.message,
                placed_in.as_bytes(),
            ],
        );
        let told = if clip.is_again {
            self.redis
                .run_bulk_script(&self.publish, &keys, &arguments)
                .await
        } else {
            self.redis
                .run_script(&self.publish, &keys, &arguments)
                .await
        };
        told.map(record)
    }

    /// The livestream has no streamer under this epoch any longer.
    pub(super) async fn release(
        &self,
        keys: &Keys,
        epoch: u64,
        is_ended: bool,
    ) -> Result<Release, CommandError> {
        let phase: &[u8] = if is_ended { b"ended" } else { b"grace" };
        let word: String = self
            .redis
            .run_script(
                &self.release,
                &Self::written(keys),
                &[
                    epoch.to_string().as_bytes(),
                    phase,
                    self.redis.publish_command().as_bytes(),
                    &frame::CHANGED,
                ],
            )
            .await?;
        Ok(match word.as_str() {
            "done" => Release::Done,
            "missing" => Release::Missing,
            _ => Release::Stale,
        })
    }

    /// Ends a livestream whose time is over; `by_force`, whether it is or not.
    pub(super) async fn expire(
        &self,
        id: &LivestreamId,
        by_force: bool,
    ) -> Result<Expired, CommandError> {
        let left: i64 = self
            .redis
            .run_script(
                &self.expire,
                &Self::written(&self.keys(id)),
                &[
                    flag(by_force),
                    self.redis.publish_command().as_bytes(),
                    &frame::CHANGED,
                ],
            )
            .await?;
        Ok(match u64::try_from(left) {
            Ok(0) => Expired::Ended,
            Ok(left) => Expired::NotYet(Duration::from_millis(left)),
            Err(_) => Expired::Missing,
        })
    }

    /// At most so many clips of the history after a place, oldest first.
    pub(super) async fn history_after(
        &self,
        keys: &Keys,
        (epoch, sequence): Position,
        most: usize,
    ) -> Result<Vec<RemoteClip>, CommandError> {
        let mut command = redis::cmd("XRANGE");
        let after = format!("({epoch}-{sequence}");
        command.arg(&keys.history).arg(after).arg("+");
        self.fetch(command.arg("COUNT").arg(most)).await
    }

    /// The clips of the history up to a place, at most so many, oldest first.
    pub(super) async fn history_until(
        &self,
        keys: &Keys,
        (epoch, sequence): Position,
        most: usize,
    ) -> Result<Vec<RemoteClip>, CommandError> {
        let mut command = redis::cmd("XREVRANGE");
        let until = format!("{epoch}-{sequence}");
        command.arg(&keys.history).arg(until).arg("-");
        let mut clips = self.fetch(command.arg("COUNT").arg(most)).await?;
        clips.reverse();
        Ok(clips)
    }

    async fn fetch(&self, command: &redis::Cmd) -> Result<Vec<RemoteClip>, CommandError> {
        let entries: Vec<(String, Vec<Vec<u8>>)> = self.redis.call_bulk(command).await?;
        let clip = |bytes: Vec<u8>| match frame::decode(bytes.into()) {
            Some(Message::Clip(clip)) => Some(clip),
            _ => None,
        };
        let messages = entries
            .into_iter()
            .filter_map(|(_, fields)| fields.into_iter().nth(1));
        Ok(messages.filter_map(clip).collect())
    }

    /// Where a node is told that another took a livestream from it.
    pub(super) fn channel_of(&self, node: &str) -> Bytes {
        format!("{}:{{N{node}}}:node", self.prefix).into()
    }

    /// Tells a node that a livestream has another owner; how many heard it, one or none.
    pub(super) async fn tell(&self, node: &str, id: &str) -> Result<usize, CommandError> {
        let mut command = redis::cmd(self.redis.publish_command());
        command.arg(&self.channel_of(node)[..]).arg(id);
        self.redis.call(&command).await
    }

    /// How long an owner that gives no sign is believed, and then awaited.
    pub(super) fn longest_silence(&self) -> Duration {
        self.lease + self.grace
    }

    /// How long a streamer is awaited.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }
}
