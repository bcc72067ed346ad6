//! The configuration: every key and its default.
//!
//! [`Config::load`] merges the sources (defaults, file, environment, credentials: see [`load`]). [`Config::validate`]
//! makes the checks that types cannot make ([`check`]).
//!
//! **Invariant**: a [`Config`] that exists has been validated, and no secret in it can be printed: secrets are
//! `SecretString`s, whose `Debug` prints no content.

mod check;
mod error;
mod http;
mod load;
mod players;
mod recording;
mod renamed;
mod sections;
mod server;
mod webhooks;

pub use error::{ConfigError, Problems};
pub use http::Http;
pub use load::Sources;
pub use players::{PlayerAccess, Players};
pub use recording::{Recording, RecordingPlace, RecordingPolicy};
pub use sections::{
    Api, Cluster, Google, Identity, Listener, Livestream, Log, LogFormat, LookupPolicy, PassPolicy,
    Passes, Upload,
};
pub use server::Server;
pub use webhooks::Webhooks;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// Keys that a reload applies. Credentials are re-read as well.
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
    /// Limits of a streamer's uploads.
    pub upload: Upload,
    /// Lifetime and number of livestreams.
    pub livestream: Livestream,
    /// Listening passes, and limits for slow listeners.
    pub listener: Listener,
    /// The signature and the lifetime of listening passes.
    pub passes: Passes,
    /// Checks of clients' identities.
    pub identity: Identity,
    /// The Firebase project.
    pub google: Google,
    /// The pages served on the client port.
    pub http: Http,
    /// Listening by HTTP audio and HLS.
    pub players: Players,
    /// One file of each livestream, in a bucket.
    pub recording: Recording,
    /// The operator's API.
    pub api: Api,
    /// Messages about livestreams to a server of the operator's.
    pub webhooks: Webhooks,
    /// Several nodes that share their livestreams.
    pub cluster: Cluster,
    /// Level and format of the log.
    pub log: Log,
}

impl Config {
    /// Loads and validates the configuration from `sources`. An error lists every problem.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let (config, problems) = Self::read(sources);
        problems.into_result().map(|()| config)
    }

    /// The configuration and all its problems. A key with an unreadable value has its default.
    pub fn read(sources: &Sources) -> (Self, Problems) {
        let (config, mut problems) = load::load(sources);
        problems.extend(config.check());
        (config, problems)
    }

    /// Makes the checks that types cannot make: ranges, and combinations of values.
    pub fn validate(&self) -> Result<(), Problems> {
        self.check().into_result()
    }

    /// The keys that differ from the running configuration and need a restart. Google's secrets are not compared: they
    /// are re-read.
    pub fn changes_that_need_a_restart(&self, running: &Self) -> Vec<String> {
        let text = |secret: &Option<SecretString>| {
            let secret = secret.as_ref();
            secret.map(|secret| secret.expose_secret().to_owned())
        };
        let differs = |key: &str| match key {
            "cluster.url" => text(&self.cluster.url) != text(&running.cluster.url),
            "passes.key" => text(&self.passes.key) != text(&running.passes.key),
            _ => load::shown(self, key) != load::shown(running, key),
        };
        load::keys()
            .into_iter()
            .filter(|key| !RELOADED.contains(&key.as_str()) && differs(key))
            .collect()
    }
}
