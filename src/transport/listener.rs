//! The client port: sockets set up so that a stalled peer costs little, and connections taken up to their limits.

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

/// How a client's socket is set up.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// `SO_SNDBUF`: what a peer that reads nothing pins in the kernel. Set before `listen`, so that it is inherited.
    pub send_buffer_bytes: u32,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged.
    pub user_timeout: Duration,
    /// Peers that are proxies.
    pub trusted_proxies: Vec<IpNet>,
}

/// Listens on `address` with room for a crowd that comes all at once.
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

/// See the module.
pub struct ClientListener {
    tcp: TcpListener,
    options: SocketOptions,
    connections: Arc<Connections>,
}

impl ClientListener {
    /// Takes connections from a socket that listens already.
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
        })
    }

    fn set_up(&self, tcp: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(tcp);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(self.options.user_timeout))?;
        let keepalive = TcpKeepalive::new()
            .with_time(self.options.user_timeout)
            .with_interval(Duration::from_secs(5));
        socket.set_tcp_keepalive(&keepalive)
    }
}

impl axum::serve::Listener for ClientListener {
    type Io = HttpIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (HttpIo, SocketAddr) {
        loop {
            let (tcp, peer) = match self.tcp.accept().await {
                // A socket for both families shows IPv4 peers as `::ffff:a.b.c.d`.
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
                    // Out of file descriptors, most likely: pause rather than spin, and go on.
                    tracing::error!(%error, "cannot accept a connection; is LimitNOFILE high enough?");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if self.set_up(&tcp).is_err() {
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
pub struct Via(pub Arc<Connection>);

impl Connected<IncomingStream<'_, ClientListener>> for Via {
    fn connect_info(stream: IncomingStream<'_, ClientListener>) -> Self {
        Self(stream.io().connection().clone())
    }
}
