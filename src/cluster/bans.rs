//! The bans that all nodes share: a hash in Redis, and a channel for its changes.
//!
//! Redis gives each change a *version*, and each merge that has an effect the next *revision*: a node that misses a
//! message sees that the revision is another one.
//!
//! **Invariant**: of two changes of one ban the higher version stays, of equal versions the first one. No clock decides.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::client::{CommandError, Redis, Script};

/// Changes in one script.
const BATCH: usize = 200;

/// A change of a ban, as Redis stores it.
pub(crate) struct BanChange {
    /// The kind and the id of the banned one.
    pub(crate) key: String,
    pub(crate) version: u64,
    /// The change; empty: Redis forgets it.
    pub(crate) text: String,
}

/// See the module.
pub(crate) struct SharedBans {
    redis: Arc<Redis>,
    key: String,
    channel: Bytes,
    version: Script,
    merge: Script,
}

impl SharedBans {
    pub(super) fn new(redis: Arc<Redis>, prefix: &str) -> Self {
        Self {
            redis,
            key: format!("{prefix}:{{bans}}"),
            channel: format!("{prefix}:{{bans}}:changes").into(),
            version: script!("clock", "ban_version"),
            merge: script!("clock", "merge_bans"),
        }
    }

    /// The channel of [`decode`]'s messages.
    pub(crate) fn channel(&self) -> &Bytes {
        &self.channel
    }

    /// A version above `known` and above all that Redis knows.
    pub(crate) async fn next_version(&self, known: u64) -> Result<u64, CommandError> {
        let known = known.to_string();
        let keys = [self.key.as_bytes()];
        self.redis
            .run_script(&self.version, &keys, &[known.as_bytes()])
            .await
    }

    /// Stores the changes that are newer than what Redis has, and tells all nodes.
    pub(crate) async fn merge(&self, changes: &[BanChange]) -> Result<(), CommandError> {
        let command = self.redis.publish_command();
        for changes in changes.chunks(BATCH) {
            let versions = changes.iter().map(|change| change.version.to_string());
            let versions: Vec<String> = versions.collect();
            let mut arguments = vec![command.as_bytes()];
            for (change, version) in changes.iter().zip(&versions) {
                let parts = [&change.key, version, &change.text];
                arguments.extend(parts.map(String::as_bytes));
            }
            let keys = [self.key.as_bytes(), &self.channel[..]];
            self.redis
                .run_bulk_script::<u64>(&self.merge, &keys, &arguments)
                .await?;
        }
        Ok(())
    }

    /// The revision, and all changes by kind and id, each with its version.
    pub(crate) async fn all(&self) -> Result<(u64, HashMap<String, (u64, String)>), CommandError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(&self.key);
        let mut stored: HashMap<String, String> = self.redis.call_bulk(&command).await?;
        let revision = stored.remove("revision");
        let revision = revision.and_then(|text| text.parse().ok()).unwrap_or(0);
        let changes = stored.into_iter().filter_map(|(key, value)| {
            let (version, text) = value.split_once(' ')?;
            Some((key, (version.parse().ok()?, text.to_owned())))
        });
        Ok((revision, changes.collect()))
    }

    /// The revision.
    pub(crate) async fn revision(&self) -> Result<u64, CommandError> {
        let mut command = redis::cmd("HGET");
        command.arg(&self.key).arg("revision");
        let revision: Option<u64> = self.redis.call(&command).await?;
        Ok(revision.unwrap_or(0))
    }
}

/// The revision and the change in a message of the channel; none if it is not one of ours.
pub(crate) fn decode(message: &[u8]) -> Option<(u64, &str)> {
    let (revision, text) = std::str::from_utf8(message).ok()?.split_once(' ')?;
    Some((revision.parse().ok()?, text))
}
