//! Sweeps look at what may be due, and at nothing else. Each test has a paused clock and real sockets; a look at
//! everything, after each sweep, finds what the sweep missed.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::connection::Connection;
use super::connections::Connections;
use super::frame::ClipFrame;
use super::heartbeat::HeartbeatTimes;
use super::queue::QueueBounds;
use super::registry::SessionLimits;
use super::session::{Check, Member, Occupancy, Session};
use super::sessions::Sessions;
use super::shared::ConnectionLimits;
use super::timeouts::Timeouts;
use crate::broadcast::{Clip, Position, Role};
use crate::metrics::Metrics;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn paused(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(test);
}

/// The daemon's connections and sessions, with the timeouts of its defaults.
struct Swept {
    metrics: Metrics,
    connections: Arc<Connections>,
    sessions: Sessions,
    clients: Vec<std::net::TcpStream>,
}

impl Swept {
    fn new() -> Self {
        let metrics = Metrics::new();
        let limits = ConnectionLimits {
            max: 1000,
            max_per_address: 1000,
            timeouts: Timeouts {
                headers: seconds(10),
                idle: seconds(620),
                stall: seconds(15),
                lag: seconds(60),
            },
            bounds: BOUNDS,
            max_header_bytes: 8 << 10,
            user_timeout: seconds(15),
        };
        let connections = Connections::new(&limits, metrics.clone());
        let limits = SessionLimits {
            max: 1000,
            max_per_address: 1000,
            max_unjoined_per_address: 1000,
            max_per_connection: 10,
            join_timeout: seconds(10),
            heartbeat: HeartbeatTimes {
                interval: seconds(25),
                timeout: seconds(20),
                streamer_timeout: seconds(20),
                min_bytes_per_second: 1000,
            },
            message_bytes: 1000,
            message_bytes_before_join: 10,
        };
        Self {
            sessions: Sessions::new(limits, metrics.clone()),
            metrics,
            connections,
            clients: Vec::new(),
        }
    }

    fn connect(&mut self) -> Arc<Connection> {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        self.clients.push(client);
        let (tcp, peer) = server.accept().unwrap();
        tcp.set_nonblocking(true).unwrap();
        let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
        self.connections.admit(tcp, peer, false, now()).unwrap()
    }

    fn sweep(&self) {
        self.sessions.sweep(now());
        self.connections.sweep(now());
    }

    fn checks(&self) -> u64 {
        self.metrics.deadline_checks.get()
    }
}

const BOUNDS: QueueBounds = QueueBounds {
    clips: 3,
    bytes: 1 << 20,
};

fn frame() -> Arc<ClipFrame> {
    let bytes = bytes::Bytes::from_static(b"clip");
    let clip = Clip::new(0, Position::new(1, 0), bytes.into(), now());
    Arc::new(ClipFrame::new(&clip, now()))
}

/// Something that happens to a session or to a connection, and the milliseconds after it.
type Step = (usize, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..8_usize, 0..12_000_u64), 1..60)
}

/// A session on a WebSocket, if it has one, and its sockets.
#[derive(Default)]
struct Sockets {
    members: Vec<Member>,
    occupants: Vec<Occupancy>,
}

impl Sockets {
    fn step(&mut self, session: &Arc<Session>, connection: &Arc<Connection>, kind: usize) {
        match kind {
            0 => self.members.push(session.join()),
            1 => drop(self.members.pop()),
            2 => self.occupants.push(session.occupy(Role::Streamer)),
            3 => drop(self.occupants.pop()),
            4 => drop(session.moves_to(connection)),
            5 => drop(session.takes_ping()),
            _ => session.activity.heard_message(),
        }
    }
}

/// What happens to a connection.
fn happens(connection: &Arc<Connection>, waiting: &Arc<ClipFrame>, kind: usize) {
    match kind {
        0 => connection.request_begins(),
        1 => connection.request_ends(now()),
        2 => connection.part_begins(now()),
        3 => connection.upgrade(),
        4 => connection.ping(),
        // The gate is shut, so it waits.
        5 => drop(connection.push(frame(), BOUNDS, now())),
        // As at the move from the library, behind which it has waited.
        6 => {
            connection.push(waiting.clone(), BOUNDS, now());
            connection.hasten(now());
        }
        _ => drop(connection.drop_waiting()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sweep_misses_no_session_that_is_due(steps in steps()) {
        paused(async {
            let mut swept = Swept::new();
            let connection = swept.connect();
            connection.upgrade();
            let mut session = swept.sessions.admit(None, None, now()).unwrap();
            let mut sockets = Sockets::default();
            for (kind, millis) in steps {
                if session.is_closed() {
                    sockets = Sockets::default();
                    session = swept.sessions.admit(None, None, now()).unwrap();
                }
                sockets.step(&session, &connection, kind);
                tokio::time::advance(Duration::from_millis(millis)).await;
                swept.sweep();
                assert!(matches!(session.check(now()), Check::Fine), "missed");
            }
        });
    }

    #[test]
    fn sweep_misses_no_connection_that_is_overdue(steps in steps()) {
        paused(async {
            let mut swept = Swept::new();
            let (mut connection, waiting) = (swept.connect(), frame());
            let timeouts = swept.connections.shared.timeouts;
            for (kind, millis) in steps {
                if connection.is_aborted() {
                    connection = swept.connect();
                }
                happens(&connection, &waiting, kind);
                tokio::time::advance(Duration::from_millis(millis)).await;
                swept.sweep();
                assert_eq!(connection.overdue(timeouts, now()), None, "missed");
            }
        });
    }
}

#[test]
fn idle_listeners_are_looked_at_seldom() {
    paused(async {
        let mut swept = Swept::new();
        let listeners: Vec<_> = (0..100)
            .map(|_| {
                let connection = swept.connect();
                connection.upgrade();
                let session = swept.sessions.admit(None, None, now()).unwrap();
                session.moves_to(&connection);
                let member = session.join();
                (connection, session, member)
            })
            .collect();
        for second in 0..300 {
            tokio::time::advance(seconds(1)).await;
            swept.sweep();
            if second % 20 == 0 {
                for (_, session, _) in &listeners {
                    session.activity.heard_message();
                }
            }
        }
        assert!(listeners.iter().all(|(_, session, _)| !session.is_closed()));
        // A ping in 25 s, and the connection in 15 s, of each.
        let most = 100 * (300 / 25 + 300 / 15 + 2);
        let checks = swept.checks();
        assert!((100 * 300 / 25..=most).contains(&checks), "{checks} looks");
    });
}

#[test]
fn closed_connections_and_sessions_leave_at_once() {
    paused(async {
        let mut swept = Swept::new();
        for _ in 0..10 {
            let connection = swept.connect();
            connection.upgrade();
            let session = swept.sessions.admit(None, None, now()).unwrap();
            session.moves_to(&connection);
        }
        tokio::time::advance(seconds(1000)).await;
        swept.sweep();
        assert_eq!(swept.checks(), 0, "nothing is left to look at");
    });
}
