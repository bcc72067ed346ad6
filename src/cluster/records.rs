//! A livestream's state in Redis, and the scripts that change it.
//!
//! All keys of a livestream are in one slot (`{L…}`, the `L` so that no id can empty the braces). The Lua in `scripts/`
//! defines the state; each script is atomic.
//!
//! **Invariant**: each epoch is granted to one node and never again, and only the epoch in the record can publish. A
//! claim takes effect within the timeout of its command or never.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::client::{CommandError, Redis, Script};
use super::clock::RedisClock;
use super::expired::Expired;
use super::frame::{self, Message, RemoteClip};
use crate::broadcast::ownership::{Claim, Release, Renewal};
use crate::broadcast::{ClipId, ClipIds, LivestreamId, Position, Record, RecordingState, State};
use crate::config::Config;

/// The result of a heartbeat.
pub(crate) struct Heartbeat {
    pub(crate) record: Record,
    pub(crate) remote_listeners: usize,
}

/// The result of a claim.
pub(crate) enum Claimed {
    Granted {
        epoch: u64,
        sequence: u64,
        before: Record,
        /// The other node whose streamer was live.
        replaced: Option<String>,
        /// The ids of the latest clips with their sequences, in their order.
        clip_ids: Vec<(ClipId, u64)>,
    },
    Refused(Record),
}

/// Clips for the history, without a gap: the position of the first one, and their messages with their ids.
pub(crate) struct Publication<'a> {
    pub(crate) position: Position,
    pub(crate) messages: &'a [(&'a [u8], Option<&'a ClipId>)],
    /// The sequence that the history must have reached before.
    pub(crate) after: u64,
    /// They were published before and Redis lost them: other nodes fetch those that they miss.
    pub(crate) is_again: bool,
}

/// See the module.
pub(crate) struct Records {
    pub(crate) redis: Arc<Redis>,
    /// Unique among all processes.
    pub(crate) node: String,
    prefix: String,
    lease: Duration,
    grace: Duration,
    heartbeat: Duration,
    history_clips: usize,
    clock: Arc<RedisClock>,
    claim: Script,
    heartbeat_script: Script,
    publish: Script,
    release: Script,
    expire: Script,
}

/// The fields of a record in a script's answer.
type RecordFields = (u64, u64, String, String, u64, u64, u64, String);

/// The keys of one livestream.
pub(crate) struct Keys {
    record: String,
    history: String,
    listeners: String,
    /// The ids of the latest clips, by sequence.
    clip_ids: String,
    pub(crate) channel: Bytes,
    /// The clock of the Redis that has the record.
    pub(crate) clock: Arc<RedisClock>,
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn flag(value: bool) -> &'static [u8] {
    if value { b"1" } else { b"0" }
}

impl Records {
    pub(crate) fn new(redis: Arc<Redis>, node: String, config: &Config) -> Self {
        let cluster = &config.cluster;
        Self {
            redis,
            node,
            prefix: cluster.prefix.clone(),
            lease: cluster.lease,
            grace: config.livestream.grace,
            heartbeat: cluster.heartbeat,
            history_clips: cluster.history_clips,
            clock: Arc::default(),
            claim: script!("clock", "record", "claim"),
            heartbeat_script: script!("clock", "record", "heartbeat"),
            publish: script!("clock", "record", "publish"),
            release: script!("clock", "record", "release"),
            expire: script!("clock", "record", "expire"),
        }
    }

    pub(crate) fn keys(&self, id: &LivestreamId) -> Keys {
        let of = |what: &str| format!("{}:{{L{id}}}:{what}", self.prefix);
        Keys {
            record: of("owner"),
            history: of("history"),
            listeners: of("listeners"),
            clip_ids: of("ids"),
            channel: of("clips").into(),
            clock: Arc::new(RedisClock::of_record(self.clock.clone())),
        }
    }

    /// The record in the answer of a script that was asked for at this time.
    fn record(
        &self,
        keys: &Keys,
        asked: Instant,
        (now, epoch, node, phase, left, sequence, came, recording): RecordFields,
    ) -> Record {
        // An answer to a publication has no time.
        if now > 0 {
            keys.clock.observe(now, asked);
        }
        let (state, left) = match phase.as_str() {
            "live" => (Some(State::Live), 0),
            "grace" | "expired" => (Some(State::Reconnecting), left),
            "ended" => (Some(State::Ended), 0),
            _ => (None, 0),
        };
        Record {
            epoch,
            state,
            grace_left: Duration::from_millis(left),
            sequence,
            came,
            recording: RecordingState::parse(&recording),
            is_here: node == self.node,
            is_restored: false,
        }
    }

    /// The keys of every script that changes a record and publishes the change.
    fn written(keys: &Keys) -> [&[u8]; 3] {
        [
            keys.record.as_bytes(),
            keys.history.as_bytes(),
            &keys.channel,
        ]
    }

    /// The keys of every script that also changes the ids of clips.
    fn written_with_ids(keys: &Keys) -> [&[u8]; 4] {
        let [record, history, channel] = Self::written(keys);
        [record, history, channel, keys.clip_ids.as_bytes()]
    }

    /// Makes this node the owner if `expected` is still the newest epoch.
    pub(crate) async fn claim(&self, keys: &Keys, claim: Claim) -> Result<Claimed, CommandError> {
        // By Redis's own clock: later than this the caller no longer waits, so the claim must have no effect.
        let timeout = u64::try_from(self.redis.timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline = keys.clock.millis().unwrap_or(0).saturating_add(timeout);
        let asked = Instant::now();
        let (epoch, sequence, before, ids): (u64, u64, RecordFields, Vec<(String, u64)>) = self
            .redis
            .run_script(
                &self.claim,
                &Self::written_with_ids(keys),
                &[
                    self.node.as_bytes(),
                    claim.expected.to_string().as_bytes(),
                    deadline.to_string().as_bytes(),
                    millis(self.lease).as_bytes(),
                    millis(self.grace).as_bytes(),
                    claim.sequence.to_string().as_bytes(),
                    flag(claim.is_fresh),
                    claim.came.to_string().as_bytes(),
                    self.redis.publish_command().as_bytes(),
                    &frame::CHANGED,
                ],
            )
            .await?;
        let node = before.2.clone();
        let before = self.record(keys, asked, before);
        Ok(if epoch == 0 {
            Claimed::Refused(before)
        } else {
            Claimed::Granted {
                epoch,
                sequence,
                before,
                replaced: before.is_elsewhere().then_some(node),
                clip_ids: ids
                    .into_iter()
                    .filter_map(|(id, sequence)| Some((ClipId::new(&id)?, sequence)))
                    .collect(),
            }
        })
    }

    /// Reads a record, reports the number of listeners here, and, if this node is the owner, renews the lease and says
    /// whether clips are recorded; an empty text leaves what the record says.
    pub(crate) async fn heartbeat(
        &self,
        keys: &Keys,
        listeners: usize,
        renewal: Option<Renewal>,
        recording: &str,
    ) -> Result<Heartbeat, CommandError> {
        self.ask(keys, &listeners.to_string(), renewal, recording)
            .await
    }

    /// Reads a record.
    pub(crate) async fn read(&self, keys: &Keys) -> Result<Record, CommandError> {
        self.ask(keys, "-1", None, "").await.map(|it| it.record)
    }

    async fn ask(
        &self,
        keys: &Keys,
        listeners: &str,
        renewal: Option<Renewal>,
        recording: &str,
    ) -> Result<Heartbeat, CommandError> {
        let position = renewal.map(|renewal| renewal.position);
        let Position { epoch, sequence } = position.unwrap_or_default();
        let came = renewal.map_or(0, |renewal| renewal.came);
        let may_restore = renewal.is_some_and(|renewal| renewal.may_restore);
        let asked = Instant::now();
        let (fields, remote_listeners, is_restored): (RecordFields, usize, String) = self
            .redis
            .run_script(
                &self.heartbeat_script,
                &[
                    keys.record.as_bytes(),
                    keys.listeners.as_bytes(),
                    keys.history.as_bytes(),
                    keys.clip_ids.as_bytes(),
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
                    came.to_string().as_bytes(),
                    recording.as_bytes(),
                ],
            )
            .await?;
        Ok(Heartbeat {
            record: Record {
                is_restored: is_restored == "1",
                ..self.record(keys, asked, fields)
            },
            remote_listeners,
        })
    }

    /// Publishes clips to the subscribed nodes and adds them to the history of at most `most` clips; returns the record
    /// afterwards.
    pub(crate) async fn publish(
        &self,
        keys: &Keys,
        epoch: u64,
        clips: Publication<'_>,
        most: usize,
    ) -> Result<Record, CommandError> {
        let command = if clips.is_again {
            ""
        } else {
            self.redis.publish_command()
        };
        let (epoch, sequence) = (epoch.to_string(), clips.position.sequence.to_string());
        let (lease, most) = (millis(self.lease), most.min(self.history_clips).to_string());
        let (placed_in, after) = (clips.position.epoch.to_string(), clips.after.to_string());
        let most_ids = <ClipIds<()>>::MOST.to_string();
        let written = Self::written_with_ids(keys);
        let mut arguments = vec![
            epoch.as_bytes(),
            sequence.as_bytes(),
            after.as_bytes(),
            lease.as_bytes(),
            most.as_bytes(),
            command.as_bytes(),
            placed_in.as_bytes(),
            most_ids.as_bytes(),
        ];
        for (message, id) in clips.messages {
            let id = id.map(ClipId::as_str).unwrap_or_default();
            arguments.extend([message, id.as_bytes()]);
        }
        let asked = Instant::now();
        let fields = if clips.is_again {
            self.redis
                .run_bulk_script(&self.publish, &written, &arguments)
                .await
        } else {
            self.redis
                .run_script(&self.publish, &written, &arguments)
                .await
        };
        fields.map(|fields| self.record(keys, asked, fields))
    }

    /// Ends the epoch: the livestream has no streamer under it any longer.
    pub(crate) async fn release(
        &self,
        keys: &Keys,
        epoch: u64,
        is_ended: bool,
        recording: &str,
    ) -> Result<Release, CommandError> {
        let phase: &[u8] = if is_ended { b"ended" } else { b"grace" };
        let outcome: String = self
            .redis
            .run_script(
                &self.release,
                &Self::written(keys),
                &[
                    epoch.to_string().as_bytes(),
                    phase,
                    self.redis.publish_command().as_bytes(),
                    &frame::CHANGED,
                    recording.as_bytes(),
                ],
            )
            .await?;
        Ok(match outcome.as_str() {
            "done" => Release::Done,
            "missing" => Release::Missing,
            _ => Release::Stale,
        })
    }

    /// Ends a livestream if its time is over, or in any case if `by_force`.
    pub(crate) async fn expire(
        &self,
        id: &LivestreamId,
        by_force: bool,
    ) -> Result<Expired, CommandError> {
        let answer = self
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
        Ok(Expired::read(answer))
    }

    /// At most `most` clips of the history after a position, oldest first.
    pub(crate) async fn history_after(
        &self,
        keys: &Keys,
        position: Position,
        most: usize,
    ) -> Result<Vec<RemoteClip>, CommandError> {
        let mut command = redis::cmd("XRANGE");
        let after = format!("({}-{}", position.epoch, position.sequence);
        command.arg(&keys.history).arg(after).arg("+");
        self.fetch(command.arg("COUNT").arg(most)).await
    }

    /// At most `most` clips of the history up to a position, oldest first.
    pub(crate) async fn history_until(
        &self,
        keys: &Keys,
        position: Position,
        most: usize,
    ) -> Result<Vec<RemoteClip>, CommandError> {
        let mut command = redis::cmd("XREVRANGE");
        let until = format!("{}-{}", position.epoch, position.sequence);
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

    /// The channel that notifies a node of livestreams taken over by others.
    pub(crate) fn channel_of(&self, node: &str) -> Bytes {
        format!("{}:{{N{node}}}:node", self.prefix).into()
    }

    /// Notifies a node that a livestream has another owner; returns the number of receivers, one or none.
    pub(crate) async fn notify(&self, node: &str, id: &str) -> Result<usize, CommandError> {
        let mut command = redis::cmd(self.redis.publish_command());
        command.arg(&self.channel_of(node)[..]).arg(id);
        self.redis.call(&command).await
    }

    /// How long a silent owner stays live, and its streamer is then awaited.
    pub(crate) fn longest_silence(&self) -> Duration {
        self.lease + self.grace
    }

    /// The grace period.
    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }
}
