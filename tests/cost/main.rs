//! What a delivery, a join and a listener cost, counted and not timed: a busy machine counts the same as an idle one.
//! The allocator counts for the whole process, so this is a program of its own with one test.
//!
//! A bound is the count of the day with a little room. Raise one only with a reason in the commit.

mod peer;

use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use castaway_media_server::app::{App, Running};
use castaway_media_server::demo::Demo;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::runtime::Runtime;

use peer::{Door, Peer, UPLOAD, contains, frame};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Listeners that are there before the others are counted.
const FEW: u32 = 20;
/// Listeners that are counted.
const MORE: u32 = 100;
/// Joins, or deliveries of a clip, that are counted together. The round with the fewest allocations counts: the others
/// contain some of the daemon's periodic work.
const ROUNDS: usize = 10;
/// Changes of the livestream's state that listeners are sent.
const CHANGES: usize = 40;

/// Allocations of a delivery: a task and its share of the audience for many of them.
const DELIVERY: f64 = 0.1;
/// Allocations of a join.
const JOIN: f64 = 230.0;
/// Bytes of heap of a listener, fresh, and after [`CHANGES`] messages and ten clips.
const FRESH: f64 = 19_300.0;
const LATER: f64 = 19_600.0;
/// Looks of the daemon at a listener's session and connection in a second.
const LOOKS: f64 = 0.3;

/// Allocations so far, and bytes that are allocated now.
fn heap() -> (f64, f64) {
    let stats = HEAP.stats();
    let count = stats.allocations + stats.reallocations;
    let bytes = stats.bytes_allocated - stats.bytes_deallocated;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let counted = (count as f64, bytes as f64);
    counted
}

/// The least number of allocations of a round.
fn least(mut round: impl FnMut()) -> f64 {
    let counts = (0..ROUNDS).map(|_| {
        let before = heap().0;
        round();
        heap().0 - before
    });
    counts.fold(f64::INFINITY, f64::min)
}

struct Daemon {
    clients: SocketAddr,
    // Dropped last: the daemon's tasks run in it.
    _runtime: Runtime,
    app: Running,
}

impl Daemon {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config = Demo::config(free, free, 0, "error").expect("a configuration");
        config.server.max_sockets_per_user = 10_000;
        config.upload.clips_burst = 10_000;
        let (clients, app) = runtime.block_on(async {
            let app = App::demo(config, &Demo::new().expect("a demo")).expect("a daemon");
            (app.addresses().clients, app.serve().await)
        });
        Self {
            clients,
            _runtime: runtime,
            app,
        }
    }

    /// How often it has looked whether a session or a connection is due.
    fn looks(&self) -> f64 {
        let looks = self.app.metrics().deadline_checks.get();
        f64::from(u32::try_from(looks).expect("few"))
    }

    fn token(&self, user: &str) -> String {
        let body = format!(r#"{{"user":"{user}"}}"#);
        let mut tcp = TcpStream::connect(self.clients).expect("a connection");
        write!(
            tcp,
            "POST /demo/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("a request");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("an answer");
        let token = answer.split(r#""token":""#).nth(1).expect("a token");
        token.trim_end_matches("\"}").to_owned()
    }

    fn door(&self, role: &str, user: &str) -> Door {
        Door::new(self.clients, role, &self.token(user), "demo")
    }
}

/// A buffer for the payloads of a client.
fn buffer() -> Vec<u8> {
    vec![0; 4 << 10]
}

/// Joins this number of listeners; the allocations of a join.
fn join(listeners: &mut Vec<Peer>, door: &Door, number: u32) -> f64 {
    let each = usize::try_from(number).expect("small") / ROUNDS;
    let mut buffers: Vec<_> = (0..number).map(|_| buffer()).collect();
    listeners.reserve(buffers.len());
    let least = least(|| {
        for buffer in buffers.drain(..each) {
            listeners.push(Peer::join(door, buffer));
        }
    });
    least / f64::from(u32::try_from(each).expect("small"))
}

/// The allocations of an upload and its deliveries to all.
fn deliver(streamer: &mut Peer, listeners: &mut [Peer]) -> f64 {
    let upload = [frame(0x81, UPLOAD.as_bytes()), frame(0x82, &[7; 1000])].concat();
    least(|| {
        streamer.send(&upload);
        for listener in &mut *listeners {
            listener.hears_clip();
        }
        streamer.until(|_, text| contains(text, b"Packet received"));
    })
}

/// Changes the livestream's state, by the loss and the return of its streamer, and returns that streamer.
fn change_state(streamer: Peer, door: &Door, listeners: &mut [Peer]) -> Peer {
    let mut buffers = vec![buffer()];
    let hear = |listeners: &mut [Peer], state: &[u8]| {
        for listener in listeners {
            listener.until(|_, text| contains(text, state));
        }
    };
    let mut streamer = Some(streamer);
    for _ in 0..CHANGES / 2 {
        drop(streamer.take());
        hear(listeners, b"reconnecting");
        streamer = Some(Peer::join(door, buffers.pop().unwrap_or_else(buffer)));
        hear(listeners, br#""live""#);
    }
    streamer.expect("a streamer")
}

#[test]
fn deliveries_joins_and_listeners_cost_little() {
    let daemon = Daemon::start();
    let (studio, door) = (
        daemon.door("streamer", "host"),
        daemon.door("listener", "guest"),
    );
    let mut streamer = Peer::join(&studio, buffer());
    let mut listeners = Vec::with_capacity(200);
    join(&mut listeners, &door, FEW);
    let few = deliver(&mut streamer, &mut listeners);
    let (before, looks, start) = (heap().1, daemon.looks(), Instant::now());
    let joined = join(&mut listeners, &door, MORE);
    // The test's own.
    let own = f64::from(MORE) * 4096.0;
    let fresh = (heap().1 - before - own) / f64::from(MORE);
    let delivery = (deliver(&mut streamer, &mut listeners) - few) / f64::from(MORE);
    let _streamer = change_state(streamer, &studio, &mut listeners);
    let later = (heap().1 - before - own) / f64::from(MORE);
    let looks = (daemon.looks() - looks) / f64::from(FEW + MORE) / start.elapsed().as_secs_f64();
    println!(
        "allocations: {delivery:.2} a delivery, {joined:.0} a join; \
         bytes of heap of a listener: {fresh:.0} fresh, {later:.0} after {CHANGES} messages; \
         looks at a listener in a second: {looks:.2}"
    );
    assert!(delivery <= DELIVERY, "{delivery} allocations a delivery");
    assert!(joined <= JOIN, "{joined} allocations a join");
    assert!(fresh <= FRESH, "{fresh} bytes of a fresh listener");
    assert!(later <= LATER, "{later} bytes after {CHANGES} messages");
    assert!(looks <= LOOKS, "{looks} looks at a listener in a second");
}
