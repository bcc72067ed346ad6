//! What the engine knows of a livestream, and the scripts that change it.
//!
//! All keys of a livestream lie in one slot (`{L…}`, the `L` so that no id can empty the braces). The Lua in `scripts/` is
//! the truth; each script is atomic.
//!
//! **Invariant**: an epoch is given to one node alone and never twice, and only the epoch that is in the record can
//! publish.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::engine::{Engine, EngineError, Script};
use super::frame::{self, Message, RemoteClip};
use crate::broadcast::LivestreamId;
use crate::config::Config;

/// How a livestream is going, over all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The engine knows nothing of it.
    Unknown,
    /// On air.
    Live,
    /// Its streamer is gone, and awaited for so long yet.
    Grace(Duration),
    /// Over.
    Ended,
}

impl Phase {
    /// On air, or in its grace.
    pub fn is_started(self) -> bool {
        matches!(self, Self::Live | Self::Grace(_))
    }
}

/// A livestream's record, as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: u64,
    pub(super) node: String,
    pub(super) phase: Phase,
    pub(super) sequence: u64,
    pub(super) elsewhere: usize,
    /// This very call found that its time had run out: whoever made it clears the flag.
    pub(super) expired: bool,
    /// It had been lost, and was written anew.
    pub(super) again: bool,
}

/// What a node that holds a livestream knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    /// When its streamer came, in milliseconds since 1970.
    pub(super) since: u64,
}

/// What an attempt to acquire led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    Granted {
        epoch: u64,
        sequence: u64,
        before: Option<String>,
        /// A show that was under way goes on.
        resumed: bool,
        /// A show before it ended lately.
        after_another: bool,
    },
    /// Another node's streamer came later.
    Refused,
}

/// What an attempt to publish led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It has this sequence.
    As(u64),
    /// Another node is the holder.
    Stale,
    /// There is no record that says so, or one of before: the next pulse tells what is to be done.
    Unknown,
}

/// See the module.
pub(super) struct Records {
    pub(super) engine: std::sync::Arc<Engine>,
    /// Unlike any other process's.
    pub(super) node: String,
    prefix: String,
    lease: Duration,
    grace: Duration,
    pulse: Duration,
    replay_clips: usize,
    replay_bytes: usize,
    acquire: Script,
    pulse_script: Script,
    publish: Script,
    let_go: Script,
}

/// What the script `pulse` returns.
type Pulse = (u64, String, String, u64, u64, usize, String, String);

/// The keys of one livestream.
pub(super) struct Keys {
    record: String,
    clips: String,
    presence: String,
    pub(super) channel: Bytes,
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn flag(value: bool) -> &'static [u8] {
    if value { b"1" } else { b"0" }
}

/// Milliseconds since 1970, by this machine's clock.
pub(super) fn wall_clock() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Records {
    pub(super) fn new(engine: std::sync::Arc<Engine>, node: String, config: &Config) -> Self {
        let cluster = &config.cluster;
        Self {
            engine,
            node,
            prefix: cluster.prefix.clone(),
            lease: cluster.lease,
            grace: config.livestream.grace,
            pulse: cluster.pulse,
            replay_clips: cluster.replay_clips,
            replay_bytes: cluster.replay_bytes,
            acquire: script!("clock", "record", "acquire"),
            pulse_script: script!("clock", "record", "pulse"),
            publish: script!("clock", "record", "publish"),
            let_go: script!("clock", "record", "let_go"),
        }
    }

    pub(super) fn keys(&self, id: &LivestreamId) -> Keys {
        let of = |what: &str| format!("{}:{{L{id}}}:{what}", self.prefix);
        Keys {
            record: of("record"),
            clips: of("clips"),
            presence: of("presence"),
            channel: of("channel").into(),
        }
    }

    /// Makes this node the holder. `sequence` is what it knows itself, in case the engine knows less.
    pub(super) async fn acquire(
        &self,
        keys: &Keys,
        sequence: u64,
        since: Option<u64>,
        anew: bool,
    ) -> Result<Acquired, EngineError> {
        let (epoch, sequence, before, begins): (u64, u64, String, String) = self
            .engine
            .run_script(
                &self.acquire,
                &[keys.record.as_bytes(), keys.clips.as_bytes(), &keys.channel],
                &[
                    self.node.as_bytes(),
                    millis(self.lease).as_bytes(),
                    millis(self.grace).as_bytes(),
                    sequence.to_string().as_bytes(),
                    since.unwrap_or(0).to_string().as_bytes(),
                    flag(anew),
                    self.engine.publish_command().as_bytes(),
                    &frame::WORD,
                ],
            )
            .await?;
        if epoch == 0 {
            return Ok(Acquired::Refused);
        }
        let before = Some(before).filter(|node| !node.is_empty());
        Ok(Acquired::Granted {
            epoch,
            sequence,
            before,
            resumed: begins == "resumed",
            after_another: begins == "another",
        })
    }

    /// Looks at a livestream, says how many listen here, and, as its holder, that it still is.
    pub(super) async fn pulse(
        &self,
        keys: &Keys,
        listeners: usize,
        held: Option<Held>,
    ) -> Result<Record, EngineError> {
        self.ask(keys, &listeners.to_string(), held).await
    }

    /// Looks at a livestream.
    pub(super) async fn look(&self, keys: &Keys) -> Result<Record, EngineError> {
        self.ask(keys, "-1", None).await
    }

    async fn ask(
        &self,
        keys: &Keys,
        listeners: &str,
        held: Option<Held>,
    ) -> Result<Record, EngineError> {
        let held = held.unwrap_or(Held {
            epoch: 0,
            sequence: 0,
            since: 0,
        });
        let (epoch, node, phase, left, sequence, elsewhere, expired, again): Pulse = self
            .engine
            .run_script(
                &self.pulse_script,
                &[keys.record.as_bytes(), keys.presence.as_bytes()],
                &[
                    self.node.as_bytes(),
                    listeners.as_bytes(),
                    millis(self.pulse * 3 + self.engine.timeout).as_bytes(),
                    held.epoch.to_string().as_bytes(),
                    millis(self.lease).as_bytes(),
                    millis(self.grace).as_bytes(),
                    held.sequence.to_string().as_bytes(),
                    held.since.to_string().as_bytes(),
                ],
            )
            .await?;
        let phase = match phase.as_str() {
            "live" => Phase::Live,
            "grace" => Phase::Grace(Duration::from_millis(left)),
            "ended" => Phase::Ended,
            _ => Phase::Unknown,
        };
        Ok(Record {
            epoch,
            node,
            phase,
            sequence,
            elsewhere,
            expired: expired == "1",
            again: again == "1",
        })
    }

    /// Hands a clip to every node that wants it; `number` is its place among those of this epoch, `sequence` the show's
    /// latest as far as known here.
    pub(super) async fn publish(
        &self,
        keys: &Keys,
        epoch: u64,
        number: u64,
        sequence: u64,
        clip: &[u8],
    ) -> Result<Published, EngineError> {
        let published: i64 = self
            .engine
            .run_script(
                &self.publish,
                &[keys.record.as_bytes(), keys.clips.as_bytes(), &keys.channel],
                &[
                    epoch.to_string().as_bytes(),
                    number.to_string().as_bytes(),
                    millis(self.lease).as_bytes(),
                    self.replay_clips.to_string().as_bytes(),
                    self.replay_bytes.to_string().as_bytes(),
                    self.engine.publish_command().as_bytes(),
                    &frame::head(epoch),
                    &frame::tail(&self.node, clip),
                    sequence.to_string().as_bytes(),
                ],
            )
            .await?;
        Ok(match u64::try_from(published) {
            Ok(0) => Published::Stale,
            Ok(sequence) => Published::As(sequence),
            Err(_) => Published::Unknown,
        })
    }

    /// Ends the hold: the livestream is in its grace, or over. False if it is another's by now, or was over.
    pub(super) async fn let_go(
        &self,
        keys: &Keys,
        epoch: u64,
        ended: bool,
    ) -> Result<bool, EngineError> {
        let phase: &[u8] = if ended { b"ended" } else { b"grace" };
        self.engine
            .run_script::<u8>(
                &self.let_go,
                &[keys.record.as_bytes(), keys.clips.as_bytes(), &keys.channel],
                &[
                    epoch.to_string().as_bytes(),
                    phase,
                    self.engine.publish_command().as_bytes(),
                    &frame::WORD,
                ],
            )
            .await
            .map(|done| done == 1)
    }

    /// The latest clips that the engine keeps, oldest first.
    pub(super) async fn kept(&self, keys: &Keys) -> Result<Vec<RemoteClip>, EngineError> {
        let latest = i64::try_from(self.replay_clips).unwrap_or(i64::MAX).max(1);
        let mut command = redis::cmd("LRANGE");
        command.arg(&keys.clips).arg(-latest).arg(-1);
        let kept: Vec<Vec<u8>> = self.engine.call(&command).await?;
        let clip = |bytes: Vec<u8>| match frame::decode(bytes.into()) {
            Some(Message::Clip(clip)) => Some(clip),
            _ => None,
        };
        Ok(kept.into_iter().filter_map(clip).collect())
    }

    /// Where a node is told that another took a livestream from it.
    pub(super) fn channel_of(&self, node: &str) -> Bytes {
        format!("{}:{{N{node}}}:node", self.prefix).into()
    }

    /// Tells a node that a livestream is another's now.
    pub(super) async fn tell(&self, node: &str, id: &LivestreamId) -> Result<(), EngineError> {
        let mut command = redis::cmd(self.engine.publish_command());
        command.arg(&self.channel_of(node)[..]).arg(id.as_str());
        self.engine.call::<redis::Value>(&command).await.map(drop)
    }

    /// How long a holder that gives no sign is believed, and then awaited.
    pub(super) fn longest_silence(&self) -> Duration {
        self.lease + self.grace
    }
}
