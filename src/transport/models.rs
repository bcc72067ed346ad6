//! Models of this room's locks and wake-ups: `shuttle` runs the code itself, thousands of times, each time with other
//! switches between its tasks. A task that nobody wakes, and a lock that waits for itself, are deadlocks, which it finds
//! and prints the schedule of. There is no timer in a model: what works here needs none.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, select};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use tokio::io::ReadBuf;
use tokio::sync::Notify;

use super::backpressure::Backpressure;
use super::closing::Closing;
use super::connection::Connection;
use super::connections::Connections;
use super::frame::ClipFrame;
use super::heartbeat::HeartbeatTimes;
use super::outbox::{Emission, Outbox};
use super::registry::SessionLimits;
use super::session::Session;
use super::sessions::Sessions;
use super::sync::{AtomicU64, Mutex, Ordering};
use crate::broadcast::{Clip, Position};
use crate::metrics::Metrics;

const HOUR: Duration = Duration::from_hours(1);
/// Runs of each scheduler.
const RUNS: usize = 100;

fn check(model: fn()) {
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Config::new();
        config.stack_size = 1 << 20;
        config.silence_warnings = true;
        Runner::new(scheduler, config).run(model);
    };
    run(Box::new(RandomScheduler::new(RUNS)));
    run(Box::new(PctScheduler::new(3, RUNS)));
}

/// Starts a task of the model; the returned function waits for its end.
fn task<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl FnOnce() -> T {
    let started = shuttle::thread::spawn(work);
    move || started.join().expect("a task that does not panic")
}

fn sessions(max_unjoined_per_address: usize) -> Sessions {
    let limits = SessionLimits {
        max: 10,
        max_per_address: 10,
        max_unjoined_per_address,
        max_per_connection: 10,
        join_timeout: HOUR,
        heartbeat: HeartbeatTimes {
            interval: HOUR,
            timeout: HOUR,
            streamer_timeout: HOUR,
            min_bytes_per_second: 1,
        },
        message_bytes: 1000,
        message_bytes_before_join: 10,
    };
    Sessions::new(limits, Metrics::new())
}

fn session() -> Arc<Session> {
    sessions(10).admit(None, None, Instant::now()).unwrap()
}

#[test]
fn end_of_the_pressure_wakes_readers() {
    check(|| {
        let pressure = Arc::new(Backpressure::new(1));
        pressure.give();
        pressure.owe(1);
        pressure.hold();
        let readers = [(); 2].map(|()| {
            let pressure = pressure.clone();
            task(move || block_on(pressure.open()))
        });
        let ends: [fn(&Backpressure); 3] =
            [|it| it.let_out(1), |it| it.settle(1), Backpressure::release];
        let writers = ends.map(|end| {
            let pressure = pressure.clone();
            task(move || end(&pressure))
        });
        for ended in writers {
            ended();
        }
        for woken in readers {
            woken();
        }
    });
}

#[test]
fn close_of_a_session_reaches_all_that_wait() {
    check(|| {
        let session = session();
        let waiting = [(); 2].map(|()| {
            let session = session.clone();
            task(move || block_on(session.closed()))
        });
        session.close();
        for woken in waiting {
            woken();
        }
    });
}

#[test]
fn upgrade_of_a_session_reaches_its_poll() {
    check(|| {
        let session = session();
        let poll = task({
            let session = session.clone();
            move || block_on(session.upgrade_begins())
        });
        // A probe that comes to nothing, and another.
        session.set_upgrading(true);
        session.set_upgrading(false);
        session.set_upgrading(true);
        poll();
    });
}

#[test]
fn session_that_is_hastened_meanwhile_is_checked() {
    check(|| {
        let sessions = sessions(1);
        let session = sessions.admit(None, None, Instant::now()).unwrap();
        let later = Instant::now() + HOUR + Duration::from_mins(1);
        // The sweep may find it joined.
        let sweep = task({
            let sessions = sessions.clone();
            move || sessions.sweep(later)
        });
        let joins_and_leaves = task({
            let session = session.clone();
            move || drop(session.join())
        });
        joins_and_leaves();
        sweep();
        sessions.sweep(later);
        assert!(session.is_closed(), "it has joined none for an hour");
    });
}

#[test]
fn sessions_that_make_room_are_counted() {
    check(|| {
        let sessions = sessions(1);
        let address = Some([127, 0, 0, 1].into());
        let open = move |sessions: &Sessions| sessions.admit(address, None, Instant::now());
        let refused = open(&sessions).unwrap();
        refused.refused();
        let others = [(); 2].map(|()| {
            let sessions = sessions.clone();
            task(move || {
                if let Ok(session) = open(&sessions) {
                    session.refused();
                    drop(session.join());
                }
            })
        });
        let sweep = task({
            let sessions = sessions.clone();
            move || sessions.sweep(Instant::now() + HOUR)
        });
        drop(refused.join());
        drop(refused);
        for done in others {
            done();
        }
        sweep();
        assert!(sessions.is_empty());
        assert!(open(&sessions).is_ok(), "nothing is left of the others");
    });
}

/// A WebSocket whose readiness nobody reports: what wakes its reader is our own.
fn web_socket(connections: &Arc<Connections>) -> (Arc<Connection>, std::net::TcpStream) {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let (tcp, peer) = server.accept().unwrap();
    tcp.set_nonblocking(true).unwrap();
    let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
    let connection = connections.admit(tcp, peer, false, Instant::now()).unwrap();
    connection.upgrade();
    (connection, client)
}

fn reader_ends(end: fn(&Arc<Connection>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let (connection, _client) = web_socket(&Connections::for_tests());
    let reader = task({
        let connection = connection.clone();
        move || {
            let mut room = [0; 16];
            let mut out = ReadBuf::new(&mut room);
            block_on(poll_fn(|cx| connection.poll_read_web_socket(cx, &mut out))).ok();
            assert!(out.filled().is_empty());
        }
    });
    end(&connection);
    reader();
}

#[test]
fn web_socket_reader_is_woken_by_its_end() {
    check(|| reader_ends(|it| it.close(Closing::Normal)));
    check(|| reader_ends(|it| it.abort()));
    check(|| reader_ends(|it| it.peer_closed()));
}

/// The Socket.IO library and its client, which polls.
#[derive(Default)]
struct Polled {
    queued: Mutex<Vec<Bytes>>,
    arrived: Notify,
}

impl Polled {
    async fn poll(&self) -> Vec<Bytes> {
        loop {
            let queued = std::mem::take(&mut *self.queued.lock());
            if !queued.is_empty() {
                return queued;
            }
            self.arrived.notified().await;
        }
    }
}

/// A listener that polls, and everybody who deals with its outbox.
#[derive(Clone)]
struct Listener {
    library: Arc<Polled>,
    session: Arc<Session>,
    connections: Arc<Connections>,
    outbox: Arc<Outbox>,
    over: Arc<Notify>,
    /// How often it was told that the outbox waits, since the latest retry.
    waits: Arc<AtomicU64>,
}

impl Listener {
    fn joins() -> Self {
        let (library, session) = (Arc::<Polled>::default(), session());
        let waits = Arc::<AtomicU64>::default();
        let connections = Connections::for_tests();
        let emit = {
            let (library, waits) = (library.clone(), waits.clone());
            Box::new(move |emission: Emission<'_>| {
                match emission {
                    Emission::Clip(frame) => {
                        library.queued.lock().push(frame.payload.clone());
                        library.arrived.notify_one();
                    }
                    Emission::Waits => {
                        let before = waits.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(before, 0, "told once");
                    }
                    _ => {}
                }
                true
            })
        };
        let outbox = Arc::new(Outbox::new(
            connections.shared.clone(),
            session.clone(),
            true,
            emit,
        ));
        Self {
            library,
            session,
            connections,
            outbox,
            over: Arc::default(),
            waits,
        }
    }

    fn streams(self, clips: u8) {
        for number in 0..clips {
            let bytes = Bytes::from(vec![number]);
            let clip = Clip::new(
                number.into(),
                Position::new(1, number.into()),
                bytes.into(),
                Instant::now(),
            );
            let frame = Arc::new(ClipFrame::new(&clip, Instant::now()));
            self.outbox.push(&frame);
            self.outbox.flush();
        }
    }

    /// Hears so many clips, or all until it is over.
    fn hears(self, clips: u8) -> Vec<u8> {
        let mut heard = Vec::new();
        while heard.len() < clips.into() {
            let polled = block_on(async {
                match select(pin!(self.library.poll()), pin!(self.over.notified())).await {
                    Either::Left((polled, _)) => polled,
                    Either::Right(_) => Vec::new(),
                }
            });
            if polled.is_empty() {
                break;
            }
            self.session.polled(polled.len() as u64);
            self.connections.made_room();
            heard.extend(polled.iter().map(|payload| payload[0]));
        }
        heard
    }

    /// The daemon's housekeeping.
    fn makes_use_of_room(self, over: &Notify) {
        block_on(async {
            while let Either::Left(_) = select(
                pin!(self.connections.shared.until_room()),
                pin!(over.notified()),
            )
            .await
            {
                if self.connections.shared.take_waiting()
                    && self.waits.swap(0, Ordering::SeqCst) > 0
                {
                    self.outbox.retry(Instant::now());
                }
            }
        });
    }
}

/// More than the Socket.IO library is given at once.
const CLIPS: u8 = 7;

#[test]
fn polled_outbox_is_heard_without_a_timer() {
    check(|| {
        let (listener, over) = (Listener::joins(), Arc::<Notify>::default());
        let streaming = task({
            let listener = listener.clone();
            move || listener.streams(CLIPS)
        });
        let hearing = task({
            let listener = listener.clone();
            move || listener.hears(CLIPS)
        });
        let housekeeping = task({
            let (listener, over) = (listener.clone(), over.clone());
            move || listener.makes_use_of_room(&over)
        });
        listener.outbox.open();
        streaming();
        assert_eq!(hearing(), (0..CLIPS).collect::<Vec<_>>());
        over.notify_one();
        housekeeping();
        assert_eq!(listener.outbox.missed(), 0);
    });
}

#[test]
fn outbox_that_is_shut_ends_between_two_clips() {
    check(|| {
        let listener = Listener::joins();
        listener.outbox.open();
        let streaming = task({
            let listener = listener.clone();
            move || listener.streams(3)
        });
        let hearing = task({
            let listener = listener.clone();
            move || listener.hears(3)
        });
        listener.outbox.shut();
        streaming();
        listener.over.notify_one();
        let heard = hearing();
        let count = u8::try_from(heard.len()).unwrap();
        assert_eq!(heard, (0..count).collect::<Vec<_>>());
        assert!(!listener.outbox.waits_for_room());
    });
}
