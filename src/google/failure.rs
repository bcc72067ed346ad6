//! The failures of a call to Google, as far as their handling differs.
//!
//! **Invariant**: no [`Failure`] contains a URL (with an API key), a body (with password hashes) or a token.

use serde_json::Value;

/// The reason why a call has no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its circuit is open.
    #[error("it is down and is left alone for a moment")]
    LeftAlone,
    /// No permit became free in time.
    #[error("too many calls are under way")]
    Busy,
    /// No answer in time; the call may have taken effect.
    #[error("it did not answer in time")]
    Timeout,
    /// No connection; the call did not take effect.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke; the call may have taken effect.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// It answered with an error.
    #[error("it answered {http} {code}")]
    Refused {
        /// The HTTP status.
        http: u16,
        /// Google's own code: `error.status` of most services, the first word of `error.message` of the Identity
        /// Toolkit, `error` of the token endpoint; empty if there is none.
        code: String,
    },
    /// It answered with an unreadable body; the call may have taken effect.
    #[error("it answered what cannot be read")]
    Garbage,
    /// Its answer is larger than is read. A document's fault, not the service's.
    #[error("its answer is too large")]
    TooLarge,
}

impl Failure {
    /// Every label value in metrics: a success, and the results of [`Self::outcome`].
    pub(super) const OUTCOMES: [&str; 11] = [
        "ok",
        "left_alone",
        "busy",
        "timeout",
        "unreachable",
        "broken",
        "throttled",
        "error",
        "refused",
        "garbage",
        "too_large",
    ];

    /// The label value in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::LeftAlone => "left_alone",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
            Self::Refused { http: 429, .. } => "throttled",
            Self::Refused { http, .. } if *http >= 500 => "error",
            Self::Refused { .. } => "refused",
            Self::Garbage => "garbage",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether the dependency is at fault, so that the failure counts towards opening its circuit.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Timeout | Self::Unreachable(_) | Self::Broken(_) | Self::Garbage => true,
            Self::Refused { http, .. } => *http >= 500,
            Self::LeftAlone | Self::Busy | Self::TooLarge => false,
        }
    }

    /// Whether it is a verdict on the requested object, not on the service or our access to it.
    pub fn is_verdict(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                http: 400 | 404,
                ..
            }
        ) && self.code().is_some()
    }

    /// Whether the call may have taken effect, or may yet.
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Timeout | Self::Broken(_) | Self::Garbage | Self::TooLarge => true,
            Self::Refused { http, .. } => *http >= 500,
            Self::LeftAlone | Self::Busy | Self::Unreachable(_) => false,
        }
    }

    /// Google's own code, if present.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }

    /// Classifies an error of reqwest, without the URL that its own text contains.
    pub(super) fn of_transport(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        // reqwest's own text contains the URL; the innermost cause describes the fault.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let text = match cause.downcast_ref::<reqwest::Error>() {
            Some(_) => "no cause given".to_owned(),
            None => cause.to_string(),
        };
        if error.is_connect() || error.is_builder() {
            Self::Unreachable(text)
        } else {
            Self::Broken(text)
        }
    }

    /// Classifies an answer with an HTTP status other than 2xx. batchGet wraps its error in an array.
    pub(super) fn of_answer(http: u16, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = match &body {
            Value::Array(items) => items.first().map(|item| &item["error"]),
            body => Some(&body["error"]),
        };
        let code = error.map(code_of).unwrap_or_default();
        Self::Refused { http, code }
    }
}

fn code_of(error: &Value) -> String {
    let message = error["message"].as_str().map(first_word);
    // The Identity Toolkit's codes are the first word of the message (`USER_DISABLED : …`); its `status`, if present,
    // is the vaguer INVALID_ARGUMENT.
    let named = message.filter(|word| word.contains('_') && is_code(word));
    named
        .or_else(|| error["status"].as_str().filter(|word| is_code(word)))
        .or_else(|| message.filter(|word| is_code(word)))
        .or_else(|| {
            error
                .as_str()
                .filter(|word| word.len() <= 64 && is_word(word))
        })
        .unwrap_or_default()
        .to_owned()
}

fn first_word(text: &str) -> &str {
    text.split([' ', ':']).next().unwrap_or_default()
}

fn is_code(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 64
        && word
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_word(word: &str) -> bool {
    word.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> String {
        match Failure::of_answer(400, body.as_bytes()) {
            Failure::Refused { code, .. } => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn code_is_found_in_every_error_format() {
        for (body, expected) in [
            (
                r#"{"error":{"code":404,"message":"No document to update: projects/p","status":"NOT_FOUND"}}"#,
                "NOT_FOUND",
            ),
            (
                r#"[{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}]"#,
                "PERMISSION_DENIED",
            ),
            (
                r#"{"error":{"code":400,"message":"USER_DISABLED : by an admin","status":"INVALID_ARGUMENT"}}"#,
                "USER_DISABLED",
            ),
            (
                r#"{"error":{"code":400,"message":"INVALID_ID_TOKEN"}}"#,
                "INVALID_ID_TOKEN",
            ),
            (
                r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#,
                "invalid_grant",
            ),
            (r#"{"error":{"message":"eyJhbGciOi.secret"}}"#, ""),
            ("<html>", ""),
            ("", ""),
        ] {
            assert_eq!(code(body), expected, "{body}");
        }
    }

    #[tokio::test]
    async fn error_contains_no_url() {
        let config = crate::config::Google::default();
        let client = crate::google::client::http_client(&config)
            .expect("a client")
            .client;
        let url = "http://127.0.0.1:1/v1/accounts:lookup?key=TOPSECRET";
        let error = client
            .get(url)
            .send()
            .await
            .expect_err("nobody listens there");
        let failure = Failure::of_transport(&error);
        assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
        assert!(!format!("{failure} {failure:?}").contains("TOPSECRET"));
    }
}
