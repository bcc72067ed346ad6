//! One try to deliver one message.
//!
//! **Invariant**: the status alone decides. No body is read, no redirect is followed, and a try ends within
//! `webhooks.timeout`.

use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use tokio::time::timeout;

use super::message::Message;
use super::signature::Keys;
use crate::http_client;
use crate::unix_time::millis;

/// Reasons why a try fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection, or it broke.
    Unreachable,
    Timeout,
    Redirect,
    /// Another 4xx.
    Refused,
    /// 429.
    Limited,
    /// 5xx.
    ServerError,
    /// Another status that is no success.
    UnexpectedStatus,
    /// 410: nothing shall be sent any longer.
    Gone,
}

impl Failure {
    pub(super) const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Redirect,
        Self::Refused,
        Self::Limited,
        Self::ServerError,
        Self::UnexpectedStatus,
        Self::Gone,
    ];

    /// The metric's label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Redirect => "redirect",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::ServerError => "server_error",
            Self::UnexpectedStatus => "unexpected_status",
            Self::Gone => "gone",
        }
    }
}

/// A failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// The receiver's wish for the next try.
    pub(super) retry_after: Option<Duration>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            retry_after: None,
        }
    }
}

/// The receiver.
pub(super) struct Receiver {
    http: reqwest::Client,
    url: String,
    timeout: Duration,
    /// Replaced by a reload.
    keys: RwLock<Keys>,
}

impl Receiver {
    /// An error says why there is no HTTP client.
    pub(super) fn new(url: &str, limit: Duration, keys: Keys) -> Result<Self, String> {
        Ok(Self {
            http: http_client::build(limit, |builder| builder)
                .map_err(|error| error.to_string())?
                .client,
            url: url.to_owned(),
            timeout: limit,
            keys: RwLock::new(keys),
        })
    }

    pub(super) fn set_keys(&self, keys: Keys) {
        *self.keys.write() = keys;
    }

    pub(super) async fn post(&self, message: &Message) -> Result<(), Failed> {
        let timestamp = millis(SystemTime::now()) / 1000;
        let signature = self.keys.read().sign(&message.id, timestamp, &message.body);
        let request = self
            .http
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(message.body.clone());
        let answer = timeout(self.timeout, request.send()).await;
        let answer = answer.map_err(|_| Failure::Timeout)?;
        // An error of the library could quote the URL: it goes nowhere.
        let answer = answer.map_err(|error| {
            if error.is_timeout() {
                Failure::Timeout
            } else {
                Failure::Unreachable
            }
        })?;
        judge(answer.status(), answer.headers())
    }
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Failed> {
    let failure = match status {
        _ if status.is_success() => return Ok(()),
        StatusCode::GONE => Failure::Gone,
        StatusCode::TOO_MANY_REQUESTS => Failure::Limited,
        _ if status.is_redirection() => Failure::Redirect,
        _ if status.is_client_error() => Failure::Refused,
        _ if status.is_server_error() => Failure::ServerError,
        _ => Failure::UnexpectedStatus,
    };
    let wish = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    Err(Failed {
        failure,
        retry_after: wish.and_then(|wish| retry_after(wish, SystemTime::now())),
    })
}

/// Seconds, or an HTTP date.
fn retry_after(wish: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = wish.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(wish.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |wish| retry_after(wish, now).map(|wish| wish.as_secs());
        assert_eq!(read(" 120 "), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0), "over");
        assert_eq!((read("soon"), read("-1")), (None, None));
    }

    #[test]
    fn success_alone_delivers() {
        let headers = HeaderMap::new();
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), &headers);
        assert!(judged(200).is_ok() && judged(204).is_ok() && judged(299).is_ok());
        for (status, failure) in [
            (304, Failure::Redirect),
            (307, Failure::Redirect),
            (400, Failure::Refused),
            (410, Failure::Gone),
            (429, Failure::Limited),
            (502, Failure::ServerError),
            (999, Failure::UnexpectedStatus),
        ] {
            assert_eq!(judged(status), Err(failure.into()), "{status}");
        }
    }
}
