//! The limits of clients' connections, from several sections of the configuration.

use crate::config::Config;
use crate::transport::{ConnectionLimits, QueueBounds, Timeouts};

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
