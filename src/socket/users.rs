//! Sockets of each user in a livestream, limited so that one user cannot use up the room of all others.
//!
//! **Invariant**: every admitted socket is counted for its user, role and livestream until it is gone; a user without a
//! socket is not in memory.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use prometheus::IntGaugeVec;

use crate::broadcast::{LivestreamId, Role, UserId};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Users(Arc<Inner>);

struct Inner {
    max: u32,
    /// Users with a socket, by role; a user counts once in each livestream.
    gauge: IntGaugeVec,
    // A lock: taken once when a socket is counted and once when it is gone.
    sockets: Mutex<HashMap<Key, u32>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    user: UserId,
    role: Role,
    livestream: LivestreamId,
}

/// A counted socket.
pub(super) struct Counted {
    users: Users,
    key: Key,
}

impl Users {
    pub(super) fn new(max: u32, gauge: IntGaugeVec) -> Self {
        let sockets = Mutex::default();
        Self(Arc::new(Inner {
            max,
            gauge,
            sockets,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.0.sockets.lock()
    }

    /// Counts a socket; none if its user is at the limit. A socket that replaces another of the same user is always
    /// counted: the other is disconnected.
    pub(super) fn count(
        &self,
        user: &UserId,
        role: Role,
        livestream: &LivestreamId,
        replaces: bool,
    ) -> Option<Counted> {
        let key = Key {
            user: user.clone(),
            role,
            livestream: livestream.clone(),
        };
        let mut sockets = self.lock();
        let count = sockets.entry(key.clone()).or_default();
        if *count >= self.0.max && !replaces {
            return None;
        }
        *count += 1;
        if *count == 1 {
            self.0.gauge.with_label_values(&[role.as_str()]).inc();
        }
        let users = self.clone();
        Some(Counted { users, key })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut sockets = self.users.lock();
        if let Some(count) = sockets.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                sockets.remove(&self.key);
                let gauge = &self.users.0.gauge;
                gauge.with_label_values(&[self.key.role.as_str()]).dec();
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
        let first = count(&ada, Role::Listener, &here).expect("the first");
        let _second = count(&ada, Role::Listener, &here).expect("the second");
        assert!(count(&ada, Role::Listener, &here).is_none());
        assert!(count(&ada, Role::Listener, &elsewhere).is_some());
        assert!(count(&ada, Role::Streamer, &here).is_some());
        assert!(count(&bob, Role::Listener, &here).is_some());
        let third = users.count(&ada, Role::Listener, &here, true);
        drop((first, third));
        assert!(count(&ada, Role::Listener, &here).is_some());
        assert_eq!(users.lock().len(), 1);
    }
}
