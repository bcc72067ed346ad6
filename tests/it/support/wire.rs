//! Engine.IO's transports, from the client's side: long polling, a WebSocket, and the upgrade from one to the other.
//!
//! **Invariant**: messages are given out in the order in which the server sent them; pings are answered here.

use std::collections::VecDeque;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// A message above Engine.IO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Socket.IO's text, without Engine.IO's `4`.
    Text(String),
    /// An attachment.
    Binary(Bytes),
}

/// A session that is open, on its transport.
pub(crate) struct Wire {
    address: SocketAddr,
    transport: Transport,
    came: VecDeque<Packet>,
}

enum Transport {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Polling(Polling),
}

/// Long polling. At most one poll is open, and it goes on though nobody waits for it.
pub(crate) struct Polling {
    http: reqwest::Client,
    url: String,
    headers: HeaderMap,
    open: Option<JoinHandle<Option<Vec<String>>>>,
}

/// The headers with which the shipped app connects.
pub(crate) fn headers(named: &[(&str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&str, &str)| {
        let name: http::HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    named.iter().map(header).collect()
}

/// For plain HTTP alone: it asks for no certificate authorities, and a build sandbox has none. Each has connections of its
/// own, as each user's app has.
pub(crate) fn http_client() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .build()
        .expect("a client without certificates")
}

/// A WebSocket, its receive buffer that small if one is named.
pub(crate) async fn web_socket(
    address: SocketAddr,
    query: &str,
    headers: &HeaderMap,
    receive_buffer: Option<u32>,
) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).expect("a buffer");
    }
    let tcp = socket.connect(address).await.expect("a connection");
    tcp.set_nodelay(true).expect("an option");
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{query}");
    let mut request = url.into_client_request().expect("a request");
    request.headers_mut().extend(headers.clone());
    tokio_tungstenite::client_async(request, tcp)
        .await
        .expect("a WebSocket")
        .0
}

impl Wire {
    /// A session on a WebSocket.
    pub(crate) async fn web_socket(
        address: SocketAddr,
        headers: &HeaderMap,
        receive_buffer: Option<u32>,
    ) -> Self {
        let mut socket = web_socket(address, "", headers, receive_buffer).await;
        let open = socket.next().await.expect("a message").expect("OPEN");
        assert!(open.to_text().expect("text").starts_with("0{"), "{open:?}");
        let transport = Transport::WebSocket(Box::new(socket));
        Self {
            address,
            transport,
            came: VecDeque::new(),
        }
    }

    /// A session on long polling.
    pub(crate) async fn polling(address: SocketAddr, headers: &HeaderMap) -> Self {
        let mut polling = Polling {
            http: http_client(),
            url: format!("http://{address}/socket.io/?EIO=4&transport=polling"),
            headers: headers.clone(),
            open: None,
        };
        let messages = polling.poll().await.expect("OPEN");
        let [open] = &messages[..] else {
            panic!("OPEN and nothing else: {messages:?}")
        };
        let open = open.strip_prefix('0').expect("OPEN");
        let open: serde_json::Value = serde_json::from_str(open).expect("JSON");
        let id = open["sid"].as_str().expect("a session id");
        polling.url = format!("{}&sid={id}", polling.url);
        Self {
            address,
            transport: Transport::Polling(polling),
            came: VecDeque::new(),
        }
    }

    /// The next message; none when the transport is closed. What is not awaited to its end loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.came.pop_front() {
                return Some(packet);
            }
            match &mut self.transport {
                Transport::WebSocket(socket) => match socket.next().await?.ok()? {
                    Message::Text(text) if text.as_str() == "2" => {
                        socket.send(Message::text("3")).await.ok()?;
                    }
                    Message::Text(text) if text.as_str() == "1" => return None,
                    Message::Text(text) => {
                        let text = text.strip_prefix('4').expect("a message");
                        return Some(Packet::Text(text.to_owned()));
                    }
                    Message::Binary(bytes) => return Some(Packet::Binary(bytes)),
                    Message::Close(_) => return None,
                    _ => {}
                },
                Transport::Polling(polling) => {
                    let messages = polling.poll().await?;
                    if messages.iter().any(|message| message == "2") {
                        polling.post("3".to_owned()).await;
                    }
                    self.came
                        .extend(messages.iter().filter_map(|message| packet(message)));
                    if self.came.is_empty() && messages.iter().any(|message| message == "1") {
                        return None;
                    }
                }
            }
        }
    }

    /// Sends messages. That nobody takes them is no error: the next read tells.
    pub(crate) async fn send(&mut self, packets: &[Packet]) {
        match &mut self.transport {
            Transport::WebSocket(socket) => {
                for packet in packets {
                    let message = match packet {
                        Packet::Text(text) => Message::text(format!("4{text}")),
                        Packet::Binary(bytes) => Message::Binary(bytes.clone()),
                    };
                    socket.send(message).await.ok();
                }
            }
            Transport::Polling(polling) => {
                polling.send(packets).await;
            }
        }
    }

    /// Moves from polling to a WebSocket, as clients do: probe, the open poll's end, upgrade.
    pub(crate) async fn upgrade(&mut self) {
        let Transport::Polling(polling) = &mut self.transport else {
            panic!("it is a WebSocket already")
        };
        let sid = polling.url.rsplit_once('&').expect("a session").1;
        let query = format!("&{sid}");
        let mut socket = web_socket(self.address, &query, &polling.headers, None).await;
        socket
            .send(Message::text("2probe"))
            .await
            .expect("the probe");
        let answer = loop {
            tokio::select! {
                answer = socket.next() => break answer.expect("an answer").expect("an answer"),
                polled = polling.poll() => {
                    let polled = polled.expect("a poll");
                    self.came.extend(polled.iter().filter_map(|message| packet(message)));
                }
            }
        };
        assert_eq!(answer.to_text().expect("text"), "3probe");
        if polling.open.is_some() {
            // The server answers it with what there is, or with nothing, so that it ends.
            let polled = polling.poll().await.expect("the last poll");
            self.came
                .extend(polled.iter().filter_map(|message| packet(message)));
        }
        socket.send(Message::text("5")).await.expect("the upgrade");
        self.transport = Transport::WebSocket(Box::new(socket));
    }

    /// Closes the transport without a word, as a lost network does.
    pub(crate) fn cut(self) {
        drop(self);
    }
}

/// A message above Engine.IO, if it is one.
fn packet(message: &str) -> Option<Packet> {
    let (kind, rest) = message.split_at(1);
    match kind {
        "4" => Some(Packet::Text(rest.to_owned())),
        "b" => Some(Packet::Binary(
            STANDARD.decode(rest).expect("base64").into(),
        )),
        "1" | "2" | "6" => None,
        _ => panic!("no message of a server's: {message}"),
    }
}

impl Polling {
    /// One poll's messages; none if the session is no more.
    async fn poll(&mut self) -> Option<Vec<String>> {
        let open = self.open.get_or_insert_with(|| {
            let request = self.http.get(&self.url).headers(self.headers.clone());
            tokio::spawn(async move {
                let answer = request.send().await.ok()?.error_for_status().ok()?;
                let body = answer.text().await.ok()?;
                Some(body.split('\u{1e}').map(str::to_owned).collect())
            })
        });
        let polled = open.await.expect("the poll's task");
        self.open = None;
        polled
    }

    /// Posts messages, all in one request; the HTTP status.
    async fn send(&mut self, packets: &[Packet]) -> u16 {
        let message = |packet: &Packet| match packet {
            Packet::Text(text) => format!("4{text}"),
            Packet::Binary(bytes) => format!("b{}", STANDARD.encode(bytes)),
        };
        let messages: Vec<String> = packets.iter().map(message).collect();
        self.post(messages.join("\u{1e}")).await
    }

    async fn post(&mut self, body: String) -> u16 {
        let request = self.http.post(&self.url).headers(self.headers.clone());
        let request = request.header("content-type", "text/plain;charset=UTF-8");
        let answer = request.body(body).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
        }
    }
}
