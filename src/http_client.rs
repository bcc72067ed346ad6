//! HTTP clients for servers that the configuration names.
//!
//! **Invariant**: no redirect is followed, since it would carry keys elsewhere; no proxy of the environment is used; a
//! request ends within its time.

use std::time::Duration;

use reqwest::{Client, ClientBuilder};

/// A client.
pub struct HttpClient {
    /// It; cheap to clone.
    pub client: Client,
    /// No certificate authority is available: every https call fails.
    pub without_authorities: bool,
}

/// A client whose requests take at most `timeout`, with what the caller `adds`.
pub fn build(
    timeout: Duration,
    adds: impl Fn(ClientBuilder) -> ClientBuilder,
) -> reqwest::Result<HttpClient> {
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("castaway-media-server/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_mins(1));
        adds(builder)
    };
    let with = builder().build().map(|client| HttpClient {
        client,
        without_authorities: false,
    });
    // Without a CA bundle (a build sandbox, a bare container) nothing is trusted, but plain HTTP works: emulators, the
    // metadata server, a receiver on the loopback.
    with.or_else(|_| {
        Ok(HttpClient {
            client: builder().tls_certs_only([]).build()?,
            without_authorities: true,
        })
    })
}
