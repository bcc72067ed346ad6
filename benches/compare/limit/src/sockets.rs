//! The options of sockets: those of the server (`src/transport/socket_options.rs` and the defaults of its
//! configuration), since they change what a send costs.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

const SEND_BUFFER_BYTES: usize = 128 << 10;
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 5;
const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// Listens on `address`; accepted sockets inherit the options.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(KEEPALIVE_TIME + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Raises the limit of open files as far as this process may.
pub(crate) fn make_room() -> io::Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit {
        current: most,
        maximum: most,
    };
    Ok(setrlimit(Resource::Nofile, wanted)?)
}

pub(crate) fn set_up_web_socket(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_keepalive(false)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}
