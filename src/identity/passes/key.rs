//! The key pair that signs passes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::ExposeSecret as _;

use crate::config::{Config, ConfigError, PassPolicy};

const FILE: &str = "passes.key";

/// The reason why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or kept.
    #[error("the key of listening passes, {path}: {source}; or set passes.key")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The file is no key.
    #[error(
        "{0} is no Ed25519 key: remove it, and a new one is made, with which all links given so far end"
    )]
    Malformed(String),
    /// The cryptographic library failed.
    #[error("no key for listening passes can be made")]
    NotMade,
}

/// An Ed25519 key pair; cheap to clone.
#[derive(Clone)]
pub struct PassKey(Arc<(EncodingKey, DecodingKey)>);

impl PassKey {
    /// The configured key, if passes are on. In a cluster all nodes need the same one.
    pub fn find(config: &Config) -> Result<Option<Self>, ConfigError> {
        if config.listener.passes == PassPolicy::Off {
            return Ok(None);
        }
        match &config.passes.key {
            Some(key) => Self::of_pem(key.expose_secret()).map(Some).ok_or_else(|| {
                ConfigError::value(
                    "passes.key",
                    "must be an Ed25519 private key in PEM, as `openssl genpkey -algorithm ed25519` makes it",
                )
            }),
            None if config.cluster.url.is_some() => Err(ConfigError::absent(
                "passes.key",
                "is not set, but listener.passes is \"streamers\" and cluster.url is set: all nodes need the same key",
            )),
            None => Ok(None),
        }
    }

    /// A new key, for this process.
    pub(super) fn new() -> Result<Self, KeyError> {
        Self::of_der(&make()?).ok_or(KeyError::NotMade)
    }

    /// The key in the state directory, made if there is none.
    pub(super) fn kept_in(state: &Path) -> Result<Self, KeyError> {
        let path = state.join(FILE);
        let shown = || path.display().to_string();
        let failed = |source| KeyError::File {
            path: shown(),
            source,
        };
        let pem = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = pem_of(&make()?);
                write(&path, &pem).map_err(failed)?;
                pem
            }
            Err(error) => return Err(failed(error)),
        };
        Self::of_pem(&pem).ok_or_else(|| KeyError::Malformed(shown()))
    }

    fn of_pem(pem: &str) -> Option<Self> {
        // Environments hold line ends as `\n`.
        let pem = pem.replace("\\n", "\n");
        let body = pem
            .trim()
            .strip_prefix("-----BEGIN PRIVATE KEY-----")?
            .strip_suffix("-----END PRIVATE KEY-----")?;
        let body: String = body.split_whitespace().collect();
        Self::of_der(&STANDARD.decode(body).ok()?)
    }

    fn of_der(der: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).ok()?;
        let public = DecodingKey::from_ed_der(pair.public_key().as_ref());
        Some(Self(Arc::new((EncodingKey::from_ed_der(der), public))))
    }

    pub(super) fn signing(&self) -> &EncodingKey {
        &self.0.0
    }

    pub(super) fn verifying(&self) -> &DecodingKey {
        &self.0.1
    }
}

fn make() -> Result<Vec<u8>, KeyError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NotMade)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::NotMade)?;
    Ok(der.as_ref().to_vec())
}

fn pem_of(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

/// Writes a whole file or none, readable by this user only.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
