//! A double of Google Cloud Storage: the part of its XML API that recordings use, over HTTP.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;

const TIME: &str = "2026-11-30T00:00:00.000Z";

#[derive(Default)]
struct Stored {
    objects: BTreeMap<String, Bytes>,
    /// The parts of uploads, by their id.
    parts: BTreeMap<String, BTreeMap<u32, Bytes>>,
    /// What kind of file uploads were said to be.
    kinds: BTreeSet<String>,
    /// Requests that are answered 503 before the others.
    fails: usize,
}

type Shared = Arc<Mutex<Stored>>;

/// See the module; serves until the test ends.
pub(super) struct Double {
    pub(super) endpoint: String,
    objects: Shared,
}

impl Double {
    pub(super) async fn start() -> Self {
        let objects = Shared::default();
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(objects.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { endpoint, objects }
    }

    pub(super) fn fail(&self, requests: usize) {
        self.objects.lock().fails = requests;
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.objects.lock().objects.keys().cloned().collect()
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        self.objects.lock().kinds.iter().cloned().collect()
    }

    pub(super) fn has_open_uploads(&self) -> bool {
        !self.objects.lock().parts.is_empty()
    }
}

async fn answer(
    State(objects): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut all = objects.lock();
    if all.fails > 0 {
        all.fails -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    let name = decoded(path.split_once('/').map_or("", |(_, name)| name));
    let name = name.as_str();
    if name.is_empty() {
        return list(&all.objects, &query);
    }
    let upload = query.get("uploadId").cloned();
    match (&method, upload) {
        (&Method::POST, None) => {
            let id = format!("upload-{}", all.parts.len());
            all.parts.insert(id.clone(), BTreeMap::new());
            let kind = headers
                .get("content-type")
                .map(|it| it.to_str().expect("a text"));
            all.kinds.extend(kind.map(str::to_owned));
            format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
                .into_response()
        }
        (&Method::PUT, Some(id)) => {
            let number = query["partNumber"].parse().expect("a number");
            all.parts
                .get_mut(&id)
                .expect("an upload")
                .insert(number, body);
            [("etag", "\"part\"")].into_response()
        }
        (&Method::POST, Some(id)) => {
            let parts = all.parts.remove(&id).expect("an upload");
            let whole: Vec<u8> = parts.into_values().flatten().collect();
            all.objects.insert(name.to_owned(), whole.into());
            let text = "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>";
            ([("x-goog-generation", "1")], text).into_response()
        }
        (&Method::DELETE, Some(id)) => {
            all.parts.remove(&id);
            StatusCode::NO_CONTENT.into_response()
        }
        (&Method::PUT, None) => {
            let is_new = headers
                .get("x-goog-if-generation-match")
                .is_some_and(|it| it == "0");
            if is_new && all.objects.contains_key(name) {
                return StatusCode::PRECONDITION_FAILED.into_response();
            }
            all.objects.insert(name.to_owned(), body);
            [("etag", "\"one\""), ("x-goog-generation", "1")].into_response()
        }
        (&Method::GET | &Method::HEAD, None) => match all.objects.get(name) {
            Some(bytes) if headers.contains_key("range") => part(bytes, &headers["range"]),
            Some(bytes) => {
                let headers = [
                    ("etag", "\"one\""),
                    ("last-modified", "Mon, 30 Nov 2026 00:00:00 GMT"),
                ];
                (headers, bytes.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        (&Method::DELETE, None) => match all.objects.remove(name) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        other => panic!("no request of the library: {other:?}"),
    }
}

/// The bytes that `bytes=FIRST-LAST` names.
fn part(bytes: &Bytes, range: &HeaderValue) -> Response {
    let range = range.to_str().expect("a text");
    let (first, last) = range["bytes=".len()..].split_once('-').expect("two");
    let (first, last): (usize, usize) = (first.parse().expect("one"), last.parse().expect("one"));
    let last = last.min(bytes.len() - 1);
    let headers = [
        ("etag", "\"one\"".to_owned()),
        ("last-modified", "Mon, 30 Nov 2026 00:00:00 GMT".to_owned()),
        (
            "content-range",
            format!("bytes {first}-{last}/{}", bytes.len()),
        ),
    ];
    (
        StatusCode::PARTIAL_CONTENT,
        headers,
        bytes.slice(first..=last),
    )
        .into_response()
}

/// Without percent-encoding.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        decoded.push(char::from(u8::from_str_radix(code, 16).expect("digits")));
        decoded.push_str(rest);
    }
    decoded
}

/// A page of two, so that pages are tested.
fn list(objects: &BTreeMap<String, Bytes>, query: &HashMap<String, String>) -> Response {
    let prefix = query.get("prefix").map_or("", String::as_str);
    let after = query.get("continuation-token").cloned().unwrap_or_default();
    let mut text = "<ListBucketResult>".to_owned();
    let (mut folders, mut count) = (BTreeSet::new(), 0);
    for (name, bytes) in
        objects.range::<String, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded))
    {
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        if let Some((folder, _)) = rest
            .split_once('/')
            .filter(|_| query.contains_key("delimiter"))
        {
            folders.insert(format!("{prefix}{folder}/"));
            continue;
        }
        let size = bytes.len();
        write!(
            text,
            "<Contents><Key>{name}</Key><Size>{size}</Size><LastModified>{TIME}</LastModified><ETag>\"one\"</ETag></Contents>"
        )
        .expect("a text");
        count += 1;
        if count == 2 {
            write!(
                text,
                "<NextContinuationToken>{name}</NextContinuationToken>"
            )
            .expect("a text");
            break;
        }
    }
    for folder in folders {
        write!(
            text,
            "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
        )
        .expect("a text");
    }
    text.push_str("</ListBucketResult>");
    text.into_response()
}
