//! The return window: sockets that were lost a moment ago, by their tokens.
//!
//! A token lives one hour, a show longer. An open socket outlives its token, and one that is lost may come back with
//! it for a while, to the same livestream in the same role.
//!
//! **Invariant**: at most [`MAX`] are remembered, each for no longer than the window; what is remembered is a hash of
//! the token, never the token.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;

use crate::broadcast::{LivestreamId, Role};

const MAX: usize = 50_000;

/// A token as it is remembered: by its hash, so that nobody needs to keep the token itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`: SHA-256.
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }
}

/// The sockets lost lately.
pub(super) struct ReturnWindow {
    length: Duration,
    lost: HashMap<TokenHash, Lost>,
    /// The order in which they were lost, so that the oldest goes first; may name some that are gone.
    order: VecDeque<(Instant, TokenHash)>,
}

struct Lost {
    at: Instant,
    role: Role,
    livestream: LivestreamId,
}

impl ReturnWindow {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            lost: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// A socket with `token` was lost at `now`.
    pub(super) fn lose(
        &mut self,
        token: TokenHash,
        role: Role,
        livestream: &LivestreamId,
        now: Instant,
    ) {
        let livestream = livestream.clone();
        self.lost.insert(
            token,
            Lost {
                at: now,
                role,
                livestream,
            },
        );
        self.order.push_back((now, token));
        while let Some((at, hash)) = self.order.front() {
            if self.order.len() <= MAX && now.duration_since(*at) <= self.length {
                break;
            }
            // Lost again since: then a later place in the order stands for it.
            if self.lost.get(hash).is_some_and(|lost| lost.at == *at) {
                self.lost.remove(hash);
            }
            self.order.pop_front();
        }
    }

    /// A socket with `token` is not to come back.
    pub(super) fn forget(&mut self, token: TokenHash) {
        self.lost.remove(&token);
    }

    /// Whether a socket with `token` was lost lately, in this role and livestream.
    pub(super) fn lets_in(
        &self,
        token: TokenHash,
        role: Role,
        livestream: &LivestreamId,
        now: Instant,
    ) -> bool {
        self.lost.get(&token).is_some_and(|lost| {
            lost.role == role
                && lost.livestream == *livestream
                && now.duration_since(lost.at) <= self.length
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_mins(2);

    fn token(text: &str) -> TokenHash {
        TokenHash::of(text)
    }

    fn id(text: &str) -> LivestreamId {
        LivestreamId::new(text).expect("an id")
    }

    #[test]
    fn who_was_lost_comes_back_within_the_window_and_only_to_the_same_place() {
        let now = Instant::now();
        let mut window = ReturnWindow::new(LENGTH);
        window.lose(token("token"), Role::Streamer, &id("a"), now);
        assert!(window.lets_in(token("token"), Role::Streamer, &id("a"), now + LENGTH));
        let late = now + LENGTH + Duration::from_millis(1);
        assert!(!window.lets_in(token("token"), Role::Streamer, &id("a"), late));
        assert!(!window.lets_in(token("token"), Role::Listener, &id("a"), now));
        assert!(!window.lets_in(token("token"), Role::Streamer, &id("b"), now));
        assert!(!window.lets_in(token("other"), Role::Streamer, &id("a"), now));
    }

    #[test]
    fn who_was_kicked_does_not_come_back() {
        let now = Instant::now();
        let mut window = ReturnWindow::new(LENGTH);
        window.lose(token("token"), Role::Streamer, &id("a"), now);
        window.forget(token("token"));
        assert!(!window.lets_in(token("token"), Role::Streamer, &id("a"), now));
    }

    #[test]
    fn being_lost_again_begins_the_window_anew() {
        let start = Instant::now();
        let mut window = ReturnWindow::new(LENGTH);
        for round in 0..5 {
            window.lose(
                token("token"),
                Role::Listener,
                &id("a"),
                start + LENGTH * round,
            );
        }
        window.lose(token("other"), Role::Listener, &id("a"), start + LENGTH * 5);
        assert!(window.lets_in(token("token"), Role::Listener, &id("a"), start + LENGTH * 5));
        assert!(window.order.len() <= 3);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut window = ReturnWindow::new(LENGTH);
        for n in 0..MAX + 10 {
            window.lose(token(&n.to_string()), Role::Listener, &id("a"), now);
        }
        assert_eq!(window.lost.len(), MAX);
        assert_eq!(window.order.len(), MAX);
        assert!(!window.lets_in(token("0"), Role::Listener, &id("a"), now));
        assert!(window.lets_in(token("10"), Role::Listener, &id("a"), now));
    }
}
