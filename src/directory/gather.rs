//! Many small requests in one call: whatever waits while [`Gather::AT_ONCE`] calls are under way is in the next one.
//!
//! **Invariant**: a request is in exactly one call, and a lone request waits for nothing. A caller that is gone before
//! its answer leaves its request behind, and nobody else's.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

/// Requests, and who waits for their answers.
type Waiting<Q, A> = VecDeque<(Q, oneshot::Sender<A>)>;

/// Requests `Q` with answers `A`; cheap to clone. It holds no more requests than there are callers.
pub(super) struct Gather<Q, A> {
    waiting: Arc<Mutex<Waiting<Q, A>>>,
    calls: Arc<Semaphore>,
    most: usize,
}

impl<Q, A> Clone for Gather<Q, A> {
    fn clone(&self) -> Self {
        Self {
            waiting: self.waiting.clone(),
            calls: self.calls.clone(),
            most: self.most,
        }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    /// Concurrent calls: a slow one holds up no other, and an outage does not fill the lane of permits.
    const AT_ONCE: usize = 8;

    /// At most `most` requests are in one call.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: Arc::default(),
            calls: Arc::new(Semaphore::new(Self::AT_ONCE)),
            most,
        }
    }

    /// The answer to `request`; `call` gives one answer for each of its requests, in their order. None if a call
    /// panicked.
    pub(super) async fn ask<F>(&self, request: Q, call: impl Fn(Vec<Q>) -> F) -> Option<A>
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let (sender, mut answer) = oneshot::channel();
        self.waiting.lock().push_back((request, sender));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer.ok(),
                Ok(permit) = self.calls.clone().acquire_owned() => {
                    let (requests, senders) = self.take();
                    if requests.is_empty() {
                        drop(permit);
                        return answer.await.ok();
                    }
                    let answers = call(requests);
                    // Its own task: the others' requests do not end with this caller.
                    tokio::spawn(async move {
                        for (sender, answer) in senders.into_iter().zip(answers.await) {
                            // The caller may be gone.
                            drop(sender.send(answer));
                        }
                        drop(permit);
                    });
                }
            }
        }
    }

    fn take(&self) -> (Vec<Q>, Vec<oneshot::Sender<A>>) {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(self.most);
        waiting.drain(..count).unzip()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::{BoxFuture, join_all};
    use tokio::time::sleep;

    use super::*;

    type Calls = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Answers each request with itself, a second later.
    fn echo(calls: &Calls) -> impl Fn(Vec<u32>) -> BoxFuture<'static, Vec<u32>> + use<> {
        let calls = calls.clone();
        move |requests| {
            calls.lock().push(requests.clone());
            Box::pin(async move {
                sleep(Duration::from_secs(1)).await;
                requests
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_share_a_call() {
        let (gather, calls) = (Gather::new(100), Calls::default());
        let answers = join_all((0..250).map(|n| gather.ask(n, echo(&calls)))).await;
        assert_eq!(answers, (0..250).map(Some).collect::<Vec<_>>());
        let mut asked: Vec<u32> = calls.lock().concat();
        asked.sort_unstable();
        assert_eq!(asked, (0..250).collect::<Vec<_>>(), "each in one call");
        let most = Gather::<u32, u32>::AT_ONCE + 3;
        assert!(calls.lock().len() <= most, "{} calls", calls.lock().len());
        assert!(calls.lock().iter().all(|it| it.len() <= 100));
    }

    #[tokio::test(start_paused = true)]
    async fn caller_that_is_gone_keeps_nobody_waiting() {
        let (gather, calls) = (Gather::new(100), Calls::default());
        let all: Vec<_> = (0..50)
            .map(|n| {
                let (gather, echo) = (gather.clone(), echo(&calls));
                tokio::spawn(async move { gather.ask(n, echo).await })
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        for asks in all.iter().step_by(2) {
            asks.abort();
        }
        for (n, asks) in (0..).zip(all) {
            if n % 2 == 1 {
                assert_eq!(asks.await.expect("an answer"), Some(n));
            }
        }
    }
}
