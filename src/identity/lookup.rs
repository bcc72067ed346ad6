//! The account look-up. It finds users who are disabled, deleted, or signed out everywhere; a token does not show that.
//!
//! <https://cloud.google.com/identity-platform/docs/reference/rest/v1/accounts/lookup>
//!
//! **Invariant**: a look-up can only refuse a token. It never replaces the local checks (the Auth emulator's ignores
//! `exp`), and if it fails, the locally verified token remains valid.

use std::num::ParseIntError;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::IdentityError;
use super::claims::Token;
use crate::broadcast::UserId;
use crate::config::{self, ConfigError, LookupPolicy};
use crate::google::{Access, Complaint, Dependency, Emulators, Failure, Lane};

/// The account look-up of a project.
pub(super) struct Lookup {
    access: Access,
    url: String,
    api_key: HeaderValue,
    /// The URL for look-ups by the service account.
    administrators_url: String,
    /// Whether the service account lacks the permission.
    denied: AtomicBool,
    complaint: Complaint,
}

/// The API key for look-ups.
pub struct ApiKey(HeaderValue);

impl ApiKey {
    /// The note for an operator who has set no key, and needs none.
    pub const MISSING: &str = "google.api_key is not set: accounts are not looked up, so disabled and deleted users \
                               are admitted until their tokens expire";

    /// The key of `config` or of the Auth emulator; none if no look-up is configured, or if there is no key.
    pub fn find(
        config: &config::Config,
        emulators: &Emulators,
    ) -> Result<Option<Self>, ConfigError> {
        let policy = config.identity.lookup;
        let emulators_key = emulators.auth.as_ref().map(|_| "emulator".into());
        let api_key = config.google.api_key.as_ref().or(emulators_key.as_ref());
        match (policy, api_key) {
            (LookupPolicy::Off, _) | (LookupPolicy::Streamers, None) => Ok(None),
            (LookupPolicy::Everyone, None) => Err(ConfigError::absent(
                "google.api_key",
                "is not set, but identity.lookup is \"everyone\", and no account can be looked up without that key",
            )),
            (_, Some(api_key)) => {
                let text = api_key.expose_secret().trim();
                let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
                let value = HeaderValue::from_str(text).ok().filter(|_| sound);
                let mut value = value.ok_or_else(|| {
                    ConfigError::value(
                        "google.api_key",
                        "must be a key: one word of letters, digits, - and _",
                    )
                })?;
                value.set_sensitive(true);
                Ok(Some(Self(value)))
            }
        }
    }
}

/// An account. Other fields of the answer (password hashes) are dropped by the parser.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    local_id: String,
    #[serde(default)]
    disabled: bool,
    /// Tokens of earlier sign-ins are revoked: seconds of Unix time, as text.
    #[serde(default)]
    valid_since: Option<String>,
}

impl Account {
    fn valid_since(&self) -> Result<Option<u64>, ParseIntError> {
        self.valid_since.as_deref().map(str::parse).transpose()
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    users: Vec<Account>,
}

impl Lookup {
    /// The look-up at Google or at the Auth emulator.
    pub(super) fn new(access: &Access, config: &config::Config, api_key: ApiKey) -> Self {
        let base = access.emulators.auth.as_deref().map_or_else(
            || config.google.identity_url.clone(),
            |host| format!("http://{host}/identitytoolkit.googleapis.com/v1"),
        );
        let base = base.trim_end_matches('/');
        Self {
            access: access.clone(),
            url: format!("{base}/accounts:lookup"),
            administrators_url: format!("{base}/projects/{}/accounts:lookup", access.project),
            denied: AtomicBool::new(false),
            api_key: api_key.0,
            complaint: Complaint::default(),
        }
    }

    /// Refuses a token whose account is deleted, disabled or signed out.
    pub(super) async fn check(
        &self,
        text: &str,
        token: &Token<'_>,
        lane: Lane,
    ) -> Result<(), IdentityError> {
        match self.ask(text, lane).await {
            Ok(answer) => judge(&answer, token),
            Err(failure) => self.judge_failure(&failure),
        }
    }

    /// Whether the user of an admitted token has been disabled or deleted since. An expired token proves nothing about
    /// its user, so the service account asks instead. An outage proves nothing either.
    pub(super) async fn recheck(&self, text: &str, user: &UserId) -> Standing {
        match self.ask(text, Lane::Background).await {
            Ok(answer) => match account(&answer, user) {
                Some(account) if account.disabled => Standing::Gone,
                Some(_) => Standing::Good,
                None => Standing::Unknown,
            },
            Err(failure) => match failure.code() {
                Some("USER_DISABLED" | "USER_NOT_FOUND") => Standing::Gone,
                Some("TOKEN_EXPIRED" | "INVALID_ID_TOKEN") => self.recheck_by_id(user).await,
                _ => Standing::Unknown,
            },
        }
    }

    /// Asks as the project's administrator. A missing user is no proof: it may belong to another tenant.
    async fn recheck_by_id(&self, user: &UserId) -> Standing {
        if self.denied.load(Ordering::Relaxed) {
            return Standing::Unknown;
        }
        let authorization = match &self.access.emulators.auth {
            // The emulator gets none of Google's tokens.
            Some(_) => HeaderValue::from_static("Bearer owner"),
            None => match self.access.authorization().await {
                Ok(authorization) => authorization.as_ref().clone(),
                Err(_) => return Standing::Unknown,
            },
        };
        let client = &self.access.client;
        let request = client
            .post(&self.administrators_url)
            .header(Access::HEADER, authorization)
            .json(&serde_json::json!({ "localId": [user.as_str()] }));
        let lane = Lane::Background;
        match client
            .call::<Answer>(Dependency::Identity, lane, request)
            .await
        {
            Ok(reply) => match account(&reply.value, user) {
                Some(account) if account.disabled => Standing::Gone,
                Some(_) => Standing::Good,
                None => Standing::Unknown,
            },
            Err(failure) => {
                let denied = matches!(
                    failure,
                    Failure::Refused {
                        http: 401 | 403 | 404,
                        ..
                    }
                );
                // Every request is denied until a reload.
                if denied && !self.denied.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %failure,
                        "the service account may not look accounts up: a streamer who is disabled after their token \
                         has expired stays on air; grant it roles/firebaseauth.viewer"
                    );
                }
                Standing::Unknown
            }
        }
    }

    async fn ask(&self, text: &str, lane: Lane) -> Result<Answer, Failure> {
        let client = &self.access.client;
        let request = client
            .post(&self.url)
            // A header, not the URL: URLs end up in logs of other systems.
            .header("x-goog-api-key", self.api_key.clone())
            .json(&serde_json::json!({ "idToken": text }));
        let reply = client
            .call::<Answer>(Dependency::Identity, lane, request)
            .await?;
        let readable = |account: &Account| account.valid_since().is_ok();
        if reply.value.users.iter().all(readable) {
            Ok(reply.value)
        } else {
            Err(client.unusable(Dependency::Identity))
        }
    }

    fn judge_failure(&self, failure: &Failure) -> Result<(), IdentityError> {
        match failure.code() {
            Some("INVALID_ID_TOKEN") => Err(IdentityError::Invalid("Google does not accept it")),
            Some("TOKEN_EXPIRED") => Err(IdentityError::Expired),
            Some("USER_DISABLED") => Err(IdentityError::Invalid("its user is disabled")),
            Some("USER_NOT_FOUND") => Err(IdentityError::Invalid("its user is not known")),
            _ => {
                // The client logs outages; this may be an unusable API key.
                if failure.is_verdict() && self.complaint.is_due() {
                    tracing::warn!(
                        %failure,
                        "accounts cannot be looked up, so only tokens are checked; see google.api_key"
                    );
                }
                Ok(())
            }
        }
    }
}

/// The state of the account behind a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The account exists and is not disabled.
    Good,
    /// Disabled or deleted.
    Gone,
    /// There is no evidence.
    Unknown,
}

fn account<'a>(answer: &'a Answer, user: &UserId) -> Option<&'a Account> {
    let is_theirs = |account: &&Account| account.local_id == user.as_str();
    answer.users.iter().find(is_theirs)
}

fn judge(answer: &Answer, token: &Token<'_>) -> Result<(), IdentityError> {
    let account =
        account(answer, &token.user).ok_or(IdentityError::Invalid("its user is not known"))?;
    if account.disabled {
        return Err(IdentityError::Invalid("its user is disabled"));
    }
    // `Lookup::ask` has refused an answer with an unreadable time.
    let valid_since = account.valid_since().unwrap_or_default();
    if valid_since.is_some_and(|since| token.authenticated_at < since) {
        return Err(IdentityError::Expired);
    }
    Ok(())
}
