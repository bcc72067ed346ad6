//! A client that allocates nothing once it is connected, so that what is counted is the daemon's.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a test waits for the daemon.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The bytes with which a client of a role joins a livestream.
pub(crate) struct Door {
    address: SocketAddr,
    handshake: Vec<u8>,
    join: Vec<u8>,
}

impl Door {
    pub(crate) fn new(address: SocketAddr, role: &str, token: &str, livestream: &str) -> Self {
        let handshake = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
            Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            id-token: {token}\r\nlivestream-id: {livestream}\r\n\r\n";
        let handshake = handshake.replace("{token}", token);
        Self {
            address,
            handshake: handshake.replace("{livestream}", livestream).into_bytes(),
            join: frame(0x81, format!("40/{role},").as_bytes()),
        }
    }
}

/// A client's frame, masked with zeros.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload");
    let mut frame = vec![first, 0xfe];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The text of an upload's first message.
pub(crate) const UPLOAD: &str = r#"451-/streamer,["upload",{"_placeholder":true,"num":0}]"#;

/// A joined client.
pub(crate) struct Peer {
    tcp: TcpStream,
    payload: Vec<u8>,
}

impl Peer {
    /// Joins, and waits for the admission.
    pub(crate) fn join(door: &Door, payload: Vec<u8>) -> Self {
        let tcp = TcpStream::connect(door.address).expect("a connection");
        tcp.set_nodelay(true).expect("an option");
        tcp.set_read_timeout(Some(TIMEOUT)).expect("an option");
        let mut peer = Self { tcp, payload };
        peer.send(&door.handshake);
        let mut last = [0; 4];
        while last != *b"\r\n\r\n" {
            last.rotate_left(1);
            peer.tcp.read_exact(&mut last[3..]).expect("an answer");
        }
        peer.until(|first, text| first == 0x81 && text.starts_with(b"0{"));
        peer.send(&door.join);
        peer.until(|_, text| contains(text, b"connected as"));
        peer
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).expect("an open connection");
    }

    /// Reads frames up to one that holds.
    pub(crate) fn until(&mut self, holds: impl Fn(u8, &[u8]) -> bool) {
        loop {
            let mut header = [0; 2];
            self.read(&mut header);
            let length = match header[1] {
                126 => {
                    let mut long = [0; 2];
                    self.read(&mut long);
                    usize::from(u16::from_be_bytes(long))
                }
                short => usize::from(short),
            };
            let mut payload = std::mem::take(&mut self.payload);
            self.read(&mut payload[..length]);
            let found = holds(header[0], &payload[..length]);
            self.payload = payload;
            if found {
                return;
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        match self.tcp.read_exact(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing comes"),
            Err(error) => panic!("the connection ends: {error}"),
        }
    }

    /// Reads a clip.
    pub(crate) fn hears_clip(&mut self) {
        self.until(|first, _| first == 0x82);
    }
}

pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
