//! The section `[server]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// `[server]`: ports, connections and timeouts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where clients connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where health checks and metrics are answered. Port 0 takes a free one.
    pub health_listen: SocketAddr,
    /// How often a client is pinged.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// How long after a ping's time a client may send nothing at all: any byte is a sign of life.
    #[serde(with = "humantime_serde")]
    pub ping_timeout: Duration,
    /// Bytes per second at which an unfinished message must arrive for its bytes to be signs of life.
    pub min_bytes_per_second: u32,
    /// How long a session may last without a joined namespace, also after a refusal; covers the check of its token.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a request's headers may take to arrive.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a connection is kept without a request: longer than a load balancer keeps its own (Google's: 600 s).
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long one HTTP exchange may take. Polls and uploads of Socket.IO are bounded by the heartbeat instead.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How long bytes sent to a WebSocket may stay unacknowledged before the kernel closes the connection.
    #[serde(with = "humantime_serde")]
    pub tcp_user_timeout: Duration,
    /// How long an HTTP connection may be idle before the kernel probes it; five lost probes, 10 s apart, close it.
    #[serde(with = "humantime_serde")]
    pub tcp_keepalive_time: Duration,
    /// How long a stop may take.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// Kernel send buffer of a connection, in bytes. What a stalled listener pins in the kernel.
    pub send_buffer_bytes: u32,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections from one address. Of IPv6, a /64 network is one address.
    pub max_connections_per_address: usize,
    /// Sessions in all: one connection can hold many by polling. Unset: as many as `max_connections`.
    pub max_sessions: Option<usize>,
    /// Sessions from one address. Unset: as many as `max_connections_per_address`.
    pub max_sessions_per_address: Option<usize>,
    /// Of those, sessions that have joined no namespace: what a client without a token can hold. Beyond, the oldest that
    /// was refused makes room. Unset: a quarter of `max_sessions_per_address`, at least 500.
    pub max_unjoined_sessions_per_address: Option<usize>,
    /// Sessions that were opened on one connection, unless that is a trusted proxy's.
    pub max_sessions_per_connection: usize,
    /// The largest head of a request, in bytes; above it the answer is 431.
    pub max_header_bytes: usize,
    /// The largest message from a session that has not joined a namespace yet, in bytes.
    pub max_message_bytes_before_join: usize,
    /// Sockets of one user in each role, on this machine.
    pub max_sockets_per_user: u32,
    /// Refusals on one connection; with the last of them it is closed, unless it carries a socket that is let in.
    pub max_refusals: u32,
    /// Proxies whose `X-Forwarded-For` is believed, as networks: `["10.0.0.0/8"]`.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that browsers may connect from; `["*"]` is any.
    pub cors_origins: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 3000).into(),
            health_listen: (Ipv4Addr::UNSPECIFIED, 8080).into(),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
            min_bytes_per_second: 2 << 10,
            connect_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(620),
            request_timeout: Duration::from_secs(30),
            tcp_user_timeout: Duration::from_secs(15),
            tcp_keepalive_time: Duration::from_mins(1),
            shutdown_timeout: Duration::from_secs(10),
            send_buffer_bytes: 128 << 10,
            max_connections: 20_000,
            max_connections_per_address: 2_000,
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
    /// Sessions in all.
    pub fn session_limit(&self) -> usize {
        self.max_sessions.unwrap_or(self.max_connections)
    }

    /// Sessions from one address.
    pub fn session_limit_per_address(&self) -> usize {
        let connections = self.max_connections_per_address;
        self.max_sessions_per_address.unwrap_or(connections)
    }

    /// Sessions from one address that have joined no namespace.
    pub fn unjoined_limit_per_address(&self) -> usize {
        let quarter = self.session_limit_per_address() / 4;
        let limit = self.max_unjoined_sessions_per_address;
        limit.unwrap_or(quarter.max(500))
    }
}
