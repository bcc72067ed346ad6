//! The contract's names and texts on the wire, to the letter: namespaces, events and messages.

use std::time::Duration;

use serde::Serialize;

use crate::broadcast::{LivestreamId, RecordingState, Role, UserId};
use crate::identity::IssuedPass;
use crate::relay::Standing;

/// The namespace of streamers.
pub(super) const STREAMER: &str = "/streamer";
/// The namespace of listeners.
pub(super) const LISTENER: &str = crate::transport::LISTENER;

/// A clip, from a streamer.
pub(super) const UPLOAD: &str = "upload";
/// The outcome of a listener's `resume`.
pub(super) const RESUMED: &str = "resumed";
/// A success.
pub(super) const SUCCESS: &str = "success";
/// A failure.
pub(super) const ERROR: &str = "error";
/// The livestream's state; older clients ignore it.
pub(super) const STATE: &str = "state";
/// A warning, to a client with the feature `warnings`.
pub(super) const WARNING: &str = "warning";
/// An acknowledgement, in metrics.
pub(super) const ACK: &str = "ack";
/// A fresh token, from a client whose token is about to expire.
pub(super) const TOKEN: &str = "token";

/// The wish for a listening pass, from a streamer.
pub(super) const INVITE: &str = "invite";

/// The wish of a streamer about the recording of its livestream, or its question.
pub(super) const RECORDING: &str = "recording";

/// The header of a request with the client's token.
pub(super) const TOKEN_HEADER: &str = "id-token";
/// The header of a request with the livestream's id.
pub(super) const LIVESTREAM_HEADER: &str = "livestream-id";

pub(super) fn namespace(role: Role) -> &'static str {
    match role {
        Role::Streamer => STREAMER,
        Role::Listener => LISTENER,
    }
}

pub(super) fn connected(user: &UserId, role: Role, livestream: &LivestreamId) -> String {
    format!(
        "User {user} connected as {} to livestream {livestream}.",
        role.as_str()
    )
}

pub(super) fn received(user: &UserId) -> String {
    format!("Packet received from user {user}")
}

pub(super) const NOT_A_CLIP: &str = "Upload must be a single binary clip.";
pub(super) const BAD_UPLOAD_OPTIONS: &str = "Upload options must have an id of 1 to 64 characters, and may have capturedAt in milliseconds.";
pub(super) const TOKEN_INVALID: &str = "Id token is invalid.";
pub(super) const TOKEN_EXPIRED: &str = "Id token has expired.";
pub(super) const TOKEN_BUSY: &str = "Another token is being checked.";
pub(super) const BANNED: &str = crate::relay::BANNED;
pub(super) const NOT_ON_AIR: &str = "This connection is not the streamer of the livestream.";

pub(super) const NOTHING_RECORDED: &str =
    "Livestreams are not recorded on this server, ask its operator for recordings.";
pub(super) const NO_RECORD: &str =
    "This livestream is not recorded, set record to true in its document and ask again.";
pub(super) const BAD_RECORDING: &str = "Recording must be true, false or nothing.";
pub(super) const RECORDING_BUSY: &str = "Another request to record is being checked.";

pub(super) const PASSES_OFF: &str = "Listening passes are off on this server.";

pub(super) fn expires_in(most: u64) -> String {
    format!("expiresIn must be a whole number of seconds from 1 to {most}.")
}

pub(super) fn invites_limited(millis: u64) -> String {
    format!("Invite rate limit exceeded, retry in {millis} ms.")
}

pub(super) fn recording_limited(millis: u64) -> String {
    format!("Recording rate limit exceeded, retry in {millis} ms.")
}

pub(super) fn unknown_event(event: &str) -> String {
    format!("Unknown event {event}.")
}

pub(super) fn too_large(limit: usize) -> String {
    format!("Upload is too large, a clip may have at most {limit} bytes.")
}

pub(super) fn rate_limited(millis: u64) -> String {
    format!("Upload rate limit exceeded, retry in {millis} ms.")
}

pub(super) fn taken_over(livestream: &LivestreamId) -> String {
    format!("Livestream {livestream} was taken over by another connection.")
}

/// Reasons why a listening pass is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassRefusal {
    Off,
    Invalid,
    OtherLivestream,
    /// Its time is over, or its livestream has ended since.
    Ended,
    CannotStream,
}

impl PassRefusal {
    /// The text for the listener: it says what to do.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Off => "Listening passes are off on this server, sign in to listen.",
            Self::Invalid => "Listening pass is invalid, ask the streamer for a new link.",
            Self::OtherLivestream => {
                "Listening pass is for another livestream, ask the streamer for a new link."
            }
            Self::Ended => "Listening pass has ended, ask the streamer for a new link.",
            Self::CannotStream => "A listening pass cannot stream, sign in to stream.",
        }
    }
}

/// Reasons why a socket is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    NoToken,
    NoLivestream,
    TokenInvalid,
    TokenExpired,
    Pass(PassRefusal),
    /// An operator keeps the user or the livestream out.
    Banned,
    NotTheArtist,
    DoesNotExist(String),
    NotStarted(LivestreamId),
    /// The client should try again.
    Unavailable,
    /// The client should try again, at another node.
    Draining,
    /// The number of listeners or livestreams is at its limit; the client should try again.
    Full,
    /// The number of the user's sockets is at its limit; the client should try again.
    TooMany,
    /// A socket that asked later is the streamer.
    TakenOver(LivestreamId),
    /// The client left during its check: nobody receives the refusal.
    Gone,
}

impl Refusal {
    /// The contract's text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::NoToken => "Id token not provided.".into(),
            Self::NoLivestream => "Livestream id not provided.".into(),
            Self::TokenInvalid => TOKEN_INVALID.into(),
            Self::TokenExpired => TOKEN_EXPIRED.into(),
            Self::Pass(refusal) => refusal.text().into(),
            Self::Banned => BANNED.into(),
            Self::NotTheArtist => "User is not authorized to livestream in this room.".into(),
            Self::DoesNotExist(id) => format!("Livestream {id} does not exist."),
            Self::NotStarted(id) => format!("Livestream {id} has not started."),
            Self::Unavailable | Self::Draining => {
                "Service is temporarily unavailable, try again.".into()
            }
            Self::Full => "Server is full, try again later.".into(),
            Self::TooMany => "Too many connections of this user, try again later.".into(),
            Self::TakenOver(id) => taken_over(id),
            Self::Gone => String::new(),
        }
    }

    /// The metric's label.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::NoLivestream => "no_livestream",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::Pass(PassRefusal::Ended) => "pass_ended",
            Self::Pass(_) => "pass_invalid",
            Self::Banned => "banned",
            Self::NotTheArtist => "not_the_artist",
            Self::DoesNotExist(_) => "does_not_exist",
            Self::NotStarted(_) => "not_started",
            Self::Unavailable => "unavailable",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::TooMany => "user_limit",
            Self::TakenOver(_) => "taken_over",
            Self::Gone => "gone",
        }
    }

    /// Whether the client should be admitted later: see [`super::handshake`].
    pub(super) fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Draining | Self::Full | Self::TooMany
        )
    }
}

/// The one argument of `state`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct StateMessage {
    pub(super) state: &'static str,
    pub(super) listeners: usize,
    /// Whether the clips are recorded; left out if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<bool>,
}

impl From<Standing> for StateMessage {
    fn from(standing: Standing) -> Self {
        Self {
            state: standing.state.as_str(),
            listeners: standing.listeners,
            recording: standing.is_recorded.then_some(true),
        }
    }
}

/// The one argument of `warning`.
#[derive(Debug, Serialize)]
pub(super) struct WarningMessage {
    /// `silence`: no clip has come for so many seconds.
    kind: &'static str,
    seconds: u64,
}

impl WarningMessage {
    pub(super) fn silence(lasted: Duration) -> Self {
        Self {
            kind: "silence",
            seconds: lasted.as_secs(),
        }
    }
}

/// The one argument of an acknowledgement.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ack {
    pub(super) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listeners: Option<usize>,
    /// The clip was accepted before, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duplicate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pass: Option<String>,
    /// Seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<u64>,
    /// Whether clips are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recording: Option<bool>,
    /// Whether the streamer has paused that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) paused: Option<bool>,
}

impl Ack {
    /// The answer to an accepted upload. One of a clip that was accepted before has no listeners.
    pub(super) fn uploaded(sequence: u64, listeners: usize, is_duplicate: bool) -> Self {
        Self {
            ok: true,
            sequence: Some(sequence),
            listeners: (!is_duplicate).then_some(listeners),
            duplicate: is_duplicate.then_some(true),
            ..Self::default()
        }
    }

    pub(super) fn invited(pass: IssuedPass) -> Self {
        Self {
            ok: true,
            pass: Some(pass.text),
            expires_at: Some(pass.expires_at),
            ..Self::default()
        }
    }

    /// How the recording is going; with an error if that does not outlive this node.
    pub(super) fn recording(state: RecordingState, error: Option<String>) -> Self {
        Self {
            ok: error.is_none(),
            recording: Some(state.is_on()),
            paused: Some(state.is_paused()),
            error,
            ..Self::default()
        }
    }

    pub(super) fn error(text: &str) -> Self {
        Self {
            error: Some(text.to_owned()),
            ..Self::default()
        }
    }
}
