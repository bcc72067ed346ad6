//! A listener: joins, and checks the clips that it receives. Or stalls, or is slow, to measure the effect on others.
//!
//! **Invariant**: a clip counts as received only if it is whole, of this listener's streamer, and later than all
//! earlier ones.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clip::{Check, Clips, Verdict};
use crate::packet::{Packet, connect};
use crate::socket::{Door, Heard, Socket, SocketError};
use crate::tally::{Ear, Latencies, count};

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
}

/// Result of a join: its duration, or the reason for its failure.
pub(crate) type Joined = Result<Duration, String>;

/// A listener before its join.
#[derive(Debug)]
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
            }
        }
        ear.closed.store(true, Relaxed);
    }

    async fn join(self) -> Result<(Socket, Listening), String> {
        let buffer = (self.manner != Manner::Healthy).then_some(SMALL_RECEIVE_BUFFER);
        let mut socket = Socket::open(&self.door, buffer)
            .await
            .map_err(|error| error.to_string())?;
        let mut listening = Listening {
            listener: self,
            check: Check::new(),
            is_clip: false,
            next: 0,
            verdict: None,
            open: false,
            gone: false,
        };
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
    async fn step(&mut self, socket: &mut Socket, limit: usize) -> Result<usize, SocketError> {
        socket.readable().await?;
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
