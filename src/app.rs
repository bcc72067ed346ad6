//! The whole daemon, put together: [`App::demo`] or [`App::serve_google`] builds it, `lifecycle` runs it.
//!
//! **Invariant**: when a build returns, both ports are bound (port 0 took a free one), and nothing is served yet.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use axum::Router;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Phase};
use crate::config::Config;
use crate::demo::Demo;
use crate::directory::Directory;
use crate::google::{Access, Client, Emulators, Health};
use crate::handover;
use crate::housekeeping::Housekeeping;
use crate::http::health::{self, Readiness};
use crate::http::{client, pages};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::relay::Relay;
use crate::socket::{Parts, Sockets};
use crate::transport::{
    ClientListener, ConnectionLimits, Connections, Patience, QueueBounds, SocketOptions, Via, bind,
};

/// Connections on the health port.
const HEALTH_CONNECTIONS: usize = 256;

/// Sockets that were opened by somebody else: systemd.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The client port.
    pub clients: Option<TcpListener>,
    /// The health port.
    pub health: Option<TcpListener>,
}

/// Directories that systemd gives.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    /// What outlives a crash: `STATE_DIRECTORY`.
    pub state: Option<PathBuf>,
    /// What outlives a restart alone: `RUNTIME_DIRECTORY`.
    pub runtime: Option<PathBuf>,
}

/// See the module.
pub struct App {
    config: Config,
    /// What is left to the next process, and was left by the one before.
    handover: Option<PathBuf>,
    relay: Relay,
    sockets: Sockets,
    identity: Identity,
    directory: Directory,
    cluster: Option<Cluster>,
    // None in the demo.
    google: Option<Access>,
    metrics: Metrics,
    connections: Arc<Connections>,
    health_connections: Arc<Connections>,
    readiness: Readiness,
    // Taken when serving begins.
    doors: Mutex<Option<Doors>>,
    addresses: (SocketAddr, SocketAddr),
    stopping: CancellationToken,
    failed: mpsc::Sender<String>,
    failure: Mutex<Option<mpsc::Receiver<String>>>,
}

struct Doors {
    clients: ClientListener,
    routes: Router,
    health: ClientListener,
}

impl App {
    /// The daemon against a Firebase project.
    pub async fn serve_google(
        config: Config,
        emulators: Emulators,
        directories: &Directories,
        inherited: Inherited,
    ) -> anyhow::Result<Self> {
        let metrics = Metrics::new();
        let google = Client::new(&config.google, metrics.registry())?;
        let access = Access::open(google, &config.google, emulators).await?;
        let identity = Identity::google(&access, &config);
        let directory =
            Directory::firestore(access.clone(), &config.google, directories.state.as_deref())?;
        let parts = (identity, directory, Some(access), metrics);
        let mut app = Self::build(config, parts, Router::new(), inherited)?;
        // In a cluster the other nodes and Redis know what is on.
        if app.cluster.is_none() {
            app.handover = directories.runtime.as_deref().map(handover::path_in);
        }
        Ok(app)
    }

    /// The daemon with everything in memory.
    pub fn demo(config: Config, demo: &Demo) -> anyhow::Result<Self> {
        let identity = demo.identity(&config.identity)?;
        let parts = (identity, demo.directory(), None, Metrics::new());
        Self::build(config, parts, demo.router(), Inherited::default())
    }

    fn build(
        config: Config,
        (identity, directory, google, metrics): (Identity, Directory, Option<Access>, Metrics),
        extra: Router,
        inherited: Inherited,
    ) -> anyhow::Result<Self> {
        let server = &config.server;
        let bounds = QueueBounds {
            clips: config.listener.queue_clips,
            bytes: config.listener.queue_bytes,
        };
        let limits = ConnectionLimits {
            max: server.max_connections,
            max_per_address: server.max_connections_per_address,
            patience: Patience {
                headers: server.header_timeout,
                idle: server.idle_timeout,
                stall: config.listener.stall_timeout,
                lag: config.listener.max_lag,
            },
            bounds,
        };
        let connections = Connections::new(&limits, metrics.clone());
        // Health checks cannot use up what clients need; their connections are not counted among clients'.
        let few = ConnectionLimits {
            max: HEALTH_CONNECTIONS,
            max_per_address: HEALTH_CONNECTIONS,
            ..limits
        };
        let health_connections = Connections::new(&few, Metrics::new());
        let cluster = Cluster::new(&config, metrics.registry())?;
        let relay = Relay::new(&config, directory.clone(), cluster.clone(), metrics.clone());
        let parts = Parts {
            relay: relay.clone(),
            identity: identity.clone(),
            directory: directory.clone(),
            metrics: metrics.clone(),
            connections: connections.clone(),
        };
        let (sockets, mut routes) = Sockets::build(&config, parts);
        if config.http.pages {
            routes = routes.merge(pages::router());
        }
        let options = SocketOptions {
            send_buffer_bytes: server.send_buffer_bytes,
            user_timeout: server.tcp_user_timeout,
            trusted_proxies: server.trusted_proxies.clone(),
        };
        let clients = listen(
            inherited.clients,
            server.listen,
            server.send_buffer_bytes,
            "server.listen",
        )?;
        let health = listen(
            inherited.health,
            server.health_listen,
            server.send_buffer_bytes,
            "server.health_listen",
        )?;
        let addresses = (clients.local_addr()?, health.local_addr()?);
        let doors = Doors {
            clients: ClientListener::new(clients, options.clone(), connections.clone())?,
            routes: client::layered(routes.merge(extra), server)?,
            health: ClientListener::new(health, options, health_connections.clone())?,
        };
        let (failed, failure) = mpsc::channel(2);
        Ok(Self {
            readiness: Readiness::new(
                degraded(google.clone(), directory.clone(), cluster.clone()),
                unfit(cluster.clone()),
            ),
            config,
            handover: None,
            relay,
            sockets,
            identity,
            directory,
            cluster,
            google,
            metrics,
            connections,
            health_connections,
            doors: Mutex::new(Some(doors)),
            addresses,
            stopping: CancellationToken::new(),
            failed,
            failure: Mutex::new(Some(failure)),
        })
    }

    /// Where clients and health checks are answered.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        self.addresses
    }

    /// Whether it may be sent clients.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How long a stop may take.
    pub fn shutdown_timeout(&self) -> Duration {
        self.config.server.shutdown_timeout
    }

    /// Tells when a server task ended that should not have. Taken once.
    pub fn failure(&self) -> mpsc::Receiver<String> {
        let taken = self
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// How it is going, in a sentence.
    pub fn status(&self) -> String {
        let (livestreams, listeners) = self.relay.count();
        let count = |number: usize, noun: &str| {
            format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
        };
        let mut status = format!(
            "{}, {}",
            count(livestreams, "livestream"),
            count(listeners, "listener")
        );
        for reason in self.readiness.degraded() {
            status.push_str("; ");
            status.push_str(&reason);
        }
        status
    }

    /// Serves both ports from now on.
    pub fn serve(&self) {
        let taken = self
            .doors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Doors {
            clients,
            routes,
            health,
        }) = taken
        else {
            return;
        };
        let service = routes.into_make_service_with_connect_info::<Via>();
        self.spawn(
            "client port",
            axum::serve(clients, service)
                .with_graceful_shutdown(self.stopping.clone().cancelled_owned()),
        );
        let timeout = self.config.server.request_timeout;
        let routes = health::router(self.readiness.clone(), self.metrics.clone(), timeout);
        let routes = client::watched(routes).into_make_service_with_connect_info::<Via>();
        // Health is answered to the very end: only the process's exit ends it.
        self.spawn("health port", axum::serve(health, routes));
        let connections = [self.connections.clone(), self.health_connections.clone()];
        let care = Housekeeping {
            relay: self.relay.clone(),
            sockets: self.sockets.clone(),
            connections,
            handover: self.handover.clone(),
            stopping: self.stopping.clone(),
        };
        self.spawn("housekeeping", care.run());
    }

    /// Runs a part of the daemon; its end before the stop, or its panic, is a failure of the whole.
    fn spawn<T, F>(&self, name: &'static str, part: T)
    where
        T: IntoFuture<Output = std::io::Result<()>, IntoFuture = F>,
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let (failed, stopping) = (self.failed.clone(), self.stopping.clone());
        let part = tokio::spawn(part.into_future());
        tokio::spawn(async move {
            let outcome = part.await.map_err(std::io::Error::other).flatten();
            if !stopping.is_cancelled() {
                let why = outcome
                    .err()
                    .map_or_else(|| "it ended".to_owned(), |error| error.to_string());
                failed.send(format!("{name}: {why}")).await.ok();
            }
        });
    }

    /// Takes up what the process before left.
    fn take_over(&self) {
        let Some(path) = &self.handover else { return };
        match handover::take(path, self.config.livestream.grace, SystemTime::now()) {
            Ok(snapshots) => self.relay.restore(snapshots, Instant::now().into_std()),
            Err(error) => tracing::warn!(%error, "what the process before left is of no use"),
        }
    }

    /// What must be done before a client is let in: what the process before left is taken up, flags that it left stale
    /// are about to be cleared, and the signing keys are tried.
    pub async fn prepare(&self) {
        self.take_over();
        match &self.cluster {
            None => self
                .directory
                .left_behind()
                .iter()
                .for_each(|id| self.directory.clear(id)),
            Some(cluster) => {
                cluster.start(Arc::new(self.sockets.clone()));
                tokio::spawn(clear_what_is_over(cluster.clone(), self.directory.clone()));
            }
        }
        if let Err(error) = self.identity.ready().await {
            tracing::warn!(
                error,
                "the signing keys cannot be had yet; clients are told to try again until they can"
            );
        }
    }

    /// Takes up what can be changed while it runs: quotas and credentials.
    pub fn reload(&self, config: &Config) {
        self.relay.set_quota(&config.upload);
        let Some(access) = &self.google else { return };
        match access.reload(&config.google) {
            Ok(()) => self.identity.reload(access, config),
            Err(error) => {
                tracing::error!(%error, "the new credentials are refused, the old ones go on");
            }
        }
    }

    /// Stops in order, by `deadline`: no more clients and clips, flags are cleared, what is live is left to the next
    /// process, what was taken is delivered, and everybody's transport is closed so that clients come back by themselves.
    pub async fn stop(self, deadline: Instant) {
        self.readiness.stopping();
        self.stopping.cancel();
        self.relay.stop();
        let left = deadline.saturating_duration_since(Instant::now());
        let others = match &self.cluster {
            Some(cluster) => cluster.leave(left / 4).await.unwrap_or(0),
            None => 0,
        };
        if others > 0 {
            tracing::info!(
                nodes = others,
                "what is live here is left to the other nodes"
            );
        } else {
            self.relay.clear_flags();
        }
        if let Some(path) = &self.handover
            && let Err(error) = handover::leave(path, &self.relay.snapshot(), SystemTime::now())
        {
            tracing::warn!(%error, "nothing is left to the next process");
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.sockets.close_all(left / 4).await;
        let left = deadline.saturating_duration_since(Instant::now());
        let unwritten = self.directory.settle(left).await;
        if unwritten > 0 {
            tracing::error!(
                livestreams = unwritten,
                "streamerConnected could not be cleared in time; it will be at the next start"
            );
        }
    }
}

fn listen(
    inherited: Option<TcpListener>,
    address: SocketAddr,
    buffer: u32,
    key: &str,
) -> anyhow::Result<TcpListener> {
    if let Some(listener) = inherited {
        listener.set_nonblocking(true)?;
        return Ok(listener);
    }
    bind(address, buffer).with_context(|| {
        format!("cannot listen on {address} ({key}); is something else using the port?")
    })
}

/// Clears what an earlier run of this node left set, but for livestreams that went on elsewhere; waits for Redis.
async fn clear_what_is_over(cluster: Cluster, directory: Directory) {
    for id in directory.left_behind() {
        loop {
            cluster.up().await;
            match cluster.look(&id).await.map(|glance| glance.phase) {
                Ok(Phase::Live | Phase::Grace(_)) => break,
                Ok(Phase::Ended | Phase::Unknown) => {
                    directory.clear(&id);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

/// Why another node serves new clients better.
fn unfit(cluster: Option<Cluster>) -> impl Fn() -> Option<String> + Send + Sync + 'static {
    move || {
        cluster
            .as_ref()
            .filter(|cluster| cluster.is_cut_off())
            .map(|_| "Redis has not answered for longer than cluster.lease".into())
    }
}

/// What does not work although clients are served, in words.
fn degraded(
    google: Option<Access>,
    directory: Directory,
    cluster: Option<Cluster>,
) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
    move || {
        let health = google.iter().flat_map(|access| access.client.health());
        let down = health.filter(|(_, health)| *health == Health::Down);
        let mut reasons: Vec<String> = down
            .map(|(dependency, _)| format!("{} is down", dependency.as_str()))
            .collect();
        if cluster.as_ref().is_some_and(|cluster| !cluster.is_up()) {
            reasons.push("Redis is away: each node serves its own listeners".into());
        }
        let pending = directory.pending();
        if pending > 0 && !reasons.is_empty() {
            reasons.push(format!("{pending} writes of streamerConnected wait"));
        }
        reasons
    }
}
