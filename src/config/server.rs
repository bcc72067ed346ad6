//! The section `[server]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// `[server]`: ports, connections and timeouts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The address for clients. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// The address for health checks and metrics. Port 0 takes a free port.
    pub health_listen: SocketAddr,
    /// The interval of pings to a client.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// The time for a sign of life after a ping. Any received byte is one, not only a pong.
    #[serde(with = "humantime_serde")]
    pub ping_timeout: Duration,
    /// How long a streamer may be silent before it counts as lost. It is pinged twice in this time, if `ping_interval`
    /// is longer.
    #[serde(with = "humantime_serde")]
    pub streamer_timeout: Duration,
    /// The rate at which an unfinished message must arrive for its bytes to be signs of life.
    pub min_bytes_per_second: u32,
    /// How long a session may stay without joining a namespace, also after a refusal; includes the check of its token.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a request's headers may take to arrive.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long an idle connection stays open for its next request. Must be longer than the load balancer's own timeout
    /// (Google's: 600 s).
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long one HTTP exchange may take. Socket.IO's polls and posts are bounded by the heartbeat instead.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How long bytes sent to a WebSocket may stay unacknowledged before the kernel closes the connection.
    #[serde(with = "humantime_serde")]
    pub tcp_user_timeout: Duration,
    /// How long an HTTP connection may be idle before the kernel probes it; five lost probes, 10 s apart, close it.
    #[serde(with = "humantime_serde")]
    pub tcp_keepalive_time: Duration,
    /// The time over which a drain sends the clients away.
    #[serde(with = "humantime_serde")]
    pub drain_time: Duration,
    /// How long an orderly stop may take.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// Kernel send buffer of a connection: the kernel memory that a stalled listener uses.
    pub send_buffer_bytes: u32,
    /// The most connections in total.
    pub max_connections: usize,
    /// The most connections from one address (an IPv6 /64 network is one); through a trusted proxy, of one client.
    pub max_connections_per_address: usize,
    /// The most sessions in total; one connection can carry many by polling. Unset: as many as `max_connections`.
    /// Example: `20000`.
    pub max_sessions: Option<usize>,
    /// The most sessions from one address. Unset: as many as `max_connections_per_address`. Example: `1500`.
    pub max_sessions_per_address: Option<usize>,
    /// The most of those that have joined no namespace: the limit for clients without a token. Beyond, the oldest
    /// refused session makes room. Unset: a quarter of `max_sessions_per_address`, at least 500. Example: `500`.
    pub max_unjoined_sessions_per_address: Option<usize>,
    /// The most sessions opened on one connection, unless it is a trusted proxy's.
    pub max_sessions_per_connection: usize,
    /// The largest head of a request; a larger one is answered with 431.
    pub max_header_bytes: usize,
    /// The largest message of a session that has not joined a namespace yet.
    pub max_message_bytes_before_join: usize,
    /// The most sockets of one user in each role of one livestream, on this node.
    pub max_sockets_per_user: u32,
    /// Refusals on one connection; the last of them closes it, unless it carries an admitted socket.
    pub max_refusals: u32,
    /// Networks of proxies whose `X-Forwarded-For` is trusted, for example `["10.0.0.0/8"]`.
    pub trusted_proxies: Vec<IpNet>,
    /// Web origins that browsers may connect from; `["*"]` is any.
    pub cors_origins: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 3000).into(),
            health_listen: (Ipv4Addr::UNSPECIFIED, 8080).into(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            streamer_timeout: Duration::from_secs(20),
            min_bytes_per_second: 2 << 10,
            connect_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(620),
            request_timeout: Duration::from_secs(30),
            tcp_user_timeout: Duration::from_secs(15),
            tcp_keepalive_time: Duration::from_mins(1),
            drain_time: Duration::from_mins(1),
            shutdown_timeout: Duration::from_secs(10),
            send_buffer_bytes: 128 << 10,
            max_connections: 20_000,
            max_connections_per_address: 1_500,
            max_sessions: None,
            max_sessions_per_address: None,
            max_unjoined_sessions_per_address: None,
            max_sessions_per_connection: 32,
            max_header_bytes: 8 << 10,
            max_message_bytes_before_join: 16 << 10,
            max_sockets_per_user: 8,
            max_refusals: 5,
            trusted_proxies: Vec::new(),
            cors_origins: vec!["*".into()],
        }
    }
}

impl Server {
    /// The limit of sessions in total.
    pub fn session_limit(&self) -> usize {
        self.max_sessions.unwrap_or(self.max_connections)
    }

    /// The limit of sessions from one address.
    pub fn session_limit_per_address(&self) -> usize {
        let connections = self.max_connections_per_address;
        self.max_sessions_per_address.unwrap_or(connections)
    }

    /// The limit of sessions from one address that have joined no namespace.
    pub fn unjoined_limit_per_address(&self) -> usize {
        let quarter = self.session_limit_per_address() / 4;
        let limit = self.max_unjoined_sessions_per_address;
        limit.unwrap_or(quarter.max(500))
    }
}
