//! Rights to come back with an expired token, valid at every node: the loss of a node, or of the network to it,
//! disconnects no client for good.
//!
//! **Invariant**: Redis stores hashes, a bounded number for each user, none for longer than the return window.

use std::sync::Arc;

use super::client::{CommandError, Redis, Script};
use crate::broadcast::UserId;
use crate::config::Config;

/// A hash of a user's role, livestream and token.
pub type ReturnKey = [u8; 32];

/// See the module.
pub(super) struct Returns {
    redis: Arc<Redis>,
    prefix: String,
    window: String,
    max_per_user: String,
    remember: Script,
    may_return: Script,
}

impl Returns {
    pub(super) fn new(redis: Arc<Redis>, config: &Config) -> Self {
        Self {
            redis,
            prefix: format!("{}:returns:", config.cluster.prefix),
            window: config.identity.return_window.as_millis().to_string(),
            max_per_user: config.identity.max_returns_per_user.to_string(),
            remember: script!("clock", "remember_returns"),
            may_return: script!("clock", "may_return"),
        }
    }

    fn key(&self, user: &UserId) -> String {
        format!("{}{user}", self.prefix)
    }

    pub(super) async fn remember(
        &self,
        user: &UserId,
        returns: &[ReturnKey],
    ) -> Result<(), CommandError> {
        let mut arguments = vec![self.window.as_bytes(), self.max_per_user.as_bytes()];
        arguments.extend(returns.iter().map(|key| &key[..]));
        let user = self.key(user);
        self.redis
            .run_script::<u8>(&self.remember, &[user.as_bytes()], &arguments)
            .await
            .map(|_| ())
    }

    pub(super) async fn forget(&self, user: &UserId, key: &ReturnKey) -> Result<(), CommandError> {
        let mut command = redis::cmd("ZREM");
        command.arg(self.key(user)).arg(key);
        self.redis.call::<u64>(&command).await.map(|_| ())
    }

    pub(super) async fn may_return(
        &self,
        user: &UserId,
        key: &ReturnKey,
    ) -> Result<bool, CommandError> {
        let user = self.key(user);
        self.redis
            .run_script(&self.may_return, &[user.as_bytes()], &[key])
            .await
    }
}
