//! The limit: what one thread, one epoll loop and one shared buffer need to bring a clip to every listener.
//!
//! It speaks as much of Socket.IO as `castaway-load` does, and does nothing that a relay could leave out: no checks,
//! no pings, no queue but the kernel's and a reference to the buffer. A real server cannot be cheaper than this on the
//! same machine; how near it comes is what the comparison shows.
//!
//! **Invariant**: a clip is put together once, framed, and that one buffer is written to all.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const DOOR: Token = Token(0);
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: aR1XtGNNhVMpZTTRaUfbpDHy0w4=\r\n\r\n";
const OPEN: &str = r#"0{"sid":"limit","upgrades":[],"pingInterval":3600000,"pingTimeout":3600000,"maxPayload":8388608}"#;
const AUDIO: &str = r#"451-/listener,["audio",{"_placeholder":true,"num":0}]"#;
const RECEIVED: &str = r#"42/streamer,["success","Packet received from user bench"]"#;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// A connection, and what waits for it.
struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
    open: bool,
    listens: bool,
    waiting: VecDeque<(Arc<[u8]>, usize)>,
}

fn main() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut door = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    writeln!(
        io::stdout(),
        "limit: clients on http://{}",
        door.local_addr()?
    )?;
    poll.registry()
        .register(&mut door, DOOR, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut peers: HashMap<Token, Peer> = HashMap::new();
    let mut scratch = vec![0; 256 << 10];
    let mut next = 1;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == DOOR {
                while let Ok((mut stream, _)) = door.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(next);
                    next += 1;
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, token, interest)?;
                    peers.insert(token, Peer::new(stream));
                }
                continue;
            }
            let Some(peer) = peers.get_mut(&event.token()) else {
                continue;
            };
            let mut clips = Vec::new();
            let alive = peer
                .flush()
                .and_then(|()| peer.read(&mut scratch, &mut clips));
            if alive.is_err() {
                peers.remove(&event.token());
            }
            for clip in clips {
                for listener in peers.values_mut().filter(|peer| peer.listens) {
                    // One that fails is found out by its next event.
                    let _ = listener.write(&clip);
                }
            }
        }
    }
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
            open: false,
            listens: false,
            waiting: VecDeque::new(),
        }
    }

    fn write(&mut self, bytes: &Arc<[u8]>) -> io::Result<()> {
        self.waiting.push_back((Arc::clone(bytes), 0));
        if self.waiting.len() == 1 {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, from)) = self.waiting.front_mut() {
            match self.stream.write(&bytes[*from..]) {
                Ok(written) => *from += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if *from == bytes.len() {
                self.waiting.pop_front();
            }
        }
        Ok(())
    }

    /// Reads all there is, and gives the clips in it, framed for listeners.
    fn read(&mut self, scratch: &mut [u8], clips: &mut Vec<Arc<[u8]>>) -> io::Result<()> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.received.extend_from_slice(&scratch[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if !self.open {
            let Some(end) = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
            else {
                return Ok(());
            };
            self.received.drain(..end + 4);
            self.open = true;
            let answer = [ACCEPTED.as_bytes(), &frame(TEXT, OPEN.as_bytes())].concat();
            self.write(&answer.into())?;
        }
        while let Some((first, payload)) = self.message() {
            if first == BINARY {
                let clip = [frame(TEXT, AUDIO.as_bytes()), frame(BINARY, &payload)].concat();
                clips.push(clip.into());
                self.write(&frame(TEXT, RECEIVED.as_bytes()).into())?;
            } else if let Some(role) = payload.strip_prefix(b"40/") {
                let role = String::from_utf8_lossy(role);
                let role = role.trim_end_matches(',');
                self.listens = role == "listener";
                let joined = format!(r#"40/{role},{{"sid":"limit"}}"#);
                let success = format!(r#"42/{role},["success","in"]"#);
                let answer = [
                    frame(TEXT, joined.as_bytes()),
                    frame(TEXT, success.as_bytes()),
                ];
                self.write(&answer.concat().into())?;
            }
        }
        // A listener's memory is the kernel's.
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Ok(())
    }

    /// Takes the next whole message, unmasked.
    fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let bytes = &self.received;
        let first = *bytes.first()?;
        let (length, mask) = match usize::from(bytes.get(1)? & 0x7f) {
            126 => (big_endian(bytes.get(2..4)?), 4),
            127 => (big_endian(bytes.get(2..10)?), 10),
            length => (length, 2),
        };
        let key: [u8; 4] = bytes.get(mask..mask + 4)?.try_into().ok()?;
        let masked = bytes.get(mask + 4..mask + 4 + length)?;
        let payload = masked.iter().zip(key.iter().cycle());
        let payload = payload.map(|(byte, key)| byte ^ key).collect();
        self.received.drain(..mask + 4 + length);
        Some((first, payload))
    }
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | usize::from(byte))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let length = (payload.len() as u64).to_be_bytes();
    match payload.len() {
        0..=125 => frame.push(length[7]),
        126..=0xffff => {
            frame.push(0x7e);
            frame.extend_from_slice(&length[6..]);
        }
        _ => {
            frame.push(0x7f);
            frame.extend_from_slice(&length);
        }
    }
    frame.extend_from_slice(payload);
    frame
}
