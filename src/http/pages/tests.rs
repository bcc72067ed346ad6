use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::broadcast::{LivestreamId, UserId};
use crate::directory::{About, Directory};
use crate::metrics::Metrics;

/// The pages, beside the documents `talk`, with a cover, and `plain`, which says nothing.
fn pages(config: &Config) -> Router {
    let directory = Directory::memory([]);
    let said = [
        (
            "talk",
            ["Tea & talk", "Hot", "Ada", "https://pictures.example/a.png"],
        ),
        ("plain", [""; 4]),
    ];
    for (id, about) in said {
        let id = LivestreamId::new(id).expect("an id");
        assert!(directory.create(&id, &UserId::new("ada"), About::new(about)));
    }
    let metrics = Metrics::new();
    let documents = Documents::new(&config.http, directory, metrics.registry());
    let routes = routes(config, documents.expect("metrics"), None);
    routes.layer(Extension(IpAddr::from([127, 0, 0, 1])))
}

/// The policy of a page that nobody frames, without a cover.
fn own_policy() -> String {
    let policy = strict_content_policy();
    policy.to_str().expect("text").to_owned()
}

async fn ask(method: &str, path: &str, cached: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(cached) = cached {
        request = request.header(IF_NONE_MATCH, cached);
    }
    let request = request.body(Body::empty()).expect("a request");
    pages(&Config::default())
        .oneshot(request)
        .await
        .expect("an answer")
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
    for path in ["/", "/studio", "/listen", "/listen/talk"] {
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
        assert_eq!(
            header(&response, "content-security-policy"),
            own_policy(),
            "{path}"
        );
        assert_eq!(header(&response, "content-type"), *content_type, "{path}");
        assert_eq!(body(response).await, *bytes, "{path}");
    }
}

#[tokio::test]
async fn pages_have_no_inline_script_or_style() {
    let policy = own_policy();
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
        assert_eq!(header(&again, "content-security-policy"), own_policy());
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
        if ![HTML, JAVASCRIPT, MANIFEST].contains(content_type) || path.contains("lame.min") {
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

#[tokio::test]
async fn listening_page_says_what_is_played() {
    let response = ask("GET", "/listen/talk", None).await;
    let policy = header(&response, "content-security-policy");
    assert_eq!(policy, format!("{} https://pictures.example", own_policy()));
    for (name, value) in POLICY {
        assert_eq!(header(&response, name.as_str()), value);
    }
    let tag = header(&response, "etag").to_owned();
    let html = String::from_utf8(body(response).await).expect("text");
    for part in [
        "<title>Tea &amp; talk · Castaway</title>",
        "<meta property=\"og:title\" content=\"Tea &amp; talk\">",
        "<meta property=\"og:description\" content=\"Hot\">",
        "<meta property=\"og:image\" content=\"https://pictures.example/a.png\">",
        "<h1 id=\"title\" data-known>Tea &amp; talk</h1>",
        "<p id=\"artist\">Ada</p>",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let again = ask("GET", "/listen/talk", Some(&tag)).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn listening_page_without_a_document_is_generic() {
    let generic = body(ask("GET", "/listen", None).await).await;
    for path in [
        "/listen/plain",
        "/listen/gone",
        "/listen/__x__",
        "/listen/%2e%2e%2fx",
    ] {
        let response = ask("GET", path, None).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, "content-security-policy"), own_policy());
        assert_eq!(body(response).await, generic, "{path}");
    }
}

#[tokio::test]
async fn icons_have_the_sizes_of_the_manifest() {
    let bytes_of = |path: &str| FILES.iter().find(|file| file.0 == path).expect(path).2;
    let manifest = bytes_of("/pages/icons/manifest.webmanifest");
    let manifest: serde_json::Value = serde_json::from_slice(manifest).expect("JSON");
    let icons = manifest["icons"].as_array().expect("icons").iter();
    let mut said: Vec<(&str, &str)> = icons
        .map(|icon| {
            (
                icon["src"].as_str().expect("a path"),
                icon["sizes"].as_str().expect("sizes"),
            )
        })
        .collect();
    said.push(("/pages/icons/apple-touch-icon.png", "180x180"));
    assert_eq!(said.len(), 4);
    for (path, sizes) in said {
        let png = bytes_of(path);
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "{path}");
        let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(format!("{}x{}", side(16), side(20)), sizes, "{path}");
    }
}

#[tokio::test]
async fn only_the_listening_page_may_be_framed() {
    let mut config = Config::default();
    config.http.frame_ancestors = vec!["https://a.example".into(), "https://b.example".into()];
    let pages = pages(&config);
    for (path, frames) in [
        ("/", "'none'"),
        ("/studio", "'none'"),
        ("/listen", "https://a.example https://b.example"),
        ("/listen/talk", "https://a.example https://b.example"),
    ] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = pages.clone().oneshot(request).await.expect("an answer");
        let policy = header(&response, "content-security-policy");
        let part = format!("; frame-ancestors {frames};");
        assert!(policy.contains(&part), "{path}: {policy}");
    }
}

#[tokio::test]
async fn qr_code_is_drawn_of_a_bounded_text() {
    let ask = async |text: String| {
        let request = Request::post("/studio/qr").body(Body::from(text));
        let answer = pages(&Config::default()).oneshot(request.expect("a request"));
        answer.await.expect("an answer")
    };
    for length in [1, 400, 1024] {
        let response = ask("a".repeat(length)).await;
        assert_eq!(response.status(), StatusCode::OK, "{length}");
        assert_eq!(header(&response, "content-type"), "image/svg+xml");
        assert_eq!(header(&response, "content-security-policy"), own_policy());
        let picture = String::from_utf8(body(response).await).expect("text");
        assert!(
            picture.contains("<svg") && picture.contains("viewBox"),
            "{picture}"
        );
    }
    let refused = [
        (0, StatusCode::BAD_REQUEST),
        (1025, StatusCode::PAYLOAD_TOO_LARGE),
    ];
    for (length, status) in refused {
        assert_eq!(ask("a".repeat(length)).await.status(), status, "{length}");
    }
}

#[tokio::test]
async fn accounts_open_two_pages_to_firebase_alone() {
    let mut config = Config::default();
    config.http.firebase = Some(r#"{"apiKey": "key-1"}"#.to_owned());
    let pages = pages(&config);
    let connect = "; connect-src 'self' https://identitytoolkit.googleapis.com \
                   https://securetoken.googleapis.com; ";
    for (path, signs_in) in [
        ("/", false),
        ("/studio", true),
        ("/listen", true),
        ("/listen/talk", true),
        ("/pages/studio.js", false),
    ] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = pages.clone().oneshot(request).await.expect("an answer");
        let policy = header(&response, "content-security-policy").to_owned();
        assert_eq!(policy.contains(connect), signs_in, "{path}: {policy}");
        let text = String::from_utf8(body(response).await).expect("text");
        assert_eq!(text.contains("data-key=\"key-1\""), signs_in, "{path}");
    }
}
