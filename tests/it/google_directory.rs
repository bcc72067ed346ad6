//! Livestreams in Firestore: reads that are shared, writes that end as last intended whatever fails in between.

use std::path::Path;
use std::time::Duration;

use castaway_media_server::broadcast::{LivestreamId, UserId};
use castaway_media_server::directory::{Directory, Entry, Freshness, Unavailable, Upload};
use castaway_media_server::google::{Access, Client, Emulators};
use castaway_media_server::metrics::Metrics;
use prometheus::Registry;
use serde_json::json;

use crate::support::google::{Endpoint, Fault, GoogleDouble};

const SOON: Duration = Duration::from_secs(10);

fn id(text: &str) -> LivestreamId {
    LivestreamId::new(text).expect("an id")
}

async fn directory_in(google: &GoogleDouble, state: Option<&Path>) -> Directory {
    let mut config = google.config().google;
    config.request_timeout = Duration::from_millis(200);
    let client = Client::new(&config, &Registry::new()).expect("a client");
    let access = Access::open(client, &config, Emulators::default())
        .await
        .expect("a way in");
    Directory::firestore(access, &config, state, &Metrics::new()).expect("a directory")
}

async fn directory(google: &GoogleDouble) -> Directory {
    directory_in(google, None).await
}

fn says(google: &GoogleDouble, id: &str) -> Option<bool> {
    google.world().streamer_connected(id)
}

fn entry(artist: &str, streamer_connected: bool) -> Entry {
    Entry {
        artist: UserId::new(artist),
        streamer_connected,
        record: false,
    }
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one_read() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", true);
    let directory = directory(&google).await;
    for (name, expected) in [("show", Some(entry("ada", true))), ("missing", None)] {
        let id = id(name);
        let all = (0..50).map(|_| directory.find(&id, Freshness::Cached));
        for found in futures_util::future::join_all(all).await {
            assert_eq!(found, Ok(expected.clone()));
        }
    }
    assert_eq!(
        google.calls(Endpoint::Read),
        2,
        "one per livestream, a missing one too"
    );
    assert_eq!(google.calls(Endpoint::Token), 1);
}

#[tokio::test]
async fn fresh_answer_also_serves_the_others() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", false);
    let directory = directory(&google).await;
    assert_eq!(
        directory.find(&id("show"), Freshness::Cached).await,
        Ok(Some(entry("ada", false)))
    );
    google.world().put_livestream("show", "grace", true);
    assert_eq!(
        directory.find(&id("show"), Freshness::Cached).await,
        Ok(Some(entry("ada", false)))
    );
    assert_eq!(
        directory.find(&id("show"), Freshness::Fresh).await,
        Ok(Some(entry("grace", true)))
    );
    assert_eq!(
        directory.find(&id("show"), Freshness::Cached).await,
        Ok(Some(entry("grace", true)))
    );
    assert_eq!(google.calls(Endpoint::Read), 2);
}

#[tokio::test]
async fn outage_is_no_missing_document() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", false);
    for fault in [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Status(404),
        Fault::Garbage,
        Fault::Closed,
        Fault::Slow(Duration::from_secs(5)),
    ] {
        let directory = directory(&google).await;
        google.fail(Endpoint::Read, fault, 1);
        assert_eq!(
            directory.find(&id("show"), Freshness::Cached).await,
            Err(Unavailable),
            "{fault:?}"
        );
        let found = directory.find(&id("show"), Freshness::Cached).await;
        assert_eq!(found, Ok(Some(entry("ada", false))), "{fault:?}");
    }
}

#[tokio::test]
async fn document_of_odd_types_belongs_to_nobody() {
    let google = GoogleDouble::start().await;
    google
        .world()
        .livestreams
        .insert("odd".into(), serde_json::Map::new());
    let directory = directory(&google).await;
    assert_eq!(
        directory.find(&id("odd"), Freshness::Fresh).await,
        Ok(Some(entry("", false)))
    );
}

#[tokio::test]
async fn id_with_odd_letters_names_its_document() {
    let google = GoogleDouble::start().await;
    let directory = directory(&google).await;
    for name in ["a b", "a%2Fb", "é日本", "a?b#c", "...", "\"quoted\\\""] {
        google.world().put_livestream(name, "ada", false);
        let found = directory.find(&id(name), Freshness::Fresh).await;
        assert_eq!(found, Ok(Some(entry("ada", false))), "{name}");
        directory.set_streamer_connected(&id(name), true);
        assert_eq!(directory.settle(SOON).await, 0);
        assert_eq!(says(&google, name), Some(true), "{name}");
    }
}

#[tokio::test]
async fn write_changes_the_one_field_alone() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", false);
    let directory = directory(&google).await;
    assert_eq!(
        directory.find(&id("show"), Freshness::Cached).await,
        Ok(Some(entry("ada", false)))
    );
    directory.set_streamer_connected(&id("show"), true);
    assert_eq!(directory.pending(), 1);
    assert_eq!(directory.settle(SOON).await, 0);
    assert_eq!(
        directory.find(&id("show"), Freshness::Cached).await,
        Ok(Some(entry("ada", true)))
    );
    let document = google.world().livestreams["show"].clone();
    assert_eq!(document["title"]["stringValue"], "a livestream");
    assert_eq!(document["artistId"]["stringValue"], "ada");
    assert_eq!(document.len(), 3);
}

// Of the double itself, for machines whose power is cut.
#[tokio::test]
async fn kept_documents_outlive_the_double() {
    let kept = tempfile::tempdir().expect("a directory");
    let file = kept.path().join("documents.json");
    let first = GoogleDouble::start().await;
    let keep = |google: &GoogleDouble| google.world().keep_livestreams_in(file.clone());
    keep(&first).expect("a new file");
    first.world().put_livestream("show", "ada", false);
    first.world().put_livestream("deleted", "ada", false);
    first.world().delete_livestream("deleted");
    let directory = directory(&first).await;
    directory.set_streamer_connected(&id("show"), true);
    assert_eq!(directory.settle(SOON).await, 0);
    let second = GoogleDouble::start().await;
    keep(&second).expect("its file");
    assert_eq!(second.world().livestreams, first.world().livestreams);
    assert_eq!(says(&second, "show"), Some(true));
    assert_eq!(says(&second, "deleted"), None);
}

#[tokio::test]
async fn missing_document_is_never_created() {
    let google = GoogleDouble::start().await;
    let directory = directory(&google).await;
    directory.set_streamer_connected(&id("ghost"), true);
    assert_eq!(
        directory.settle(SOON).await,
        0,
        "a document that is gone ends the matter"
    );
    assert_eq!(google.calls(Endpoint::Write), 1);
    assert!(google.world().livestreams.is_empty());
}

#[tokio::test]
async fn whatever_fails_the_document_ends_as_last_intended() {
    let faults = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(409),
        Fault::Status(403),
        Fault::Garbage,
        Fault::Closed,
        Fault::Lost,
        Fault::Slow(Duration::from_secs(5)),
    ];
    let mut prepared = Vec::new();
    for (fault, last) in faults.into_iter().flat_map(|it| [(it, true), (it, false)]) {
        let google = GoogleDouble::start().await;
        google.world().put_livestream("show", "ada", !last);
        // A client takes long to make, and would hold up the calls of the others.
        let directory = directory(&google).await;
        prepared.push((google, directory, fault, last));
    }
    let ended = prepared
        .iter()
        .map(async |(google, directory, fault, last)| {
            google.fail(Endpoint::Write, *fault, 2);
            directory.set_streamer_connected(&id("show"), !last);
            directory.set_streamer_connected(&id("show"), *last);
            assert_eq!(
                directory.settle(Duration::from_mins(1)).await,
                0,
                "{fault:?}"
            );
            assert_eq!(says(google, "show"), Some(*last), "{fault:?}");
        });
    futures_util::future::join_all(ended).await;
}

#[tokio::test]
async fn late_write_is_put_right() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", false);
    let directory = directory(&google).await;
    google.fail(Endpoint::Write, Fault::Late(Duration::from_millis(500)), 1);
    directory.set_streamer_connected(&id("show"), true);
    google.until(|it| it.calls(Endpoint::Write) == 1).await;
    directory.set_streamer_connected(&id("show"), false);
    assert_eq!(directory.settle(SOON).await, 0);
    assert_eq!(says(&google, "show"), Some(false));
    google.until(|it| says(it, "show") == Some(true)).await;
    google.until(|it| says(it, "show") == Some(false)).await;
}

#[tokio::test]
async fn refused_connections_are_waited_out() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", false);
    let directory = directory(&google).await;
    assert!(directory.find(&id("show"), Freshness::Fresh).await.is_ok());
    google.stop();
    directory.set_streamer_connected(&id("show"), true);
    assert_eq!(directory.settle(Duration::from_millis(300)).await, 1);
    assert_eq!(directory.pending(), 1);
    google.resume().await;
    assert_eq!(directory.settle(SOON).await, 0);
    assert_eq!(says(&google, "show"), Some(true));
}

#[tokio::test]
async fn access_token_revoked_early_is_replaced() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", false);
    let directory = directory(&google).await;
    assert!(directory.find(&id("show"), Freshness::Fresh).await.is_ok());
    google.world().granted.clear();
    assert!(directory.find(&id("show"), Freshness::Fresh).await.is_ok());
    google.world().granted.clear();
    directory.set_streamer_connected(&id("show"), true);
    assert_eq!(directory.settle(SOON).await, 0);
    assert_eq!(says(&google, "show"), Some(true));
    assert_eq!(google.calls(Endpoint::Token), 3);
}

#[tokio::test]
async fn start_after_a_crash_clears_the_flags() {
    let google = GoogleDouble::start().await;
    let state = tempfile::tempdir().expect("a directory");
    for name in ["crashed", "ended", "again", "another-nodes"] {
        google.world().put_livestream(name, "ada", false);
    }
    let first = directory_in(&google, Some(state.path())).await;
    for name in ["crashed", "ended", "again"] {
        first.set_streamer_connected(&id(name), true);
    }
    assert_eq!(first.settle(SOON).await, 0);
    first.set_streamer_connected(&id("ended"), false);
    assert_eq!(first.settle(SOON).await, 0);
    google.world().put_livestream("another-nodes", "ada", true);
    drop(first);

    let second = directory_in(&google, Some(state.path())).await;
    second.set_streamer_connected(&id("again"), true);
    for id in second.left_behind() {
        second.clear(&id);
    }
    assert_eq!(second.settle(SOON).await, 0);
    assert_eq!(says(&google, "crashed"), Some(false));
    assert_eq!(says(&google, "ended"), Some(false));
    assert_eq!(says(&google, "again"), Some(true));
    assert_eq!(says(&google, "another-nodes"), Some(true));
}

#[tokio::test]
async fn cleared_flag_leaves_the_state_file() {
    let google = GoogleDouble::start().await;
    let state = tempfile::tempdir().expect("a directory");
    google.world().put_livestream("show", "ada", false);
    let directory = directory_in(&google, Some(state.path())).await;
    let file =
        || std::fs::read_to_string(state.path().join("streamer-connected.json")).expect("the file");
    directory.set_streamer_connected(&id("show"), true);
    assert_eq!(directory.settle(SOON).await, 0);
    assert!(file().contains("show"), "{}", file());
    directory.set_streamer_connected(&id("show"), false);
    assert_eq!(directory.settle(SOON).await, 0);
    // The file is rewritten by the writer after the write is done.
    let struck = async {
        while file().contains("show") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, struck).await.expect("struck");
}

#[tokio::test]
async fn cache_forgets_within_seconds() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", false);
    let mut config = google.config().google;
    config.cache_ttl = Duration::from_millis(1);
    let client = Client::new(&config, &Registry::new()).expect("a client");
    let access = Access::open(client, &config, Emulators::default())
        .await
        .expect("a way in");
    let directory =
        Directory::firestore(access, &config, None, &Metrics::new()).expect("a directory");
    let reads = async {
        while google.calls(Endpoint::Read) < 3 {
            directory
                .find(&id("show"), Freshness::Cached)
                .await
                .expect("read");
        }
    };
    tokio::time::timeout(SOON, reads).await.expect("read again");
}

#[tokio::test]
async fn flags_set_at_once_share_calls() {
    let google = GoogleDouble::start().await;
    let names: Vec<String> = (0..300).map(|number| format!("show-{number}")).collect();
    let directory = directory(&google).await;
    for name in names.iter().filter(|it| it.as_str() != "show-77") {
        google.world().put_livestream(name, "ada", false);
    }
    for name in &names {
        directory.set_streamer_connected(&id(name), true);
    }
    assert_eq!(directory.settle(SOON).await, 0);
    for name in &names {
        let expected = (name != "show-77").then_some(true);
        assert_eq!(says(&google, name), expected, "{name}");
    }
    let calls = google.calls(Endpoint::Write);
    assert!(calls < 40, "{calls} calls for {} flags", names.len());
}

#[tokio::test]
async fn upload_is_created_once_as_the_backend_does() {
    let google = GoogleDouble::start().await;
    let directory = directory(&google).await;
    let upload = Upload {
        id: "0123456789abcdef0123".into(),
        user: UserId::new("ada"),
        path: "0123456789abcdef0123456789abcdef.mp3".into(),
        seconds: 3890,
    };
    google.fail(Endpoint::Write, Fault::Status(503), 1);
    assert!(directory.create_upload(&upload).await.is_err());
    google.fail(Endpoint::Write, Fault::Lost, 1);
    assert!(directory.create_upload(&upload).await.is_err());
    assert_eq!(directory.create_upload(&upload).await, Ok(()));
    let expected = json!({
        "userId": { "stringValue": "ada" },
        "filetype": { "stringValue": "podcast" },
        "filepath": { "stringValue": "0123456789abcdef0123456789abcdef.mp3" },
        "durationInMinutes": { "integerValue": "3890" },
    });
    assert_eq!(
        json!(google.world().uploads),
        json!({ &upload.id: expected })
    );
    // What its user, or anybody else, has made of it stays.
    let theirs = json!({ "userId": { "stringValue": "eve" } });
    let theirs = theirs.as_object().cloned().expect("fields");
    google
        .world()
        .uploads
        .insert(upload.id.clone(), theirs.clone());
    assert_eq!(directory.create_upload(&upload).await, Ok(()));
    assert_eq!(google.world().uploads[&upload.id], theirs);
}
