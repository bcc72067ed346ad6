//! A listener: joins, and checks the clips that it receives. Or stalls, or is slow, to measure the effect on others.
//!
//! **Invariant**: a clip counts as received only if it is whole, of this listener's streamer, and later than all
//! earlier ones.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout, timeout_at};

use crate::clip::{Check, Clips, Verdict};
use crate::packet::{Packet, connect, disconnect};
use crate::socket::{Door, Heard, Socket, SocketError};
use crate::tally::{Ear, Latencies, count};

/// How long one of the passing is away, at most.
const AWAY: Duration = Duration::from_secs(2);
/// How long the admission of one client may take.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Receive buffer of a stalled or slow listener, in bytes: small, so that the server notices soon.
const SMALL_RECEIVE_BUFFER: u32 = 64 << 10;
/// How often a slow listener reads, and a stalled one checks whether it was closed.
const READ_INTERVAL: Duration = Duration::from_millis(100);

/// How a listener behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Reads everything at once.
    Healthy,
    /// Reads this many bytes a second.
    Slow(usize),
    /// Reads nothing once it has joined.
    Stalled,
    /// Reads everything at once, leaves after about this time, and comes back.
    Passing(Duration),
}

/// Result of a join: its duration, or the reason for its failure.
pub(crate) type Joined = Result<Duration, String>;

/// A listener before its join.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// The livestream and its token.
    pub(crate) door: Door,
    /// The streamer whose clips it expects.
    pub(crate) streamer: u32,
    /// The run's clips.
    pub(crate) clips: Clips,
    /// Its counters.
    pub(crate) ear: Arc<Ear>,
    /// Where latencies are recorded.
    pub(crate) latencies: Arc<Latencies>,
    /// Its behaviour.
    pub(crate) manner: Manner,
}

/// State of a joined listener.
struct Listening {
    listener: Listener,
    check: Check,
    /// The next binary message is a clip.
    is_clip: bool,
    /// The first sequence number that was not received yet.
    next: u64,
    verdict: Option<Result<(), String>>,
    open: bool,
    gone: bool,
}

impl Listener {
    /// Joins, reports on `joined`, and listens until the server ends it or the task is aborted.
    pub(crate) async fn run(self, joined: mpsc::Sender<Joined>) {
        let ear = Arc::clone(&self.ear);
        let manner = self.manner;
        let began = Instant::now();
        let again = matches!(manner, Manner::Passing(_)).then(|| self.clone());
        let socket = match self.join().await {
            Ok((socket, listening)) => {
                let _ = joined.send(Ok(began.elapsed())).await;
                drop(joined);
                Some((socket, listening))
            }
            Err(why) => {
                let _ = joined.send(Err(why)).await;
                None
            }
        };
        if let Some((socket, listening)) = socket {
            match manner {
                Manner::Healthy => listening.healthy(socket).await,
                Manner::Slow(rate) => listening.slow(socket, rate).await,
                Manner::Stalled => listening.stalled(socket).await,
                Manner::Passing(stay) => {
                    listening.stays(socket, stay).await;
                    if let Some(again) = again {
                        again.comes_back(stay).await;
                    }
                }
            }
        }
        ear.closed.store(true, Relaxed);
    }

    /// Joins, stays and leaves until the task is aborted.
    async fn comes_back(self, stay: Duration) {
        loop {
            sleep(rand::random_range(Duration::ZERO..AWAY)).await;
            match timeout(JOIN_TIMEOUT, self.clone().join()).await {
                Ok(Ok((socket, listening))) => listening.stays(socket, stay).await,
                Ok(Err(_)) | Err(_) => count(&self.ear.stays.refused),
            }
        }
    }

    async fn join(self) -> Result<(Socket, Listening), String> {
        let is_late = matches!(self.manner, Manner::Slow(_) | Manner::Stalled);
        let buffer = is_late.then_some(SMALL_RECEIVE_BUFFER);
        let mut socket = Socket::open(&self.door, buffer)
            .await
            .map_err(|error| error.to_string())?;
        let mut listening = Listening::new(self);
        let mut asked = false;
        loop {
            let step = listening.step(&mut socket, usize::MAX).await;
            if let Some(verdict) = listening.verdict.take() {
                return verdict.map(|()| (socket, listening));
            }
            step.map_err(|error| error.to_string())?;
            if listening.open && !asked {
                asked = true;
                socket
                    .send(&connect("listener"))
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
    }
}

impl Listening {
    fn new(listener: Listener) -> Self {
        Self {
            listener,
            check: Check::new(),
            is_clip: false,
            next: 0,
            verdict: None,
            open: false,
            gone: false,
        }
    }

    async fn step(&mut self, socket: &mut Socket, limit: usize) -> Result<usize, SocketError> {
        socket.readable().await?;
        self.read(socket, limit).await
    }

    async fn read(&mut self, socket: &mut Socket, limit: usize) -> Result<usize, SocketError> {
        let read = socket.read(limit, |heard| self.hear(heard)).await?;
        if self.gone {
            return Err(SocketError::Closed);
        }
        Ok(read)
    }

    fn hear(&mut self, heard: Heard<'_>) {
        match heard {
            Heard::Piece(piece) if self.is_clip => self.check.feed(&self.listener.clips, piece),
            Heard::End if self.is_clip => {
                self.is_clip = false;
                let verdict = self.check.end(&self.listener.clips);
                self.judge(&verdict);
            }
            Heard::Packet(Packet::Open) => self.open = true,
            Heard::Packet(Packet::Success(_)) => self.verdict = Some(Ok(())),
            Heard::Packet(Packet::Error(text)) => self.verdict = Some(Err(text)),
            Heard::Packet(Packet::Clip) => self.is_clip = true,
            Heard::Packet(Packet::Gone(why)) => {
                self.gone = true;
                self.verdict.get_or_insert(Err(why));
            }
            Heard::Piece(_) | Heard::End | Heard::Packet(_) => {}
        }
    }

    fn judge(&mut self, verdict: &Verdict) {
        let ear = &self.listener.ear;
        match *verdict {
            Verdict::Whole(stamp, _) if stamp.streamer != self.listener.streamer => {
                count(&ear.mixed);
            }
            Verdict::Whole(stamp, _) if stamp.sequence < self.next => count(&ear.disordered),
            Verdict::Whole(stamp, took) => {
                if self.next > 0 {
                    let missed = stamp.sequence - self.next;
                    ear.stays.missed.fetch_add(missed, Relaxed);
                }
                self.next = stamp.sequence + 1;
                count(&ear.received);
                if self.listener.manner == Manner::Healthy {
                    self.listener.latencies.record(took);
                }
            }
            Verdict::Corrupt => count(&ear.corrupt),
            Verdict::Foreign => count(&ear.foreign),
        }
    }

    async fn healthy(mut self, mut socket: Socket) {
        while self.step(&mut socket, usize::MAX).await.is_ok() {}
    }

    /// Listens for 0.5 to 1.5 times this, and leaves: with a farewell, or without.
    async fn stays(mut self, mut socket: Socket, stay: Duration) {
        let stays = Arc::clone(&self.listener.ear);
        let stays = &stays.stays;
        count(&stays.begun);
        let end = Instant::now() + stay.mul_f64(rand::random_range(0.5..1.5));
        while let Ok(ready) = timeout_at(end.into(), socket.readable()).await {
            let read = self.read(&mut socket, usize::MAX).await;
            if ready.and(read.map(|_| ())).is_err() {
                return count(&stays.ended);
            }
        }
        // A failure means that the server has ended it in this moment.
        let _ = if rand::random() {
            socket.send(&disconnect("listener")).await
        } else {
            socket.cut().map_err(SocketError::from)
        };
    }

    async fn slow(mut self, mut socket: Socket, rate: usize) {
        let mut ticks = interval(READ_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let share = (rate / 10).max(1);
        loop {
            ticks.tick().await;
            if self.step(&mut socket, share).await.is_err() {
                return;
            }
        }
    }

    async fn stalled(self, socket: Socket) {
        while !socket.closed_unread().await {
            sleep(READ_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clip_between_two_others_is_missed() {
        let clips = Clips::generated(1000, 7);
        let ear = Arc::<Ear>::default();
        let listener = Listener {
            door: Door {
                address: ([127, 0, 0, 1], 1).into(),
                host: String::new(),
                token: String::new(),
                livestream: String::new(),
                is_for_clips: false,
            },
            streamer: 0,
            clips: clips.clone(),
            ear: Arc::clone(&ear),
            latencies: Arc::default(),
            manner: Manner::Passing(Duration::ZERO),
        };
        let mut listening = Listening::new(listener);
        for sequence in [3, 4, 6] {
            listening.hear(Heard::Packet(Packet::Clip));
            listening.hear(Heard::Piece(&clips.make(0, sequence)));
            listening.hear(Heard::End);
        }
        assert_eq!(ear.received.load(Relaxed), 3);
        assert_eq!(ear.stays.missed.load(Relaxed), 1);
    }
}
