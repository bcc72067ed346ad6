//! Stops reading from a client that does not read its answers.
//!
//! Every packet of a client may cost an answer, and the Socket.IO library refuses an answer when its buffer is full. So
//! answers are counted when the library receives one and when it writes one, and the client is not read while too many
//! are queued.
//!
//! **Invariant**: a session has at most `limit` queued answers, plus those to packets that were already read: at most
//! [`READ_AT_ONCE`] bytes.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, MutexGuard};

/// Bytes of a client that are handled before the backpressure is checked again.
pub const READ_AT_ONCE: usize = 16 << 10;

/// See the module documentation.
pub struct Backpressure(Mutex<State>);

struct State {
    limit: u64,
    /// Answers given to the library, and answers that it has written.
    given: u64,
    let_out: u64,
    /// Answers that are not known yet.
    owed: u64,
    pauses: u32,
    readers: Vec<Waker>,
}

impl State {
    fn is_open(&self) -> bool {
        self.pauses == 0 && self.given.saturating_sub(self.let_out) + self.owed < self.limit
    }

    fn wake(&mut self) {
        if self.is_open() {
            self.readers.drain(..).for_each(Waker::wake);
        }
    }
}

impl Backpressure {
    /// Creates a state without queued answers that allows `limit` of them.
    pub fn new(limit: usize) -> Self {
        Self(Mutex::new(State {
            limit: limit as u64,
            given: 0,
            let_out: 0,
            owed: 0,
            pauses: 0,
            readers: Vec::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Sets the limit of queued answers.
    pub fn set_limit(&self, limit: usize) {
        let mut state = self.lock();
        state.limit = limit as u64;
        state.wake();
    }

    /// Counts an answer that was given to the library.
    pub fn give(&self) {
        self.lock().given += 1;
    }

    /// Counts answers that the library has written.
    pub fn let_out(&self, answers: u64) {
        if answers > 0 {
            let mut state = self.lock();
            state.let_out += answers;
            state.wake();
        }
    }

    /// Whether the library has written every answer that it was given.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.given <= state.let_out
    }

    /// Counts answers that will come later.
    pub fn owe(&self, answers: u64) {
        self.lock().owed += answers;
    }

    /// Ends [`Self::owe`] for answers that came or that never will.
    pub fn settle(&self, answers: u64) {
        let mut state = self.lock();
        state.owed = state.owed.saturating_sub(answers);
        state.wake();
    }

    /// Stops reading until [`Self::release`].
    pub(super) fn hold(&self) {
        self.lock().pauses += 1;
    }

    /// Ends one [`Self::hold`].
    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.pauses = state.pauses.saturating_sub(1);
        state.wake();
    }

    /// Ready when the client may be read.
    pub fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_open() {
            return Poll::Ready(());
        }
        if !state.readers.iter().any(|it| it.will_wake(cx.waker())) {
            state.readers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the client may be read.
    pub async fn open(&self) {
        poll_fn(|cx| self.poll_open(cx)).await;
    }
}

/// Number of answers among the packets in a poll's answer (Engine.IO 4 separates packets with 0x1e).
pub fn answers_in(payload: &[u8]) -> u64 {
    let packets = payload.split(|byte| *byte == 0x1e);
    packets.filter(|packet| is_answer(packet)).count() as u64
}

/// Whether a text message is an event or an acknowledgement, rather than a packet that the library creates.
pub(super) fn is_answer(message: &[u8]) -> bool {
    message.starts_with(b"42") || message.starts_with(b"43")
}

/// Counts the answers in the library's stream of WebSocket messages, which arrives in pieces.
#[derive(Default)]
pub(super) struct AnswerCounter {
    leading: Leading,
    count: u64,
}

/// The first two bytes of a text message, which give its type.
#[derive(Clone, Copy, Default)]
enum Leading {
    Awaited,
    First(u8),
    /// No text message passes, or its type is known.
    #[default]
    Known,
}

impl AnswerCounter {
    /// Number of answers that have begun to pass.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn message_begins(&mut self, is_text: bool) {
        self.leading = if is_text {
            Leading::Awaited
        } else {
            Leading::Known
        };
    }

    /// A piece of the message's payload.
    pub(super) fn message_goes_on(&mut self, payload: &[u8]) {
        let leading = match (self.leading, payload) {
            (Leading::Known, _) | (_, []) => return,
            (Leading::Awaited, [first]) => {
                self.leading = Leading::First(*first);
                return;
            }
            (Leading::Awaited, [first, second, ..]) => [*first, *second],
            (Leading::First(first), [second, ..]) => [first, *second],
        };
        self.leading = Leading::Known;
        self.count += u64::from(is_answer(&leading));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reading_resumes_when_an_answer_is_written() {
        let pressure = Backpressure::new(2);
        pressure.open().await;
        pressure.give();
        pressure.owe(1);
        let mut reading = polled(&pressure);
        assert!(reading.is_pending());
        pressure.settle(1);
        reading = polled(&pressure);
        assert!(reading.is_ready());
        pressure.give();
        assert!(polled(&pressure).is_pending());
        pressure.let_out(1);
        pressure.open().await;
        assert!(!pressure.is_empty());
        pressure.let_out(1);
        assert!(pressure.is_empty());
    }

    fn polled(pressure: &Backpressure) -> Poll<()> {
        pressure.poll_open(&Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn reader_is_woken() {
        let pressure = std::sync::Arc::new(Backpressure::new(1));
        pressure.give();
        let reader = tokio::spawn({
            let pressure = pressure.clone();
            async move { pressure.open().await }
        });
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        pressure.let_out(1);
        reader.await.expect("it reads on");
    }

    #[test]
    fn answers_of_a_poll_are_counted() {
        let payload = b"42/streamer,[]\x1e2\x1e43/streamer,1[]\x1ebAAAA\x1e40/streamer,{}\x1e451-/listener,[]";
        assert_eq!(answers_in(payload), 2);
    }
}
