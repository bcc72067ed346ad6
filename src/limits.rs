//! Quotas: clips and bytes per streamer, with burst credit for the flush after an outage; listening passes per streamer;
//! documents that pages read.
//!
//! **Invariant**: an upload that is refused for its bytes or for its clip is not relayed. Each streamer has its own
//! quota.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::broadcast::UserId;
use crate::config::{Http, Upload};

/// tokio's clock, so that tests can pause it.
#[derive(Debug, Clone, Default)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        tokio::time::Instant::now().into_std()
    }
}

type Keyed<K> =
    RateLimiter<K, DashMapStateStore<K>, TokioClock, NoOpMiddleware<std::time::Instant>>;
type Limiter = Keyed<UserId>;
type Total = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>;

/// The quotas of all streamers.
pub struct UploadQuota {
    clips: Limiter,
    bytes: Limiter,
}

/// The streamer exceeded a quota. Says when the same upload would be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upload rate limit exceeded, retry in {} ms", retry_after.as_millis())]
pub struct Exceeded {
    /// Time until the same upload is accepted.
    pub retry_after: Duration,
}

impl UploadQuota {
    /// Creates the quotas of the configuration, which ensures that every counted key of [`Upload`] is above zero.
    pub fn new(upload: &Upload) -> Self {
        let counted = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        let clips = Quota::per_minute(counted(upload.clips_per_minute))
            .allow_burst(counted(upload.clips_burst));
        let bytes = Quota::per_second(counted(upload.bytes_per_second))
            .allow_burst(counted(upload.bytes_burst));
        let limiter = |quota| RateLimiter::new(quota, DashMapStateStore::default(), TokioClock);
        Self {
            clips: limiter(clips),
            bytes: limiter(bytes),
        }
    }

    /// Takes an upload of `bytes` bytes from the streamer's credit, or returns the time until it would be accepted.
    pub fn take(&self, streamer: &UserId, bytes: usize) -> Result<(), Exceeded> {
        let exceeded = |wait: Duration| Exceeded {
            retry_after: wait.max(Duration::from_millis(1)),
        };
        // Bytes first: they run out more often, and an upload that is refused for its bytes takes no clip credit.
        if let Some(bytes) = u32::try_from(bytes).ok().and_then(NonZeroU32::new) {
            match self.bytes.check_key_n(streamer, bytes) {
                Ok(Ok(())) => {}
                Ok(Err(not_until)) => {
                    return Err(exceeded(not_until.wait_time_from(TokioClock.now())));
                }
                // Larger than the whole burst: the configuration ensures that no accepted clip is.
                Err(_) => return Err(exceeded(Duration::from_mins(1))),
            }
        }
        self.clips
            .check_key(streamer)
            .map_err(|not_until| exceeded(not_until.wait_time_from(TokioClock.now())))
    }

    /// Forgets the streamers whose credit is full again.
    pub fn reclaim(&self) {
        for limiter in [&self.clips, &self.bytes] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    /// Number of remembered streamers.
    pub fn remembered(&self) -> usize {
        self.clips.len().max(self.bytes.len())
    }
}

/// A quota of so many in a minute, per streamer: of listening passes, of wishes to record.
pub struct StreamerQuota(Limiter);

impl StreamerQuota {
    /// Idle streamers are forgotten beyond this many.
    const FEW: usize = 1024;

    /// So many in a minute, all of them at once if need be.
    pub fn new(per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self(RateLimiter::new(
            quota,
            DashMapStateStore::default(),
            TokioClock,
        ))
    }

    /// Takes one from the streamer's credit, or returns the time until there is one.
    pub fn take(&self, streamer: &UserId) -> Result<(), Exceeded> {
        if self.0.len() > Self::FEW {
            self.0.retain_recent();
        }
        self.0.check_key(streamer).map_err(|not_until| Exceeded {
            retry_after: not_until
                .wait_time_from(TokioClock.now())
                .max(Duration::from_millis(1)),
        })
    }
}

/// The quota of documents that pages read: in total, and of one address. A page beyond it is shown without.
pub struct PageQuota {
    total: Total,
    addresses: Keyed<IpAddr>,
}

impl PageQuota {
    /// Addresses with less than their full credit; further ones get nothing until one of these has it.
    const MOST: usize = 10_000;

    /// So many in a minute, all of them at once if need be.
    pub fn new(http: &Http) -> Self {
        let quota = |count| Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
        let state = DashMapStateStore::default();
        Self {
            total: RateLimiter::new(
                quota(http.documents_per_minute),
                InMemoryState::default(),
                TokioClock,
            ),
            addresses: RateLimiter::new(
                quota(http.documents_per_minute_per_address),
                state,
                TokioClock,
            ),
        }
    }

    /// Takes one from the credit of the address and from the total; false if either has none.
    pub fn take(&self, address: IpAddr) -> bool {
        if self.addresses.len() >= Self::MOST {
            self.addresses.retain_recent();
            if self.addresses.len() >= Self::MOST {
                return false;
            }
        }
        // The address first: a flood from one does not use up the total.
        self.addresses.check_key(&address).is_ok() && self.total.check().is_ok()
    }
}

/// Whole milliseconds, rounded up, so that a client that waits this long is not early.
pub fn whole_millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload() -> Upload {
        Upload {
            clips_per_minute: 60,
            clips_burst: 3,
            bytes_per_second: 100,
            bytes_burst: 1000,
            ..Upload::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn upload_beyond_the_burst_waits_the_stated_time() {
        let quota = UploadQuota::new(&upload());
        let streamer = UserId::new("ada");
        for _ in 0..3 {
            quota.take(&streamer, 10).unwrap();
        }
        let exceeded = quota.take(&streamer, 10).unwrap_err();
        assert!(
            exceeded.retry_after <= Duration::from_secs(1),
            "{exceeded:?}"
        );
        let wait = Duration::from_millis(whole_millis(exceeded.retry_after));
        tokio::time::advance(wait.saturating_sub(Duration::from_millis(2))).await;
        assert!(quota.take(&streamer, 10).is_err());
        tokio::time::advance(Duration::from_millis(2)).await;
        quota.take(&streamer, 10).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_count_as_well_as_clips() {
        let quota = UploadQuota::new(&upload());
        let streamer = UserId::new("ada");
        quota.take(&streamer, 1000).unwrap();
        let exceeded = quota.take(&streamer, 500).unwrap_err();
        assert_eq!(whole_millis(exceeded.retry_after), 5000);
    }

    #[tokio::test(start_paused = true)]
    async fn quota_of_passes_is_per_streamer() {
        let quota = StreamerQuota::new(2);
        let [ada, bob] = ["ada", "bob"].map(UserId::new);
        quota.take(&ada).unwrap();
        quota.take(&ada).unwrap();
        let wait = quota.take(&ada).unwrap_err().retry_after;
        assert_eq!(whole_millis(wait), 30_000);
        quota.take(&bob).unwrap();
        tokio::time::advance(wait).await;
        quota.take(&ada).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn address_leaves_the_other_pages_their_quota() {
        let quota = PageQuota::new(&Http {
            documents_per_minute: 4,
            documents_per_minute_per_address: 2,
            ..Http::default()
        });
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let taken = |last| quota.take(address(last));
        assert!([1, 1].map(taken).iter().all(|it| *it));
        assert!(![1; 100].map(taken).iter().any(|it| *it));
        assert!([2, 3].map(taken).iter().all(|it| *it));
        assert!(!taken(4), "beyond the total");
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(taken(4));
    }

    #[tokio::test(start_paused = true)]
    async fn quota_is_per_streamer() {
        let quota = UploadQuota::new(&upload());
        while quota.take(&UserId::new("greedy"), 10).is_ok() {}
        quota.take(&UserId::new("ada"), 10).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn defaults_allow_the_flush_of_a_minutes_outage() {
        let quota = UploadQuota::new(&Upload::default());
        let streamer = UserId::new("ada");
        // Sixty clips of one second at 320 kbit/s, and twelve of five seconds at the largest size of the original
        // server.
        for _ in 0..60 {
            quota.take(&streamer, 40_000).unwrap();
        }
        for _ in 0..12 {
            quota.take(&streamer, 1_000_000).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_streamers_are_forgotten() {
        let quota = UploadQuota::new(&upload());
        for index in 0..100 {
            quota.take(&UserId::new(&index.to_string()), 10).unwrap();
        }
        assert_eq!(quota.remembered(), 100);
        tokio::time::advance(Duration::from_mins(1)).await;
        quota.reclaim();
        assert_eq!(quota.remembered(), 0);
    }
}
