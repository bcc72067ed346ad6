//! The return window: who may come back on a token that has expired.
//!
//! A token lives one hour, a livestream longer. An open socket outlives its token, and its client may come back with it,
//! to the same livestream in the same role: as long as the socket is open, since its loss may not have been noticed yet,
//! and for a while after it was lost. Each lost socket has a right of its own.
//!
//! **Invariant**: rights of sockets that are gone are bounded, in all and for each user, so that no user takes another's;
//! what is remembered is a hash of the token, never the token.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;

use super::claims::Token;
use crate::broadcast::{LivestreamId, Role, UserId};
use crate::config;

/// A token as it is remembered: by its hash, so that nobody needs to keep the token itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`: SHA-256.
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// A hash as it was handed over.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Where a client may come back to, and with which token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The user.
    pub user: UserId,
    /// On which side.
    pub role: Role,
    /// Of which livestream.
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

    /// What stands for it where others keep it: a hash of all of it.
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

/// A right that is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// Whose, and where to.
    pub right: Return,
    /// Sockets that may come back.
    pub sockets: u32,
    /// How much of the window is left.
    pub left: Duration,
}

/// See the module.
pub(super) struct ReturnWindow {
    length: Duration,
    max: usize,
    max_per_user: usize,
    users: HashMap<UserId, Vec<Right>>,
    /// Rights of sockets that are gone, by when the last of them was lost.
    lost: BTreeMap<(Instant, u64), UserId>,
    next: u64,
    /// Rights that were dropped because there were too many.
    evicted: u64,
}

struct Right {
    role: Role,
    livestream: LivestreamId,
    token: TokenHash,
    open: u32,
    lost: u32,
    /// Its place in the order of losses, if it has one.
    at: Option<(Instant, u64)>,
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

    /// A socket is let in; one that was lost has come back with it.
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

    /// A socket that was let in was lost at `now`.
    pub(super) fn lose(&mut self, to: &Return, now: Instant) {
        self.find(to).open -= 1;
        self.grant(to, 1, now);
    }

    /// A socket that was let in has left for good.
    pub(super) fn leave(&mut self, to: &Return) {
        self.find(to).open -= 1;
        self.tidy(&to.user);
    }

    fn grant(&mut self, to: &Return, sockets: u32, lost_at: Instant) {
        let place = (lost_at, self.next);
        self.next += 1;
        let right = self.find(to);
        right.lost += sockets;
        if let Some(before) = right.at.replace(place) {
            self.lost.remove(&before);
        }
        self.lost.insert(place, to.user.clone());
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
            && now.duration_since(oldest.0) > self.length
        {
            self.drop_lost(*oldest);
        }
    }

    fn drop_lost(&mut self, at: (Instant, u64)) {
        let Some(user) = self.lost.remove(&at) else {
            return;
        };
        let rights = self.users.get_mut(&user).into_iter().flatten();
        for right in rights.filter(|right| right.at == Some(at)) {
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

    /// Whether a client may come in with this token though it has expired.
    pub(super) fn lets_in(&self, to: &Return, now: Instant) -> bool {
        let rights = self.users.get(&to.user).into_iter().flatten();
        let mut rights = rights.filter(|right| right.is_for(to));
        let in_time = |at: (Instant, u64)| now.duration_since(at.0) <= self.length;
        rights.any(|right| right.open > 0 || right.at.is_some_and(in_time))
    }

    /// How many rights there are, and how many were dropped for there being too many. Called every second, so that
    /// nothing that has run out is kept until the next loss.
    pub(super) fn count(&mut self, now: Instant) -> (usize, u64) {
        self.expire(now);
        (self.users.values().map(Vec::len).sum(), self.evicted)
    }

    /// What a process that comes after this one must know; the sockets that are open are lost with this one.
    pub(super) fn hand_over(&self, now: Instant) -> Vec<HandedOver> {
        let mut rights = Vec::new();
        for (user, right) in self
            .users
            .iter()
            .flat_map(|(user, rights)| rights.iter().map(move |right| (user, right)))
        {
            let since = |at: (Instant, u64)| now.duration_since(at.0);
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

    /// Takes up what a process left that ended so long ago.
    pub(super) fn take_over(&mut self, rights: &[HandedOver], ago: Duration, now: Instant) {
        let mut rights: Vec<_> = rights.iter().filter(|it| it.left > ago).collect();
        // The oldest first: those are dropped where there are too many.
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

    /// Every right of a socket that is open.
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
