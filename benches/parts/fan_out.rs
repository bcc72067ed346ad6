//! A clip's way from its frame to a listener's socket.

use std::io::{IoSlice, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::serve::Listener as _;
use castaway_media_server::metrics::Metrics;
use castaway_media_server::transport::{
    Client, ClipFrame, ConnectionLimits, Connections, Emission, Greeting, HeartbeatTimes, Mark,
    Outbox, QueueBounds, SLICES, SendQueue, SessionLimits, Sessions, SocketOptions, TcpAcceptor,
    Timeouts, WebSocketIo, bind,
};
use criterion::{BatchSize, Criterion};
use tokio::io::AsyncWriteExt as _;

use crate::{LENGTHS, clip};

const BOUNDS: QueueBounds = QueueBounds {
    clips: 128,
    bytes: 16 << 20,
};

/// The frame of the message that opens a gate, as the Socket.IO library writes it.
fn opening(mark: &Mark) -> Vec<u8> {
    let text = format!("42/listener,[\"{}\",\"{}\"]", Mark::EVENT, mark.as_str());
    let length = u8::try_from(text.len()).expect("short");
    [&[0x81, length], text.as_bytes()].concat()
}

/// Both frames of a clip are made, once for all listeners.
pub(crate) fn clip_frame(criterion: &mut Criterion) {
    for length in LENGTHS {
        let clip = clip(length);
        let now = Instant::now();
        criterion.bench_function(&format!("clip frame: {length} bytes"), |bench| {
            bench.iter(|| ClipFrame::new(&clip, now));
        });
    }
}

/// A clip is queued for one listener and taken at once, or the library's words pass through, without a kernel.
pub(crate) fn send_queue(criterion: &mut Criterion) {
    let mark = Mark::random();
    let mut queue = SendQueue::new(&mark);
    queue.accept(&opening(&mark));
    for length in LENGTHS {
        let frame = Arc::new(ClipFrame::new(&clip(length), Instant::now()));
        criterion.bench_function(&format!("send queue: clip of {length} bytes"), |bench| {
            bench.iter(|| {
                queue.push_clip(frame.clone(), BOUNDS);
                let taken = take_all(&queue);
                queue.advance(taken)
            });
        });
    }
    let words = [&[0x81, 100], [b'w'; 100].as_slice()].concat();
    criterion.bench_function("send queue: words", |bench| {
        bench.iter(|| {
            queue.accept(&words);
            let taken = take_all(&queue);
            queue.advance(taken)
        });
    });
}

fn take_all(queue: &SendQueue) -> usize {
    if let Some(only) = queue.only() {
        return only.len();
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let filled = queue.slices(&mut slices);
    slices[..filled].iter().map(|slice| slice.len()).sum()
}

/// A clip is pushed and written to a loopback socket whose other end waits for it: most of it is the kernel's.
pub(crate) fn outbox(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let received = Arc::new(AtomicUsize::new(0));
    let (outbox, _io) = runtime.block_on(open_outbox(received.clone()));
    // A small one: of a large one the other end would be the measure.
    let frame = Arc::new(ClipFrame::new(&clip(1000), Instant::now()));
    criterion.bench_function("outbox: push and write 1000 bytes", |bench| {
        bench.iter_batched(
            || {
                while received.swap(0, Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
            },
            |()| {
                outbox.push(&frame);
                outbox.write()
            },
            BatchSize::PerIteration,
        );
    });
}

fn session_limits() -> SessionLimits {
    SessionLimits {
        max: 1,
        max_per_address: 1,
        max_unjoined_per_address: 1,
        max_per_connection: 1,
        join_timeout: Duration::from_secs(10),
        heartbeat: HeartbeatTimes {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            streamer_timeout: Duration::from_secs(20),
            min_bytes_per_second: 2 << 10,
        },
        message_bytes: 8 << 20,
        message_bytes_before_join: 16 << 10,
    }
}

/// An outbox on a connection of its own, whose other end a thread empties.
async fn open_outbox(received: Arc<AtomicUsize>) -> (Outbox, WebSocketIo) {
    let limits = ConnectionLimits {
        max: 1,
        max_per_address: 1,
        timeouts: Timeouts {
            headers: Duration::MAX,
            idle: Duration::MAX,
            stall: Duration::MAX,
            lag: Duration::MAX,
        },
        bounds: BOUNDS,
        max_header_bytes: 8 << 10,
        user_timeout: Duration::from_secs(15),
    };
    let connections = Connections::new(&limits, Metrics::new());
    let options = SocketOptions {
        send_buffer_bytes: 1 << 20,
        keepalive_time: Duration::from_mins(1),
        trusted_proxies: Vec::new(),
    };
    let tcp = bind(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        options.send_buffer_bytes,
    );
    let tcp = tcp.expect("a free port");
    let address = tcp.local_addr().expect("bound");
    let mut listener = TcpAcceptor::new(tcp, options, connections.clone()).expect("a listener");
    let mut client = std::net::TcpStream::connect(address).expect("a connection");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read @ 1..) = client.read(&mut buffer) {
            received.fetch_add(read, Ordering::SeqCst);
        }
    });
    let (io, _) = listener.accept().await;
    let sessions = Sessions::new(session_limits(), Metrics::new());
    let session = sessions
        .open(io.connection(), Client::Unknown, Instant::now())
        .expect("room");
    let mut io = WebSocketIo::begin(io, &[], session.clone(), Greeting::random());
    let open = br#"0{"sid":"bench","upgrades":[],"pingInterval":1,"pingTimeout":1,"maxPayload":1}"#;
    let open = [&[0x81, u8::try_from(open.len()).expect("short")], &open[..]].concat();
    io.write_all(&open).await.expect("an open connection");
    let says_mark = Box::new(|emission: Emission<'_>| matches!(emission, Emission::Mark(_)));
    let outbox = Outbox::new(connections.shared.clone(), session, true, says_mark);
    outbox.open();
    // Something to receive, so that the first turn begins.
    outbox.push(&Arc::new(ClipFrame::new(&clip(0), Instant::now())));
    let mark = opening(&connections.shared.mark);
    io.write_all(&mark).await.expect("an open connection");
    (outbox, io)
}
