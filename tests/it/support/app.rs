//! The daemon as a whole, in this process: real sockets on free ports, Google's double behind it.
//!
//! **Invariant**: when a [`TestApp`] is there, both ports are served and it is ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use castaway_media_server::app::{Addresses, App, Directories, Inherited, Running};
use castaway_media_server::config::Config;
use castaway_media_server::google::Emulators;
use castaway_media_server::preflight::Preflight;
use tokio::time::Instant;

use super::google::{GoogleDouble, Kind};

/// How long a test waits for what must come.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A daemon against a double of Google, in which `ada` owns the livestreams `show` and `other`.
pub(crate) struct TestApp {
    pub(crate) google: GoogleDouble,
    clients: SocketAddr,
    pub(crate) health: SocketAddr,
    app: Running,
}

/// A double of Google in which `ada` owns `show` and `other`.
pub(crate) async fn world() -> GoogleDouble {
    let google = GoogleDouble::start().await;
    for id in ["show", "other"] {
        google.world().put_livestream(id, "ada", false);
    }
    google
}

impl TestApp {
    /// The daemon as it is configured by default.
    pub(crate) async fn start() -> Self {
        Self::with_config(|_| {}).await
    }

    /// The daemon with a configuration of its own.
    pub(crate) async fn with_config(change: impl FnOnce(&mut Config)) -> Self {
        Self::beside(world().await, &Directories::default(), change).await
    }

    /// The daemon against this double, with these directories.
    pub(crate) async fn beside(
        google: GoogleDouble,
        directories: &Directories,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = google.config();
        config.server.listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.server.health_listen = (Ipv4Addr::LOCALHOST, 0).into();
        // The machine that runs the tests may have a lot to do.
        config.google.request_timeout = Duration::from_secs(4);
        change(&mut config);
        let preflight = Preflight::of(config, Emulators::default()).expect("a good configuration");
        // Boxed, or each test's future would hold all that a daemon is built of.
        let app = Box::pin(App::google(preflight, directories, Inherited::default()))
            .await
            .expect("a daemon");
        let Addresses { clients, health } = app.addresses();
        let app = Box::pin(app.serve()).await;
        app.readiness().ready();
        Self {
            google,
            clients,
            health,
            app,
        }
    }

    /// Where clients connect.
    pub(crate) fn clients(&self) -> SocketAddr {
        self.clients
    }

    /// A URL on the client port.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.clients)
    }

    /// A URL on the health port.
    pub(crate) fn health_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.health)
    }

    /// A good token.
    pub(crate) fn token(&self, user: &str) -> String {
        self.google.token(user, Kind::Valid)
    }

    /// What the document says of its streamer.
    pub(crate) fn says(&self, livestream: &str) -> Option<bool> {
        self.google.world().streamer_connected(livestream)
    }

    /// Waits until the document says so.
    pub(crate) async fn until_it_says(&self, livestream: &str, connected: bool) {
        self.google
            .until(|google| google.world().streamer_connected(livestream) == Some(connected))
            .await;
    }

    /// All metrics, in Prometheus's text format.
    pub(crate) fn metrics(&self) -> String {
        self.app.metrics().render()
    }

    /// How a metric stands, all its labels summed up; `name` may end in labels to choose one.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.app.metrics().render();
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let chosen = series == name || series.split('{').next() == Some(name);
            chosen.then(|| value.parse::<f64>().ok()).flatten()
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small counts"
        )]
        let sum = values.sum::<f64>() as u64;
        sum
    }

    /// Waits until a metric satisfies `holds`. Nothing tells when one changes: it is read again in between.
    pub(crate) async fn until_metric(&self, name: &str, holds: impl Fn(u64) -> bool) {
        let start = Instant::now();
        while !holds(self.metric(name)) {
            assert!(
                start.elapsed() < TEST_TIMEOUT,
                "{name} stayed at {}",
                self.metric(name)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops in order, as at SIGTERM.
    pub(crate) async fn stop(self) -> GoogleDouble {
        // Half of it may go by while clients take their time.
        self.app.stop(Instant::now() + TEST_TIMEOUT / 4).await;
        self.google
    }
}
