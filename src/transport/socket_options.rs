//! Options of sockets: a stalled peer costs little memory, and the kernel closes a dead connection.
//!
//! **Invariant**: two kernel timeouts, never both. An HTTP connection is idle for long: it is probed, and closed after
//! [`KEEPALIVE_PROBES`] lost probes. A WebSocket is never idle, since it is pinged: it has no probes, and is closed
//! when sent bytes stay unacknowledged. (With `TCP_USER_TIMEOUT` shorter than the keepalive time, Linux closes a
//! connection after a single lost probe, `tcp_keepalive_timer`.)

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// Lost probes that close an idle HTTP connection.
const KEEPALIVE_PROBES: u32 = 5;
/// Time between two probes.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Options of a client's socket.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// `SO_SNDBUF`: kernel memory that a peer can pin by not reading. Set before `listen`, so that it is inherited.
    pub send_buffer_bytes: u32,
    /// `TCP_KEEPIDLE`: how long an HTTP connection may be idle before it is probed.
    pub keepalive_time: Duration,
    /// Peers that are proxies.
    pub trusted_proxies: Vec<IpNet>,
}

/// Listens on `address` with room for many simultaneous connects.
pub fn bind(address: SocketAddr, send_buffer_bytes: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(send_buffer_bytes as usize)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

impl SocketOptions {
    /// Sets the options of new HTTP connections on the listening socket. They inherit them, so none needs system calls
    /// of its own.
    pub(super) fn set_up_listening(&self, tcp: &std::net::TcpListener) -> io::Result<()> {
        let socket = SockRef::from(tcp);
        socket.set_send_buffer_size(self.send_buffer_bytes as usize)?;
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(self.keepalive_time)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
        // Bounds sent bytes, too. Longer than all probes take, since it would cut them short.
        let probed = self.keepalive_time + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES;
        socket.set_tcp_user_timeout(Some(probed))
    }
}

/// Makes the kernel close a WebSocket whose sent bytes stay unacknowledged for `user_timeout`, and stops the probes.
pub(super) fn set_up_web_socket(tcp: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_keepalive(false)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}
