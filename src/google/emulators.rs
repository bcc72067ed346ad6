//! Google's emulators, by the variables that Google's own SDKs read.

use std::collections::BTreeMap;

/// Where Google's emulators, or a stand-in for the metadata server, listen: `host:port` each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emulators {
    /// `FIRESTORE_EMULATOR_HOST`.
    pub firestore: Option<String>,
    /// `FIREBASE_AUTH_EMULATOR_HOST`. Its tokens are unsigned: whoever reaches the server is who they say they are.
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
}
