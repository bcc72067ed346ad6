//! The demo: a directory in memory and tokens of our own making, so that a newcomer needs nothing else.
//!
//! The tokens are signed by a key made at start and verified by the same code path as Google's. Whoever reaches the
//! demo can have a token for any user: that is what it is for, and why it binds loopback only.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;

use crate::broadcast::{LivestreamId, UserId};
use crate::config::{Config, Identity as IdentityConfig};
use crate::directory::Directory;
use crate::identity::{Identity, Signer};

/// The livestream that is there from the start, and whose it is.
const LIVESTREAM: &str = "demo";
const HOST: &str = "host";
const GUEST: &str = "guest";

/// How long the demo's tokens are good.
const LIFETIME: Duration = Duration::from_hours(24);

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Demo(Arc<Inner>);

struct Inner {
    signer: Signer,
    directory: Directory,
}

/// What `POST /demo/token` takes.
#[derive(Deserialize)]
struct Wanted {
    user: String,
    /// Made for that user, if there is no such livestream yet.
    livestream: Option<String>,
}

impl Demo {
    /// A key pair, and one livestream.
    pub fn new() -> anyhow::Result<Self> {
        let signer = Signer::new("castaway-demo").context("the demo cannot sign tokens")?;
        let livestream =
            LivestreamId::new(LIVESTREAM).context("the demo's livestream has no name")?;
        let directory = Directory::memory([(livestream, UserId::new(HOST))]);
        Ok(Self(Arc::new(Inner { signer, directory })))
    }

    /// The configuration of a demo: the defaults on these addresses, with pages and this log. Loopback only, unless exposed
    /// twice.
    pub fn config(
        listen: SocketAddr,
        health_listen: SocketAddr,
        expose: u8,
        log: &str,
    ) -> anyhow::Result<Config> {
        for address in [listen, health_listen] {
            ensure!(
                address.ip().is_loopback() || expose >= 2,
                "the demo lets anybody stream and listen, so it does not listen on {address}, which others can reach; \
                 say --expose --expose if that is what you want"
            );
        }
        let mut config = Config::default();
        config.server.listen = listen;
        config.server.health_listen = health_listen;
        config.http.pages = true;
        log.clone_into(&mut config.log.level);
        config.validate()?;
        Ok(config)
    }

    pub(crate) fn identity(&self, config: &IdentityConfig) -> anyhow::Result<Identity> {
        Ok(Identity::local(&self.0.signer, config)?)
    }

    pub(crate) fn directory(&self) -> Directory {
        self.0.directory.clone()
    }

    fn token(&self, user: &str) -> String {
        self.0.signer.mint(&UserId::new(user), LIFETIME)
    }

    /// `POST /demo/token`: a token for any user, and a livestream of theirs.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/demo/token", post(give_token))
            .with_state(self.clone())
    }

    /// What a newcomer reads.
    pub fn welcome(&self, clients: SocketAddr, health: SocketAddr) -> String {
        let (host, guest) = (self.token(HOST), self.token(GUEST));
        let site = format!("http://{}", shown(clients));
        let mut text = String::new();
        writeln!(
            text,
            "Castaway media server, demo: everything is in memory and gone when this stops (Ctrl-C).\n\n\
             Go live:   {site}/studio#livestream={LIVESTREAM}&token={host}&guest={guest}\n\n\
             Listen:    {site}/listen#livestream={LIVESTREAM}&token={guest}\n\n\
             Or with a Socket.IO client, namespaces /streamer and /listener on {site}:\n\
             \x20 livestream-id: {LIVESTREAM}\n\
             \x20 id-token (streamer): {host}\n\
             \x20 id-token (listener): {guest}\n\n\
             Tokens for other users and livestreams:\n\
             \x20 curl -s {site}/demo/token --json '{{\"user\":\"ada\",\"livestream\":\"adas-show\"}}'\n\n\
             Health: http://{}/readyz   Metrics: http://{}/metrics",
            shown(health),
            shown(health),
        )
        .ok();
        text
    }
}

/// Browsers treat `localhost` as secure, so that the microphone works there.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_loopback() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

async fn give_token(State(demo): State<Demo>, Json(wanted): Json<Wanted>) -> Response {
    let refuse = |why: &'static str| (StatusCode::BAD_REQUEST, why).into_response();
    if wanted.user.is_empty() || wanted.user.chars().count() > 128 {
        return refuse("`user` must have 1 to 128 characters\n");
    }
    if let Some(name) = wanted.livestream {
        let Some(id) = LivestreamId::new(&name) else {
            return refuse("`livestream` cannot be the id of a document\n");
        };
        if !demo.0.directory.create(&id, &UserId::new(&wanted.user)) {
            return refuse("there are as many livestreams as the demo keeps\n");
        }
    }
    Json(serde_json::json!({ "token": demo.token(&wanted.user) })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str, expose: u8) -> anyhow::Result<Config> {
        Demo::config(
            listen.parse().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
            expose,
            "warn",
        )
    }

    #[test]
    fn the_demo_binds_others_only_when_told_twice() {
        assert!(config("127.0.0.1:0", 0).is_ok());
        assert!(config("[::1]:0", 0).is_ok());
        assert!(config("0.0.0.0:0", 0).is_err());
        assert!(
            config("0.0.0.0:0", 1)
                .unwrap_err()
                .to_string()
                .contains("--expose --expose")
        );
        assert!(config("0.0.0.0:0", 2).is_ok());
    }

    #[test]
    fn demo_refuses_a_log_level_that_is_none() {
        let address = "127.0.0.1:0".parse().expect("an address");
        assert!(Demo::config(address, address, 0, "debug").is_ok());
        assert!(Demo::config(address, address, 0, "verbose").is_err());
    }
}
