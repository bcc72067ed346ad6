//! The client port: sets sockets up so that a stalled peer costs little, and accepts connections up to their limits.
//!
//! **Invariant**: two kernel timeouts, never both. An HTTP connection is idle for long: it is probed, and closed after
//! [`KEEPALIVE_PROBES`] lost probes. A WebSocket is never idle, since it is pinged: it has no probes, and is closed
//! when sent bytes stay unacknowledged. (With `TCP_USER_TIMEOUT` shorter than the keepalive time, Linux closes a
//! connection after a single lost probe, `tcp_keepalive_timer`.)

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use super::connection::Connection;
use super::connections::Connections;
use super::io::HttpIo;
use super::seldom::Seldom;

/// Lost probes that close an idle HTTP connection.
const KEEPALIVE_PROBES: u32 = 5;
/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

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

/// See the module documentation.
pub struct TcpAcceptor {
    tcp: TcpListener,
    options: SocketOptions,
    connections: Arc<Connections>,
    seldom: Seldom,
}

impl TcpAcceptor {
    /// Accepts connections from a listening socket.
    pub fn new(
        tcp: std::net::TcpListener,
        options: SocketOptions,
        connections: Arc<Connections>,
    ) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        SockRef::from(&tcp).set_send_buffer_size(options.send_buffer_bytes as usize)?;
        Ok(Self {
            tcp: TcpListener::from_std(tcp)?,
            options,
            connections,
            seldom: Seldom::default(),
        })
    }

    fn set_up(&self, tcp: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(tcp);
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(self.options.keepalive_time)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
        // Bounds sent bytes, too. Longer than all probes take, since it would cut them short.
        let probed = self.options.keepalive_time + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES;
        socket.set_tcp_user_timeout(Some(probed))
    }

    fn failed(&mut self, kind: &'static str, error: &io::Error) {
        let metrics = &self.connections.metrics;
        metrics.accept_errors.with_label_values(&[kind]).inc();
        let now = tokio::time::Instant::now().into_std();
        if let Some(held_back) = self.seldom.pass(now) {
            tracing::error!(
                %error,
                held_back,
                "cannot accept a connection ({kind}); for \"accept\", LimitNOFILE may be too low"
            );
        }
    }
}

/// Makes the kernel close a WebSocket whose sent bytes stay unacknowledged for `user_timeout`, and stops the probes.
pub(super) fn set_up_web_socket(tcp: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_keepalive(false)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}

impl axum::serve::Listener for TcpAcceptor {
    type Io = HttpIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (HttpIo, SocketAddr) {
        loop {
            let (tcp, peer) = match self.tcp.accept().await {
                // A socket for both families reports IPv4 peers as `::ffff:a.b.c.d`.
                Ok((tcp, peer)) => (tcp, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    continue;
                }
                Err(error) => {
                    // Most likely no file descriptors are left: pauses rather than spins, and continues.
                    self.failed("accept", &error);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if let Err(error) = self.set_up(&tcp) {
                self.failed("socket_option", &error);
                continue;
            }
            let proxy = self
                .options
                .trusted_proxies
                .iter()
                .any(|net| net.contains(&peer.ip()));
            let now = tokio::time::Instant::now().into_std();
            match self.connections.admit(tcp, peer, proxy, now) {
                Ok(connection) => return (HttpIo(connection), peer),
                Err(reason) => tracing::debug!(%reason, "refusing a connection"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// The connection that a request came on, as a request extension.
#[derive(Clone)]
pub struct RequestConnection(pub Arc<Connection>);

impl Connected<IncomingStream<'_, TcpAcceptor>> for RequestConnection {
    fn connect_info(stream: IncomingStream<'_, TcpAcceptor>) -> Self {
        Self(stream.io().connection().clone())
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener as _;

    use super::*;

    #[tokio::test]
    async fn http_alone_is_probed_by_the_kernel() {
        let time = Duration::from_mins(1);
        let options = SocketOptions {
            send_buffer_bytes: 1 << 16,
            keepalive_time: time,
            trusted_proxies: Vec::new(),
        };
        let tcp = bind(([127, 0, 0, 1], 0).into(), options.send_buffer_bytes).unwrap();
        let address = tcp.local_addr().unwrap();
        let mut listener = TcpAcceptor::new(tcp, options, Connections::for_tests()).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (io, _) = listener.accept().await;
        let socket = io.connection().socket();
        assert!(socket.keepalive().unwrap());
        // All probes are lost before the kernel gives up.
        let given_up = socket.tcp_user_timeout().unwrap().unwrap();
        let probed = KEEPALIVE_INTERVAL * socket.tcp_keepalive_retries().unwrap();
        assert!(given_up >= socket.tcp_keepalive_time().unwrap() + probed);
        io.connection().upgrade();
        assert!(!socket.keepalive().unwrap());
        let given_up = socket.tcp_user_timeout().unwrap();
        assert_eq!(given_up, Some(Duration::from_secs(15)));
    }
}
