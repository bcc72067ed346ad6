//! Bans on all nodes.
//!
//! Each node has all bans in its memory and in its state directory. A change goes to Redis, which tells the others; at
//! every connection to Redis, and when a message was lost, a node compares all its changes with those of Redis: so Redis
//! has them again after it was empty, and a node that was away, or is new, has them too.
//!
//! **Invariant**: of two changes of one ban every node keeps the same: the higher version, and of equal versions the one
//! that Redis has. A ban is checked in memory alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{MissedTickBehavior, interval};

use super::remote::Links;
use super::{Event, Relay, now};
use crate::bans::{Ban, BanError, Change, Subject};
use crate::broadcast::UserId;
use crate::cluster::CommandError;
use crate::cluster::bans::{BanChange, decode};

/// An operator's change of a ban.
#[derive(Debug, Clone, Copy)]
pub struct BanChanged {
    /// Whether the subject was banned before.
    pub was_banned: bool,
    /// Whether the other nodes have it. If not, they get it when Redis is back.
    pub is_everywhere: bool,
}

impl Relay {
    /// Shares the bans with the other nodes from now on; must be called on the runtime. Nothing without a cluster.
    pub fn share_bans(&self) {
        if let Some(links) = &self.0.links {
            tokio::spawn(run(self.clone(), links.clone()));
        }
    }

    /// Bans a subject or changes its ban, or with none removes it; on all nodes. Ends the livestreams that it concerns.
    /// None if there was no ban to remove.
    pub async fn change_ban(
        &self,
        subject: Subject,
        ban: Option<Ban>,
        clock: SystemTime,
    ) -> Result<Option<BanChanged>, BanError> {
        let bans = self.0.bans.clone();
        let mut issued = None;
        if let Some(links) = &self.0.links {
            // Redis counts what fails; without it the version is above all that this node knows.
            let version = links.cluster.bans.next_version(bans.latest_version());
            issued = version.await.ok();
        }
        let version = issued.unwrap_or(0);
        let relay = self.clone();
        let changed = off_the_runtime(move || {
            let changed = relay.0.bans.set(subject, ban, version, clock)?;
            if let Some((change, _)) = &changed {
                if let Subject::User(user) = &change.subject {
                    let user = UserId::new(user);
                    relay.emit(match change.ban.clone() {
                        Some(ban) => Event::UserBanned { user, ban },
                        None => Event::UserUnbanned { user },
                    });
                }
                relay.enforce_bans(now());
            }
            Ok::<_, BanError>(changed)
        });
        let Some((change, was_banned)) = changed.await? else {
            return Ok(None);
        };
        let is_everywhere = match &self.0.links {
            // Another node's change may count more than a version that Redis did not issue.
            Some(links) => publish(links, &change).await.is_ok() && issued.is_some(),
            None => true,
        };
        Ok(Some(BanChanged {
            was_banned,
            is_everywhere,
        }))
    }

    async fn adopt_bans(&self, newer: Vec<Change>) {
        if newer.is_empty() {
            return;
        }
        let relay = self.clone();
        off_the_runtime(move || {
            relay.0.bans.adopt(newer, SystemTime::now());
            relay.enforce_bans(now());
        })
        .await;
    }
}

/// Publishes a change, or has it published later.
async fn publish(links: &Links, change: &Change) -> Result<(), CommandError> {
    let published = links.cluster.bans.merge(&[stored(change)]).await;
    published.inspect_err(|_| links.bans_differ.notify_one())
}

/// Does what writes to a disk, and to its end.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

fn key(subject: &Subject) -> String {
    format!("{}:{}", subject.kind(), subject.id())
}

fn stored(change: &Change) -> BanChange {
    BanChange {
        key: key(&change.subject),
        version: change.version,
        text: serde_json::to_string(change).unwrap_or_default(),
    }
}

/// Keeps the bans of this node and those of Redis the same, for as long as the process lives.
async fn run(relay: Relay, links: Arc<Links>) {
    let (redis, bans) = (&links.cluster.records.redis, &links.cluster.bans);
    let mut inbox = redis.inbox(bans.channel());
    let mut generation = redis.generation();
    let mut heartbeat = interval(links.heartbeat());
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Of Redis, as this node has it; none: they may differ.
    let mut revision = None;
    loop {
        tokio::select! {
            Ok(()) = generation.changed() => {
                // Failures are counted. The next heartbeat finds what this subscription misses.
                drop(redis.subscribe(bans.channel(), true).await);
                revision = None;
            }
            () = links.bans_differ.notified() => revision = None,
            Some(message) = inbox.recv() => {
                let next = revision.map(|revision: u64| revision + 1);
                match decode(&message).filter(|(of, _)| Some(*of) == next) {
                    Some((_, text)) => {
                        relay.adopt_bans(newer(&relay, [text])).await;
                        revision = next;
                    }
                    // Known already, or one before it was lost: the heartbeat tells.
                    None => continue,
                }
            }
            _ = heartbeat.tick() => {
                if revision.is_some() && bans.revision().await.ok() != revision {
                    revision = None;
                }
            }
        }
        if revision.is_none() && links.cluster.is_up() {
            revision = compare(&relay, &links).await.ok();
        }
    }
}

/// Takes over what is newer in Redis, and writes there what is newer here. Returns the revision that was read.
async fn compare(relay: &Relay, links: &Links) -> Result<u64, CommandError> {
    let shared = &links.cluster.bans;
    let (revision, theirs) = shared.all().await?;
    let texts = theirs.values().map(|(_, text)| text.as_str());
    relay.adopt_bans(newer(relay, texts)).await;
    let ours = relay.0.bans.changes();
    let ours: HashMap<String, BanChange> = ours
        .iter()
        .map(|change| (key(&change.subject), stored(change)))
        .collect();
    let is_newer = |key: &str, version: u64| {
        let theirs = theirs.get(key).map(|(version, _)| *version);
        theirs.is_none_or(|theirs| theirs < version)
    };
    // Of bans that do not hold: they are more than are kept.
    let forgotten = theirs.iter().filter(|(key, (_, text))| {
        let holds = |change: Change| change.holds(SystemTime::now());
        !ours.contains_key(*key) && !serde_json::from_str(text).is_ok_and(holds)
    });
    let forgotten: Vec<BanChange> = forgotten
        .map(|(key, (version, _))| BanChange {
            key: key.clone(),
            version: *version,
            text: String::new(),
        })
        .collect();
    let news = ours
        .into_iter()
        .filter(|(key, it)| is_newer(key, it.version));
    let mut changes: Vec<BanChange> = news.map(|(_, change)| change).collect();
    changes.extend(forgotten);
    shared.merge(&changes).await?;
    Ok(revision)
}

/// Those of these changes that count more than this node's own.
fn newer<'a>(relay: &Relay, theirs: impl IntoIterator<Item = &'a str>) -> Vec<Change> {
    let ours = relay.0.bans.changes();
    let ours: HashMap<&Subject, &Change> = ours.iter().map(|it| (&it.subject, it)).collect();
    let theirs = theirs
        .into_iter()
        .filter_map(|text| serde_json::from_str::<Change>(text).ok());
    let counts = |change: &Change| {
        let ours = ours.get(&change.subject);
        ours.is_none_or(|ours| ours.version <= change.version && **ours != *change)
    };
    theirs.filter(counts).collect()
}
