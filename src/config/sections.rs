//! The sections, one struct each. Every key's unit is in its name or its type: durations are written `10s`,
//! `250ms`, `2m`.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// `[upload]`: limits of a streamer's uploads. The defaults let the app flush an outage of 60 s at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upload {
    /// The largest clip. A message more than four times as large closes the transport.
    pub max_clip_bytes: usize,
    /// Sustained clips per minute from one streamer.
    pub clips_per_minute: u32,
    /// Clips of one streamer that may arrive at once.
    pub clips_burst: u32,
    /// Sustained bytes per second of one streamer.
    pub bytes_per_second: u32,
    /// Bytes of one streamer that may arrive at once.
    pub bytes_burst: u32,
}

impl Default for Upload {
    fn default() -> Self {
        Self {
            max_clip_bytes: 2 << 20,
            clips_per_minute: 120,
            clips_burst: 120,
            bytes_per_second: 512 << 10,
            bytes_burst: 32 << 20,
        }
    }
}

impl Upload {
    /// The hard limit of one message, in bytes: above it the transport is closed without a close message.
    pub fn max_message_bytes(&self) -> usize {
        self.max_clip_bytes * 4
    }
}

/// `[livestream]`: lifetime and number of livestreams, per node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Livestream {
    /// The grace period: how long a livestream stays live without its streamer.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// How long a livestream on air may be without a clip; then its clients are warned, once, and nothing ends. `"0s"`: for
    /// ever.
    #[serde(with = "humantime_serde")]
    pub silence_after: Duration,
    /// How many of the latest clips a listener gets when it joins.
    pub join_clips: usize,
    /// The history: how many of the latest clips are kept for listeners that come back. 24 are two minutes of the app's.
    pub history_clips: usize,
    /// The total size of the history; the latest clip is always part of it. At most `listener.queue_bytes`.
    pub history_bytes: usize,
    /// The most bytes of clips that a process leaves to the next at a restart, in its runtime directory, which is memory.
    /// Each livestream has an equal share, for its latest clips.
    pub handover_bytes: usize,
    /// How often the documents of livestreams on air, and their streamers' accounts, are checked again.
    #[serde(with = "humantime_serde")]
    pub recheck_interval: Duration,
    /// The most livestreams on this node.
    pub max_live: usize,
    /// The most listeners of one livestream on this node.
    pub max_listeners: usize,
}

impl Default for Livestream {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
            silence_after: Duration::from_secs(30),
            join_clips: 1,
            history_clips: 24,
            history_bytes: 8 << 20,
            handover_bytes: 256 << 20,
            recheck_interval: Duration::from_secs(30),
            max_live: 1_000,
            max_listeners: 10_000,
        }
    }
}

/// Who may invite listeners that have no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassPolicy {
    /// nobody: every listener needs an ID token.
    #[default]
    Off,
    /// streamers, to the livestream that they are streaming.
    Streamers,
}

/// `[listener]`: listening passes, and limits of a listener's outbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Clips in one outbox; beyond, the oldest are dropped. At least `upload.clips_burst`, or the flush after an outage
    /// does not fit.
    pub queue_clips: usize,
    /// Bytes in one outbox; beyond, the oldest clips are dropped.
    pub queue_bytes: usize,
    /// A listener whose connection accepts no byte for this long, with clips in its outbox, is disconnected so that it
    /// reconnects.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// A listener with a clip older than this in its outbox is disconnected so that it reconnects.
    #[serde(with = "humantime_serde")]
    pub max_lag: Duration,
    /// Write one shared copy of a clip to all WebSocket listeners. Off: the Socket.IO library makes a copy for each,
    /// and queues up to four beyond `queue_*`. Polling listeners always get a copy each.
    pub shared_writes: bool,
    /// Who may invite listeners that have no account, with a listening pass.
    pub passes: PassPolicy,
}

/// `[passes]`: listening passes, where `listener.passes` is on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Passes {
    /// The Ed25519 private key that signs them, as a PEM: `openssl genpkey -algorithm ed25519`. A cluster needs it, the same
    /// on all nodes. Unset: made, and kept in the state directory. A new key ends all passes.
    /// Example: `"-----BEGIN PRIVATE KEY-----…"`.
    #[serde(skip_serializing)]
    pub key: Option<SecretString>,
    /// The longest lifetime of a pass.
    #[serde(with = "humantime_serde")]
    pub max_lifetime: Duration,
    /// Passes that one streamer may ask for in a minute.
    pub per_minute: u32,
}

impl Default for Passes {
    fn default() -> Self {
        Self {
            key: None,
            max_lifetime: Duration::from_hours(24),
            per_minute: 10,
        }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            queue_clips: 128,
            queue_bytes: 16 << 20,
            stall_timeout: Duration::from_secs(15),
            max_lag: Duration::from_mins(1),
            shared_writes: true,
            passes: PassPolicy::default(),
        }
    }
}

/// The accounts that are looked up at Google, besides the local check of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LookupPolicy {
    /// no account.
    Off,
    /// streamers' accounts.
    #[default]
    Streamers,
    /// every account.
    Everyone,
}

/// `[identity]`: checks of Firebase ID tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// The accounts that are looked up, besides the local check of the token, to find disabled, deleted and revoked
    /// users. Needs `google.api_key`; for a look-up after the token has expired, `roles/firebaseauth.viewer` as well.
    pub lookup: LookupPolicy,
    /// The largest accepted difference between this machine's clock and the token's.
    #[serde(with = "humantime_serde")]
    pub clock_skew: Duration,
    /// How long a socket that lost its transport may come back with an expired token. At least `livestream.grace`.
    #[serde(with = "humantime_serde")]
    pub return_window: Duration,
    /// The most lost sockets that may come back so; beyond, the oldest may not.
    pub max_returns: usize,
    /// The most of those that one user has.
    pub max_returns_per_user: usize,
    /// Look-ups by one user in a minute that find no livestream; beyond, the user is asked to try again later.
    pub failed_lookups_per_user: u32,
    /// The same for all users of one address together.
    pub failed_lookups_per_address: u32,
    /// Tokens with an unknown signing key from one address in a minute that are refused as temporary, since the key may
    /// be new; beyond, they are refused as invalid.
    pub unknown_keys_per_address: u32,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            lookup: LookupPolicy::default(),
            clock_skew: Duration::from_mins(1),
            return_window: Duration::from_mins(2),
            max_returns: 50_000,
            max_returns_per_user: 16,
            failed_lookups_per_user: 100,
            failed_lookups_per_address: 1000,
            unknown_keys_per_address: 100,
        }
    }
}

/// `[google]`: the Firebase project and its access. Without a service account the daemon asks the GCE metadata server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Google {
    /// The project's id. Unset: from the service account or the metadata server. Legacy name: `PROJECT_ID`.
    /// Example: `"my-project"`.
    pub project_id: Option<String>,
    /// The project's web API key, for account look-ups. Legacy name: `IDENTITY_SERVER_API_KEY`.
    /// Example: `"AIza…"`.
    #[serde(skip_serializing)]
    pub api_key: Option<SecretString>,
    /// The service account's address. Legacy name: `CLIENT_EMAIL`.
    /// Example: `"server@my-project.iam.gserviceaccount.com"`.
    pub client_email: Option<String>,
    /// The service account's private key: a PEM, or its body with literal `\n`. Legacy name: `PRIVATE_KEY`.
    /// Example: `"-----BEGIN PRIVATE KEY-----…"`.
    #[serde(skip_serializing)]
    pub private_key: Option<SecretString>,
    /// The service account as its JSON text.
    /// Example: `"{…}"`.
    #[serde(skip_serializing)]
    pub service_account: Option<SecretString>,
    /// The service account as a JSON file. Legacy name: `GOOGLE_APPLICATION_CREDENTIALS`.
    /// Example: `"/etc/castaway-media-server/service-account.json"`.
    pub service_account_file: Option<PathBuf>,
    /// How long a connection to Google may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a call to Google may take, and how long it may wait for its turn before that.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// The most concurrent calls to Google, separately for checks of streamers, checks of listeners, listening pages, and
    /// calls that no client waits for.
    pub max_requests: usize,
    /// How long a listener's join may use a cached copy of a livestream's document.
    #[serde(with = "humantime_serde")]
    pub cache_ttl: Duration,
    /// The most cached documents.
    pub cache_entries: u64,
    /// Where the signing keys of ID tokens are read, as a JWK set.
    pub keys_url: String,
    /// Base URL of the Identity Toolkit, without `/accounts:lookup`.
    pub identity_url: String,
    /// Base URL of Firestore, without `/projects`.
    pub firestore_url: String,
    /// Where a service account gets access tokens.
    pub token_url: String,
}

impl Default for Google {
    fn default() -> Self {
        Self {
            project_id: None,
            api_key: None,
            client_email: None,
            private_key: None,
            service_account: None,
            service_account_file: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(3),
            max_requests: 64,
            cache_ttl: Duration::from_secs(5),
            cache_entries: 10_000,
            keys_url: "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com".into(),
            identity_url: "https://identitytoolkit.googleapis.com/v1".into(),
            firestore_url: "https://firestore.googleapis.com/v1".into(),
            token_url: "https://oauth2.googleapis.com/token".into(),
        }
    }
}

/// `[api]`: the operator's API, on the health port and on a Unix socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// The tokens of the API on the health port: one or, during a rotation, two, on a line each, of at least 32
    /// characters. A name and a colon before a token name it in the log. Unset: the API answers on the Unix socket alone.
    /// Example: `"ops:5f0e…"`.
    #[serde(skip_serializing)]
    pub token: Option<SecretString>,
    /// The failed authentications of an address (an IPv6 /64 network is one) in a minute, after which it is refused for the
    /// rest of that minute.
    pub max_failures_per_minute: u32,
    /// The most bans.
    pub max_bans: usize,
    /// How long another node may take to answer a request; then the answer says that it is missing.
    #[serde(with = "humantime_serde")]
    pub peer_timeout: Duration,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            token: None,
            max_failures_per_minute: 10,
            max_bans: 10_000,
            peer_timeout: Duration::from_secs(2),
        }
    }
}

/// `[cluster]`: several nodes that share their livestreams through Redis (or Valkey). Without a `url` it is one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Redis, standalone or sharded: `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS by the system's
    /// authorities. Example: `"redis://user:password@10.0.0.3:6379"`.
    #[serde(skip_serializing)]
    pub url: Option<SecretString>,
    /// This node's name in logs; each process adds a suffix of its own. Unset: the machine's host name.
    /// Example: `"castaway-1"`.
    pub node: Option<String>,
    /// Prefix of all keys and channels: a different one for each deployment on the same Redis.
    pub prefix: String,
    /// How long a silent node stays owner of its livestreams, and the most time from an upload to its ack: at least
    /// twice the heartbeat and `timeout`.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// The interval of the heartbeat, with which a node compares each of its livestreams with Redis.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// How long a Redis command may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How long a node goes on receiving a livestream's clips after its last local listener left.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// The history in Redis and at the owner: the latest clips of each livestream, for nodes that missed some, and for
    /// listeners that come back to another node.
    pub history_clips: usize,
    /// The total size of the history of one livestream.
    pub history_bytes: usize,
    /// The most bytes of history that a node fetches or publishes again at the same time, counted in clips of
    /// `upload.max_clip_bytes`.
    pub fetch_bytes: usize,
    /// Clips of one livestream queued for Redis, and as many from it; beyond, other nodes do not get the oldest. At least
    /// `upload.clips_burst`, or the flush after an outage does not fit.
    pub queue_clips: usize,
    /// Bytes of one livestream queued for Redis, and as many from it.
    pub queue_bytes: usize,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            url: None,
            node: None,
            prefix: "castaway".into(),
            lease: Duration::from_secs(6),
            heartbeat: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            linger: Duration::from_secs(10),
            history_clips: 24,
            history_bytes: 4 << 20,
            fetch_bytes: 16 << 20,
            queue_clips: 128,
            queue_bytes: 16 << 20,
        }
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// the journal if stderr is the journal, else plain text.
    #[default]
    Auto,
    /// the journal's own protocol.
    Journald,
    /// text on stderr.
    Plain,
    /// one JSON object per line on stderr.
    Json,
}

/// `[log]`: level and format of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,castaway_media_server::relay=debug`.
    pub level: String,
    /// The format of log lines.
    pub format: LogFormat,
    /// Log clients' addresses.
    pub client_address: bool,
    /// Refusals logged in a minute, for each role; further refusals are only counted.
    pub refusals_per_minute: u32,
    /// The most bytes of log lines queued for a slow reader; further lines are dropped.
    pub queue_bytes: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::default(),
            client_address: false,
            refusals_per_minute: 60,
            queue_bytes: 1 << 20,
        }
    }
}
