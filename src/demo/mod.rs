//! The demo: a directory in memory and tokens of its own, so that a new user needs nothing else.
//!
//! The tokens are signed by a key created at start and verified by the same code path as Google's. Every client that
//! reaches the demo can get a token for any user. This is its purpose, and the reason why it binds loopback only.

mod tls;

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use secrecy::SecretString;
use serde::Deserialize;
use std::sync::Arc;

use crate::broadcast::{LivestreamId, UserId};
use crate::config::{Config, Identity as IdentityConfig, PassPolicy, PlayerAccess};
use crate::directory::{About, Directory};
use crate::identity::{Identity, Signer};

pub use tls::Https;

/// The livestream that exists from the start, and its streamer's user, a name that scripts of others rely on.
const LIVESTREAM: &str = "demo";
const STREAMER: &str = "host";
const GUEST: &str = "guest";

/// Lifetime of the demo's tokens.
const LIFETIME: Duration = Duration::from_hours(24);

/// How clients reach a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Behind [`Https`].
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl Scheme {
    /// What a person on another machine meets.
    fn for_others(self) -> &'static str {
        match self {
            Self::Http => {
                "From other machines, over plain HTTP, where browsers lend no microphone and a file can be sent \
                 (--https lends it):"
            }
            Self::Https => {
                "From other machines; the browser warns of a certificate that it does not know, made for this run: go on \
                 all the same:"
            }
        }
    }
}

/// See the module documentation. Cheap to clone.
#[derive(Clone)]
pub struct Demo(Arc<Inner>);

struct Inner {
    signer: Signer,
    /// Of the operator's API.
    operator_token: String,
    directory: Directory,
}

/// Body of `POST /demo/token`.
#[derive(Deserialize)]
struct Wanted {
    user: String,
    /// Created for that user if it does not exist yet.
    livestream: Option<String>,
    /// What the listening page says of a created livestream.
    #[serde(default)]
    about: AboutWanted,
}

/// The fields of a document that people see, by their names there.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AboutWanted {
    title: String,
    description: String,
    artist_name: String,
    cover_url: String,
}

impl Demo {
    /// Creates a key pair and one livestream.
    pub fn new() -> anyhow::Result<Self> {
        let signer = Signer::new("castaway-demo").context("the demo cannot sign tokens")?;
        let livestream =
            LivestreamId::new(LIVESTREAM).context("the demo's livestream has no name")?;
        let directory = Directory::memory([(livestream, UserId::new(STREAMER))]);
        Ok(Self(Arc::new(Inner {
            signer,
            operator_token: format!("{:032x}", rand::random::<u128>()),
            directory,
        })))
    }

    /// The configuration of a demo: the defaults on these addresses, with pages, players and this log level. Loopback only,
    /// unless exposed twice.
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
        config.players.access = PlayerAccess::Public;
        config.listener.passes = PassPolicy::Streamers;
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

    /// The token of the operator's API, new for each run.
    pub(crate) fn operator_token(&self) -> SecretString {
        format!("demo:{}", self.0.operator_token).into()
    }

    fn token(&self, user: &str) -> String {
        self.0.signer.mint(&UserId::new(user), LIFETIME)
    }

    /// `POST /demo/token`: a token for any user, and a livestream of that user.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/demo/token", post(give_token))
            .with_state(self.clone())
    }

    /// The text for a new user.
    pub fn welcome(&self, scheme: Scheme, clients: SocketAddr, health: SocketAddr) -> String {
        let (streamer, guest) = (self.token(STREAMER), self.token(GUEST));
        let links = |site: &str| {
            format!(
                "Go live:   {site}/studio#livestream={LIVESTREAM}&token={streamer}\n\n\
                 Listen:    {site}/listen/{LIVESTREAM}#token={guest}\n\n\
                 Players:   {site}/livestreams/{LIVESTREAM}/live or …/index.m3u8, once it is on air\n\n"
            )
        };
        let site = format!("{}://{}", scheme, shown(clients));
        let mut text = String::from(
            "Castaway media server, demo: everything is in memory and gone when this stops (Ctrl-C).\n\n",
        );
        text.push_str(&links(&site));
        for address in machine_addresses(clients.ip()) {
            let other = SocketAddr::new(address, clients.port());
            let site = format!("{scheme}://{other}");
            write!(text, "{}\n\n{}", scheme.for_others(), links(&site)).ok();
        }
        let health = shown(health);
        let insecure = if scheme == Scheme::Https { "k" } else { "" };
        writeln!(
            text,
            "Or with a Socket.IO client, namespaces /streamer and /listener on {site}:\n\
             \x20 livestream-id: {LIVESTREAM}\n\
             \x20 id-token (streamer): {streamer}\n\
             \x20 id-token (listener): {guest}\n\n\
             Tokens for other users and livestreams:\n\
             \x20 curl -s{insecure} {site}/demo/token --json '{{\"user\":\"ada\",\"livestream\":\"adas-livestream\"}}'\n\n\
             Health: http://{health}/readyz   Metrics: http://{health}/metrics\n\n\
             Control:   http://{health}/control\n\
             \x20 token: {}",
            self.0.operator_token,
        )
        .ok();
        text
    }
}

/// The addresses that other machines reach, if the demo listens on all of them: for each IP version, the one that the
/// kernel would send from. Nothing is sent.
pub fn machine_addresses(listen: IpAddr) -> Vec<IpAddr> {
    if !listen.is_unspecified() {
        return Vec::new();
    }
    // Of the ranges for documentation: a default route is enough to choose the sender's address.
    let far: [(IpAddr, IpAddr); 2] = [
        (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        ),
        (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    ];
    far.into_iter()
        .filter(|(any, _)| listen.is_ipv6() || any.is_ipv4())
        .filter_map(|(any, far)| {
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.connect((far, 9)).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .filter(|address| !address.is_unspecified() && !address.is_loopback())
        .collect()
}

/// Browsers treat `localhost` as secure, so that the microphone works there.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_loopback() || address.ip().is_unspecified() {
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
        let said = &wanted.about;
        let about = About::new([
            &said.title,
            &said.description,
            &said.artist_name,
            &said.cover_url,
        ]);
        let user = UserId::new(&wanted.user);
        if !demo.0.directory.create(&id, &user, about) {
            return refuse("there are as many livestreams as the demo keeps\n");
        }
    }
    Json(serde_json::json!({ "token": demo.token(&wanted.user) })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Freshness;

    fn config(listen: &str, expose: u8) -> anyhow::Result<Config> {
        Demo::config(
            listen.parse().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
            expose,
            "warn",
        )
    }

    #[test]
    fn demo_is_exposed_only_on_double_request() {
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

    #[tokio::test]
    async fn demo_livestream_belongs_to_host() {
        let directory = Demo::new().unwrap().directory();
        let id = LivestreamId::new("demo").unwrap();
        let found = directory.find(&id, Freshness::Fresh).await.unwrap();
        assert_eq!(found.unwrap().artist, UserId::new("host"));
    }

    #[test]
    fn welcome_has_addresses_that_can_be_opened() {
        let demo = Demo::new().unwrap();
        let health = "127.0.0.1:8080".parse().unwrap();
        let token = &demo.0.operator_token;
        let private = demo.welcome(Scheme::Http, "127.0.0.1:3000".parse().unwrap(), health);
        assert!(private.contains("http://localhost:3000/studio#"));
        assert!(!private.contains("From other machines"));
        assert!(private.contains("http://localhost:8080/control\n"));
        assert!(token.len() == 32 && private.contains(&format!("\n  token: {token}\n")));
        let exposed = demo.welcome(Scheme::Http, "0.0.0.0:3000".parse().unwrap(), health);
        assert!(exposed.contains("http://localhost:3000/studio#"));
        assert!(!exposed.contains("0.0.0.0"));
        for address in machine_addresses("0.0.0.0".parse().unwrap()) {
            assert!(exposed.contains(&format!("http://{address}:3000/listen/demo#")));
        }
        let one = demo.welcome(Scheme::Http, "192.0.2.7:3000".parse().unwrap(), health);
        assert!(one.contains("http://192.0.2.7:3000/studio#"));
    }

    #[test]
    fn demo_refuses_an_invalid_log_level() {
        let address = "127.0.0.1:0".parse().expect("an address");
        assert!(Demo::config(address, address, 0, "debug").is_ok());
        assert!(Demo::config(address, address, 0, "verbose").is_err());
    }
}
