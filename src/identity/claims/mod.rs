//! The content of a token and its checks: pure; the caller passes the time in.
//!
//! Firebase's rules: <https://firebase.google.com/docs/auth/admin/verify-id-tokens>. [`Token::read`] makes every check
//! that needs no key, so junk never costs a fetch of keys. [`Token::is_signed_by`] checks the signature. jsonwebtoken
//! checks signatures only: its own check of claims takes the time from the system, accepts a list as `aud`, and
//! ignores `iat`.
//!
//! **Invariant**: a [`Token`] names this project, this issuer and a user, and was issued and authenticated in the past.
//! An expired token is flagged, not refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::broadcast::UserId;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 8 << 10;
/// The longest user id, in characters.
const MAX_USER: usize = 128;

/// The requirements on a token.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The `aud`: the project's id.
    pub project: String,
    /// The `iss`.
    pub issuer: String,
    /// The largest accepted clock difference.
    pub clock_skew: Duration,
    /// Whether tokens are the Auth emulator's: `alg: none`, no signature. Other tokens are refused then.
    pub unsigned: bool,
}

impl Rules {
    /// Firebase's rules for `project`.
    pub fn firebase(project: &str, clock_skew: Duration, unsigned: bool) -> Self {
        Self {
            project: project.to_owned(),
            issuer: format!("https://securetoken.google.com/{project}"),
            clock_skew,
            unsigned,
        }
    }
}

/// A token with acceptable claims. Its signature is not yet checked.
#[derive(Debug)]
pub struct Token<'a> {
    /// The id of the signing key; none if tokens are unsigned.
    pub key_id: Option<String>,
    /// The user it claims.
    pub user: UserId,
    /// When it expires.
    pub expires_at: SystemTime,
    /// Whether it has expired, with the clock skew allowed for.
    pub expired: bool,
    /// The user's last sign-in, in seconds of Unix time.
    pub authenticated_at: u64,
    message: &'a str,
    signature: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    // A string: the type refuses a list.
    aud: String,
    iss: String,
    sub: String,
    exp: u64,
    iat: u64,
    auth_time: u64,
}

impl<'a> Token<'a> {
    /// Reads `token` and checks everything except its signature and its expiry. The error names the fault.
    pub fn read(token: &'a str, rules: &Rules, now: SystemTime) -> Result<Self, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("it is longer than 8 KiB");
        }
        let (message, signature) = token.rsplit_once('.').ok_or("it is no JWT")?;
        let (header, claims) = message.split_once('.').ok_or("it is no JWT")?;
        let header: Header = part(header).ok_or("its header cannot be read")?;
        let key_id = match (rules.unsigned, header.alg.as_str()) {
            (false, "RS256") => {
                let named = header.kid.filter(|kid| !kid.is_empty());
                Some(named.ok_or("it names no key")?)
            }
            (true, "none") if signature.is_empty() => None,
            (true, _) => return Err("it is signed, but the Auth emulator's tokens are not"),
            (false, _) => return Err("its algorithm is not RS256"),
        };
        let claims: Claims = part(claims).ok_or("its claims cannot be read")?;
        if claims.aud != rules.project {
            return Err("it is for another project");
        }
        if claims.iss != rules.issuer {
            return Err("it is from another issuer");
        }
        if claims.sub.is_empty() || claims.sub.chars().nth(MAX_USER).is_some() {
            return Err("it names no user");
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let skew = rules.clock_skew.as_secs();
        if claims.iat > now.saturating_add(skew) {
            return Err("it was issued in the future");
        }
        if claims.auth_time > now.saturating_add(skew) {
            return Err("its user signed in in the future");
        }
        let expires_at = UNIX_EPOCH
            .checked_add(Duration::from_secs(claims.exp))
            .ok_or("it never expires")?;
        Ok(Self {
            key_id,
            user: UserId::new(&claims.sub),
            expires_at,
            expired: claims.exp.saturating_add(skew) <= now,
            authenticated_at: claims.auth_time,
            message,
            signature,
        })
    }

    /// Whether `key` signed it.
    pub fn is_signed_by(&self, key: &DecodingKey) -> bool {
        jsonwebtoken::crypto::verify(
            self.signature,
            self.message.as_bytes(),
            key,
            Algorithm::RS256,
        )
        .unwrap_or(false)
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests;
