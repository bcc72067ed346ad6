//! A double of Google: signing keys, account look-up, token endpoint, Firestore, Secret Manager and metadata server in
//! one small server, with faults on demand.
//!
//! `examples/google-double.rs` is the same double as a process of its own.
//!
//! **Invariant**: a fault named "lost" or "late" takes effect; every other fault does not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use castaway_media_server::config::Config;

pub(crate) mod tokens;
pub(crate) mod world;

pub(crate) use tokens::Kind;
pub(crate) use world::{Account, World};

/// A part of Google that can fail by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    Keys,
    Lookup,
    Token,
    Read,
    Write,
    Secret,
    MetadataProject,
    MetadataToken,
}

impl Endpoint {
    fn of_path(path: &str) -> Option<Self> {
        Some(match path {
            "/jwks" => Self::Keys,
            "/token" => Self::Token,
            "/computeMetadata/v1/project/project-id" => Self::MetadataProject,
            "/computeMetadata/v1/instance/service-accounts/default/token" => Self::MetadataToken,
            path if path.ends_with("/accounts:lookup") => Self::Lookup,
            path if path.ends_with("/documents:batchGet") => Self::Read,
            path if path.ends_with("/documents:commit") => Self::Write,
            path if path.ends_with(":access") => Self::Secret,
            _ => return None,
        })
    }
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered so much later.
    Slow(Duration),
    /// It is answered with this HTTP status.
    Status(u16),
    /// It is answered with something that is no JSON.
    Garbage,
    /// The connection is closed instead of an answer.
    Closed,
    /// It takes effect, and then the connection is closed.
    Lost,
    /// It takes effect so much later, and is never answered.
    Late(Duration),
}

/// The double; it ends with its last clone.
#[derive(Clone)]
pub(crate) struct GoogleDouble {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    world: Mutex<World>,
    faults: Mutex<HashMap<Endpoint, VecDeque<Fault>>>,
    calls: Mutex<BTreeMap<Endpoint, u64>>,
    changed: Notify,
    serving: Mutex<Option<AbortHandle>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.lock().take() {
            serving.abort();
        }
    }
}

impl GoogleDouble {
    /// Starts a double of the project `castaway-test` on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts it on `address`.
    pub(crate) async fn start_on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let double = Self {
            address: listener.local_addr().expect("an address"),
            shared: Arc::new(Shared {
                world: Mutex::new(World::new("castaway-test", "test-api-key")),
                faults: Mutex::default(),
                calls: Mutex::default(),
                changed: Notify::new(),
                serving: Mutex::default(),
            }),
        };
        double.serve(listener);
        double
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A configuration that finds Google here, with a service account, an API key and short timeouts.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        let google = &mut config.google;
        google.project_id = Some(self.world().project.clone());
        google.api_key = self.world().api_key.clone().map(Into::into);
        google.client_email = Some("server@castaway-test.iam.gserviceaccount.com".into());
        google.private_key = Some(tokens::pairs()[0].pem.clone().into());
        google.keys_url = format!("{}/jwks", self.url());
        google.identity_url = format!("{}/v1", self.url());
        google.firestore_url = format!("{}/v1", self.url());
        google.token_url = format!("{}/token", self.url());
        google.request_timeout = Duration::from_millis(500);
        config
    }

    /// What the double knows, to read and to change.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock()
    }

    /// A token of `user`.
    pub(crate) fn token(&self, user: &str, kind: Kind) -> String {
        let (project, signer) = {
            let world = self.world();
            (world.project.clone(), world.signer)
        };
        tokens::mint(&project, user, kind, signer)
    }

    /// The next `times` calls of `endpoint` go wrong.
    pub(crate) fn fail(&self, endpoint: Endpoint, fault: Fault, times: usize) {
        let mut faults = self.shared.faults.lock();
        faults
            .entry(endpoint)
            .or_default()
            .extend(vec![fault; times]);
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn heal(&self) {
        self.shared.faults.lock().clear();
    }

    /// How many calls `endpoint` has had.
    pub(crate) fn calls(&self, endpoint: Endpoint) -> u64 {
        let calls = self.shared.calls.lock();
        calls.get(&endpoint).copied().unwrap_or_default()
    }

    /// Waits until `holds`, which is asked after every call.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waited = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited)
            .await
            .expect("it never came about");
    }

    /// Refuses connections, and breaks those that are open.
    pub(crate) fn stop(&self) {
        if let Some(serving) = self.shared.serving.lock().take() {
            serving.abort();
        }
    }

    /// Takes connections again, on the same port.
    pub(crate) async fn resume(&self) {
        self.serve(
            TcpListener::bind(self.address)
                .await
                .expect("the same port"),
        );
    }

    fn serve(&self, listener: TcpListener) {
        let shared = Arc::downgrade(&self.shared);
        let task = tokio::spawn(async move {
            // Dropped, and its connections with it, when the double stops.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                let service = hyper::service::service_fn(move |request| {
                    let shared = shared.upgrade();
                    async move {
                        let gone = || io::Error::other("the double is gone");
                        shared.ok_or_else(gone)?.answer(request).await
                    }
                });
                connections.spawn(async move {
                    let _ended = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        let before = self.shared.serving.lock().replace(task.abort_handle());
        assert!(before.is_none(), "it was serving already");
    }
}

impl Shared {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> io::Result<Response<Full<Bytes>>> {
        let Some(endpoint) = Endpoint::of_path(request.uri().path()) else {
            return Ok(respond(404, "{}"));
        };
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        *self.calls.lock().entry(endpoint).or_default() += 1;
        self.changed.notify_waiters();
        let fault = {
            let mut faults = self.faults.lock();
            faults.get_mut(&endpoint).and_then(VecDeque::pop_front)
        };
        let result = match fault {
            Some(Fault::Status(status)) => {
                Ok(respond(status, r#"{"error":{"status":"INJECTED"}}"#))
            }
            Some(Fault::Garbage) => Ok(respond(200, "<html>garbage</html>")),
            Some(Fault::Closed) => Err(io::Error::other("closed on purpose")),
            Some(Fault::Lost) => {
                self.effect(endpoint, &head, &body);
                Err(io::Error::other("the answer is lost on purpose"))
            }
            Some(Fault::Late(after)) => {
                // By itself, so that it takes effect though the client hangs up.
                let shared = Arc::clone(&self);
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    shared.effect(endpoint, &head, &body);
                    shared.changed.notify_waiters();
                });
                std::future::pending::<Infallible>().await;
                Err(io::Error::other("never"))
            }
            Some(Fault::Slow(by)) => {
                tokio::time::sleep(by).await;
                Ok(self.effect(endpoint, &head, &body))
            }
            None => Ok(self.effect(endpoint, &head, &body)),
        };
        self.changed.notify_waiters();
        result
    }

    fn effect(
        &self,
        endpoint: Endpoint,
        head: &http::request::Parts,
        body: &[u8],
    ) -> Response<Full<Bytes>> {
        let mut world = self.world.lock();
        let header = |name: &str| head.headers.get(name).and_then(|it| it.to_str().ok());
        let json = || serde_json::from_slice::<Value>(body).unwrap_or_default();
        let flavoured = header("metadata-flavor") == Some("Google");
        let (status, answer) = match endpoint {
            Endpoint::Keys => {
                let age = format!("public, max-age={}, must-revalidate", world.keys_max_age);
                let mut response = respond(200, &world.keys().1.to_string());
                let age = age.parse().expect("a header");
                response.headers_mut().insert("cache-control", age);
                return response;
            }
            Endpoint::Lookup => match json()["localId"].as_array() {
                Some(ids) => world.lookup_by_id(header("authorization"), ids),
                None => world.lookup(header("x-goog-api-key"), &json()),
            },
            Endpoint::Token => world.grant(&String::from_utf8_lossy(body)),
            Endpoint::Read => world.batch_get(header("authorization"), &json()),
            Endpoint::Write => world.commit(header("authorization"), &json()),
            Endpoint::Secret => world.secret(header("authorization"), head.uri.path()),
            _ if !flavoured => return respond(403, "Missing Metadata-Flavor:Google header."),
            Endpoint::MetadataProject => return respond(200, &world.project),
            Endpoint::MetadataToken => world.hand_out(),
        };
        respond(status, &answer.to_string())
    }
}

fn respond(status: u16, body: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=UTF-8")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .expect("a response")
}
