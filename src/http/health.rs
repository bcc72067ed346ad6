//! The health port: liveness, readiness and metrics.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;
use tower_http::timeout::TimeoutLayer;

use crate::metrics::Metrics;

/// Whether the daemon may be sent clients. Cheap to clone.
#[derive(Clone)]
pub struct Readiness(Arc<Inner>);

struct Inner {
    // A lock: written at the start and at the stop, read by health checks.
    phase: Mutex<Phase>,
    degraded: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    unfit: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    Stopping,
}

impl Readiness {
    /// Not ready yet. `degraded` names the failures of a daemon that still serves clients, `unfit` the reason for which
    /// another node serves new clients better.
    pub fn new(
        degraded: impl Fn() -> Vec<String> + Send + Sync + 'static,
        unfit: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            phase: Mutex::new(Phase::Starting),
            degraded: Box::new(degraded),
            unfit: Box::new(unfit),
        }))
    }

    fn set(&self, phase: Phase) {
        *self.0.phase.lock() = phase;
    }

    /// Clients are served from now on.
    pub fn ready(&self) {
        self.set(Phase::Ready);
    }

    /// No further clients should be sent.
    pub fn stopping(&self) {
        self.set(Phase::Stopping);
    }

    /// The failures of a daemon that still serves clients.
    pub fn degraded(&self) -> Vec<String> {
        (self.0.degraded)()
    }

    /// Whether clients may be sent.
    pub fn is_ready(&self) -> bool {
        self.answer().0 == StatusCode::OK
    }

    fn answer(&self) -> (StatusCode, String) {
        let phase = *self.0.phase.lock();
        match phase {
            Phase::Starting => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: starting\n".into(),
            ),
            Phase::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: stopping\n".into(),
            ),
            Phase::Ready => {
                if let Some(reason) = (self.0.unfit)() {
                    return (
                        StatusCode::SERVICE_UNAVAILABLE,
                        format!("not ready: {reason}\n"),
                    );
                }
                let mut text = "ready\n".to_owned();
                for reason in self.degraded() {
                    // Running livestreams continue, and no other machine would work better, so the daemon stays ready.
                    writeln!(text, "degraded: {reason}").ok();
                }
                (StatusCode::OK, text)
            }
        }
    }
}

/// `GET /` (the load balancer's check), `/healthz`, `/readyz`, `/metrics`.
pub fn router(readiness: Readiness, metrics: Metrics, timeout: Duration) -> Router {
    Router::new()
        .route("/", get(|| async { "Media server is up and running." }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(|State(readiness): State<Readiness>| async move { readiness.answer() }),
        )
        .with_state(readiness)
        .route(
            "/metrics",
            get(|State(metrics): State<Metrics>| async move { render(&metrics) }),
        )
        .with_state(metrics)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            timeout,
        ))
}

fn render(metrics: &Metrics) -> impl IntoResponse + use<> {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        metrics.render(),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(readiness: &Readiness, path: &str) -> (u16, String) {
        let router = router(readiness.clone(), Metrics::new(), Duration::from_secs(1));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn root_answers_as_the_original_server_did() {
        let readiness = Readiness::new(Vec::new, || None);
        assert_eq!(
            get(&readiness, "/").await,
            (200, "Media server is up and running.".into())
        );
    }

    #[tokio::test]
    async fn readiness_follows_the_daemons_life() {
        let readiness = Readiness::new(|| vec!["firestore is down".into()], || None);
        assert_eq!(
            get(&readiness, "/readyz").await,
            (503, "not ready: starting\n".into())
        );
        readiness.ready();
        assert_eq!(
            get(&readiness, "/readyz").await,
            (200, "ready\ndegraded: firestore is down\n".into())
        );
        readiness.stopping();
        assert_eq!(
            get(&readiness, "/readyz").await,
            (503, "not ready: stopping\n".into())
        );
        assert_eq!(get(&readiness, "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn unfit_node_is_not_ready() {
        let readiness = Readiness::new(Vec::new, || Some("cut off".into()));
        readiness.ready();
        assert_eq!(
            get(&readiness, "/readyz").await,
            (503, "not ready: cut off\n".into())
        );
    }

    #[tokio::test]
    async fn metrics_are_in_prometheus_text() {
        let readiness = Readiness::new(Vec::new, || None);
        let (status, text) = get(&readiness, "/metrics").await;
        assert_eq!(status, 200);
        assert!(
            text.contains("# TYPE castaway_fan_out_seconds histogram"),
            "{text}"
        );
    }
}
