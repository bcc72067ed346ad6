//! A streamer: claims a livestream, and sends clips at a steady pace.
//!
//! **Invariant**: every sent clip is counted once, and once more if the server refuses it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::clip::Clips;
use crate::packet::{Packet, connect, upload};
use crate::socket::{Door, Heard, Socket, SocketError};
use crate::tally::{Mouth, count};

/// How long the server may take to answer the clips before a cut, and to admit the streamer again.
const RETURN_TIMEOUT: Duration = Duration::from_secs(30);
/// From a cut to the new connection.
const AWAY: Duration = Duration::from_millis(100);

/// A streamer before its connect.
#[derive(Debug, Clone)]
pub(crate) struct Streamer {
    /// Where it connects.
    pub(crate) door: Door,
    /// Its number in the run.
    pub(crate) number: u32,
    /// The run's clips.
    pub(crate) clips: Clips,
    /// Its counters.
    pub(crate) mouth: Arc<Mouth>,
    /// Number of clips to send.
    pub(crate) count: u64,
    /// Time from one clip to the next.
    pub(crate) pace: Duration,
    /// Clips after which its connection is cut, each time.
    pub(crate) cut_every: Option<u64>,
    /// Time from the start to its first clip.
    pub(crate) offset: Duration,
}

/// An admitted streamer.
#[derive(Debug)]
pub(crate) struct OnAir {
    streamer: Streamer,
    socket: Socket,
}

impl Streamer {
    /// Not all streamers after the same clip.
    fn loses_connection_after(&self, sent: u64) -> bool {
        let cut = |every| (sent + u64::from(self.number)).is_multiple_of(every);
        sent < self.count && self.cut_every.is_some_and(cut)
    }

    /// Connects and waits for `success`.
    pub(crate) async fn connect(self) -> Result<OnAir, String> {
        let mut socket = Socket::open(&self.door, None)
            .await
            .map_err(|error| error.to_string())?;
        let mut asked = false;
        loop {
            let (mut open, mut verdict) = (false, None);
            let step = async {
                socket.readable().await?;
                socket
                    .read(usize::MAX, |heard| match heard {
                        Heard::Packet(Packet::Open) => open = true,
                        Heard::Packet(Packet::Success(_)) => verdict = Some(Ok(())),
                        Heard::Packet(Packet::Error(text)) => verdict = Some(Err(text)),
                        Heard::Packet(Packet::Gone(why)) => {
                            verdict.get_or_insert(Err(why));
                        }
                        _ => {}
                    })
                    .await
            };
            let step = step.await;
            if let Some(verdict) = verdict {
                return verdict.map(|()| OnAir {
                    streamer: self,
                    socket,
                });
            }
            step.map_err(|error| error.to_string())?;
            if open && !asked {
                asked = true;
                socket
                    .send(&connect("streamer"))
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
    }
}

impl OnAir {
    /// Waits for the start, sends its clips, and stays connected until the task is aborted.
    pub(crate) async fn run(self, mut start: watch::Receiver<bool>) {
        let mouth = Arc::clone(&self.streamer.mouth);
        if let Err(error) = self.send_all(&mut start).await {
            mouth.done.store(true, Relaxed);
            let _ = mouth.trouble.set(error.to_string());
        }
    }

    async fn send_all(mut self, start: &mut watch::Receiver<bool>) -> Result<(), SocketError> {
        while !*start.borrow_and_update() {
            tokio::select! {
                _ = start.changed() => {}
                ready = self.socket.readable() => { ready?; self.listen().await?; }
            }
        }
        let mut ticks = interval_at(
            Instant::now() + self.streamer.offset,
            self.streamer.pace.max(Duration::from_micros(1)),
        );
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for sequence in 0..self.streamer.count {
            loop {
                tokio::select! {
                    biased;
                    _ = ticks.tick() => break,
                    ready = self.socket.readable() => { ready?; self.listen().await?; }
                }
            }
            let clip = self.streamer.clips.make(self.streamer.number, sequence);
            count(&self.streamer.mouth.sent);
            self.socket.send_with(&upload(sequence), &clip).await?;
            let sent = sequence + 1;
            if self.streamer.loses_connection_after(sent) {
                self = self.come_back().await?;
            }
        }
        self.streamer.mouth.done.store(true, Relaxed);
        loop {
            self.socket.readable().await?;
            self.listen().await?;
        }
    }

    /// Cuts the connection, once all clips are answered, and connects again.
    async fn come_back(mut self) -> Result<Self, SocketError> {
        let late = |_| SocketError::Refused("no answer in time".into());
        let answers = async {
            while !self.streamer.mouth.is_answered() {
                self.socket.readable().await?;
                self.listen().await?;
            }
            Ok::<_, SocketError>(())
        };
        timeout(RETURN_TIMEOUT, answers).await.map_err(late)??;
        self.socket.cut()?;
        sleep(AWAY).await;
        let mouth = Arc::clone(&self.streamer.mouth);
        let back = timeout(RETURN_TIMEOUT, self.streamer.connect());
        let back = back.await.map_err(late)?.map_err(SocketError::Refused)?;
        count(&mouth.returns);
        Ok(back)
    }

    async fn listen(&mut self) -> Result<(), SocketError> {
        let mouth = &self.streamer.mouth;
        let mut gone = false;
        self.socket
            .read(usize::MAX, |heard| match heard {
                Heard::Packet(Packet::Ack(_, false)) => count(&mouth.refused),
                Heard::Packet(Packet::Success(_)) => count(&mouth.confirmed),
                Heard::Packet(Packet::Error(text)) => {
                    let _ = mouth.trouble.set(text);
                }
                Heard::Packet(Packet::Gone(_)) => gone = true,
                _ => {}
            })
            .await?;
        if gone {
            Err(SocketError::Closed)
        } else {
            Ok(())
        }
    }
}
