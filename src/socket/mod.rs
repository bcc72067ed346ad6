//! Socket.IO: the admission of sockets, their events, and the messages to them.
//!
//! A socket's whole check runs in its namespace's *middleware*, and its event handlers are registered before it: so no
//! early event is lost. An admitted socket gets a [`streamer::StreamerSocket`] or a [`listener::ListenerSocket`], which
//! releases everything on drop: so a socket that closes meanwhile leaves nothing behind. A refused socket is connected
//! all the same, then gets the reason, then is disconnected ([`parting`]).
//!
//! **Invariant**: no handler keeps a socket; a socket is found by its id for each message. The state of a socket is in
//! its extensions.

mod admission;
mod attempt;
mod endpoint;
mod entry;
mod events;
mod features;
mod handshake;
mod ids;
mod instance;
mod listener;
mod lookup_limits;
mod outgoing;
mod parting;
mod passes;
mod pending_acks;
mod polling;
mod recording;
mod resumption;
mod streamer;
mod uploads;
mod users;
mod web_socket;
mod wire;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use socketioxide::extract::SocketRef;
use socketioxide::socket::DisconnectReason;
use socketioxide::{ParserConfig, SocketIo};

use crate::broadcast::Role;
use crate::config::Config;
use crate::directory::Directory;
use crate::identity::{Identity, Passes};
use crate::limits::StreamerQuota;
use crate::metrics::Metrics;
use crate::relay::{Relay, SocketId};
use crate::transport::{
    Connections, Greeting, HeartbeatTimes, NEVER, Session, SessionLimits, Sessions, WebSocketIo,
};

use self::attempt::Credentials;
use self::parting::RefusalLimit;
use self::users::Users;

/// The state that all handlers share; cheap to clone.
#[derive(Clone)]
pub struct Sockets(Arc<Inner>);

struct Inner {
    relay: Relay,
    identity: Identity,
    /// None where listening passes are off.
    invitations: Option<passes::Invitations>,
    /// Wishes to record.
    recordings: StreamerQuota,
    directory: Directory,
    metrics: Metrics,
    lookup_limits: lookup_limits::LookupLimits,
    connections: Arc<Connections>,
    sessions: Sessions,
    shared_writes: bool,
    max_refusals: u32,
    /// The limit of queued messages for a streamer.
    answers: usize,
    users: Users,
    refusal_log: RefusalLimit,
    /// The limit of the relay's events of refused streamers.
    told_refusals: RefusalLimit,
    trusted_proxies: Vec<ipnet::IpNet>,
    log_addresses: bool,
    // Set once, right after the server is built: its handlers need this struct.
    io: OnceLock<SocketIo>,
}

/// The parts that sockets need.
pub struct Parts {
    /// Relays the clips.
    pub relay: Relay,
    /// Checks the users.
    pub identity: Identity,
    /// Issues and checks listening passes, where they are on.
    pub passes: Option<Passes>,
    /// Finds the livestreams.
    pub directory: Directory,
    /// The metrics.
    pub metrics: Metrics,
    /// The client port's connections.
    pub connections: Arc<Connections>,
}

impl Sockets {
    /// Builds the Socket.IO server; the router serves it at `/socket.io/`.
    pub fn build(config: &Config, parts: Parts) -> (Self, axum::Router) {
        let Parts {
            relay,
            identity,
            passes,
            directory,
            metrics,
            connections,
        } = parts;
        let users = metrics.users.clone();
        let sessions = Sessions::new(session_limits(config), metrics.clone());
        let sockets = Self(Arc::new(Inner {
            relay,
            identity,
            invitations: passes.map(|passes| passes::Invitations {
                passes,
                quota: StreamerQuota::new(config.passes.per_minute),
            }),
            recordings: StreamerQuota::new(recording::PER_MINUTE),
            directory,
            lookup_limits: lookup_limits::LookupLimits::new(&config.identity, &metrics),
            metrics,
            connections,
            sessions,
            shared_writes: config.listener.shared_writes,
            max_refusals: config.server.max_refusals,
            answers: outgoing::answers(config),
            users: Users::new(config.server.max_sockets_per_user, users),
            refusal_log: RefusalLimit::new(config.log.refusals_per_minute),
            told_refusals: RefusalLimit::new(told_refusals(config)),
            trusted_proxies: config.server.trusted_proxies.clone(),
            log_addresses: config.log.client_address,
            io: OnceLock::new(),
        }));
        let ceiling = config.upload.max_message_bytes();
        let parser = ParserConfig::common()
            .max_incoming_binaries(1)
            .max_incoming_binary_buf_size(ceiling)
            .packet_completion_timeout(slowest_message(config));
        let connect_timeout = config.server.connect_timeout;
        // Pings and the timeouts of dead sessions are our own: see `transport::HeartbeatTimes`.
        let (service, io) = SocketIo::builder()
            .ping_interval(NEVER)
            .ping_timeout(NEVER)
            .connect_timeout(connect_timeout)
            .upgrade_timeout(connect_timeout)
            .max_payload(ceiling as u64)
            .ws_max_message_size(ceiling)
            .ws_max_frame_size(ceiling)
            .ws_read_buffer_size(WebSocketIo::LIBRARY_BUFFER)
            .max_buffer_size(outgoing::room(config))
            .with_parser(parser)
            .build_with_inner_svc(axum::Router::new());
        let greeting = Greeting::random();
        handshake::register(&sockets, &io, &greeting);
        sockets.0.io.set(io).ok();
        let router = entry::router(sockets.clone(), service, greeting, connect_timeout);
        (sockets, router)
    }

    /// The sessions that all sockets run on.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    fn find(&self, role: Role, socket: SocketId) -> Option<SocketRef> {
        self.0
            .io
            .get()?
            .of(wire::namespace(role))?
            .get_socket(ids::sid(socket)?)
    }

    /// The session that a socket belongs to.
    fn session(&self, socket: &SocketRef) -> Arc<Session> {
        let stored = socket.req_parts().extensions.get::<Arc<Session>>();
        let known = || self.0.sessions.find(socket.id.as_str());
        let session = stored.cloned().or_else(known);
        session.expect("the endpoint gives each session to the library")
    }

    /// The client's address, for the log, where that is configured.
    fn address(&self, socket: &SocketRef) -> Option<tracing::field::DisplayValue<IpAddr>> {
        let headers = socket.req_parts().extensions.get::<Credentials>();
        let address = headers.and_then(|headers| headers.address);
        address
            .filter(|_| self.0.log_addresses)
            .map(tracing::field::display)
    }

    /// A client's socket is gone: counts bad input that made the library close it.
    fn left(&self, reason: DisconnectReason) {
        let kind = match reason {
            DisconnectReason::PacketParsingError => "malformed_packet",
            DisconnectReason::MultipleHttpPollingError => "concurrent_polls",
            _ => return,
        };
        self.0.metrics.bad_input.with_label_values(&[kind]).inc();
    }

    fn log_admission(&self, socket: &SocketRef, admission: &admission::Admission) {
        let admission::Admission {
            role,
            livestream,
            caller,
            ..
        } = admission;
        let address = self.address(socket);
        tracing::debug!(role = role.as_str(), livestream.id = %livestream, user.id = %caller.user, client.address = address, "admitted");
    }

    /// Sets the metrics of the rights to return on an expired token.
    pub fn count_returns(&self) {
        let (returns, evicted) = self.0.identity.returns();
        let metrics = &self.0.metrics;
        metrics
            .returns
            .set(i64::try_from(returns).unwrap_or(i64::MAX));
        let before = metrics.returns_evicted.get();
        metrics
            .returns_evicted
            .inc_by(evicted.saturating_sub(before));
    }

    /// The latest token of a streamer on this node.
    pub fn token_of(&self, streamer: SocketId) -> Option<SecretString> {
        let socket = self.find(Role::Streamer, streamer)?;
        streamer::admission(&socket)?.token()
    }

    /// Closes all transports, so that clients connect again by themselves: each once its queued messages are written,
    /// at the latest after half of `timeout`.
    pub async fn close_all(&self, timeout: Duration) {
        let connections = &self.0.connections;
        connections.finish_all();
        self.0.sessions.close_polled();
        let gone = async {
            while connections.count_open() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(timeout / 2, gone).await.ok();
        connections.abort_all();
        // The library's own close runs no disconnect handlers and can hang on a stalled socket: it comes last.
        if let Some(io) = self.0.io.get()
            && tokio::time::timeout(timeout / 2, io.close()).await.is_err()
        {
            tracing::warn!("the Socket.IO server did not close in time");
        }
    }
}

/// Events of refused streamers in a minute: none if nobody is sent them.
fn told_refusals(config: &Config) -> u32 {
    let webhooks = &config.webhooks;
    webhooks
        .url
        .as_ref()
        .map_or(0, |_| webhooks.refusals_per_minute)
}

fn session_limits(config: &Config) -> SessionLimits {
    let server = &config.server;
    SessionLimits {
        max: server.session_limit(),
        max_per_address: server.session_limit_per_address(),
        max_unjoined_per_address: server.unjoined_limit_per_address(),
        max_per_connection: server.max_sessions_per_connection,
        join_timeout: server.connect_timeout,
        heartbeat: HeartbeatTimes {
            interval: server.ping_interval.min(NEVER),
            timeout: server.ping_timeout.min(NEVER),
            streamer_timeout: server.streamer_timeout,
            min_bytes_per_second: server.min_bytes_per_second,
        },
        message_bytes: config.upload.max_message_bytes(),
        message_bytes_before_join: server.max_message_bytes_before_join,
    }
}

/// The longest permitted time for the largest message.
fn slowest_message(config: &Config) -> Duration {
    let server = &config.server;
    let bytes = u64::try_from(config.upload.max_message_bytes()).unwrap_or(u64::MAX);
    let at_minimum = Duration::from_secs(bytes / u64::from(server.min_bytes_per_second.max(1)));
    at_minimum + server.ping_interval + server.ping_timeout
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
