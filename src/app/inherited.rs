//! The sockets of the ports and of the operator's API: inherited from systemd, or opened here.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use anyhow::Context as _;

use crate::config::Server;
use crate::transport::bind;

/// Sockets that systemd opened.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The client port.
    pub clients: Option<TcpListener>,
    /// The health port.
    pub health: Option<TcpListener>,
    /// The operator's API.
    pub admin: Option<UnixListener>,
}

impl Inherited {
    /// The sockets of the client port and of the health port.
    pub(super) fn listen(self, server: &Server) -> anyhow::Result<(TcpListener, TcpListener)> {
        let buffer = server.send_buffer_bytes;
        let clients = listen(self.clients, server.listen, buffer, "server.listen")?;
        let health = listen(
            self.health,
            server.health_listen,
            buffer,
            "server.health_listen",
        )?;
        Ok((clients, health))
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
