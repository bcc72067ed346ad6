//! Errors of the API as problem documents (RFC 9457).

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::bans::BanError;
use crate::relay::NoEffect;

/// The type of a problem document.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// A problem document, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The status, in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, and what helps.
    detail: String,
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            retry_after: None,
        }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut answer = (status, Json(self)).into_response();
        let headers = answer.headers_mut();
        let kind = HeaderValue::from_static(CONTENT_TYPE);
        headers.insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}

impl From<NoEffect> for Problem {
    fn from(error: NoEffect) -> Self {
        let status = match error {
            NoEffect::Unknown | NoEffect::NoSocket => StatusCode::NOT_FOUND,
            NoEffect::NoStreamer => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}

impl From<BanError> for Problem {
    fn from(error: BanError) -> Self {
        let status = match error {
            BanError::Full(_) => StatusCode::CONFLICT,
            BanError::Io(_) => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Self {
        Self::bad_request(error.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(error: JsonRejection) -> Self {
        let status = match error.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        Self::new(status, error.body_text())
    }
}
