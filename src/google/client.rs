//! The one outbound client: every call to Google goes through [`Client::call`].
//!
//! It bounds how long a call takes and how many are under way, leaves a dependency that is down alone, counts what
//! became of every call, and says it in words that hold no secret.
//!
//! **Invariant**: a call ends within `google.request_timeout`, waiting for its turn included.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::circuit::{Circuit, Health};
use super::{Failure, GoogleError};
use crate::config;
use crate::metrics::preset;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// How far apart two warnings about one dependency are.
const COMPLAINTS: Duration = Duration::from_secs(10);

/// A part of Google that may be down by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// The signing keys of ID tokens.
    Keys,
    /// The Identity Toolkit's account look-up.
    Identity,
    /// Firestore.
    Firestore,
    /// The endpoint that grants access tokens to a service account.
    Token,
    /// The GCE metadata server.
    Metadata,
}

impl Dependency {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Keys,
        Self::Identity,
        Self::Firestore,
        Self::Token,
        Self::Metadata,
    ];

    /// The word in metrics, logs and `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Identity => "identity",
            Self::Firestore => "firestore",
            Self::Token => "token",
            Self::Metadata => "metadata",
        }
    }
}

/// An answer, read.
#[derive(Debug)]
pub struct Reply<T> {
    /// The JSON of the body.
    pub value: T,
    /// `cache-control: max-age`, where it was given.
    pub max_age: Option<Duration>,
}

/// The outbound client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    permits: Semaphore,
    request_timeout: Duration,
    /// A lock each, never held across an await: a few integers, not worth atomics.
    circuits: [Mutex<Circuit>; Dependency::ALL.len()],
    /// When each dependency was last complained about; a lock each, as above.
    complaints: [Mutex<Option<Instant>>; Dependency::ALL.len()],
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Client {
    /// A client as `config` says, whose figures `registry` shows:
    /// `castaway_google_requests_total{dependency,outcome}` and
    /// `castaway_google_request_duration_seconds{dependency}`.
    pub fn new(config: &config::Google, registry: &Registry) -> Result<Self, GoogleError> {
        let requests = IntCounterVec::new(
            Opts::new(
                "castaway_google_requests_total",
                "Calls to Google, by dependency and outcome.",
            ),
            &["dependency", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "castaway_google_request_duration_seconds",
                "Duration of calls to Google, failed ones included.",
            )
            .buckets(vec![
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0,
            ]),
            &["dependency"],
        )?;
        let dependencies = Dependency::ALL.map(Dependency::as_str);
        preset(&requests, &[&dependencies, &Failure::OUTCOMES]);
        for dependency in dependencies {
            seconds.with_label_values(&[dependency]);
        }
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                http: http_client(config)?,
                permits: Semaphore::new(config.max_requests.min(Semaphore::MAX_PERMITS)),
                request_timeout: config.request_timeout,
                circuits: Default::default(),
                complaints: Default::default(),
                requests,
                seconds,
            }),
        })
    }

    /// Begins a GET.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.inner.http.get(url)
    }

    /// Begins a POST.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.inner.http.post(url)
    }

    /// How the dependencies are, by the latest calls.
    pub fn health(&self) -> Vec<(Dependency, Health)> {
        Dependency::ALL
            .into_iter()
            .map(|dependency| (dependency, self.with(dependency, |it| it.health())))
            .collect()
    }

    /// Makes the call `request` to `dependency` and reads its JSON.
    pub async fn call<T: DeserializeOwned>(
        &self,
        dependency: Dependency,
        request: RequestBuilder,
    ) -> Result<Reply<T>, Failure> {
        let read = |body: &[u8]| serde_json::from_slice(body).map_err(|_| Failure::Garbage);
        self.call_raw(dependency, request, read).await
    }

    /// As [`call`](Self::call), for an answer that is plain text.
    pub async fn call_text(
        &self,
        dependency: Dependency,
        request: RequestBuilder,
    ) -> Result<String, Failure> {
        let read = |body: &[u8]| String::from_utf8(body.to_vec()).map_err(|_| Failure::Garbage);
        let reply = self.call_raw(dependency, request, read).await?;
        Ok(reply.value)
    }

    async fn call_raw<T>(
        &self,
        dependency: Dependency,
        request: RequestBuilder,
        read: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<Reply<T>, Failure> {
        let started = Instant::now();
        let deadline = started + self.inner.request_timeout;
        let result = async {
            if !self.with(dependency, |it| it.admit(started)) {
                return Err(Failure::LeftAlone);
            }
            let Ok(Ok(_permit)) = timeout_at(deadline, self.inner.permits.acquire()).await else {
                return Err(Failure::Busy);
            };
            let answer = timeout_at(deadline, exchange(request))
                .await
                .unwrap_or(Err(Failure::Timeout))?;
            Ok(Reply {
                value: read(&answer.value)?,
                max_age: answer.max_age,
            })
        }
        .await;
        let outcome = match &result {
            Ok(_) => {
                self.with(dependency, Circuit::succeed);
                "ok"
            }
            Err(failure) => {
                if failure.is_outage() {
                    self.with(dependency, |it| it.fail(Instant::now()));
                } else if matches!(failure, Failure::Refused { .. }) {
                    self.with(dependency, Circuit::succeed);
                }
                self.complain(dependency, failure);
                failure.outcome()
            }
        };
        let labels = [dependency.as_str(), outcome];
        self.inner.requests.with_label_values(&labels).inc();
        if !matches!(result, Err(Failure::LeftAlone)) {
            self.inner
                .seconds
                .with_label_values(&labels[..1])
                .observe(started.elapsed().as_secs_f64());
        }
        result
    }

    /// Logs a failure, but not every one of an outage. A verdict on a user or a document is for who asked for it.
    fn complain(&self, dependency: Dependency, failure: &Failure) {
        let judged = matches!(dependency, Dependency::Identity | Dependency::Firestore);
        if judged && failure.is_verdict() {
            return;
        }
        let now = Instant::now();
        let complaint = &self.inner.complaints[dependency as usize];
        let mut latest = complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let dependency = dependency.as_str();
        if latest.is_none_or(|at| now >= at + COMPLAINTS) {
            *latest = Some(now);
            tracing::warn!(dependency, %failure, "a call to Google failed");
        } else {
            tracing::debug!(dependency, %failure, "a call to Google failed");
        }
    }

    fn with<R>(&self, dependency: Dependency, act: impl FnOnce(&mut Circuit) -> R) -> R {
        let circuit = &self.inner.circuits[dependency as usize];
        act(&mut circuit.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn exchange(request: RequestBuilder) -> Result<Reply<Vec<u8>>, Failure> {
    let transport = |error: reqwest::Error| Failure::of_transport(&error);
    let mut response = request.send().await.map_err(transport)?;
    let max_age = response
        .headers()
        .get(http::header::CACHE_CONTROL)
        .and_then(|value| max_age(value.to_str().ok()?));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::Garbage);
        }
        body.extend_from_slice(&chunk);
    }
    let status = response.status();
    if !status.is_success() {
        return Err(Failure::of_answer(status.as_u16(), &body));
    }
    Ok(Reply {
        value: body,
        max_age,
    })
}

fn max_age(cache_control: &str) -> Option<Duration> {
    let seconds = cache_control
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

fn http_client(config: &config::Google) -> Result<reqwest::Client, GoogleError> {
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("castaway-media-server/", env!("CARGO_PKG_VERSION")))
            // These interfaces never redirect, and a redirect would carry the API key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            // The metadata server and the emulators must not be sought through a proxy.
            .no_proxy()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            // A connection whose other end has gone silently must not be used until the kernel gives it up.
            .http2_keep_alive_interval(Duration::from_secs(10))
            .http2_keep_alive_timeout(Duration::from_secs(5))
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_mins(1))
    };
    builder().build().or_else(|error| {
        // Without a CA bundle (a build sandbox, a bare container) nothing is trusted, but plain HTTP works:
        // the emulators and the metadata server.
        tracing::warn!(%error, "no certificate authorities are known: every https call will fail");
        builder()
            .tls_certs_only([])
            .build()
            .map_err(|error| GoogleError::Client(error.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_among_other_directives() {
        let seconds = |text| max_age(text).map(|it| it.as_secs());
        assert_eq!(
            seconds("public, max-age=19302, must-revalidate"),
            Some(19302)
        );
        assert_eq!(seconds("max-age=5"), Some(5));
        assert_eq!(seconds("no-store"), None);
        assert_eq!(seconds("max-age=soon"), None);
    }
}
