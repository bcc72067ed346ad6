//! How many sockets each user has, so that one user cannot take what is there for all.
//!
//! **Invariant**: every socket that is let in is counted for its user and role until it is gone; a user without one is
//! not remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGaugeVec;

use crate::broadcast::{Role, UserId};

/// See the module; cheap to clone.
#[derive(Clone)]
pub(super) struct Users(Arc<Inner>);

struct Inner {
    max: u32,
    /// Users with a socket, by role.
    gauge: IntGaugeVec,
    // A lock: taken once when a socket comes and once when it goes.
    sockets: Mutex<HashMap<(UserId, Role), u32>>,
}

/// A socket that is counted.
pub(super) struct Counted {
    users: Users,
    user: UserId,
    role: Role,
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

    fn lock(&self) -> MutexGuard<'_, HashMap<(UserId, Role), u32>> {
        let sockets = self.0.sockets.lock();
        sockets.unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a socket; none if its user has as many as may be. One that replaces another of the same user may always
    /// come: the other goes.
    pub(super) fn count(&self, user: &UserId, role: Role, replaces: bool) -> Option<Counted> {
        let mut sockets = self.lock();
        let count = sockets.entry((user.clone(), role)).or_default();
        if *count >= self.0.max && !replaces {
            return None;
        }
        *count += 1;
        if *count == 1 {
            self.0.gauge.with_label_values(&[role.as_str()]).inc();
        }
        let (users, user) = (self.clone(), user.clone());
        Some(Counted { users, user, role })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let key = (self.user.clone(), self.role);
        let mut sockets = self.users.lock();
        if let Some(count) = sockets.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                sockets.remove(&key);
                let gauge = &self.users.0.gauge;
                gauge.with_label_values(&[self.role.as_str()]).dec();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn sockets_are_counted_for_user_and_role() {
        let users = Users::new(2, Metrics::new().users);
        let (ada, bob) = (UserId::new("ada"), UserId::new("bob"));
        let first = users.count(&ada, Role::Listener, false).expect("the first");
        let _second = users
            .count(&ada, Role::Listener, false)
            .expect("the second");
        assert!(users.count(&ada, Role::Listener, false).is_none());
        assert!(users.count(&ada, Role::Streamer, false).is_some());
        assert!(users.count(&bob, Role::Listener, false).is_some());
        let third = users.count(&ada, Role::Listener, true);
        drop((first, third));
        assert!(users.count(&ada, Role::Listener, false).is_some());
        assert_eq!(users.lock().len(), 1);
    }
}
