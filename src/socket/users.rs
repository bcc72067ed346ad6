//! Sockets of each user in a livestream, limited so that one user cannot use up the room of all others.
//!
//! **Invariant**: every admitted socket is counted for its user, role and livestream until it is gone; a user without a
//! socket is not in memory.

use std::collections::HashMap;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;

use crate::broadcast::{LivestreamId, Role, UserId};

/// See the module.
pub(super) struct Users {
    max: u32,
    /// Users with a socket, by role; a user counts once in each livestream.
    gauge: IntGaugeVec,
    // A lock: taken once when a socket is counted and once when it is gone.
    sockets: Mutex<HashMap<Key, u32>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    user: UserId,
    role: Role,
    livestream: LivestreamId,
}

impl Key {
    fn new(user: &UserId, role: Role, livestream: &LivestreamId) -> Self {
        Self {
            user: user.clone(),
            role,
            livestream: livestream.clone(),
        }
    }
}

impl Users {
    pub(super) fn new(max: u32, gauge: IntGaugeVec) -> Self {
        Self {
            max,
            gauge,
            sockets: Mutex::default(),
        }
    }

    /// Counts a socket until [`Self::uncount`]; false if its user is at the limit. A socket that replaces another of the
    /// same user is always counted: the other is disconnected.
    pub(super) fn count(
        &self,
        user: &UserId,
        role: Role,
        livestream: &LivestreamId,
        replaces: bool,
    ) -> bool {
        let mut sockets = self.sockets.lock();
        let count = sockets.entry(Key::new(user, role, livestream)).or_default();
        if *count >= self.max && !replaces {
            return false;
        }
        *count += 1;
        if *count == 1 {
            self.gauge.with_label_values(&[role.as_str()]).inc();
        }
        true
    }

    /// Ends one [`Self::count`].
    pub(super) fn uncount(&self, user: &UserId, role: Role, livestream: &LivestreamId) {
        let key = Key::new(user, role, livestream);
        let mut sockets = self.sockets.lock();
        if let Some(count) = sockets.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                sockets.remove(&key);
                self.gauge.with_label_values(&[role.as_str()]).dec();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn sockets_are_counted_by_user_role_and_livestream() {
        let users = Users::new(2, Metrics::new().users);
        let (ada, bob) = (UserId::new("ada"), UserId::new("bob"));
        let [here, elsewhere] =
            ["here", "elsewhere"].map(|id| LivestreamId::new(id).expect("an id"));
        let count = |user, role, livestream| users.count(user, role, livestream, false);
        assert!(count(&ada, Role::Listener, &here));
        assert!(count(&ada, Role::Listener, &here));
        assert!(!count(&ada, Role::Listener, &here));
        assert!(count(&ada, Role::Listener, &elsewhere));
        assert!(count(&ada, Role::Streamer, &here));
        assert!(count(&bob, Role::Listener, &here));
        assert!(users.count(&ada, Role::Listener, &here, true));
        for _ in 0..2 {
            users.uncount(&ada, Role::Listener, &here);
        }
        assert!(count(&ada, Role::Listener, &here));
        for _ in 0..2 {
            users.uncount(&ada, Role::Listener, &here);
        }
        users.uncount(&ada, Role::Listener, &elsewhere);
        users.uncount(&ada, Role::Streamer, &here);
        assert_eq!(users.sockets.lock().len(), 1, "bob's");
    }
}
