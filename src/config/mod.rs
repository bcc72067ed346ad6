//! What can be set, and its defaults: the one place that names every key.
//!
//! [`Config::load`] layers the sources (defaults, file, environment, credentials: see [`load`]), and
//! [`Config::validate`] checks what types cannot say.
//!
//! **Invariant**: a [`Config`] that exists has been validated, and no secret in it can be printed: secrets are
//! `SecretString`s, whose `Debug` shows nothing.

mod load;
mod renamed;
mod sections;

pub use load::{ConfigError, Sources};
pub use sections::{
    Cluster, Google, Http, Identity, Listener, Livestream, Log, LogFormat, LookupPolicy, Server,
    Upload,
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// Keys that a reload takes up. Credentials are re-read as well.
const RELOADED: [&str; 5] = [
    "upload.clips_per_minute",
    "upload.clips_burst",
    "upload.bytes_per_second",
    "upload.bytes_burst",
    "log.level",
];

/// The whole configuration. Each section is a table of the TOML file, `CASTAWAY_SECTION__KEY` in the
/// environment, and `castaway.section.key` among systemd's credentials.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, connections and timeouts.
    pub server: Server,
    /// What a streamer may send.
    pub upload: Upload,
    /// How long a livestream lives, and how many there may be.
    pub livestream: Livestream,
    /// What a slow listener gets.
    pub listener: Listener,
    /// How a client proves who it is.
    pub identity: Identity,
    /// The Firebase project.
    pub google: Google,
    /// The pages served on the client port.
    pub http: Http,
    /// Many nodes that share their livestreams.
    pub cluster: Cluster,
    /// What is logged, and how.
    pub log: Log,
}

impl Config {
    /// Loads and validates the configuration from `sources`.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let config = load::load(sources)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what the types cannot: ranges, and values that only make sense together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_positive()?;
        self.log.check_level()?;
        let Self {
            server,
            upload,
            listener,
            google,
            identity,
            ..
        } = self;
        let wrong = |key, problem| Err(ConfigError::value(key, problem));
        if server.listen == server.health_listen && server.listen.port() != 0 {
            return wrong(
                "server.health_listen",
                "must differ from server.listen: clients and health checks have a port each",
            );
        }
        if upload.max_clip_bytes > 256 << 20 {
            return wrong(
                "upload.max_clip_bytes",
                "may be at most 268435456 (256 MiB)",
            );
        }
        if u64::from(upload.bytes_burst) < upload.max_clip_bytes as u64 {
            return wrong(
                "upload.bytes_burst",
                "must be at least upload.max_clip_bytes, or the largest clip could never be sent",
            );
        }
        if listener.queue_bytes < upload.max_clip_bytes {
            return wrong(
                "listener.queue_bytes",
                "must be at least upload.max_clip_bytes, or the largest clip could never be heard",
            );
        }
        if server.request_timeout <= server.ping_interval {
            return wrong(
                "server.request_timeout",
                "must be longer than server.ping_interval: a long poll lasts until the next ping",
            );
        }
        if google.request_timeout.as_millis() > 4_500 {
            return wrong(
                "google.request_timeout",
                "may be at most 4500ms: the app gives up on `success` after 5 s",
            );
        }
        if identity.clock_skew.as_secs() > 600 {
            return wrong("identity.clock_skew", "may be at most 10m");
        }
        self.check_cluster()
    }

    fn check_cluster(&self) -> Result<(), ConfigError> {
        let Self {
            cluster, upload, ..
        } = self;
        let wrong = |key, problem| Err(ConfigError::value(key, problem));
        let sound = |url: &SecretString| {
            // Its own error would quote the URL, and so the password.
            redis::IntoConnectionInfo::into_connection_info(url.expose_secret()).is_ok()
        };
        if cluster.url.as_ref().is_some_and(|url| !sound(url)) {
            return wrong(
                "cluster.url",
                "must be redis://[user:password@]host[:port][/db], or rediss:// for TLS; what is special in a password \
                 is percent-encoded",
            );
        }
        if cluster.prefix.is_empty() || cluster.prefix.contains(['{', '}']) {
            return wrong("cluster.prefix", "must be a word without braces");
        }
        if cluster.node.as_ref().is_some_and(|node| node.len() > 200) {
            return wrong("cluster.node", "may have at most 200 bytes");
        }
        if cluster.lease < cluster.heartbeat * 2 + cluster.timeout {
            return wrong(
                "cluster.lease",
                "must be at least twice cluster.heartbeat and cluster.timeout, or one lost command would lose it",
            );
        }
        if cluster.timeout.as_millis() > 2_000 {
            return wrong(
                "cluster.timeout",
                "may be at most 2s: the app gives up on `success` after 5 s",
            );
        }
        if cluster.queue_bytes < upload.max_clip_bytes {
            return wrong(
                "cluster.queue_bytes",
                "must be at least upload.max_clip_bytes, or the largest clip could reach no other node",
            );
        }
        Ok(())
    }

    fn check_positive(&self) -> Result<(), ConfigError> {
        let Self {
            server,
            upload,
            livestream,
            listener,
            google,
            cluster,
            ..
        } = self;
        let numbers = [
            ("server.max_connections", server.max_connections as u64),
            (
                "server.max_connections_per_address",
                server.max_connections_per_address as u64,
            ),
            ("server.max_refusals", u64::from(server.max_refusals)),
            (
                "server.send_buffer_bytes",
                u64::from(server.send_buffer_bytes),
            ),
            ("upload.max_clip_bytes", upload.max_clip_bytes as u64),
            (
                "upload.clips_per_minute",
                u64::from(upload.clips_per_minute),
            ),
            ("upload.clips_burst", u64::from(upload.clips_burst)),
            (
                "upload.bytes_per_second",
                u64::from(upload.bytes_per_second),
            ),
            ("upload.bytes_burst", u64::from(upload.bytes_burst)),
            ("livestream.max_live", livestream.max_live as u64),
            ("livestream.max_listeners", livestream.max_listeners as u64),
            ("listener.queue_clips", listener.queue_clips as u64),
            ("listener.queue_bytes", listener.queue_bytes as u64),
            ("google.max_requests", google.max_requests as u64),
            ("google.cache_entries", google.cache_entries),
            ("cluster.history_clips", cluster.history_clips as u64),
            ("cluster.history_bytes", cluster.history_bytes as u64),
            ("cluster.fetch_bytes", cluster.fetch_bytes as u64),
            ("cluster.queue_clips", cluster.queue_clips as u64),
            ("cluster.queue_bytes", cluster.queue_bytes as u64),
        ];
        let durations = [
            ("server.ping_interval", server.ping_interval),
            ("server.ping_timeout", server.ping_timeout),
            ("server.connect_timeout", server.connect_timeout),
            ("server.header_timeout", server.header_timeout),
            ("server.idle_timeout", server.idle_timeout),
            ("server.request_timeout", server.request_timeout),
            ("server.tcp_user_timeout", server.tcp_user_timeout),
            ("server.shutdown_timeout", server.shutdown_timeout),
            ("listener.stall_timeout", listener.stall_timeout),
            ("listener.max_lag", listener.max_lag),
            ("google.connect_timeout", google.connect_timeout),
            ("google.request_timeout", google.request_timeout),
            ("cluster.lease", cluster.lease),
            ("cluster.heartbeat", cluster.heartbeat),
            ("cluster.timeout", cluster.timeout),
        ];
        let zero_number = numbers
            .iter()
            .find(|(_, value)| *value == 0)
            .map(|(key, _)| *key);
        let zero_duration = durations
            .iter()
            .find(|(_, value)| value.as_millis() == 0)
            .map(|(key, _)| *key);
        match zero_number.or(zero_duration) {
            Some(key) => Err(ConfigError::value(key, "must be greater than zero")),
            None => Ok(()),
        }
    }

    /// Which keys differ from what runs and cannot be changed while it runs. Google's secrets are not compared: they are
    /// re-read.
    pub fn changes_that_need_a_restart(&self, running: &Self) -> Vec<String> {
        let url = |config: &Self| {
            let url = config.cluster.url.as_ref();
            url.map(|url| url.expose_secret().to_owned())
        };
        let differs = |key: &str| match key {
            "cluster.url" => url(self) != url(running),
            _ => load::shown(self, key) != load::shown(running, key),
        };
        load::keys()
            .into_iter()
            .filter(|key| !RELOADED.contains(&key.as_str()) && differs(key))
            .collect()
    }
}
