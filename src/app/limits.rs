//! The limits and options of connections, from several sections of the configuration.

use crate::config::{Config, Server};
use crate::transport::{ConnectionLimits, QueueBounds, SocketOptions, Timeouts};

/// Connections on the health port.
const HEALTH_CONNECTIONS: usize = 256;

pub(super) fn socket_options(server: &Server) -> SocketOptions {
    SocketOptions {
        send_buffer_bytes: server.send_buffer_bytes,
        keepalive_time: server.tcp_keepalive_time,
        trusted_proxies: server.trusted_proxies.clone(),
    }
}

pub(super) fn of_connections(config: &Config) -> ConnectionLimits {
    let Config {
        server, listener, ..
    } = config;
    ConnectionLimits {
        max: server.max_connections,
        max_per_address: server.max_connections_per_address,
        timeouts: Timeouts {
            headers: server.header_timeout,
            idle: server.idle_timeout,
            stall: listener.stall_timeout,
            lag: listener.max_lag,
        },
        bounds: QueueBounds {
            clips: listener.queue_clips,
            bytes: listener.queue_bytes,
        },
        max_header_bytes: server.max_header_bytes,
        user_timeout: server.tcp_user_timeout,
    }
}

/// Health checks cannot use up the clients' limits.
pub(super) fn of_health_checks(clients: &ConnectionLimits) -> ConnectionLimits {
    ConnectionLimits {
        max: HEALTH_CONNECTIONS,
        max_per_address: HEALTH_CONNECTIONS,
        ..*clients
    }
}
