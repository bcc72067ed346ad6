//! A cache for a value with a lifetime: fetched again ahead of its end, one fetch in flight.
//!
//! Signing keys and access tokens are cached here.
//!
//! **Invariant**: a call gets a usable value without waiting. All calls that wait share one fetch, and its failure.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Failure;

/// A failed refresh is not repeated for this long while the old value is still usable.
const RETRY: Duration = Duration::from_secs(10);

/// The result of a fetch.
#[derive(Debug)]
pub struct Fetched<T> {
    /// The value.
    pub value: T,
    /// Time until the value is fetched again in the background.
    pub fresh_for: Duration,
    /// Time until the value may no longer be used.
    pub usable_for: Duration,
}

/// The newest available value.
#[derive(Debug)]
pub struct Newest<T> {
    /// The value.
    pub value: Arc<T>,
    /// Whether its fetch began after the request.
    pub is_newer: bool,
}

type Fetch<T> = Box<dyn Fn() -> BoxFuture<'static, Result<Fetched<T>, Failure>> + Send + Sync>;
type Flight<T> = Shared<BoxFuture<'static, Result<Arc<T>, Failure>>>;

/// A cached value; cheap to clone.
pub struct RefreshCache<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for RefreshCache<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<T> {
    fetch: Fetch<T>,
    /// A lock, never held across an await: the value and the fetch in flight change together.
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Option<Cached<T>>,
    flight: Option<Flight<T>>,
    /// The start of the fetch in flight, or of the latest.
    flight_began: Option<Instant>,
    /// The latest fetch: its end, and its failure if it failed.
    latest: Option<(Instant, Option<Failure>)>,
}

struct Cached<T> {
    value: Arc<T>,
    fetch_began: Instant,
    fresh_until: Instant,
    usable_until: Instant,
}

impl<T: Send + Sync + 'static> RefreshCache<T> {
    /// An empty cache; the first request calls `fetch`.
    pub fn new<F>(fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Fetched<T>, Failure>> + Send + 'static,
    {
        Self {
            inner: Arc::new(Inner {
                fetch: Box::new(move || fetch().boxed()),
                state: Mutex::new(State {
                    value: None,
                    flight: None,
                    flight_began: None,
                    latest: None,
                }),
            }),
        }
    }

    /// The value: at once if it is usable, else after a fetch.
    pub async fn get(&self) -> Result<Arc<T>, Failure> {
        let flight = {
            let mut state = self.lock();
            let now = Instant::now();
            let cached = state.value.as_ref().filter(|it| now < it.usable_until);
            if let Some(cached) = cached {
                let value = Arc::clone(&cached.value);
                let failed_lately =
                    matches!(&state.latest, Some((at, Some(_))) if now < *at + RETRY);
                if now >= cached.fresh_until && !failed_lately {
                    // It runs in the background; no call waits for it.
                    drop(self.take_off(&mut state));
                }
                return Ok(value);
            }
            self.take_off(&mut state)
        };
        flight.await
    }

    /// The value after a fetch; or the outcome of the latest fetch if it ended less than `at_least` ago.
    pub async fn get_newest(
        &self,
        asked: Instant,
        at_least: Duration,
    ) -> Result<Newest<T>, Failure> {
        let (flight, began) = {
            let mut state = self.lock();
            let latest = state.latest.as_ref();
            let recent = latest.filter(|(at, _)| Instant::now() < *at + at_least);
            match (recent, &state.value) {
                (Some((_, Some(failure))), _) => return Err(failure.clone()),
                (Some((_, None)), Some(cached)) => {
                    return Ok(Newest {
                        value: Arc::clone(&cached.value),
                        is_newer: cached.fetch_began >= asked,
                    });
                }
                _ => (self.take_off(&mut state), state.flight_began),
            }
        };
        Ok(Newest {
            value: flight.await?,
            is_newer: began.is_some_and(|began| began >= asked),
        })
    }

    /// Forgets an unusable `value`, unless it was replaced meanwhile.
    pub fn forget(&self, value: &Arc<T>) {
        let mut state = self.lock();
        if state
            .value
            .as_ref()
            .is_some_and(|cached| Arc::ptr_eq(&cached.value, value))
        {
            state.value = None;
        }
    }

    /// Joins the fetch in flight, or starts one. It runs to its end even if no call waits for it.
    fn take_off(&self, state: &mut State<T>) -> Flight<T> {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let this = self.clone();
        let task = tokio::spawn(async move {
            let result = (this.inner.fetch)().await;
            this.land(result)
        });
        let this = self.clone();
        let flight = task
            // A fetch that panicked is over too: the next one may succeed.
            .map(move |joined| joined.unwrap_or_else(|_| this.land(Err(Failure::Garbage))))
            .boxed()
            .shared();
        state.flight = Some(flight.clone());
        state.flight_began = Some(Instant::now());
        flight
    }

    fn land(&self, result: Result<Fetched<T>, Failure>) -> Result<Arc<T>, Failure> {
        let mut state = self.lock();
        let now = Instant::now();
        state.flight = None;
        state.latest = Some((now, result.as_ref().err().cloned()));
        let fetched = result?;
        let value = Arc::new(fetched.value);
        state.value = Some(Cached {
            value: Arc::clone(&value),
            fetch_began: state.flight_began.unwrap_or(now),
            fresh_until: now + fetched.fresh_for,
            usable_until: now + fetched.usable_for,
        });
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.inner.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::advance;

    use super::*;

    const FRESH: Duration = Duration::from_mins(1);
    const USABLE: Duration = Duration::from_mins(5);

    /// A cache whose value counts its fetches, the count, and a switch that makes fetches fail.
    fn counted() -> (RefreshCache<u32>, Arc<AtomicU32>, Arc<AtomicU32>) {
        let (count, broken) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let cache = {
            let (count, broken) = (Arc::clone(&count), Arc::clone(&broken));
            RefreshCache::new(move || {
                let value = count.fetch_add(1, Ordering::SeqCst) + 1;
                let fails = broken.load(Ordering::SeqCst) > 0;
                async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    if fails {
                        return Err(Failure::Timeout);
                    }
                    Ok(Fetched {
                        value,
                        fresh_for: FRESH,
                        usable_for: USABLE,
                    })
                }
            })
        };
        (cache, count, broken)
    }

    async fn settle() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_requests_share_one_fetch() {
        let (cache, count, _) = counted();
        let asked = futures_util::future::join_all((0..50).map(|_| cache.get())).await;
        assert!(asked.into_iter().all(|value| *value.expect("a value") == 1));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn refresh_ahead_of_the_end_delays_no_request() {
        let (cache, count, _) = counted();
        assert_eq!(*cache.get().await.expect("a value"), 1);
        advance(FRESH).await;
        assert_eq!(*cache.get().await.expect("the old value, at once"), 1);
        settle().await;
        assert_eq!(*cache.get().await.expect("the new value"), 2);
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn old_value_outlasts_a_short_outage_only() {
        let (cache, count, broken) = counted();
        cache.get().await.expect("a value");
        broken.store(1, Ordering::SeqCst);
        advance(FRESH).await;
        for _ in 0..20 {
            assert_eq!(*cache.get().await.expect("the old value"), 1);
            settle().await;
        }
        assert_eq!(
            count.load(Ordering::SeqCst),
            2,
            "a failed refresh is not repeated at once"
        );
        advance(USABLE).await;
        assert_eq!(cache.get().await, Err(Failure::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn newest_value_is_fetched_at_a_limited_rate() {
        let (cache, count, broken) = counted();
        let pause = Duration::from_secs(30);
        let newest_since = async |asked| {
            let newest = cache.get_newest(asked, pause).await?;
            Ok::<_, Failure>((*newest.value, newest.is_newer))
        };
        let before = Instant::now();
        cache.get().await.expect("a value");
        assert_eq!(newest_since(before).await, Ok((1, true)));
        assert_eq!(newest_since(before + FRESH).await, Ok((1, false)));
        advance(pause).await;
        assert_eq!(newest_since(Instant::now()).await, Ok((2, true)));
        broken.store(1, Ordering::SeqCst);
        advance(pause).await;
        assert_eq!(newest_since(Instant::now()).await, Err(Failure::Timeout));
        assert_eq!(newest_since(Instant::now()).await, Err(Failure::Timeout));
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn fetch_after_a_panic_succeeds() {
        let count = Arc::new(AtomicU32::new(0));
        let cache = {
            let count = Arc::clone(&count);
            RefreshCache::new(move || {
                let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    assert!(!first, "a panic on purpose");
                    Ok(Fetched {
                        value: (),
                        fresh_for: FRESH,
                        usable_for: USABLE,
                    })
                }
            })
        };
        assert_eq!(cache.get().await, Err(Failure::Garbage));
        assert!(cache.get().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_request_does_not_end_the_shared_fetch() {
        let (cache, count, _) = counted();
        let impatient = tokio::time::timeout(Duration::from_millis(1), cache.get()).await;
        assert!(impatient.is_err());
        assert_eq!(*cache.get().await.expect("a value"), 1);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
