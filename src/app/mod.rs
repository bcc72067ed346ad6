//! The complete daemon: [`App::demo`] or [`App::google`] builds it, [`App::serve`] starts it, `lifecycle` runs it.
//!
//! **Invariant**: when a build returns, both ports are bound (port 0 took a free one), and nothing is served yet.

mod degraded;
mod inherited;
mod left_behind;
mod limits;
mod operator;
mod places;
mod recording;
mod running;
mod webhooks;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bans::Bans;
use crate::cluster::Cluster;
use crate::config::{Config, PlayerAccess};
use crate::demo::Demo;
use crate::directory::Directory;
use crate::google::{Access, Complaint};
use crate::handover::Handover;
use crate::housekeeping::Housekeeping;
use crate::http::api::Api;
use crate::http::documents::Documents;
use crate::http::health::{self, Readiness};
use crate::http::players::Players;
use crate::http::{client, pages, players};
use crate::identity::{Identity, Passes};
use crate::metrics::Metrics;
use crate::preflight::Preflight;
use crate::recheck::Recheck;
use crate::recording::Recording;
use crate::relay::Relay;
use crate::socket::{Parts as SocketParts, Sockets};
use crate::transport::{Connections, RequestConnection, TcpAcceptor};
use crate::webhooks::{Settling, Webhooks};

pub use inherited::Inherited;
pub use places::{Addresses, Directories};

/// A daemon that is bound to its ports and does not serve yet.
pub struct App {
    parts: Parts,
    ports: Ports,
    addresses: Addresses,
}

/// A daemon that serves.
pub struct Running {
    parts: Parts,
    health: JoinHandle<()>,
    failure: mpsc::Receiver<String>,
}

struct Parts {
    config: Config,
    handover: Handover,
    relay: Relay,
    sockets: Sockets,
    // None if nobody may listen with a player.
    players: Option<Players>,
    // None if there is nobody to send them to.
    webhooks: Option<Webhooks>,
    identity: Identity,
    directory: Directory,
    cluster: Option<Arc<Cluster>>,
    // None in the demo.
    google: Option<Access>,
    metrics: Metrics,
    connections: Arc<Connections>,
    health_connections: Arc<Connections>,
    readiness: Readiness,
    api: Api,
    stopping: CancellationToken,
    /// The last moment of a stop, until which health checks are answered.
    exiting: CancellationToken,
}

/// Dependencies of the client port.
struct Backends {
    identity: Identity,
    passes: Option<Passes>,
    directory: Directory,
    google: Option<Access>,
    cluster: Option<Arc<Cluster>>,
    bans: Bans,
    // None without a runtime directory.
    operator: Option<UnixListener>,
    /// The state directory.
    state: Option<PathBuf>,
    metrics: Metrics,
}

struct Ports {
    clients: TcpAcceptor,
    routes: Router,
    health: TcpAcceptor,
    feed: Option<players::Feed>,
    settling: Option<Settling>,
    recording: Option<Recording>,
    operator: Option<UnixListener>,
}

impl App {
    /// The daemon for a Firebase project.
    pub async fn google(
        preflight: Preflight,
        directories: &Directories,
        mut inherited: Inherited,
    ) -> anyhow::Result<Self> {
        for note in preflight.notes() {
            tracing::warn!("{note}");
        }
        let Preflight {
            config,
            emulators,
            metrics,
            client,
            credentials,
            api_key,
            pass_key,
            cluster,
        } = preflight;
        let access = Access::with(client, credentials, &config.google, emulators).await?;
        let backends = Backends {
            identity: Identity::google(&access, &config, api_key),
            passes: Passes::open(&config, pass_key, directories.state.as_deref())?,
            directory: Directory::firestore(
                access.clone(),
                &config.google,
                directories.state.as_deref(),
                &metrics,
            )?,
            google: Some(access),
            cluster,
            bans: Bans::open(directories.state.as_deref(), config.api.max_bans, &metrics),
            operator: operator::listen(inherited.admin.take(), directories.runtime.as_deref())?,
            state: directories.state.clone(),
            metrics,
        };
        let mut app = Self::build(config, backends, Router::new(), inherited)?;
        // In a cluster the other nodes and Redis know the running livestreams.
        if app.parts.cluster.is_none() {
            let clip_bytes = app.parts.config.livestream.handover_bytes;
            app.parts.handover = Handover::in_directories(directories, clip_bytes);
        }
        Ok(app)
    }

    /// The daemon with all data in memory.
    pub fn demo(mut config: Config, demo: &Demo) -> anyhow::Result<Self> {
        config.api.token = Some(demo.operator_token());
        let metrics = Metrics::new();
        let backends = Backends {
            identity: demo.identity(&config.identity)?,
            passes: Passes::in_memory(&config)?,
            directory: demo.directory(),
            google: None,
            cluster: None,
            bans: Bans::open(None, config.api.max_bans, &metrics),
            operator: None,
            state: None,
            metrics,
        };
        Self::build(config, backends, demo.router(), Inherited::default())
    }

    fn build(
        config: Config,
        backends: Backends,
        mut routes: Router,
        inherited: Inherited,
    ) -> anyhow::Result<Self> {
        let Backends {
            identity,
            passes,
            directory,
            google,
            cluster,
            bans,
            operator,
            state,
            metrics,
        } = backends;
        let server = &config.server;
        let limits = limits::of_connections(&config);
        let connections = Connections::new(&limits, metrics.clone());
        // Their connections are not counted as clients'.
        let health_connections =
            Connections::new(&limits::of_health_checks(&limits), Metrics::new());
        let (known, nodes) = (directory.clone(), cluster.clone());
        let relay = Relay::new(&config, known, nodes, bans, metrics.clone());
        let (webhooks, settling) =
            Webhooks::open(&config.webhooks, state.as_deref(), relay.node(), &metrics)?.unzip();
        let (recording, recordings) = recording::open(&config, state.as_deref(), &relay, &metrics)?;
        let parts = SocketParts {
            relay: relay.clone(),
            identity: identity.clone(),
            passes: passes.clone(),
            directory: directory.clone(),
            metrics: metrics.clone(),
            connections: connections.clone(),
        };
        let (sockets, socket_io) = Sockets::build(&config, parts);
        let documents = Documents::new(&config.http, directory.clone(), metrics.registry())?;
        if config.http.pages {
            let emulator = google.as_ref().and_then(|it| it.emulators.auth.as_deref());
            routes = routes.merge(pages::router(&config, documents.clone(), emulator));
        }
        let (players, feed) = if config.players.access == PlayerAccess::Off {
            (None, None)
        } else {
            let (identity, relay) = (identity.clone(), relay.clone());
            let (players, feed) =
                Players::new(&config, identity, passes, relay, documents, &metrics)?;
            routes = routes.merge(players::router(players.clone()));
            (Some(players), Some(feed))
        };
        let options = limits::socket_options(server);
        let (clients, health) = inherited.listen(server)?;
        let addresses = Addresses {
            clients: clients.local_addr()?,
            health: health.local_addr()?,
        };
        let bound = Ports {
            clients: TcpAcceptor::new(clients, options.clone(), connections.clone())?,
            routes: client::layered(socket_io, routes, server)?,
            health: TcpAcceptor::new(health, options, health_connections.clone())?,
            feed,
            settling,
            recording,
            operator,
        };
        let readiness = degraded::readiness(google.as_ref(), &directory, cluster.as_ref(), &relay);
        let parts = Parts {
            api: Api::new(
                &config,
                relay.clone(),
                readiness.clone(),
                cluster.clone(),
                recordings,
                metrics.clone(),
            ),
            readiness,
            config,
            handover: Handover::default(),
            relay,
            sockets,
            players,
            webhooks,
            identity,
            directory,
            cluster,
            google,
            metrics,
            connections,
            health_connections,
            stopping: CancellationToken::new(),
            exiting: CancellationToken::new(),
        };
        Ok(Self {
            parts,
            ports: bound,
            addresses,
        })
    }

    /// The bound addresses; where the configuration has port 0, the port that was free.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Prepares for the first client, then serves both ports.
    pub async fn serve(self) -> Running {
        self.parts.prepare().await;
        let (failed, failure) = mpsc::channel(2);
        let health = self.parts.serve(self.ports, &failed);
        Running {
            parts: self.parts,
            health,
            failure,
        }
    }
}

impl Parts {
    /// Serves both ports; returns the task of the health port, which ends in the last moment of a stop.
    fn serve(&self, ports: Ports, failed: &mpsc::Sender<String>) -> JoinHandle<()> {
        let Ports {
            clients,
            routes,
            health,
            feed,
            settling,
            recording,
            operator,
        } = ports;
        // Before the first client.
        let events = self.relay.subscribe();
        self.spawn(failed, "notifications", self.sockets.clone().notify(events));
        self.send_webhooks(failed, settling);
        self.record(failed, recording);
        if let Some((players, feed)) = self.players.clone().zip(feed) {
            self.spawn(failed, "players", players.run(feed));
        }
        let service = routes.into_make_service_with_connect_info::<RequestConnection>();
        self.spawn(
            failed,
            "client port",
            axum::serve(clients, service)
                .with_graceful_shutdown(self.stopping.clone().cancelled_owned()),
        );
        let timeout = self.config.server.request_timeout;
        let routes = health::router(self.readiness.clone(), self.metrics.clone(), timeout);
        self.serve_operator(failed, operator);
        let api = self.api.clone();
        let control = pages::control(move || api.has_token());
        let routes = routes.merge(self.api.router()).merge(control);
        let routes =
            client::watched(routes).into_make_service_with_connect_info::<RequestConnection>();
        // Health checks are answered until the process exits.
        let health = self.spawn(
            failed,
            "health port",
            axum::serve(health, routes)
                .with_graceful_shutdown(self.exiting.clone().cancelled_owned()),
        );
        let connections = [self.connections.clone(), self.health_connections.clone()];
        let care = Housekeeping {
            relay: self.relay.clone(),
            sockets: self.sockets.clone(),
            connections,
            handover: self.handover.clone(),
            handover_errors: self.metrics.handover_errors.clone(),
            complaint: Arc::new(Complaint::default()),
            identity: self.identity.clone(),
            stopping: self.stopping.clone(),
        };
        self.spawn(failed, "housekeeping", care.run());
        let recheck = Recheck {
            relay: self.relay.clone(),
            sockets: self.sockets.clone(),
            directory: self.directory.clone(),
            identity: self.identity.clone(),
            metrics: self.metrics.clone(),
            interval: self.config.livestream.recheck_interval,
            stopping: self.stopping.clone(),
        };
        self.spawn(failed, "recheck", recheck.run());
        health
    }

    /// Runs a part of the daemon. If it ends before the stop, or panics, the daemon fails.
    fn spawn<T, F>(
        &self,
        failed: &mpsc::Sender<String>,
        name: &'static str,
        part: T,
    ) -> JoinHandle<()>
    where
        T: IntoFuture<Output = std::io::Result<()>, IntoFuture = F>,
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let (failed, stopping) = (failed.clone(), self.stopping.clone());
        let part = tokio::spawn(part.into_future());
        tokio::spawn(async move {
            let outcome = part.await.map_err(std::io::Error::other).flatten();
            if !stopping.is_cancelled() {
                let why = outcome
                    .err()
                    .map_or_else(|| "it ended".to_owned(), |error| error.to_string());
                failed.send(format!("{name}: {why}")).await.ok();
            }
        })
    }

    /// Takes over the state of the previous process, schedules the clearing of stale flags, and fetches the signing
    /// keys.
    async fn prepare(&self) {
        let grace = self.config.livestream.grace;
        self.handover.take_over(&self.relay, &self.identity, grace);
        match &self.cluster {
            None => self
                .directory
                .left_behind()
                .iter()
                .for_each(|id| self.directory.clear(id)),
            Some(cluster) => {
                self.relay.join_cluster();
                self.relay.share_bans();
                tokio::spawn(self.api.clone().answer_peers());
                tokio::spawn(left_behind::clear(cluster.clone(), self.directory.clone()));
                let window = self.config.identity.return_window;
                tokio::spawn(
                    self.relay
                        .clone()
                        .tell_returns(self.identity.clone(), window),
                );
            }
        }
        if let Err(error) = self.identity.ready().await {
            tracing::warn!(
                error,
                "the signing keys cannot be fetched yet; clients are asked to retry until they can"
            );
        }
    }
}
