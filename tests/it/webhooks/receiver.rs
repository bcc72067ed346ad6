//! A receiver of webhooks that behaves as it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// The keys that it knows, after `whsec_`.
pub(super) const KEYS: [&str; 2] = [
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "cm90YXRlZC1yb3RhdGVkLXJvdGF0ZWQtcm90YXRlZA==",
];

/// How long a test may take by the machine's clock: tokio's may stand still.
const LIMIT: Duration = Duration::from_mins(1);

/// What it does with a request.
#[derive(Debug, Clone)]
pub(super) enum Manner {
    /// 204.
    Good,
    /// 200, and a body that never ends.
    Endless,
    /// Nothing, for ever.
    Silent,
    /// A status, perhaps with a header.
    Says(u16, Option<(header::HeaderName, String)>),
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Got {
    pub(super) id: String,
    pub(super) body: Value,
    /// The number of signatures.
    pub(super) signatures: usize,
    /// Whether it was answered with a success.
    pub(super) is_taken: bool,
}

#[derive(Clone)]
struct Shared {
    manner: Arc<Mutex<Manner>>,
    got: mpsc::UnboundedSender<Got>,
}

/// See the module.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    shared: Shared,
    pub(super) got: mpsc::UnboundedReceiver<Got>,
    deadline: oneshot::Receiver<()>,
}

/// Tells when the time of a test is over.
fn deadline() -> oneshot::Receiver<()> {
    let (over, deadline) = oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(LIMIT);
        over.send(()).ok();
    });
    deadline
}

impl Receiver {
    /// One that nobody reaches yet.
    pub(super) async fn down() -> Self {
        // An address of its own: nobody else takes the port meanwhile.
        let [a, b, c] = rand::random::<[u8; 3]>();
        let listener =
            TcpListener::bind(((std::net::Ipv4Addr::new(127, a, b, c.clamp(2, 250))), 0)).await;
        let address = listener.expect("a port").local_addr().expect("an address");
        let (sender, got) = mpsc::unbounded_channel();
        let manner = Arc::new(Mutex::new(Manner::Good));
        Self {
            address,
            shared: Shared {
                manner,
                got: sender,
            },
            got,
            deadline: deadline(),
        }
    }

    pub(super) async fn start() -> Self {
        let receiver = Self::down().await;
        receiver.up().await;
        receiver
    }

    pub(super) async fn up(&self) {
        let listener = TcpListener::bind(self.address).await.expect("its port");
        let routes = Router::new()
            .fallback(answer)
            .with_state(self.shared.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook?of=castaway", self.address)
    }

    pub(super) fn is(&self, manner: Manner) {
        *self.shared.manner.lock() = manner;
    }

    pub(super) fn says(&self, status: u16) {
        self.is(Manner::Says(status, None));
    }

    pub(super) async fn next(&mut self) -> Got {
        tokio::select! {
            got = self.got.recv() => got.expect("it serves"),
            _ = &mut self.deadline => panic!("nothing comes any longer"),
        }
    }

    /// Fails once the time of the test is over.
    pub(super) fn is_in_time(&mut self) -> bool {
        self.deadline.try_recv().is_err() || panic!("what was waited for does not come")
    }
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let manner = shared.manner.lock().clone();
    let is_taken = matches!(manner, Manner::Good | Manner::Endless);
    shared.got.send(read(&headers, &body, is_taken)).ok();
    match manner {
        Manner::Good => StatusCode::NO_CONTENT.into_response(),
        Manner::Endless => {
            let chunk =
                || async { Some((Ok::<_, std::io::Error>(Bytes::from(vec![0; 65_536])), ())) };
            let endless = futures_util::stream::unfold((), move |()| chunk());
            Body::from_stream(endless).into_response()
        }
        Manner::Silent => std::future::pending().await,
        Manner::Says(status, header) => {
            let status = StatusCode::from_u16(status).expect("a status");
            match header {
                Some((name, value)) => (status, [(name, value)]).into_response(),
                None => status.into_response(),
            }
        }
    }
}

/// Checks a request as docs/webhooks.md says.
fn read(headers: &HeaderMap, body: &[u8], is_taken: bool) -> Got {
    let header = |name: &str| headers[name].to_str().expect("text");
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let sent = timestamp.parse::<u64>().expect("seconds");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    assert!(now.as_secs().abs_diff(sent) < 300, "it is fresh");
    assert_eq!(header("content-type"), "application/json");
    let content = [id.as_bytes(), timestamp.as_bytes(), body].join(&b'.');
    let signatures: Vec<&str> = header("webhook-signature").split(' ').collect();
    for signature in &signatures {
        let signature = signature.strip_prefix("v1,").expect("version 1");
        let signature = BASE64.decode(signature).expect("Base64");
        let is_by = |key: &&str| {
            let key = Key::new(HMAC_SHA256, &BASE64.decode(key).expect("a key"));
            verify(&key, &content, &signature).is_ok()
        };
        assert!(KEYS.iter().any(is_by), "the signature is wrong");
    }
    Got {
        id: id.to_owned(),
        body: serde_json::from_slice(body).expect("JSON"),
        signatures: signatures.len(),
        is_taken,
    }
}
