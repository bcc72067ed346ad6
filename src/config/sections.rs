//! The sections, one struct each. Every key's unit is in its name or its type: durations are written `10s`,
//! `250ms`, `2m`.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// `[upload]`: what a streamer may send. The defaults let the shipped app flush an outage of 60 s at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upload {
    /// The largest clip, in bytes. A message four times as large closes the transport.
    pub max_clip_bytes: usize,
    /// Clips per minute, sustained, per streamer.
    pub clips_per_minute: u32,
    /// Clips that may come at once.
    pub clips_burst: u32,
    /// Bytes per second, sustained, per streamer.
    pub bytes_per_second: u32,
    /// Bytes that may come at once.
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
    /// The hard ceiling of one message, in bytes: above it the transport is closed without a word.
    pub fn max_message_bytes(&self) -> usize {
        self.max_clip_bytes * 4
    }
}

/// `[livestream]`: how long a livestream lives, and how many there may be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Livestream {
    /// How long a livestream stays live without its streamer.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// How many of the latest clips a listener gets when it joins.
    pub backlog_clips: usize,
    /// What those clips may weigh together, in bytes; the latest clip is always kept.
    pub backlog_bytes: usize,
    /// How often the documents of what is live, and the accounts of its streamers, are looked at again.
    #[serde(with = "humantime_serde")]
    pub recheck_interval: Duration,
    /// Livestreams on this machine.
    pub max_live: usize,
    /// Listeners of one livestream on this machine.
    pub max_listeners: usize,
}

impl Default for Livestream {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
            backlog_clips: 1,
            backlog_bytes: 8 << 20,
            recheck_interval: Duration::from_secs(30),
            max_live: 1_000,
            max_listeners: 10_000,
        }
    }
}

/// `[listener]`: what a slow listener gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Clips that may wait for one listener; beyond, the oldest are dropped. No fewer than `upload.clips_burst`, or the
    /// flush after an outage would not fit.
    pub queue_clips: usize,
    /// Bytes that may wait for one listener; beyond, the oldest clips are dropped.
    pub queue_bytes: usize,
    /// A listener that takes nothing for so long, with something waiting, is disconnected so that it comes back.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// A listener whose oldest waiting clip is older than this is disconnected so that it comes back.
    #[serde(with = "humantime_serde")]
    pub max_lag: Duration,
    /// Write one shared copy of a clip to all WebSocket listeners. Off: through the Socket.IO library, a copy each.
    pub shared_writes: bool,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            queue_clips: 128,
            queue_bytes: 16 << 20,
            stall_timeout: Duration::from_secs(15),
            max_lag: Duration::from_mins(1),
            shared_writes: true,
        }
    }
}

/// Whose account is looked up at Google besides the local check of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LookupPolicy {
    /// Nobody's.
    Off,
    /// Streamers'.
    #[default]
    Streamers,
    /// Everybody's.
    Everyone,
}

/// `[identity]`: how a client proves who it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Whose account is looked up, to find disabled, deleted and revoked users; needs `google.api_key`.
    pub lookup: LookupPolicy,
    /// How far clocks may differ.
    #[serde(with = "humantime_serde")]
    pub clock_skew: Duration,
    /// How long after it was lost a socket may come back with the same token though that has expired.
    #[serde(with = "humantime_serde")]
    pub return_window: Duration,
    /// Lost sockets that may come back so, in all; beyond, the oldest may not.
    pub max_returns: usize,
    /// Those of one user.
    pub max_returns_per_user: usize,
    /// Look-ups of one user in a minute that may end without a livestream of theirs; beyond, they are told to try again.
    pub failed_lookups_per_user: u32,
    /// The same for all users of one address.
    pub failed_lookups_per_address: u32,
    /// Tokens of one address in a minute whose signing key is not known yet that are answered as a temporary failure;
    /// beyond, they are invalid.
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

/// `[google]`: the Firebase project, and how to reach it. Without a service account the GCE metadata server is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Google {
    /// The project's id. Legacy name: `PROJECT_ID`. Empty: from the service account or the metadata server.
    pub project_id: Option<String>,
    /// The project's web API key, for account look-ups. Legacy name: `IDENTITY_SERVER_API_KEY`.
    #[serde(skip_serializing)]
    pub api_key: Option<SecretString>,
    /// The service account's address. Legacy name: `CLIENT_EMAIL`.
    pub client_email: Option<String>,
    /// The service account's private key: a PEM, or its body with literal `\n`. Legacy name: `PRIVATE_KEY`.
    #[serde(skip_serializing)]
    pub private_key: Option<SecretString>,
    /// The service account as its JSON text.
    #[serde(skip_serializing)]
    pub service_account: Option<SecretString>,
    /// The service account as a JSON file. Legacy name: `GOOGLE_APPLICATION_CREDENTIALS`.
    pub service_account_file: Option<PathBuf>,
    /// How long a connection to Google may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a call to Google may take, and how long it may wait for its turn before.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Calls to Google that may be under way at once, for each of these: checks of streamers, checks of listeners, and
    /// all that no client waits for.
    pub max_requests: usize,
    /// How long a livestream's document is believed when a listener asks for it.
    #[serde(with = "humantime_serde")]
    pub cache_ttl: Duration,
    /// Documents that are remembered.
    pub cache_entries: u64,
    /// Google's signing keys, as a JWK set.
    pub keys_url: String,
    /// The Identity Toolkit, up to and without `/accounts:lookup`.
    pub identity_url: String,
    /// Firestore, up to and without `/projects`.
    pub firestore_url: String,
    /// Where access tokens are granted.
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

/// `[http]`: the pages served on the client port.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Serve the studio and the listening page.
    pub pages: bool,
}

/// `[cluster]`: many nodes that share their livestreams through one Redis or Valkey. Without a `url` there is no cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Redis, standalone or a cluster itself: `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    #[serde(skip_serializing)]
    pub url: Option<SecretString>,
    /// This node's name in logs; the host's name if there is none. A part of its own is added for each process.
    pub node: Option<String>,
    /// What all keys and channels begin with: one for each deployment that shares a Redis.
    pub prefix: String,
    /// How long a node that gives no sign is believed to own a livestream; how long an upload waits for its ack at most.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How often a node compares each of its livestreams with Redis.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// How long a command may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How long a livestream's clips are still received after its last listener here has left.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// The latest clips of each livestream that Redis and the owner keep, for nodes that missed some.
    pub history_clips: usize,
    /// What those may weigh together, in bytes.
    pub history_bytes: usize,
    /// What a node may fetch of all histories, or publish again, at the same time, in bytes of the largest clips.
    pub fetch_bytes: usize,
    /// Clips of one livestream that may wait for Redis; beyond, other nodes do not get the oldest.
    pub queue_clips: usize,
    /// Bytes that may wait so.
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
            history_clips: 16,
            history_bytes: 4 << 20,
            fetch_bytes: 16 << 20,
            queue_clips: 128,
            queue_bytes: 16 << 20,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal when stderr is the journal, plain text elsewhere.
    #[default]
    Auto,
    /// The journal's own protocol.
    Journald,
    /// Text on stderr.
    Plain,
    /// One JSON object a line on stderr.
    Json,
}

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,castaway_media_server::relay=debug`.
    pub level: String,
    /// How log lines look.
    pub format: LogFormat,
    /// Whether clients' addresses are logged.
    pub client_address: bool,
    /// Refusals of each role that are logged in a minute; the others are only counted.
    pub refusals_per_minute: u32,
    /// The most bytes of lines that wait for a slow reader of the log; further lines are dropped.
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
