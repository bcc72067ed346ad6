//! Answers that caches and players may keep: entity tags, ranges, lifetimes.

use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

/// Something with a name that is never given to other content.
pub(super) struct Content {
    pub(super) kind: &'static str,
    /// The entity tag without its quotes.
    pub(super) tag: String,
    pub(super) bytes: Bytes,
    pub(super) lifetime: Lifetime,
}

#[derive(Clone, Copy)]
pub(super) enum Lifetime {
    /// A segment: it never changes.
    Immutable,
    /// A playlist.
    Second,
}

/// The value of `Cache-Control`.
fn cache_control(public: bool, lifetime: Lifetime) -> &'static str {
    match (public, lifetime) {
        (true, Lifetime::Immutable) => "public, max-age=31536000, immutable",
        (true, Lifetime::Second) => "public, max-age=1",
        (false, Lifetime::Immutable) => "private, max-age=31536000, immutable",
        (false, Lifetime::Second) => "private, max-age=1",
    }
}

impl Content {
    /// The whole, a part, or 304 if the client has it.
    pub(super) fn answer(self, request: &HeaderMap, public: bool) -> Response {
        let tag = format!("\"{}\"", self.tag);
        let mut response = if has(request, &tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.body(request, &tag)
        };
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(ETAG, tag);
        }
        let cache = HeaderValue::from_static(cache_control(public, self.lifetime));
        headers.insert(CACHE_CONTROL, cache);
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    fn body(&self, request: &HeaderMap, tag: &str) -> Response {
        let length = self.bytes.len();
        let content_type = [(CONTENT_TYPE, self.kind)];
        match range(request, tag, length) {
            Asked::Whole => (content_type, self.bytes.clone()).into_response(),
            Asked::Part(first, last) => {
                let part = format!("bytes {first}-{last}/{length}");
                let body = self.bytes.slice(first..=last);
                let headers = [(CONTENT_RANGE, part)];
                (StatusCode::PARTIAL_CONTENT, content_type, headers, body).into_response()
            }
            Asked::Outside => {
                let headers = [(CONTENT_RANGE, format!("bytes */{length}"))];
                (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response()
            }
        }
    }
}

fn has(request: &HeaderMap, tag: &str) -> bool {
    let values = request.get_all(IF_NONE_MATCH).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(','));
    tags.any(|known| matches!(known.trim().trim_start_matches("W/"), known if known == tag || known == "*"))
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// The first and the last byte.
    Part(usize, usize),
    Outside,
}

/// The part that `Range` asks for. Several parts, other units and what is malformed mean the whole (RFC 9110, 14.2).
fn range(request: &HeaderMap, tag: &str, length: usize) -> Asked {
    let text = |name| {
        request
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if text(IF_RANGE).is_some_and(|known| known != tag) {
        return Asked::Whole;
    }
    let Some((first, last)) = text(RANGE)
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    match (first, number(first), last, number(last)) {
        ("", _, _, Some(0)) => Asked::Outside,
        ("", _, _, Some(suffix)) => part(length.saturating_sub(suffix), usize::MAX, length),
        (_, Some(first), "", _) => part(first, usize::MAX, length),
        (_, Some(first), _, Some(last)) if first <= last => part(first, last, length),
        _ => Asked::Whole,
    }
}

fn part(first: usize, last: usize, length: usize) -> Asked {
    match length.checked_sub(1) {
        Some(end) if first <= end => Asked::Part(first, last.min(end)),
        _ => Asked::Outside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range_header: &'static str) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static(range_header));
        range(&headers, "\"a\"", 10)
    }

    #[test]
    fn range_is_one_part_or_the_whole() {
        for (header, part) in [
            ("bytes=0-0", Asked::Part(0, 0)),
            ("bytes=2-5", Asked::Part(2, 5)),
            ("bytes=2-", Asked::Part(2, 9)),
            ("bytes=-3", Asked::Part(7, 9)),
            ("bytes=-30", Asked::Part(0, 9)),
            ("bytes=5-99999999999999999999999", Asked::Part(5, 9)),
            ("bytes=10-", Asked::Outside),
            ("bytes=-0", Asked::Outside),
            ("bytes=5-2", Asked::Whole),
            ("bytes=1-2,4-5", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("items=1-2", Asked::Whole),
        ] {
            assert_eq!(asked(header), part, "{header}");
        }
    }

    #[test]
    fn range_of_another_version_is_the_whole() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        headers.insert(IF_RANGE, HeaderValue::from_static("\"b\""));
        assert_eq!(range(&headers, "\"a\"", 10), Asked::Whole);
    }
}
