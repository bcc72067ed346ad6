//! Google's emulators, configured by the variables of Google's own SDKs.

use std::collections::BTreeMap;

use crate::config::{ConfigError, Problems};

/// The addresses (`host:port`) of Google's emulators and of a metadata server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emulators {
    /// `FIRESTORE_EMULATOR_HOST`.
    pub firestore: Option<String>,
    /// `FIREBASE_AUTH_EMULATOR_HOST`. Its tokens are unsigned: every client can claim any identity.
    pub auth: Option<String>,
    /// `GCE_METADATA_HOST`.
    pub metadata: Option<String>,
}

impl Emulators {
    /// Reads them from `environment`; an empty value counts as none.
    pub fn from_environment(environment: &BTreeMap<String, String>) -> Self {
        let host = |name: &str| {
            let host = environment.get(name)?.trim();
            let host = host.strip_prefix("http://").unwrap_or(host);
            let host = host.trim_end_matches('/');
            (!host.is_empty()).then(|| host.to_owned())
        };
        Self {
            firestore: host("FIRESTORE_EMULATOR_HOST"),
            auth: host("FIREBASE_AUTH_EMULATOR_HOST"),
            metadata: host("GCE_METADATA_HOST"),
        }
    }

    /// Reports every value that is not a `host:port`.
    pub(super) fn check(&self) -> Problems {
        let mut problems = Problems::default();
        for (name, host) in [
            ("FIRESTORE_EMULATOR_HOST", &self.firestore),
            ("FIREBASE_AUTH_EMULATOR_HOST", &self.auth),
            ("GCE_METADATA_HOST", &self.metadata),
        ] {
            let sound = |host: &String| host.parse::<http::uri::Authority>().is_ok();
            if host.as_ref().is_some_and(|host| !sound(host)) {
                let problem = "must be a host and a port, such as localhost:8080".to_owned();
                problems.push(ConfigError::Variable { name, problem });
            }
        }
        problems
    }
}
