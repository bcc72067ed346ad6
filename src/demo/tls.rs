//! TLS for the demo: browsers lend a microphone to another machine's page only over HTTPS.
//!
//! The certificate is made at start, names this machine's addresses, and is gone when the demo stops. The acceptor
//! decrypts, and passes the bytes on to the daemon's own port, which listens on loopback. So the daemon sees every
//! client at one address: good enough for a demo, and the reason why `serve` leaves TLS to a proxy.
//!
//! **Invariant**: connections are bounded, a handshake has a time limit, and a link ends with either of its sides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use tokio::io::{AsyncWriteExt as _, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// Phones refuse a certificate that is valid for years.
const VALIDITY: Duration = Duration::from_hours(30 * 24);
/// Clocks differ.
const ALREADY_VALID: Duration = Duration::from_hours(24);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// After an error of the operating system, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A port that is bound, and not served yet.
pub struct Https {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: CertificateDer<'static>,
    slots: Arc<Semaphore>,
}

impl Https {
    /// Binds `listen`, with a new certificate for `addresses` and `localhost`, for at most `max_connections`.
    pub async fn bind(
        listen: SocketAddr,
        addresses: &[IpAddr],
        max_connections: usize,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen} (--listen); is something else using the port?")
        })?;
        let (certificate, key) = make_certificate(addresses).context("no certificate")?;
        // HTTP/1.1 alone: a WebSocket starts there.
        let mut tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            certificate,
            slots: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
        })
    }

    /// The bound address.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// The certificate, for a client that is to trust it.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Passes every connection on to `daemon`, until it is dropped.
    pub async fn serve(self, daemon: SocketAddr) {
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((client, _)) => {
                    let acceptor = self.acceptor.clone();
                    tokio::spawn(async move {
                        if let Err(error) = pass_on(&acceptor, client, daemon).await {
                            tracing::debug!(%error, "TLS connection ended");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a TLS connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Copies both directions until one of them ends: the daemon's timeouts hold for the client too.
async fn pass_on(
    acceptor: &TlsAcceptor,
    client: TcpStream,
    daemon: SocketAddr,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let client = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(client)).await??;
    let daemon = timeout(CONNECT_TIMEOUT, TcpStream::connect(daemon)).await??;
    daemon.set_nodelay(true)?;
    let (mut from_client, mut to_client) = split(client);
    let (mut from_daemon, mut to_daemon) = split(daemon);
    let up = copy(&mut from_client, &mut to_daemon);
    let down = async {
        copy(&mut from_daemon, &mut to_client).await?;
        timeout(HANDSHAKE_TIMEOUT, to_client.shutdown()).await?
    };
    tokio::select! {
        ended = up => ended.map(drop),
        ended = down => ended,
    }
}

fn make_certificate(
    addresses: &[IpAddr],
) -> anyhow::Result<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let named = loopback.into_iter().chain(addresses.iter().copied());
    params
        .subject_alt_names
        .extend(named.map(SanType::IpAddress));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Castaway demo");
    let now = SystemTime::now();
    params.not_before = (now - ALREADY_VALID).into();
    params.not_after = (now + VALIDITY).into();
    let certificate = params.self_signed(&key)?;
    Ok((certificate.into(), key.serialize_der().into()))
}
