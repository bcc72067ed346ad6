//! Readers that stop reading, and the lines that they get later.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut, Read as _, Seek as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use prometheus::IntCounter;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tempfile::TempDir;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(20);

struct Journald {
    socket: UnixDatagram,
    path: PathBuf,
    _directory: TempDir,
}

impl Journald {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(TIMEOUT)).expect("an option");
        Self {
            socket,
            path,
            _directory: directory,
        }
    }

    /// An entry with a descriptor instead of bytes is read from the file.
    fn read(&self) -> BTreeMap<String, String> {
        let mut bytes = vec![0; 1 << 18];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::empty(),
        );
        bytes.truncate(received.expect("an entry").bytes);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for descriptor in descriptors {
                    let mut file = File::from(descriptor);
                    file.rewind().expect("the file's beginning");
                    file.read_to_end(&mut bytes).expect("an entry");
                }
            }
        }
        fields(&bytes)
    }
}

fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let mut fields = BTreeMap::new();
    while let Some(end) = entry.iter().position(|&byte| byte == b'\n') {
        let (name, rest) = (text(&entry[..end]), &entry[end + 1..]);
        let (length, rest) = rest.split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let (value, rest) = rest.split_at(usize::try_from(length).expect("a length"));
        fields.insert(name, text(value));
        entry = rest.strip_prefix(b"\n").expect("an end");
    }
    fields
}

/// A queue that sends its reports to the receiver.
fn queue(
    max_bytes: usize,
    write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
) -> (Queue, IntCounter, Receiver<u64>) {
    let dropped = IntCounter::new("dropped", "dropped").expect("a counter");
    let (reports, reported) = channel();
    let report = move |lines| reports.send(lines).expect("the test");
    let queue = Queue::start(max_bytes, dropped.clone(), write, report).expect("a thread");
    (queue, dropped, reported)
}

fn journal_queue(journald: &Journald, max_bytes: usize) -> (Queue, IntCounter, Receiver<u64>) {
    let socket = journal::Socket::open(&journald.path).expect("a journal");
    queue(max_bytes, move |entry| socket.send(entry))
}

/// Logs on a separate thread, and fails if the call does not return.
fn logging(queue: &Queue, log: impl FnOnce() + Send + 'static) {
    let registry = Registry::default().with(JournalLayer(queue.clone()));
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        tracing::subscriber::with_default(registry, log);
        done.send(()).expect("the test");
    });
    is_done.recv_timeout(TIMEOUT).expect("logging blocks");
}

#[test]
fn journal_that_is_not_read_blocks_no_caller() {
    const LINES: u64 = 5_000;
    let journald = Journald::new();
    let (queue, dropped, reported) = journal_queue(&journald, 1 << 16);
    logging(&queue, || {
        for number in 0..LINES {
            tracing::info!(number, "line");
        }
    });
    let lost = dropped.get();
    assert!(lost > 0, "the socket took {LINES} lines");
    // Any line may be lost while the writer's thread gets no time, but none comes twice or out of order.
    let mut next = 0;
    for _ in 0..LINES - lost {
        let number: u64 = journald.read()["NUMBER"].parse().expect("a number");
        assert!((next..LINES).contains(&number), "{number} after {next}");
        next = number + 1;
    }
    assert_eq!(reported.recv_timeout(TIMEOUT), Ok(lost));
    logging(&queue, || tracing::info!("again"));
    assert_eq!(journald.read()["MESSAGE"], "again");
    assert_eq!(dropped.get(), lost);
}

#[test]
fn journal_entry_has_the_fields_operators_query() {
    let journald = Journald::new();
    let (queue, ..) = journal_queue(&journald, 1 << 16);
    logging(&queue, || {
        tracing::warn!(livestream.id = "live-1", user.id = %"ada", count = 7, "two\nlines");
    });
    let entry = journald.read();
    for (name, value) in [
        ("MESSAGE", "two\nlines"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "castaway-media-server"),
        ("TARGET", "castaway_media_server::telemetry::tests"),
        ("CODE_FILE", "src/telemetry/tests.rs"),
        ("LIVESTREAM_ID", "live-1"),
        ("USER_ID", "ada"),
        ("COUNT", "7"),
    ] {
        assert_eq!(entry.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(entry["CODE_LINE"].parse::<u32>().is_ok(), "{entry:?}");
    assert_eq!(entry.len(), 9, "{entry:?}");
}

#[test]
fn journal_entry_larger_than_a_datagram_arrives() {
    let journald = Journald::new();
    let (queue, ..) = journal_queue(&journald, 1 << 16);
    let text = "x".repeat(1 << 20);
    let logged = text.clone();
    logging(&queue, move || tracing::error!("{logged}"));
    assert!(journald.read()["MESSAGE"] == text);
}

#[test]
fn journal_that_nobody_serves_is_an_error() {
    let nowhere = tempfile::tempdir().expect("a directory");
    assert!(journal::Socket::open(&nowhere.path().join("socket")).is_err());
}

/// A reader that reads one line for each message that is sent here.
fn stepped() -> (
    Sender<()>,
    impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
) {
    let (step, steps) = channel();
    let write = move |_: &[u8]| {
        steps
            .recv()
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    };
    (step, write)
}

#[test]
fn plain_lines_do_not_wait_for_the_reader() {
    let (step, write) = stepped();
    let (queue, dropped, reported) = queue(1 << 12, write);
    let lines = queue.clone();
    let layer = fmt::layer().with_writer(move || lines.clone());
    let logged = 1_000;
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        for _ in 0..logged {
            tracing::info!("line");
        }
    });
    assert!(dropped.get() > logged / 2, "{} dropped", dropped.get());
    assert!(reported.try_recv().is_err(), "reported while nobody reads");
    for _ in dropped.get()..logged {
        step.send(()).expect("the log");
    }
    assert_eq!(reported.recv_timeout(TIMEOUT), Ok(dropped.get()));
}

#[test]
fn failed_lines_are_counted_and_reported_once() {
    let (step, write) = stepped();
    drop(step);
    let (broken, dropped, reported) = queue(1 << 12, write);
    for _ in 0..3 {
        broken.push(b"line".to_vec());
        broken.flush(TIMEOUT);
    }
    assert_eq!(dropped.get(), 3);
    assert!(
        reported.try_recv().is_err(),
        "reported where nothing is written"
    );
}

#[test]
fn flush_waits_for_lines_up_to_its_timeout() {
    let (step, write) = stepped();
    let (queue, ..) = queue(1 << 12, write);
    queue.push(b"first".to_vec());
    queue.push(b"second".to_vec());
    queue.flush(Duration::from_millis(10));
    let (flushed, is_flushed) = channel();
    let waiting = queue.clone();
    std::thread::spawn(move || {
        waiting.flush(TIMEOUT);
        flushed.send(()).expect("the test");
    });
    step.send(()).expect("the log");
    assert!(is_flushed.recv_timeout(Duration::from_millis(50)).is_err());
    step.send(()).expect("the log");
    is_flushed.recv_timeout(TIMEOUT / 2).expect("flushed");
}
