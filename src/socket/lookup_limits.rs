//! Limits of failed look-ups, per user and per address, within a minute.
//!
//! A look-up of a livestream that does not exist, or is not the streamer's, costs calls to Google and is not cached.
//! Without a bound one user could use up the calls that others need.
//!
//! The limit of an address does not apply to a user without a failure, who then has one look-up at a time: a streamer
//! behind the same address as a flood is admitted.
//!
//! **Invariant**: the look-ups of a user that are under way, or failed within a minute, are at most its limit; the
//! memory of each kind is bounded by [`MOST`].

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::now;
use super::wire::Refusal;
use crate::broadcast::UserId;
use crate::config;
use crate::metrics::Metrics;
use crate::transport::counted_address;

const MINUTE: Duration = Duration::from_mins(1);
/// Users, and addresses, in memory.
const MOST: usize = 50_000;

/// All limits; cheap to clone.
#[derive(Clone)]
pub(super) struct LookupLimits(Arc<Inner>);

struct Inner {
    // A lock each, never held across an await.
    users: Mutex<Tally<UserId>>,
    addresses: Mutex<Tally<IpAddr>>,
    unknown_keys: Mutex<Tally<IpAddr>>,
    metrics: Metrics,
}

/// A look-up under way; it counts as failed unless it is excused.
pub(super) struct PendingLookup {
    limits: LookupLimits,
    user: UserId,
    address: IpAddr,
    excused: AtomicBool,
}

impl LookupLimits {
    pub(super) fn new(config: &config::Identity, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            users: Mutex::new(Tally::new(config.failed_lookups_per_user)),
            addresses: Mutex::new(Tally::new(config.failed_lookups_per_address)),
            unknown_keys: Mutex::new(Tally::new(config.unknown_keys_per_address)),
            metrics: metrics.clone(),
        }))
    }

    /// Begins a look-up, unless too many of the user or the address have failed.
    pub(super) fn begin(&self, user: &UserId, address: IpAddr) -> Result<PendingLookup, Refusal> {
        let (address, now) = (counted_address(address), now());
        let flooded = with(&self.0.addresses, |tally| tally.is_over(&address, now));
        let (limit, most) = if flooded {
            ("address", 1)
        } else {
            ("user", u32::MAX)
        };
        if !with(&self.0.users, |tally| tally.reserve(user, most, now)) {
            self.0
                .metrics
                .lookups_refused
                .with_label_values(&[limit])
                .inc();
            return Err(Refusal::Unavailable);
        }
        Ok(PendingLookup {
            limits: self.clone(),
            user: user.clone(),
            address,
            excused: AtomicBool::new(false),
        })
    }

    /// The answer to a token with a key that is not known yet: temporary, up to the limit of the address.
    pub(super) fn unknown_key(&self, address: IpAddr) -> Refusal {
        let (address, now) = (counted_address(address), now());
        let within = with(&self.0.unknown_keys, |tally| {
            let within = !tally.is_over(&address, now);
            tally.fail(&address, now);
            within
        });
        let (answer, refusal) = if within {
            ("temporary", Refusal::Unavailable)
        } else {
            ("invalid", Refusal::TokenInvalid)
        };
        self.0
            .metrics
            .unknown_keys
            .with_label_values(&[answer])
            .inc();
        refusal
    }
}

impl PendingLookup {
    /// The look-up succeeded, or could not be made: it does not count as failed.
    pub(super) fn excuse(&self) {
        self.excused.store(true, Ordering::Relaxed);
    }
}

impl Drop for PendingLookup {
    fn drop(&mut self) {
        let inner = &self.limits.0;
        let failed = !self.excused.load(Ordering::Relaxed);
        let now = now();
        with(&inner.users, |tally| {
            tally.settle(&self.user);
            if failed {
                tally.fail(&self.user, now);
            }
        });
        if failed {
            with(&inner.addresses, |tally| tally.fail(&self.address, now));
        }
    }
}

fn with<T, R>(tally: &Mutex<T>, act: impl FnOnce(&mut T) -> R) -> R {
    act(&mut tally.lock())
}

/// Failures within a minute, by key.
struct Tally<K> {
    limit: u32,
    keys: HashMap<K, Count>,
    pruned_at: Option<Instant>,
}

struct Count {
    since: Instant,
    failed: u32,
    pending: u32,
}

impl Count {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= MINUTE
    }
}

impl<K: Hash + Eq + Clone> Tally<K> {
    fn new(limit: u32) -> Self {
        Self {
            limit,
            keys: HashMap::new(),
            pruned_at: None,
        }
    }

    /// The count of `key`, with a new minute if the last is over; none if there is no room for another key.
    fn count(&mut self, key: &K, now: Instant) -> Option<&mut Count> {
        if self.keys.len() >= MOST && !self.keys.contains_key(key) {
            // All keys are scanned once a second at most.
            let recent = |at| now.saturating_duration_since(at) < Duration::from_secs(1);
            if self.pruned_at.is_some_and(recent) {
                return None;
            }
            self.pruned_at = Some(now);
            self.keys
                .retain(|_, count| count.pending > 0 || !count.is_over(now));
            if self.keys.len() >= MOST {
                return None;
            }
        }
        let count = self.keys.entry(key.clone()).or_insert(Count {
            since: now,
            failed: 0,
            pending: 0,
        });
        if count.is_over(now) {
            count.since = now;
            count.failed = 0;
        }
        Some(count)
    }

    fn is_over(&self, key: &K, now: Instant) -> bool {
        let over = |count: &Count| !count.is_over(now) && count.failed >= self.limit;
        self.keys.get(key).is_some_and(over)
    }

    /// Reserves a look-up, within `most` and the limit; false beyond them.
    fn reserve(&mut self, key: &K, most: u32, now: Instant) -> bool {
        let limit = self.limit.min(most);
        let Some(count) = self.count(key, now) else {
            return true;
        };
        let room = count.failed.saturating_add(count.pending) < limit;
        if room {
            count.pending += 1;
        }
        room
    }

    fn settle(&mut self, key: &K) {
        if let Some(count) = self.keys.get_mut(key) {
            count.pending = count.pending.saturating_sub(1);
            if count.pending == 0 && count.failed == 0 {
                self.keys.remove(key);
            }
        }
    }

    fn fail(&mut self, key: &K, now: Instant) {
        if let Some(count) = self.count(key, now) {
            count.failed = count.failed.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn limits(per_user: u32, per_address: u32) -> LookupLimits {
        let config = config::Identity {
            failed_lookups_per_user: per_user,
            failed_lookups_per_address: per_address,
            unknown_keys_per_address: 2,
            ..config::Identity::default()
        };
        LookupLimits::new(&config, &Metrics::new())
    }

    fn user(name: &str) -> UserId {
        UserId::new(name)
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_a_user_end_with_the_minute() {
        let limits = limits(2, 100);
        for _ in 0..2 {
            drop(limits.begin(&user("a"), HERE).expect("room"));
        }
        assert!(limits.begin(&user("a"), HERE).is_err());
        limits.begin(&user("b"), HERE).expect("another").excuse();
        tokio::time::advance(MINUTE).await;
        assert!(limits.begin(&user("a"), HERE).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_under_way_count_and_successes_do_not() {
        let limits = limits(2, 100);
        let pending = [(); 2].map(|()| limits.begin(&user("a"), HERE).expect("room"));
        assert!(limits.begin(&user("a"), HERE).is_err());
        pending.iter().for_each(PendingLookup::excuse);
        drop(pending);
        assert!(limits.0.users.lock().keys.is_empty());
        for _ in 0..10 {
            limits.begin(&user("a"), HERE).expect("room").excuse();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn users_of_an_address_share_its_limit() {
        let limits = limits(2, 3);
        let address: IpAddr = "2001:db8::1".parse().expect("an address");
        let beside: IpAddr = "2001:db8::2".parse().expect("an address");
        for name in ["a", "b", "c"] {
            drop(limits.begin(&user(name), address).expect("room"));
        }
        assert!(limits.begin(&user("a"), beside).is_err());
        limits.begin(&user("a"), HERE).expect("elsewhere").excuse();
        let innocent = limits.begin(&user("d"), beside).expect("no failure");
        assert!(limits.begin(&user("d"), beside).is_err(), "one at a time");
        innocent.excuse();
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_keys_are_temporary_up_to_the_limit() {
        let limits = limits(1, 1);
        for expected in [
            Refusal::Unavailable,
            Refusal::Unavailable,
            Refusal::TokenInvalid,
        ] {
            assert_eq!(limits.unknown_key(HERE), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_strangers_is_bounded() {
        let limits = limits(1, u32::MAX);
        for number in 0..MOST + 10 {
            drop(
                limits
                    .begin(&user(&number.to_string()), HERE)
                    .expect("room"),
            );
        }
        assert_eq!(limits.0.users.lock().keys.len(), MOST);
    }
}
