//! Signing keys: Google's, or the demo's own.
//!
//! Only the source of the keys differs: the demo and the tests run the same verification as production.
//!
//! **Invariant**: an outage of the key server never makes a token invalid. [`SigningKeys::find`] returns a [`Failure`]
//! then, and [`Found::Unknown`] only if the keys were fetched after the request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::google::{Client, Dependency, Failure, Fetched, Lane, RefreshCache};

/// The least time between two fetches for unknown keys.
const REFETCH: Duration = Duration::from_secs(30);
/// The keys are fetched again this long before the end of `max-age`.
const AHEAD: Duration = Duration::from_mins(5);
/// The lifetime of keys if the answer has no `max-age`.
const DEFAULT_AGE: Duration = Duration::from_hours(1);
/// Keys are used for this long beyond their `max-age` if no fetch succeeds. Google rotates them over days.
const STALE: Duration = Duration::from_hours(24);

/// Public keys by their ids.
#[derive(Debug, Default)]
pub struct KeySet(HashMap<String, DecodingKey>);

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl KeySet {
    /// The RS256 keys among `keys` (of a JWK set). Other and unreadable keys are skipped.
    fn of_jwks(keys: Vec<Value>) -> Self {
        let usable = keys.into_iter().filter_map(|value| {
            let jwk: Jwk = serde_json::from_value(value).ok()?;
            let signs = !matches!(&jwk.common.public_key_use, Some(purpose) if *purpose != PublicKeyUse::Signature);
            let rs256 = matches!(jwk.common.key_algorithm, None | Some(KeyAlgorithm::RS256))
                && matches!(jwk.algorithm, AlgorithmParameters::RSA(_));
            let id = jwk.common.key_id.clone().filter(|_| signs && rs256)?;
            Some((id, DecodingKey::from_jwk(&jwk).ok()?))
        });
        Self(usable.collect())
    }

    /// A set of one key.
    pub fn of(id: &str, key: DecodingKey) -> Self {
        Self([(id.to_owned(), key)].into())
    }
}

/// The result of a search for a key.
pub enum Found {
    /// It is published.
    Key(DecodingKey),
    /// It is not published.
    Unknown,
    /// It was missing at the latest fetch. It may have been published since.
    PerhapsLater,
}

/// The source of signing keys; cheap to clone.
#[derive(Clone)]
pub enum SigningKeys {
    /// Google's, fetched and cached.
    Google(RefreshCache<KeySet>),
    /// A fixed set.
    Fixed(Arc<KeySet>),
}

impl SigningKeys {
    /// Google's, from `url`.
    pub fn google(client: Client, url: String) -> Self {
        Self::Google(RefreshCache::new(move || {
            let (client, url) = (client.clone(), url.clone());
            async move {
                let reply = client
                    .call::<JwkSet>(Dependency::Keys, Lane::Streamers, client.get(&url))
                    .await?;
                let keys = KeySet::of_jwks(reply.value.keys);
                if keys.0.is_empty() {
                    return Err(client.unusable(Dependency::Keys));
                }
                let age = reply.max_age.unwrap_or(DEFAULT_AGE);
                Ok(Fetched {
                    value: keys,
                    // At least `REFETCH`: an unknown key leads to a fetch anyway.
                    fresh_for: age.saturating_sub(AHEAD).max(age / 2).max(REFETCH),
                    usable_for: age + STALE,
                })
            }
        }))
    }

    /// The key with this `id`.
    pub async fn find(&self, id: &str) -> Result<Found, Failure> {
        let of = |keys: &KeySet| keys.0.get(id).cloned().map_or(Found::Unknown, Found::Key);
        let cache = match self {
            Self::Fixed(keys) => return Ok(of(keys)),
            Self::Google(cache) => cache,
        };
        let asked = Instant::now();
        if let key @ Found::Key(_) = of(&*cache.get().await?) {
            return Ok(key);
        }
        let newest = cache.get_newest(asked, REFETCH).await?;
        Ok(match of(&newest.value) {
            Found::Unknown if !newest.is_newer => Found::PerhapsLater,
            found => found,
        })
    }

    /// Checks that keys are available.
    pub async fn ready(&self) -> Result<(), Failure> {
        match self {
            Self::Fixed(_) => Ok(()),
            Self::Google(cache) => cache.get().await.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rs256_signing_keys_are_used() {
        let key = |id: &str, more: &str| -> Value {
            let text = format!(r#"{{"kty":"RSA","n":"sXch","e":"AQAB","kid":"{id}"{more}}}"#);
            serde_json::from_str(&text).expect("JSON")
        };
        let keys = KeySet::of_jwks(vec![
            key("good", r#","alg":"RS256","use":"sig""#),
            key("plain", ""),
            key("for-encryption", r#","use":"enc""#),
            key("another-algorithm", r#","alg":"RS512""#),
            serde_json::json!({"kty": "oct", "k": "AAAA", "kid": "symmetric"}),
            serde_json::json!({"kty": "new", "kid": "unknown"}),
            serde_json::json!({"kty": "RSA", "n": "sXch", "e": "AQAB"}),
            Value::Null,
        ]);
        let mut ids: Vec<&str> = keys.0.keys().map(String::as_str).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["good", "plain"]);
    }
}
