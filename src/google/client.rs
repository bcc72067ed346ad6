//! The only outbound client: every call to Google goes through [`Client::call`].
//!
//! It limits the duration and the number of calls, opens a circuit for a dependency that is down, counts the outcome of
//! every call, and logs failures without secrets.
//!
//! **Invariant**: a call waits for a permit for at most `google.request_timeout`, and ends within as long again. The
//! wait for a permit never counts as a failure of the dependency. Calls of one [`Lane`] never wait for another lane.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{HistogramVec, IntCounterVec, Registry};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::circuit::{Circuit, Health};
use super::complaint::Complaint;
use super::{Failure, GoogleError};
use crate::config;
use crate::http_client::{self, HttpClient};
use crate::metrics::{counters, histograms, preset};

/// The largest accepted answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// A part of Google that can fail independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// The signing keys of ID tokens.
    Keys,
    /// The Identity Toolkit's account look-up.
    Identity,
    /// Firestore.
    Firestore,
    /// The endpoint that issues access tokens to a service account.
    Token,
    /// The GCE metadata server.
    Metadata,
}

impl Dependency {
    /// Every dependency.
    pub const ALL: [Self; 5] = [
        Self::Keys,
        Self::Identity,
        Self::Firestore,
        Self::Token,
        Self::Metadata,
    ];

    /// The name in metrics, logs and `/readyz`.
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

/// The party that waits for a call. Each lane has `google.max_requests` permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A streamer's check; or any client: keys and access tokens are fetched one at a time.
    Streamers,
    /// A listener's check.
    Listeners,
    /// No client waits.
    Background,
    /// A page waits, for a moment: it can be shown without the answer.
    Pages,
}

/// A decoded answer.
#[derive(Debug)]
pub struct Reply<T> {
    /// The JSON of the body.
    pub value: T,
    /// `cache-control: max-age`, if present.
    pub max_age: Option<Duration>,
}

/// The outbound client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: HttpClient,
    permits: [Semaphore; 4],
    request_timeout: Duration,
    /// One lock each, never held across an await: a few integers.
    circuits: [Mutex<Circuit>; Dependency::ALL.len()],
    complaints: [Complaint; Dependency::ALL.len()],
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Client {
    /// A client for `config` that registers its metrics with `registry`:
    /// `castaway_google_requests_total{dependency,outcome}` and
    /// `castaway_google_request_duration_seconds{dependency}`.
    pub fn new(config: &config::Google, registry: &Registry) -> Result<Self, GoogleError> {
        let requests = counters(
            registry,
            "google_requests_total",
            "Calls to Google, by dependency and outcome.",
            &["dependency", "outcome"],
        )?;
        let seconds = histograms(
            registry,
            "google_request_duration_seconds",
            "Duration of calls to Google, failed ones included.",
            &["dependency"],
            &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0],
        )?;
        let dependencies = Dependency::ALL.map(Dependency::as_str);
        preset(&requests, &[&dependencies, &Failure::OUTCOMES]);
        for dependency in dependencies {
            seconds.with_label_values(&[dependency]);
        }
        let http = http_client(config)?;
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                permits: [(); 4].map(|()| Semaphore::new(config.max_requests)),
                request_timeout: config.request_timeout,
                circuits: Default::default(),
                complaints: Default::default(),
                requests,
                seconds,
            }),
        })
    }

    /// Whether no certificate authority is available: every https call fails.
    pub fn is_without_authorities(&self) -> bool {
        self.inner.http.without_authorities
    }

    /// Begins a GET.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.inner.http.client.get(url)
    }

    /// Begins a POST.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.inner.http.client.post(url)
    }

    /// The health of the dependencies by their latest calls.
    pub fn health(&self) -> Vec<(Dependency, Health)> {
        Dependency::ALL
            .into_iter()
            .map(|dependency| (dependency, self.with(dependency, |it| it.health())))
            .collect()
    }

    /// Sends `request` to `dependency` and decodes the JSON of its answer.
    pub async fn call<T: DeserializeOwned>(
        &self,
        dependency: Dependency,
        lane: Lane,
        request: RequestBuilder,
    ) -> Result<Reply<T>, Failure> {
        let read = |body: &[u8]| serde_json::from_slice(body).map_err(|_| Failure::Garbage);
        self.call_raw(dependency, lane, request, read).await
    }

    /// As [`call`](Self::call), for an answer in plain text.
    pub async fn call_text(
        &self,
        dependency: Dependency,
        lane: Lane,
        request: RequestBuilder,
    ) -> Result<String, Failure> {
        let read = |body: &[u8]| String::from_utf8(body.to_vec()).map_err(|_| Failure::Garbage);
        let reply = self.call_raw(dependency, lane, request, read).await?;
        Ok(reply.value)
    }

    async fn call_raw<T>(
        &self,
        dependency: Dependency,
        lane: Lane,
        request: RequestBuilder,
        read: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<Reply<T>, Failure> {
        let limit = self.inner.request_timeout;
        let mut started = None;
        let result = async {
            // No call waits for a permit while the circuit is open.
            if self.with(dependency, |it| it.is_open(Instant::now())) {
                return Err(Failure::LeftAlone);
            }
            let permits = &self.inner.permits[lane as usize];
            let Ok(Ok(_permit)) = timeout(limit, permits.acquire()).await else {
                return Err(Failure::Busy);
            };
            let now = Instant::now();
            if !self.with(dependency, |it| it.admit(now)) {
                return Err(Failure::LeftAlone);
            }
            started = Some(now);
            let answer = timeout(limit, exchange(request))
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
        if let Some(started) = started {
            self.inner
                .seconds
                .with_label_values(&labels[..1])
                .observe(started.elapsed().as_secs_f64());
        }
        result
    }

    /// Reports an unusable answer: counted and logged as a failure.
    pub fn unusable(&self, dependency: Dependency) -> Failure {
        let failure = Failure::Garbage;
        let labels = [dependency.as_str(), failure.outcome()];
        self.inner.requests.with_label_values(&labels).inc();
        self.complain(dependency, &failure);
        failure
    }

    /// Logs a failure, at a limited rate in an outage. A verdict on a user or a document is the caller's to report.
    fn complain(&self, dependency: Dependency, failure: &Failure) {
        let judged = matches!(dependency, Dependency::Identity | Dependency::Firestore);
        if judged && failure.is_verdict() {
            return;
        }
        let complaint = &self.inner.complaints[dependency as usize];
        let dependency = dependency.as_str();
        if complaint.is_due() {
            tracing::warn!(dependency, %failure, "a call to Google failed");
        } else {
            tracing::debug!(dependency, %failure, "a call to Google failed");
        }
    }

    fn with<R>(&self, dependency: Dependency, act: impl FnOnce(&mut Circuit) -> R) -> R {
        let circuit = &self.inner.circuits[dependency as usize];
        act(&mut circuit.lock())
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
            return Err(Failure::TooLarge);
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

pub(super) fn http_client(config: &config::Google) -> Result<HttpClient, GoogleError> {
    let adds = |builder: reqwest::ClientBuilder| {
        builder
            .connect_timeout(config.connect_timeout)
            // A connection whose peer is gone silently must not be used until the kernel gives it up.
            .http2_keep_alive_interval(Duration::from_secs(10))
            .http2_keep_alive_timeout(Duration::from_secs(5))
    };
    http_client::build(config.request_timeout, adds)
        .map_err(|error| GoogleError::Client(error.to_string()))
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
