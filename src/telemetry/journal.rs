//! journald's native protocol: an event is an entry of named fields, and an entry is one datagram.
//!
//! **Invariant**: formatting an event touches no socket; [`Socket::send`] may block, so only the log's thread calls it.

use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::Queue;

/// Path of journald's socket.
pub(super) const PATH: &str = "/run/systemd/journal/socket";

const IDENTIFIER: &str = "castaway-media-server";

/// Turns events into entries.
pub(super) struct JournalLayer(pub(super) Queue);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut entry = Entry::default();
        entry.field("PRIORITY", priority(*metadata.level()));
        entry.field("SYSLOG_IDENTIFIER", IDENTIFIER);
        entry.field("TARGET", metadata.target());
        if let Some(file) = metadata.file() {
            entry.field("CODE_FILE", file);
        }
        if let Some(line) = metadata.line() {
            entry.field("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        self.0.push(entry.0);
    }
}

/// From 3, error, to 7, debug. journald has no trace level, and `journalctl -p notice` shows `info` and above.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

#[derive(Default)]
struct Entry(Vec<u8>);

impl Entry {
    /// In the form with a length, so that a value may contain line breaks.
    fn field(&mut self, name: &str, value: &str) {
        let name = name
            .bytes()
            .map(|byte| if byte == b'.' { b'_' } else { byte })
            .skip_while(|&byte| byte == b'_')
            .filter(|&byte| byte == b'_' || byte.is_ascii_alphanumeric())
            .map(|byte| byte.to_ascii_uppercase());
        self.0.extend(name);
        self.0.push(b'\n');
        self.0.extend((value.len() as u64).to_le_bytes());
        self.0.extend(value.as_bytes());
        self.0.push(b'\n');
    }
}

/// Fields that an operator queries: `LIVESTREAM_ID=`, `USER_ID=`, `CLIENT_ADDRESS=`, and `MESSAGE=`.
impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        if write!(text, "{value:?}").is_err() {
            text.push_str("(cannot be formatted)");
        }
        self.field(field.name(), &text);
    }
}

/// Not connected: a restarted journald has another socket at the same path.
pub(super) struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Socket {
    /// Fails if nobody listens.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // On a separate socket: a connected one would stay with the present journald.
        UnixDatagram::unbound()?.connect(path)?;
        Ok(Self {
            socket: UnixDatagram::unbound()?,
            path: path.to_owned(),
        })
    }

    /// Waits while journald does not read.
    pub(super) fn send(&self, entry: &[u8]) -> io::Result<()> {
        match self.socket.send_to(entry, &self.path) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => {
                self.send_in_a_file(entry)
            }
            sent => sent.map(drop),
        }
    }

    /// Too large for a datagram: sends the descriptor of sealed memory instead.
    fn send_in_a_file(&self, entry: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create("log-entry", flags)?);
        file.write_all(entry)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let descriptors = [file.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let address = SocketAddrUnix::new(&self.path)?;
        let nothing: [IoSlice<'_>; 0] = [];
        rustix::net::sendmsg_addr(
            &self.socket,
            &address,
            &nothing,
            &mut control,
            SendFlags::empty(),
        )?;
        Ok(())
    }
}
