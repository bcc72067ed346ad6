//! The return window: the right to come back with an expired token.
//!
//! A token lives one hour, a livestream longer. An open socket outlives its token, and its client may come back with
//! that token, to the same livestream in the same role: while the socket is open, since its loss may be undetected, and
//! for a while after its loss. Each lost socket has its own right.
//!
//! **Invariant**: the rights of lost sockets are bounded, in total and for each user, so that no user evicts another's.
//! Only a hash of the token is stored, never the token.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;

use super::claims::Token;
use crate::broadcast::{LivestreamId, Role, UserId};
use crate::config;

/// The stored form of a token: its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`: SHA-256.
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// A stored hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The livestream, role and token of a client that may come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The user.
    pub user: UserId,
    /// Its role.
    pub role: Role,
    /// Its livestream.
    pub livestream: LivestreamId,
    /// The token.
    pub token: TokenHash,
}

impl Return {
    pub(super) fn of(read: &Token<'_>, token: &str, role: Role, livestream: &LivestreamId) -> Self {
        Self {
            user: read.user.clone(),
            role,
            livestream: livestream.clone(),
            token: TokenHash::of(token),
        }
    }

    /// The name of this right in Redis: a hash of all parts.
    pub fn key(&self) -> [u8; 32] {
        let parts = [
            self.role.as_str(),
            self.livestream.as_str(),
            self.user.as_str(),
        ];
        let mut text = parts.join("\0").into_bytes();
        text.extend_from_slice(self.token.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, &text).as_ref());
        key
    }
}

/// A right in a handover to the next process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// The user, role, livestream and token.
    pub right: Return,
    /// The number of sockets that may come back.
    pub sockets: u32,
    /// The time left.
    pub left: Duration,
}

/// See the module.
pub(super) struct ReturnWindow {
    length: Duration,
    max: usize,
    max_per_user: usize,
    users: HashMap<UserId, Vec<Right>>,
    /// Rights of lost sockets, ordered by the time of the latest loss.
    lost: BTreeMap<Loss, UserId>,
    next: u64,
    /// Rights that were dropped because of a limit.
    evicted: u64,
}

struct Right {
    role: Role,
    livestream: LivestreamId,
    token: TokenHash,
    open: u32,
    lost: u32,
    /// Its key in the order of losses, if a socket is lost.
    at: Option<Loss>,
}

/// The latest loss of a right; numbered, since several sockets may be lost at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Loss {
    at: Instant,
    number: u64,
}

impl Right {
    fn is_for(&self, to: &Return) -> bool {
        self.role == to.role && self.token == to.token && self.livestream == to.livestream
    }
}

impl ReturnWindow {
    pub(super) fn new(config: &config::Identity) -> Self {
        Self {
            length: config.return_window,
            max: config.max_returns,
            max_per_user: config.max_returns_per_user,
            users: HashMap::new(),
            lost: BTreeMap::new(),
            next: 0,
            evicted: 0,
        }
    }

    fn find(&mut self, to: &Return) -> &mut Right {
        let rights = self.users.entry(to.user.clone()).or_default();
        let found = rights.iter().position(|right| right.is_for(to));
        let index = found.unwrap_or_else(|| {
            rights.push(Right {
                role: to.role,
                livestream: to.livestream.clone(),
                token: to.token,
                open: 0,
                lost: 0,
                at: None,
            });
            rights.len() - 1
        });
        &mut rights[index]
    }

    /// Records an admitted socket. It uses up the right of a lost one.
    pub(super) fn enter(&mut self, to: &Return) {
        let right = self.find(to);
        right.open += 1;
        right.lost = right.lost.saturating_sub(1);
        if right.lost == 0
            && let Some(at) = right.at.take()
        {
            self.lost.remove(&at);
        }
    }

    /// Records the loss of a socket at `now`.
    pub(super) fn lose(&mut self, to: &Return, now: Instant) {
        self.find(to).open -= 1;
        self.grant(to, 1, now);
    }

    /// Records that a socket has left for good.
    pub(super) fn leave(&mut self, to: &Return) {
        self.find(to).open -= 1;
        self.tidy(&to.user);
    }

    fn grant(&mut self, to: &Return, sockets: u32, lost_at: Instant) {
        let loss = Loss {
            at: lost_at,
            number: self.next,
        };
        self.next += 1;
        let right = self.find(to);
        right.lost += sockets;
        if let Some(before) = right.at.replace(loss) {
            self.lost.remove(&before);
        }
        self.lost.insert(loss, to.user.clone());
        self.expire(lost_at);
        let of_user = |rights: &Vec<Right>| {
            let gone = rights.iter().filter(|right| right.open == 0);
            let oldest = gone.clone().filter_map(|right| right.at).min();
            (gone.count(), oldest)
        };
        if let Some((count, Some(oldest))) = self.users.get(&to.user).map(of_user)
            && count > self.max_per_user
        {
            self.drop_lost(oldest);
            self.evicted += 1;
        }
        while self.lost.len() > self.max
            && let Some((oldest, _)) = self.lost.first_key_value()
        {
            self.drop_lost(*oldest);
            self.evicted += 1;
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((oldest, _)) = self.lost.first_key_value()
            && now.duration_since(oldest.at) > self.length
        {
            self.drop_lost(*oldest);
        }
    }

    fn drop_lost(&mut self, loss: Loss) {
        let Some(user) = self.lost.remove(&loss) else {
            return;
        };
        let rights = self.users.get_mut(&user).into_iter().flatten();
        for right in rights.filter(|right| right.at == Some(loss)) {
            (right.lost, right.at) = (0, None);
        }
        self.tidy(&user);
    }

    fn tidy(&mut self, user: &UserId) {
        if let Some(rights) = self.users.get_mut(user) {
            rights.retain(|right| right.open > 0 || right.lost > 0);
            if rights.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// Whether this token is accepted although it has expired.
    pub(super) fn admits(&self, to: &Return, now: Instant) -> bool {
        let rights = self.users.get(&to.user).into_iter().flatten();
        let mut rights = rights.filter(|right| right.is_for(to));
        let in_time = |loss: Loss| now.duration_since(loss.at) <= self.length;
        rights.any(|right| right.open > 0 || right.at.is_some_and(in_time))
    }

    /// The number of rights, and of rights dropped because of a limit. Called every second, so expired rights do not
    /// stay until the next loss.
    pub(super) fn count(&mut self, now: Instant) -> (usize, u64) {
        self.expire(now);
        (self.users.values().map(Vec::len).sum(), self.evicted)
    }

    /// The rights for the next process. Open sockets are lost when this process ends.
    pub(super) fn hand_over(&self, now: Instant) -> Vec<HandedOver> {
        let mut rights = Vec::new();
        for (user, right) in self
            .users
            .iter()
            .flat_map(|(user, rights)| rights.iter().map(move |right| (user, right)))
        {
            let since = |loss: Loss| now.duration_since(loss.at);
            let age = if right.open > 0 {
                Duration::ZERO
            } else {
                right.at.map_or(self.length, since)
            };
            if let Some(left) = self.length.checked_sub(age) {
                rights.push(HandedOver {
                    right: Return {
                        user: user.clone(),
                        role: right.role,
                        livestream: right.livestream.clone(),
                        token: right.token,
                    },
                    sockets: right.open + right.lost,
                    left,
                });
            }
        }
        rights
    }

    /// Adds the rights of a process that ended `ago`.
    pub(super) fn take_over(&mut self, rights: &[HandedOver], ago: Duration, now: Instant) {
        let mut rights: Vec<_> = rights.iter().filter(|it| it.left > ago).collect();
        // Oldest first: the limits drop the oldest.
        rights.sort_by_key(|it| it.left);
        for HandedOver {
            right,
            sockets,
            left,
        } in rights
        {
            let age = self.length.saturating_sub(*left) + ago;
            let lost_at = now.checked_sub(age).unwrap_or(now);
            self.grant(right, *sockets, lost_at);
        }
    }

    /// The rights of all open sockets.
    pub(super) fn open(&self) -> Vec<Return> {
        let all = self.users.iter();
        let all = all.flat_map(|(user, rights)| rights.iter().map(move |right| (user, right)));
        all.filter(|(_, right)| right.open > 0)
            .map(|(user, right)| Return {
                user: user.clone(),
                role: right.role,
                livestream: right.livestream.clone(),
                token: right.token,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
