//! Everything that is built and checked without a network: all of `check-config`, and the first step of `serve` and
//! of a reload.
//!
//! **Invariant**: `serve` refuses every configuration that `check-config` refuses. If a value is only absent (a
//! credential at build time, a key file of another machine), `check-config` reports it and `serve` refuses it.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::config::{Config, ConfigError, LookupPolicy, Problems, Sources};
use crate::google::{Client, Credentials, Emulators, GoogleError};
use crate::http::api::token_problem;
use crate::http::pages;
use crate::identity::{ApiKey, PassKey};
use crate::metrics::Metrics;
use crate::webhooks;

/// The parts of a daemon that need no network.
pub struct Preflight {
    pub(crate) config: Config,
    pub(crate) emulators: Emulators,
    pub(crate) metrics: Metrics,
    pub(crate) client: Client,
    pub(crate) credentials: Credentials,
    pub(crate) api_key: Option<ApiKey>,
    pub(crate) pass_key: Option<PassKey>,
    pub(crate) cluster: Option<Arc<Cluster>>,
}

impl Preflight {
    /// Loads the configuration and builds from it. An error lists every problem, not only the first.
    pub fn load(sources: &Sources, emulators: Emulators) -> Result<Self, GoogleError> {
        let (config, problems) = Config::read(sources);
        Self::build(config, problems, emulators)
    }

    /// Builds from a configuration.
    pub fn of(config: Config, emulators: Emulators) -> Result<Self, GoogleError> {
        let problems = config.validate().err().unwrap_or_default();
        Self::build(config, problems, emulators)
    }

    fn build(
        config: Config,
        mut problems: Problems,
        emulators: Emulators,
    ) -> Result<Self, GoogleError> {
        let credentials = Credentials::find(&config.google, &emulators);
        let credentials = credentials.map_err(|more| problems.extend(more)).ok();
        let token = config.api.token.as_ref().and_then(token_problem);
        if let Some(problem) = token {
            problems.push(ConfigError::value("api.token", problem));
        }
        if let Some(problem) = webhooks::problem(&config.webhooks) {
            problems.push(problem);
        }
        problems.take(pages::WebApp::find(&config), drop);
        let mut api_key = None;
        problems.take(ApiKey::find(&config, &emulators), |found| api_key = found);
        let mut pass_key = None;
        problems.take(PassKey::find(&config), |found| pass_key = found);
        let (Some(credentials), true) = (credentials, problems.is_empty()) else {
            return Err(problems.into());
        };
        let metrics = Metrics::new();
        Ok(Self {
            client: Client::new(&config.google, metrics.registry())?,
            cluster: Cluster::new(&config, metrics.registry())
                .map_err(Problems::from)?
                .map(Arc::new),
            config,
            emulators,
            metrics,
            credentials,
            api_key,
            pass_key,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Notes for the operator: settings that may be intended, but have consequences.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self
            .credentials
            .needs_from_metadata(&self.emulators)
            .into_iter()
            .collect();
        if self.api_key.is_none() && self.config.identity.lookup != LookupPolicy::Off {
            notes.push(ApiKey::MISSING.to_owned());
        }
        if self.client.is_without_authorities() {
            notes.push(
                "no certificate authorities are known: every https call will fail".to_owned(),
            );
        }
        let Config {
            cluster, upload, ..
        } = &self.config;
        if cluster.url.is_some() && (cluster.queue_clips as u64) < u64::from(upload.clips_burst) {
            notes.push(
                "cluster.queue_clips is less than upload.clips_burst: other nodes would lose clips of the flush after \
                 an outage"
                    .to_owned(),
            );
        }
        notes
    }
}
