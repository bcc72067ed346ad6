//! What can be set, and its defaults: the one place that names every key.
//!
//! [`Config::load`] layers the sources (defaults, file, environment, credentials: see [`load`]), and
//! [`Config::validate`] checks what types cannot say.
//!
//! **Invariant**: a [`Config`] that exists has been validated, and no secret in it can be printed: secrets are
//! [`SecretString`]s, whose `Debug` shows nothing.

mod load;
mod sections;

pub use load::{ConfigError, Sources};
pub use sections::{
    Cluster, Google, Http, Identity, Listener, Livestream, Log, LogFormat, LookupPolicy, Server,
    Upload,
};

use serde::{Deserialize, Serialize};

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
    /// Other nodes.
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
        fn positive(key: &'static str, value: u64) -> Result<(), ConfigError> {
            if value == 0 {
                return Err(ConfigError::value(key, "must be greater than zero"));
            }
            Ok(())
        }
        let Self {
            server,
            upload,
            livestream,
            listener,
            google,
            identity,
            ..
        } = self;
        for (key, value) in [
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
        ] {
            positive(key, value)?;
        }
        for (key, value) in [
            ("server.ping_interval", server.ping_interval),
            ("server.ping_timeout", server.ping_timeout),
            ("server.connect_timeout", server.connect_timeout),
            ("server.header_timeout", server.header_timeout),
            ("server.request_timeout", server.request_timeout),
            ("server.tcp_user_timeout", server.tcp_user_timeout),
            ("server.shutdown_timeout", server.shutdown_timeout),
            ("listener.stall_timeout", listener.stall_timeout),
            ("listener.max_lag", listener.max_lag),
            ("google.connect_timeout", google.connect_timeout),
            ("google.request_timeout", google.request_timeout),
        ] {
            positive(key, u64::try_from(value.as_millis()).unwrap_or(u64::MAX))?;
        }
        if server.listen == server.health_listen && server.listen.port() != 0 {
            return Err(ConfigError::value(
                "server.health_listen",
                "must differ from server.listen: clients and health checks have a port each",
            ));
        }
        if upload.max_clip_bytes > 256 << 20 {
            return Err(ConfigError::value(
                "upload.max_clip_bytes",
                "may be at most 268435456 (256 MiB)",
            ));
        }
        if u64::from(upload.bytes_burst) < upload.max_clip_bytes as u64 {
            return Err(ConfigError::value(
                "upload.bytes_burst",
                "must be at least upload.max_clip_bytes, or the largest clip could never be sent",
            ));
        }
        if listener.queue_bytes < upload.max_clip_bytes {
            return Err(ConfigError::value(
                "listener.queue_bytes",
                "must be at least upload.max_clip_bytes, or the largest clip could never be heard",
            ));
        }
        if server.request_timeout <= server.ping_interval {
            return Err(ConfigError::value(
                "server.request_timeout",
                "must be longer than server.ping_interval: a long poll lasts until the next ping",
            ));
        }
        if google.request_timeout.as_millis() > 4_500 {
            return Err(ConfigError::value(
                "google.request_timeout",
                "may be at most 4500ms: the app gives up on `success` after 5 s",
            ));
        }
        if identity.clock_skew.as_secs() > 600 {
            return Err(ConfigError::value(
                "identity.clock_skew",
                "may be at most 10m",
            ));
        }
        Ok(())
    }
}
