use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

async fn ask(method: &str, path: &str, cached: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(cached) = cached {
        request = request.header(IF_NONE_MATCH, cached);
    }
    let request = request.body(Body::empty()).expect("a request");
    router().oneshot(request).await.expect("an answer")
}

async fn body(response: Response) -> Vec<u8> {
    let whole = response.into_body().collect().await.expect("a body");
    whole.to_bytes().to_vec()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.and_then(|it| it.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn all_pages_are_html() {
    for path in ["/", "/studio", "/listen"] {
        let response = ask("GET", path, None).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, "content-type"), HTML, "{path}");
        assert!(
            body(response).await.starts_with(b"<!doctype html>"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_answer_carries_the_policy() {
    for (path, content_type, bytes) in FILES {
        let response = ask("GET", path, None).await;
        for (name, value) in POLICY {
            assert_eq!(header(&response, name.as_str()), value, "{path}");
        }
        assert_eq!(header(&response, "content-type"), *content_type, "{path}");
        assert_eq!(body(response).await, *bytes, "{path}");
    }
}

#[tokio::test]
async fn pages_have_no_inline_script_or_style() {
    let policy = POLICY[0].1;
    assert!(!policy.contains("unsafe") && !policy.contains("http:") && !policy.contains('*'));
    for (path, content_type, bytes) in FILES {
        let text = String::from_utf8_lossy(bytes);
        if *content_type == HTML {
            assert!(
                !text.contains("<script>") && !text.contains("<style"),
                "{path}"
            );
            assert!(
                !text.contains(" style=") && !text.contains(" onclick="),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn current_copy_is_not_sent_again() {
    let first = ask("GET", "/studio", None).await;
    let tag = header(&first, "etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    for cached in [tag.clone(), format!("W/{tag}"), format!("\"old\", {tag}")] {
        let again = ask("GET", "/studio", Some(&cached)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{cached}");
        assert_eq!(header(&again, "etag"), tag);
        assert_eq!(header(&again, "content-security-policy"), POLICY[0].1);
        assert!(body(again).await.is_empty());
    }
    assert_eq!(
        ask("GET", "/studio", Some("\"old\"")).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn tags_of_files_differ() {
    let tags: BTreeSet<_> = FILES
        .iter()
        .map(|file| tag(file.2).as_bytes().to_vec())
        .collect();
    assert_eq!(tags.len(), FILES.len());
}

#[tokio::test]
async fn files_that_pages_load_are_served() {
    let served: BTreeSet<&str> = FILES.iter().map(|file| file.0).collect();
    for (path, content_type, bytes) in FILES {
        if ![HTML, JAVASCRIPT].contains(content_type) || path.contains("lame.min") {
            continue;
        }
        let text = String::from_utf8_lossy(bytes);
        for text_part in text.split(['"', '\'']) {
            let wanted = match text_part.strip_prefix("./") {
                Some(name) if !name.contains(char::is_whitespace) => {
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    format!("{folder}/{name}")
                }
                _ if text_part.starts_with("/pages/") => text_part.to_owned(),
                _ => continue,
            };
            assert!(served.contains(wanted.as_str()), "{path} loads {wanted}");
        }
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    for path in [
        "/pages/",
        "/pages/nothing.js",
        "/pages/..%2fpages.rs",
        "/studio.html",
    ] {
        assert_eq!(
            ask("GET", path, None).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    assert_eq!(
        ask("POST", "/studio", None).await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    let head = ask("HEAD", "/studio", None).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert!(body(head).await.is_empty());
}
