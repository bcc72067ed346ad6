//! A client made by hand: bytes on one TCP connection, for what no library would send.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::app::{TEST_TIMEOUT, TestApp};

/// Where a session on a WebSocket begins.
pub(crate) const WEB_SOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
/// Where a session that is polled begins.
pub(crate) const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What a WebSocket handshake says besides its first line.
pub(crate) fn handshake() -> String {
    format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}")
}

/// A client's frame, masked with zeros.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("short")),
        medium @ 126..=65_535 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(medium).expect("medium").to_be_bytes());
        }
        long => {
            frame.push(0xff);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// See the module.
pub(crate) struct Raw {
    pub(crate) tcp: TcpStream,
    came: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(app: &TestApp) -> Self {
        Self::to(app.clients()).await
    }

    /// A connection to this address, of a proxy for example.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.expect("a way");
        tcp.set_nodelay(true).expect("an option");
        Self {
            tcp,
            came: Vec::new(),
        }
    }

    /// A WebSocket whose handshake was answered with 101.
    pub(crate) async fn web_socket(app: &TestApp, path: &str) -> Self {
        let mut raw = Self::connect(app).await;
        let (status, _) = raw.ask("GET", path, &handshake(), None).await;
        assert_eq!(status, 101);
        raw
    }

    /// A session that is polled, and its path.
    pub(crate) async fn polling(app: &TestApp, headers: &str) -> (Self, String) {
        let mut raw = Self::connect(app).await;
        let (status, body) = raw.ask("GET", POLLING, headers, None).await;
        assert_eq!(status, 200, "{body}");
        let open: serde_json::Value = serde_json::from_str(&body[1..]).expect("OPEN");
        let id = open["sid"].as_str().expect("an id");
        (raw, format!("{POLLING}&sid={id}"))
    }

    /// Sends bytes; that nobody takes them is no error, since the next read tells.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).await.ok();
    }

    /// Sends a request, and reads its answer: status (0 if the connection ends) and body.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<&str>,
    ) -> (u16, String) {
        let request = request(method, path, headers, body);
        self.send(request.as_bytes()).await;
        self.answer().await
    }

    /// Reads an answer.
    pub(crate) async fn answer(&mut self) -> (u16, String) {
        let head = loop {
            if let Some(at) = self.came.windows(4).position(|it| it == b"\r\n\r\n") {
                break self.take(at + 4);
            }
            if !self.more().await {
                return (0, String::new());
            }
        };
        let head = String::from_utf8(head).expect("text").to_lowercase();
        let length = head.split("content-length: ").nth(1);
        let length = length.map_or(0, |rest| {
            rest.split("\r\n")
                .next()
                .expect("a value")
                .parse()
                .expect("a number")
        });
        while self.came.len() < length && self.more().await {}
        let body = self.take(length.min(self.came.len()));
        (
            head[9..12].parse().expect("a status"),
            String::from_utf8(body).expect("text"),
        )
    }

    /// The next frame: its first byte and its payload; none at the end.
    pub(crate) async fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let (header, length) = match self.came[..] {
                [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
                [_, 127, ..] => (10, usize::MAX),
                [_, length, ..] if length < 126 => (2, usize::from(length)),
                _ => (0, 0),
            };
            if header > 0 && self.came.len() >= header + length {
                let frame = self.take(header + length);
                return Some((frame[0], frame[header..].to_vec()));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next text that holds; none at the end.
    pub(crate) async fn next_text(&mut self, holds: impl Fn(&str) -> bool) -> Option<String> {
        while let Some((first, payload)) = self.next_frame().await {
            let text = String::from_utf8_lossy(&payload).into_owned();
            if first == 0x81 && holds(&text) {
                return Some(text);
            }
        }
        None
    }

    /// The Close frame that comes: its code and reason; none if the connection ends without one.
    pub(crate) async fn close_frame(&mut self) -> Option<(u16, String)> {
        while let Some((first, payload)) = self.next_frame().await {
            if first == 0x88 {
                let (code, reason) = payload.split_first_chunk::<2>()?;
                let reason = String::from_utf8_lossy(reason).into_owned();
                return Some((u16::from_be_bytes(*code), reason));
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.came.drain(..length).collect()
    }

    async fn more(&mut self) -> bool {
        let mut piece = vec![0; 64 << 10];
        let read = timeout(TEST_TIMEOUT, self.tcp.read(&mut piece)).await;
        let length = read.expect("bytes or an end in time").unwrap_or(0);
        self.came.extend_from_slice(&piece[..length]);
        length > 0
    }
}

/// A request as text.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: Option<&str>) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}");
    if let Some(body) = body {
        let kind = "Content-Type: text/plain;charset=UTF-8";
        write!(
            request,
            "{kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("text");
    } else {
        request.push_str("\r\n");
    }
    request
}

/// What joins a namespace.
pub(crate) fn connect(app: &TestApp, role: &str, user: &str, livestream: &str) -> String {
    let auth = serde_json::json!({ "idToken": app.token(user), "livestreamId": livestream });
    format!("40/{role},{auth}")
}
