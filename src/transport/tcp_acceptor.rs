//! The client port: accepts connections up to their limits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::TcpListener;

use super::connection::Connection;
use super::connections::Connections;
use super::io::HttpIo;
use super::seldom::Seldom;
use super::socket_options::SocketOptions;

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
        options.set_up_listening(&tcp)?;
        Ok(Self {
            tcp: TcpListener::from_std(tcp)?,
            options,
            connections,
            seldom: Seldom::default(),
        })
    }

    fn failed(&mut self, error: &io::Error) {
        self.connections.shared.metrics.accept_errors.inc();
        let now = tokio::time::Instant::now().into_std();
        if let Some(held_back) = self.seldom.pass(now) {
            tracing::error!(
                %error,
                held_back,
                "cannot accept a connection; LimitNOFILE may be too low"
            );
        }
    }
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
                    self.failed(&error);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
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

    use super::super::socket_options::{KEEPALIVE_INTERVAL, bind};
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
        assert!(socket.tcp_nodelay().unwrap());
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
