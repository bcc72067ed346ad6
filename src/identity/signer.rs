//! The demo's own signer: a key pair made at start, for tokens like Firebase's.
//!
//! **Invariant**: its tokens pass the same verification as Google's, and only on the server that made the key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

use super::keys::KeySet;
use crate::broadcast::UserId;

/// The reason why no key pair could be made.
#[derive(Debug, thiserror::Error)]
#[error("a key pair cannot be made: {0}")]
pub struct SignerError(String);

/// A key pair for signing tokens.
pub struct Signer {
    project: String,
    key: EncodingKey,
    jwk: Jwk,
}

impl Signer {
    const KEY_ID: &str = "made-at-start";

    /// Makes a key pair for the tokens of `project`.
    pub fn new(project: &str) -> Result<Self, SignerError> {
        let failed = |what: &str| SignerError(what.to_owned());
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| failed("no RSA key"))?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| failed("no DER"))?;
        let body = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let key = EncodingKey::from_rsa_pem(pem.as_bytes())
            .map_err(|error| SignerError(error.to_string()))?;
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256)
            .map_err(|error| SignerError(error.to_string()))?;
        jwk.common.key_id = Some(Self::KEY_ID.to_owned());
        Ok(Self {
            project: project.to_owned(),
            key,
            jwk,
        })
    }

    /// The project of the tokens.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// A token of `user`, valid from now, for `lifetime`.
    pub fn mint(&self, user: &UserId, lifetime: Duration) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(Self::KEY_ID.to_owned());
        let claims = serde_json::json!({
            "iss": format!("https://securetoken.google.com/{}", self.project),
            "aud": self.project,
            "sub": user.as_str(),
            "iat": now,
            "auth_time": now,
            "exp": now + lifetime.as_secs(),
        });
        // A key made for signing signs; an empty token would be refused.
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap_or_default()
    }

    pub(super) fn keys(&self) -> Result<KeySet, SignerError> {
        Ok(KeySet::of(Self::KEY_ID, self.verifying_key()?))
    }

    pub(super) fn verifying_key(&self) -> Result<DecodingKey, SignerError> {
        DecodingKey::from_jwk(&self.jwk).map_err(|error| SignerError(error.to_string()))
    }
}

#[cfg(test)]
impl Signer {
    /// A signature of any message, for forging.
    pub(super) fn sign(&self, message: &str) -> String {
        jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::RS256)
            .expect("a signature")
    }

    /// The public key, as anybody can get it.
    pub(super) fn jwk_text(&self) -> String {
        serde_json::to_string(&self.jwk).expect("JSON")
    }
}
