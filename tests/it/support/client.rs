//! A small Socket.IO client: one namespace on one session, as the shipped app and browsers use it.
//!
//! **Invariant**: nothing that the server says is passed over, but `state`, which is kept apart in [`Client::states`].

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::app::{TEST_TIMEOUT, TestApp};
use super::wire::{Packet, Wire, headers};
use castaway_media_server::config::Config;

/// A way for clips to a listener, and for words from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A WebSocket, one copy of a clip for all.
    WebSocket,
    /// A WebSocket with `listener.shared_writes = false`.
    Copied,
    /// Long polling.
    Polling,
    /// Long polling, and then a WebSocket.
    Upgraded,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Self; 4] =
        [Self::WebSocket, Self::Copied, Self::Polling, Self::Upgraded];

    /// Configures the daemon for it.
    pub(crate) fn configure(self, config: &mut Config) {
        config.listener.shared_writes = self != Self::Copied;
    }

    async fn wire(self, app: &TestApp, named: &[(&str, &str)]) -> Wire {
        let headers = headers(named);
        match self {
            Self::WebSocket | Self::Copied => Wire::web_socket(app.clients(), &headers, None).await,
            Self::Polling | Self::Upgraded => Wire::polling(app.clients(), &headers).await,
        }
    }
}

/// What the server says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// The namespace is connected.
    Connect,
    /// The namespace is refused; the contract never lets this happen.
    ConnectError(Value),
    /// The namespace is disconnected.
    Disconnect,
    /// An event with one text.
    Text(String, String),
    /// The event `audio` with one attachment.
    Clip(Bytes),
    /// The event `clip`: its argument without the attachment, and that.
    Placed(Value, Bytes),
    /// An event with one object.
    Event(String, Value),
    /// An answer to a callback.
    Ack(u64, Value),
    /// The transport is closed.
    Closed,
}

/// See the module.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    namespace: &'static str,
    /// The `state` messages so far.
    pub(crate) states: Vec<Value>,
}

impl Client {
    /// A session of `role` whose requests have these headers; its namespace is not asked for yet.
    pub(crate) async fn open(
        app: &TestApp,
        way: Way,
        namespace: &'static str,
        named: &[(&str, &str)],
    ) -> Self {
        let wire = timeout(TEST_TIMEOUT, way.wire(app, named))
            .await
            .expect("a session");
        Self::on(wire, namespace)
    }

    /// The same on a session that is open.
    pub(crate) fn on(wire: Wire, namespace: &'static str) -> Self {
        Self {
            wire,
            namespace,
            states: Vec::new(),
        }
    }

    /// A streamer, with `ada`'s token, that has heard its success.
    pub(crate) async fn streamer(app: &TestApp, way: Way, livestream: &str) -> Self {
        let mut client = Self::knock(app, way, "/streamer", "ada", livestream).await;
        client.is_let_in("ada", "streamer", livestream).await;
        client.upgraded(way).await
    }

    /// A listener that has heard its success.
    pub(crate) async fn listener(app: &TestApp, way: Way, user: &str, livestream: &str) -> Self {
        let mut client = Self::knock(app, way, "/listener", user, livestream).await;
        client.is_let_in(user, "listener", livestream).await;
        client.upgraded(way).await
    }

    /// A client of `user` that has asked for its namespace, and been connected: the verdict is still to come.
    pub(crate) async fn knock(
        app: &TestApp,
        way: Way,
        namespace: &'static str,
        user: &str,
        livestream: &str,
    ) -> Self {
        let token = app.token(user);
        let named = [("id-token", &*token), ("livestream-id", livestream)];
        let mut client = Self::open(app, way, namespace, &named).await;
        client.connect().await;
        client
    }

    async fn upgraded(mut self, way: Way) -> Self {
        if way == Way::Upgraded {
            self.upgrade().await;
        }
        self
    }

    /// Moves from polling to a WebSocket.
    pub(crate) async fn upgrade(&mut self) {
        timeout(TEST_TIMEOUT, self.wire.upgrade())
            .await
            .expect("an upgrade");
    }

    /// Asks for the namespace, and hears that it is connected.
    pub(crate) async fn connect(&mut self) {
        self.say(&format!("0{},", self.namespace)).await;
        assert_eq!(self.next().await, Said::Connect);
    }

    /// Asks for the namespace with an `auth` payload, and hears that it is connected.
    pub(crate) async fn connect_with(&mut self, auth: &Value) {
        self.say(&format!("0{},{auth}", self.namespace)).await;
        assert_eq!(self.next().await, Said::Connect);
    }

    /// The success that the contract words so.
    pub(crate) async fn is_let_in(&mut self, user: &str, role: &str, livestream: &str) {
        let text = format!("User {user} connected as {role} to livestream {livestream}.");
        assert_eq!(self.next().await, Said::Text("success".into(), text));
    }

    /// `error` with this text, then a DISCONNECT.
    pub(crate) async fn is_sent_away(&mut self, text: &str) {
        self.hears_error(text).await;
        assert_eq!(self.next().await, Said::Disconnect);
    }

    /// `error` with this text, then the end of the transport.
    pub(crate) async fn is_told_to_come_back(&mut self, text: &str) {
        self.hears_error(text).await;
        assert_eq!(self.next().await, Said::Closed);
    }

    /// `error` with this text.
    pub(crate) async fn hears_error(&mut self, text: &str) {
        assert_eq!(
            self.next().await,
            Said::Text("error".into(), text.to_owned())
        );
    }

    /// The next clip.
    pub(crate) async fn hears_clip(&mut self) -> Bytes {
        match self.next().await {
            Said::Clip(bytes) => bytes,
            said => panic!("no clip but {said:?}"),
        }
    }

    /// The next clip but one that is known.
    pub(crate) async fn hears(&mut self, clip: &Bytes) {
        let heard = self.hears_clip().await;
        assert!(heard == *clip, "{} bytes other than expected", heard.len());
    }

    /// Says a packet of Socket.IO's, as text.
    pub(crate) async fn say(&mut self, text: &str) {
        self.wire.send(&[Packet::Text(text.to_owned())]).await;
    }

    /// Emits an event, its arguments as JSON without the brackets.
    pub(crate) async fn emit(&mut self, event: &str, arguments: &str) {
        let comma = if arguments.is_empty() { "" } else { "," };
        self.say(&format!(
            "2{},[\"{event}\"{comma}{arguments}]",
            self.namespace
        ))
        .await;
    }

    /// Uploads a clip.
    pub(crate) async fn upload(&mut self, clip: &Bytes) {
        self.send_upload("", clip, "").await;
    }

    /// Uploads a clip with a callback.
    pub(crate) async fn upload_asking(&mut self, ack: u64, clip: &Bytes) {
        self.send_upload(&ack.to_string(), clip, "").await;
    }

    /// Uploads a clip with a callback and a second argument, as JSON.
    pub(crate) async fn upload_with(&mut self, ack: u64, clip: &Bytes, options: &str) {
        let options = format!(",{options}");
        self.send_upload(&ack.to_string(), clip, &options).await;
    }

    async fn send_upload(&mut self, ack: &str, clip: &Bytes, rest: &str) {
        let event = format!(r#"["upload",{{"_placeholder":true,"num":0}}{rest}]"#);
        let text = format!("51-{},{ack}{event}", self.namespace);
        self.wire
            .send(&[Packet::Text(text), Packet::Binary(clip.clone())])
            .await;
    }

    /// The word that a clip has come.
    pub(crate) async fn is_received(&mut self) {
        let text = "Packet received from user ada".to_owned();
        assert_eq!(self.next().await, Said::Text("success".into(), text));
    }

    /// Leaves the namespace: the client's own DISCONNECT.
    pub(crate) async fn leave(&mut self) {
        self.say(&format!("1{},", self.namespace)).await;
    }

    /// What the server says next, `state` aside.
    pub(crate) async fn next(&mut self) -> Said {
        timeout(TEST_TIMEOUT, self.listen())
            .await
            .unwrap_or_else(|_| panic!("{}: the server says nothing", self.namespace))
    }

    /// Waits until a `state` has come that is like this.
    pub(crate) async fn until_state(&mut self, holds: impl Fn(&Value) -> bool) {
        let heard = async {
            while !self.states.iter().any(&holds) {
                let packet = self.wire.next().await.expect("a message");
                let said = self.read(packet).await;
                assert_eq!(said, None, "before the state");
            }
        };
        let in_time = timeout(TEST_TIMEOUT, heard).await.is_ok();
        assert!(in_time, "no such state: {:?}", self.states);
    }

    /// Whether nothing but `state` comes for so long.
    pub(crate) async fn hears_nothing_for(&mut self, time: Duration) -> bool {
        timeout(time, self.listen()).await.is_err()
    }

    async fn listen(&mut self) -> Said {
        loop {
            let Some(packet) = self.wire.next().await else {
                return Said::Closed;
            };
            if let Some(said) = self.read(packet).await {
                return said;
            }
        }
    }

    /// Reads a packet; none for a `state`. Never cut short between an event and its attachment by a fast server.
    async fn read(&mut self, packet: Packet) -> Option<Said> {
        let Packet::Text(text) = packet else {
            panic!("an attachment without its event")
        };
        let (head, rest) = text.split_once(',').unwrap_or((&text, ""));
        let (kind, namespace) = head.split_at(head.find('/').unwrap_or(head.len()));
        assert_eq!(namespace, self.namespace, "{text}");
        let value = |from: &str| serde_json::from_str::<Value>(from).expect("JSON");
        Some(match kind {
            "0" => Said::Connect,
            "1" => Said::Disconnect,
            "4" => Said::ConnectError(value(rest)),
            "3" => {
                let start = rest.find('[').expect("arguments");
                let arguments = value(&rest[start..]);
                assert_eq!(arguments.as_array().map(Vec::len), Some(1), "{text}");
                let id = rest[..start].parse().expect("an ack's id");
                Said::Ack(id, arguments[0].clone())
            }
            "2" => {
                // The server asks for no callback, and every event has one argument.
                let arguments = value(rest);
                let arguments = arguments.as_array().expect("arguments");
                let [Value::String(event), argument] = &arguments[..] else {
                    panic!("not one argument: {text}")
                };
                if event == "state" {
                    self.states.push(argument.clone());
                    return None;
                }
                match argument {
                    Value::String(argument) => Said::Text(event.clone(), argument.clone()),
                    argument => Said::Event(event.clone(), argument.clone()),
                }
            }
            "51-" => {
                let placeholder = json!({ "_placeholder": true, "num": 0 });
                let mut event = value(rest);
                let place = (event[0] == "clip").then(|| {
                    assert_eq!(event[1]["bytes"].take(), placeholder, "{text}");
                    event[1].take()
                });
                let expected = if place.is_some() {
                    json!(["clip", null])
                } else {
                    json!(["audio", placeholder])
                };
                assert_eq!(event, expected);
                match (self.wire.next().await, place) {
                    (Some(Packet::Binary(bytes)), None) => Said::Clip(bytes),
                    (Some(Packet::Binary(bytes)), Some(place)) => Said::Placed(place, bytes),
                    (None, _) => Said::Closed,
                    (other, _) => panic!("no attachment but {other:?}"),
                }
            }
            _ => panic!("no packet of a server's: {text}"),
        })
    }
}

/// A clip that can be told from all others.
pub(crate) fn clip(number: usize, length: usize) -> Bytes {
    let mut bytes = vec![u8::try_from(number % 251).expect("small"); length.max(8)];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes.into()
}

/// Which clip it is.
pub(crate) fn number(clip: &Bytes) -> usize {
    let (number, _) = clip.split_first_chunk::<8>().expect("a clip of ours");
    usize::try_from(u64::from_be_bytes(*number)).expect("small")
}
