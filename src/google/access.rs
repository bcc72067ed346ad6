//! Access to Google: the project, and the access tokens for its Firestore.
//!
//! A service account signs an assertion (RFC 7523) for each token. Without an account the GCE metadata server issues
//! the tokens and names the project, so a VM needs no private key. The Firestore emulator accepts the token `owner`.
//!
//! **Invariant**: a token is never printed. While a token is usable, no call waits for the next one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, Header};
use parking_lot::RwLock;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::account::ServiceAccount;
use super::refresh_cache::{Fetched, RefreshCache};
use super::{Client, Dependency, Emulators, Failure, GoogleError, Lane};
use crate::config::{self, ConfigError, Problems};

/// Firestore, and the accounts of streamers with an expired token.
const SCOPE: &str =
    "https://www.googleapis.com/auth/datastore https://www.googleapis.com/auth/identitytoolkit";
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
/// A token is fetched again this long before its end. The metadata server itself renews 5 minutes ahead.
const AHEAD: Duration = Duration::from_mins(4);
/// A token is no longer used from this long before its end.
const MARGIN: Duration = Duration::from_secs(30);

/// A project and the access to it; cheap to clone.
#[derive(Clone)]
pub struct Access {
    /// The outbound client.
    pub client: Client,
    /// The project's id.
    pub project: Arc<str>,
    /// The parts of Google that are emulators.
    pub emulators: Emulators,
    // Replaced as a whole on a reload; a read lock is held for a clone. None: an emulator needs no tokens.
    tokens: Arc<RwLock<Option<RefreshCache<HeaderValue>>>>,
}

impl Access {
    /// Opens the access of `config`: [`Credentials::find`] and [`Access::with`] in one.
    pub async fn open(
        client: Client,
        config: &config::Google,
        emulators: Emulators,
    ) -> Result<Self, GoogleError> {
        let credentials = Credentials::find(config, &emulators)?;
        Self::with(client, credentials, config, emulators).await
    }

    /// Opens the access with these credentials. Asks the metadata server for the project's id if nothing else names it,
    /// and no other server.
    pub async fn with(
        client: Client,
        credentials: Credentials,
        config: &config::Google,
        emulators: Emulators,
    ) -> Result<Self, GoogleError> {
        let Credentials { account, project } = credentials;
        let project = match project {
            Some(id) => id,
            None => Metadata::new(&client, &emulators).project_id().await?,
        };
        let tokens = source(&client, &emulators, account, config);
        Ok(Self {
            client,
            project: project.into(),
            emulators,
            tokens: Arc::new(RwLock::new(tokens)),
        })
    }

    /// Replaces the credentials. The project does not change.
    pub fn reload(&self, credentials: Credentials, config: &config::Google) {
        let account = credentials.account;
        let tokens = source(&self.client, &self.emulators, account, config);
        *self.tokens.write() = tokens;
    }

    fn tokens(&self) -> Option<RefreshCache<HeaderValue>> {
        self.tokens.read().clone()
    }

    /// The value of the `Authorization` header.
    pub async fn authorization(&self) -> Result<Arc<HeaderValue>, Failure> {
        match self.tokens() {
            Some(tokens) => tokens.get().await,
            None => Ok(Arc::new(HeaderValue::from_static("Bearer owner"))),
        }
    }

    /// Drops an `authorization` that Google refused: the next call fetches another.
    pub fn forget(&self, authorization: &Arc<HeaderValue>) {
        if let Some(tokens) = self.tokens() {
            tokens.forget(authorization);
        }
    }

    /// The name of the header for [`authorization`](Self::authorization).
    pub const HEADER: http::HeaderName = AUTHORIZATION;
}

/// The configured access to Google, read and checked as far as possible without a network.
pub struct Credentials {
    account: Option<ServiceAccount>,
    project: Option<String>,
}

impl Credentials {
    /// Reads the credentials of `config`.
    pub fn find(config: &config::Google, emulators: &Emulators) -> Result<Self, Problems> {
        let mut problems = emulators.check();
        let mut account = None;
        problems.take(ServiceAccount::find(config), |found| account = found);
        let project = config
            .project_id
            .clone()
            .or_else(|| account.as_ref()?.project_id.clone())
            .filter(|id| !id.is_empty());
        if project.as_deref().is_some_and(|id| !is_project(id)) {
            let problem = "must be a project's id: letters, digits, - _ . and :";
            problems.push(ConfigError::value("google.project_id", problem));
        }
        problems.into_result()?;
        Ok(Self { account, project })
    }

    /// Describes the values that only the metadata server can supply; none if it is not needed.
    pub fn needs_from_metadata(&self, emulators: &Emulators) -> Option<String> {
        let mut needed = Vec::new();
        if self.project.is_none() {
            needed.push("google.project_id is not set");
        }
        if self.account.is_none() && emulators.firestore.is_none() {
            needed.push("no service account's key is among the credentials");
        }
        (!needed.is_empty()).then(|| {
            format!(
                "{}: the metadata server of a Google Compute Engine VM is asked for it; elsewhere it has to be set",
                needed.join(", and ")
            )
        })
    }
}

fn is_project(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.bytes().all(fits)
}

/// The source of access tokens, if any are needed.
fn source(
    client: &Client,
    emulators: &Emulators,
    account: Option<ServiceAccount>,
    config: &config::Google,
) -> Option<RefreshCache<HeaderValue>> {
    match (&emulators.firestore, account) {
        (Some(_), _) => None,
        (None, Some(account)) => Some(granted(client.clone(), account, config.token_url.clone())),
        (None, None) => Some(Metadata::new(client, emulators).tokens()),
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    expires_in: u64,
}

fn fetched(
    client: &Client,
    dependency: Dependency,
    granted: &Granted,
) -> Result<Fetched<HeaderValue>, Failure> {
    let text = format!("Bearer {}", granted.access_token.expose_secret());
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| client.unusable(dependency))?;
    value.set_sensitive(true);
    let lifetime = Duration::from_secs(granted.expires_in);
    Ok(Fetched {
        value,
        // A token that is already near its end is used for a moment, or every call would fetch another.
        fresh_for: lifetime.saturating_sub(AHEAD).max(lifetime.min(MARGIN) / 2),
        usable_for: lifetime.saturating_sub(MARGIN),
    })
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

/// Tokens issued to a service account.
fn granted(client: Client, account: ServiceAccount, url: String) -> RefreshCache<HeaderValue> {
    let account = Arc::new(account);
    RefreshCache::new(move || {
        let (client, account, url) = (client.clone(), Arc::clone(&account), url.clone());
        async move {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            let mut header = Header::new(Algorithm::RS256);
            header.kid.clone_from(&account.key_id);
            let assertion = Assertion {
                iss: &account.email,
                scope: SCOPE,
                aud: &url,
                iat: now,
                exp: now + 3600,
            };
            // About 2 ms once an hour: not worth a thread. The key has signed before, so it signs again.
            let assertion = jsonwebtoken::encode(&header, &assertion, &account.key)
                .map_err(|_| client.unusable(Dependency::Token))?;
            let request = client
                .post(&url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("{GRANT}{assertion}"));
            let reply = client
                .call(Dependency::Token, Lane::Streamers, request)
                .await;
            fetched(&client, Dependency::Token, &reply?.value)
        }
    })
}

/// The GCE metadata server.
#[derive(Clone)]
struct Metadata {
    client: Client,
    base: String,
}

impl Metadata {
    fn new(client: &Client, emulators: &Emulators) -> Self {
        let host = emulators
            .metadata
            .as_deref()
            .unwrap_or("metadata.google.internal");
        Self {
            client: client.clone(),
            base: format!("http://{host}/computeMetadata/v1"),
        }
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.client
            .get(&format!("{}/{path}", self.base))
            .header("metadata-flavor", "Google")
    }

    async fn project_id(&self) -> Result<String, GoogleError> {
        let request = self.request("project/project-id");
        let id = self
            .client
            .call_text(Dependency::Metadata, Lane::Streamers, request)
            .await
            .map_err(|failure| {
                GoogleError::Project(format!("the GCE metadata server was asked, but {failure}"))
            })?;
        match id.trim() {
            id if is_project(id) => Ok(id.to_owned()),
            _ => Err(GoogleError::Project(
                "the GCE metadata server names none".to_owned(),
            )),
        }
    }

    fn tokens(&self) -> RefreshCache<HeaderValue> {
        let this = self.clone();
        RefreshCache::new(move || {
            let this = this.clone();
            async move {
                let request = this.request("instance/service-accounts/default/token");
                let reply = this
                    .client
                    .call(Dependency::Metadata, Lane::Streamers, request)
                    .await;
                fetched(&this.client, Dependency::Metadata, &reply?.value)
            }
        })
    }
}
