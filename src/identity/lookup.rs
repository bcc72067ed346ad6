//! The account look-up, which finds what a token cannot say: its user disabled, deleted, or signed out everywhere.
//!
//! <https://cloud.google.com/identity-platform/docs/reference/rest/v1/accounts/lookup>
//!
//! **Invariant**: it only ever refuses. It never stands in for the local checks (the Auth emulator's ignores `exp`),
//! and when it fails the locally verified token holds.

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::IdentityError;
use super::claims::Token;
use crate::config::{self, LookupPolicy};
use crate::google::{Access, Dependency, Failure};

/// The account look-up of a project.
pub(super) struct Lookup {
    access: Access,
    url: String,
    api_key: HeaderValue,
}

/// An account; the answer holds more (password hashes), which is dropped where it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    local_id: String,
    #[serde(default)]
    disabled: bool,
    /// Tokens of sign-ins before this are revoked: seconds of Unix time, as text.
    #[serde(default)]
    valid_since: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    users: Vec<Account>,
}

impl Lookup {
    /// The look-up as configured, Google's or the Auth emulator's; none if it is off, or there is no key for it.
    pub(super) fn configured(access: &Access, config: &config::Config) -> Option<Self> {
        if config.identity.lookup == LookupPolicy::Off {
            return None;
        }
        let emulator = access.emulators.auth.as_deref();
        let base = emulator.map_or_else(
            || config.google.identity_url.clone(),
            |host| format!("http://{host}/identitytoolkit.googleapis.com/v1"),
        );
        let emulators_key = emulator.map(|_| "emulator".into());
        let api_key = config.google.api_key.as_ref().or(emulators_key.as_ref());
        let lookup = api_key.and_then(|api_key| Self::new(access.clone(), &base, api_key));
        if lookup.is_none() {
            tracing::info!(
                "no usable google.api_key: accounts are not looked up, so disabled and deleted users are let in \
                 until their tokens expire"
            );
        }
        lookup
    }

    /// The look-up at `base` (the Identity Toolkit, up to and without `/accounts:lookup`), or none if `api_key`
    /// cannot be one.
    pub(super) fn new(access: Access, base: &str, api_key: &SecretString) -> Option<Self> {
        let mut api_key = HeaderValue::from_str(api_key.expose_secret().trim()).ok()?;
        api_key.set_sensitive(true);
        Some(Self {
            access,
            url: format!("{}/accounts:lookup", base.trim_end_matches('/')),
            api_key,
        })
    }

    /// Refuses a token whose account is gone, disabled or signed out.
    pub(super) async fn check(&self, text: &str, token: &Token<'_>) -> Result<(), IdentityError> {
        let client = &self.access.client;
        let request = client
            .post(&self.url)
            // In a header rather than in the URL, which ends up in other people's logs.
            .header("x-goog-api-key", self.api_key.clone())
            .json(&serde_json::json!({ "idToken": text }));
        let answer = client.call::<Answer>(Dependency::Identity, request).await;
        match answer {
            Ok(reply) => judge(&reply.value, token),
            Err(failure) => judge_failure(&failure),
        }
    }
}

fn judge(answer: &Answer, token: &Token<'_>) -> Result<(), IdentityError> {
    let account = answer
        .users
        .iter()
        .find(|account| account.local_id == token.user.as_str())
        .ok_or(IdentityError::Invalid("its user is not known"))?;
    if account.disabled {
        return Err(IdentityError::Invalid("its user is disabled"));
    }
    let valid_since = account
        .valid_since
        .as_deref()
        .and_then(|it| it.parse().ok());
    if valid_since.is_some_and(|since: u64| token.authenticated_at < since) {
        return Err(IdentityError::Expired);
    }
    Ok(())
}

fn judge_failure(failure: &Failure) -> Result<(), IdentityError> {
    match failure.code() {
        Some("INVALID_ID_TOKEN") => Err(IdentityError::Invalid("Google does not accept it")),
        Some("TOKEN_EXPIRED") => Err(IdentityError::Expired),
        Some("USER_DISABLED") => Err(IdentityError::Invalid("its user is disabled")),
        Some("USER_NOT_FOUND") => Err(IdentityError::Invalid("its user is not known")),
        _ => {
            // An outage is complained about by the client; this may be an API key that is no good.
            if failure.is_verdict() {
                tracing::warn!(%failure, "accounts cannot be looked up, tokens alone are checked; see google.api_key");
            }
            Ok(())
        }
    }
}
