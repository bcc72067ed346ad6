//! Reasons to refuse a player's request, and their answers.

use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Players;
use super::count::Limit;
use super::livestream::Livestream;
use crate::broadcast::LivestreamError;
use crate::identity::IdentityError;
use crate::relay::FindError;

/// How many clips ahead of the latest one a playlist may be asked for.
pub(super) const MAX_AHEAD: u64 = 2;

/// Reasons to refuse a request. The text says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("send an ID token: `Authorization: Bearer …`")]
    NoToken,
    #[error(
        "send a listening pass: `?pass=…` or `Authorization: Bearer …`; the streamer's link has one. An ID token in \
         `Authorization` is good as well"
    )]
    NoPass,
    #[error(
        "the listening pass is invalid, or for another livestream: ask the streamer for a new link"
    )]
    PassInvalid,
    #[error("the listening pass has ended: ask the streamer for a new link")]
    PassEnded,
    #[error("the ID token is invalid")]
    TokenInvalid,
    #[error("the ID token has expired: send a fresh one")]
    TokenExpired,
    #[error("the ID token cannot be checked now: try again")]
    Unavailable,
    #[error("this server drains: try another")]
    Draining,
    #[error("banned by the operator of this service")]
    Banned,
    #[error("there is no such livestream on air")]
    NotStarted,
    #[error("the livestream cannot be looked for on other nodes now: try again")]
    Unknown,
    #[error("{0}")]
    NotPlayable(String),
    #[error("there is no such file: it is too old, or was never there")]
    NoSegment,
    #[error("this server has too many listeners: try another, or later")]
    Full,
    #[error("this livestream has too many listeners: try later")]
    LivestreamFull,
    #[error("there are too many listeners from this address")]
    AddressLimit,
    #[error("too many requests wait for the next clip: ask without `_HLS_msn`, or later")]
    TooManyWaiting,
    #[error(
        "the playlist is not that far: `_HLS_msn` may be at most {MAX_AHEAD} more than the latest"
    )]
    TooFarAhead,
    #[error("no clip came in time: ask again")]
    Timeout,
}

impl Refusal {
    fn status_and_label(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "no_token"),
            Self::NoPass => (StatusCode::UNAUTHORIZED, "no_pass"),
            Self::PassInvalid => (StatusCode::UNAUTHORIZED, "pass_invalid"),
            Self::PassEnded => (StatusCode::UNAUTHORIZED, "pass_ended"),
            Self::TokenInvalid => (StatusCode::UNAUTHORIZED, "token_invalid"),
            Self::TokenExpired => (StatusCode::UNAUTHORIZED, "token_expired"),
            Self::Unavailable | Self::Unknown => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            Self::Banned => (StatusCode::FORBIDDEN, "banned"),
            Self::NotStarted => (StatusCode::NOT_FOUND, "not_started"),
            Self::NotPlayable(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_playable"),
            Self::NoSegment => (StatusCode::NOT_FOUND, "no_segment"),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            Self::LivestreamFull => (StatusCode::SERVICE_UNAVAILABLE, "livestream_full"),
            Self::AddressLimit => (StatusCode::TOO_MANY_REQUESTS, "address_limit"),
            Self::TooManyWaiting => (StatusCode::SERVICE_UNAVAILABLE, "too_many_waiting"),
            Self::TooFarAhead => (StatusCode::BAD_REQUEST, "too_far_ahead"),
            Self::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        }
    }

    /// Of a listener.
    pub(super) fn of_limit(limit: Limit) -> Self {
        match limit {
            Limit::Total => Self::Full,
            Limit::Address => Self::AddressLimit,
        }
    }

    /// Why a livestream has nothing for players.
    pub(super) fn nothing_yet(livestream: &Livestream) -> Self {
        let state = livestream.state();
        match state.unplayable {
            Some(reason) => Self::NotPlayable(reason.to_string()),
            None if state.is_closed => Self::NotStarted,
            None => Self::Timeout,
        }
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Invalid(_) => Self::TokenInvalid,
            IdentityError::Expired => Self::TokenExpired,
            IdentityError::Unavailable | IdentityError::KeyUnknown => Self::Unavailable,
        }
    }
}

impl From<FindError> for Refusal {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NotStarted => Self::NotStarted,
            FindError::Away(_) => Self::Unknown,
        }
    }
}

impl From<LivestreamError> for Refusal {
    fn from(error: LivestreamError) -> Self {
        match error {
            LivestreamError::Ended | LivestreamError::NotStarted | LivestreamError::StaleEpoch => {
                Self::NotStarted
            }
            LivestreamError::Full => Self::LivestreamFull,
        }
    }
}

impl Players {
    /// Counts a refusal, and answers it.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Response {
        let (status, label) = refusal.status_and_label();
        self.0.metrics.refused.with_label_values(&[label]).inc();
        let mut response = (status, format!("{refusal}\n")).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
