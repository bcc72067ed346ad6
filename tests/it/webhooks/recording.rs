//! What is told of recordings, and as docs/webhooks.md shows it.

use std::path::Path;

use castaway_media_server::app::Directories;
use castaway_media_server::config::Config;
use serde_json::{Value, json};

use super::daemon::{TOKEN, configured, examples, is_alike};
use super::receiver::Receiver;
use crate::support::app::{TestApp, world};
use crate::support::client::{Client, Way};
use crate::support::wire::http_client;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn url(directory: &Path) -> String {
    format!("file://{}", directory.display())
}

/// A daemon that records, with its state in this directory.
async fn app(receiver: &Receiver, state: &Path, change: impl FnOnce(&mut Config)) -> TestApp {
    let directories = Directories {
        state: Some(state.to_owned()),
        runtime: None,
    };
    TestApp::beside(world().await, &directories, |config| {
        configured(receiver)(config);
        change(config);
    })
    .await
}

/// One MP3 frame of this many bytes at most, which counts as a clip.
async fn upload(streamer: &mut Client, bytes: usize) {
    let mut clip = vec![0xFF, 0xFB, 0x90, 0x44];
    clip.resize(bytes, 7);
    streamer.upload(&clip.into()).await;
    streamer.is_received().await;
}

/// The API's answer.
async fn ask(app: &TestApp, path: &str) -> Value {
    let answer = http_client()
        .get(app.health_url(path))
        .header("authorization", format!("Bearer {TOKEN}"))
        .send()
        .await;
    answer.expect("an answer").json().await.expect("JSON")
}

/// The next message of this type, which is as it is documented.
async fn told(receiver: &mut Receiver, kind: &str) -> Value {
    let told = loop {
        let got = receiver.next().await.body;
        if got["type"] == kind {
            break got;
        }
    };
    let example = examples()
        .remove(kind)
        .unwrap_or_else(|| panic!("docs/webhooks.md has no {kind}"));
    assert!(is_alike(&told, &example), "{told} is not like {example}");
    told
}

#[tokio::test]
async fn recording_is_told_as_documented() {
    let mut receiver = Receiver::start().await;
    let (bucket, state) = (directory(), directory());
    let app = app(&receiver, state.path(), |config| {
        config.recording.url = Some(url(bucket.path()));
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 417).await;
    streamer.leave().await;
    let ready = told(&mut receiver, "recording.ready").await;
    let id = ready["data"]["recording"].as_str().expect("an id");
    let shown = ask(&app, &format!("/api/v1/recordings/{id}")).await;
    assert_eq!(shown["manifest"]["files"], ready["data"]["files"]);
    app.stop().await;
}

#[tokio::test]
async fn podcast_is_registered_and_told() {
    let mut receiver = Receiver::start().await;
    let (bucket, podcasts, state) = (directory(), directory(), directory());
    let app = app(&receiver, state.path(), |config| {
        config.recording.url = Some(url(bucket.path()));
        config.recording.podcast = Some(url(podcasts.path()));
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 417).await;
    streamer.leave().await;
    let told = told(&mut receiver, "recording.registered").await;
    let data = &told["data"];
    assert_eq!(
        (&data["streamer"], &data["file"]),
        (&"ada".into(), &"recording.mp3".into())
    );
    app.until_metric("castaway_recording_podcasts_total", |count| count == 1)
        .await;
    let url = format!(
        "/api/v1/recordings/{}",
        data["recording"].as_str().expect("an id")
    );
    let shown = ask(&app, &url).await;
    assert_eq!(
        shown["podcasts"],
        json!([{ "upload": data["upload"], "file": "recording.mp3" }])
    );
    let google = app.stop().await;
    let id = data["upload"].as_str().expect("an id");
    let path = data["path"].as_str().expect("a path");
    let document = google.world().uploads[id].clone();
    assert_eq!(document["userId"]["stringValue"], "ada");
    assert_eq!(document["filepath"]["stringValue"], path);
    assert_eq!(google.world().uploads.len(), 1);
    let file = std::fs::read(podcasts.path().join(path)).expect("a file");
    assert!(file.len() > 417);
}

#[tokio::test]
async fn spool_that_fills_is_told_as_documented() {
    let mut receiver = Receiver::start().await;
    let (places, state) = (directory(), directory());
    // No bucket yet: what would be one is a file.
    let bucket = places.path().join("bucket");
    std::fs::write(&bucket, "").expect("a file");
    let app = app(&receiver, state.path(), |config| {
        config.recording.url = Some(url(&bucket));
        config.recording.spool_bytes = 1 << 20;
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    for _ in 0..3 {
        upload(&mut streamer, 300 << 10).await;
    }
    let filling = told(&mut receiver, "recording.spool_filling").await;
    assert_eq!(filling["data"]["limit"], 1 << 20);
    assert_eq!(filling["data"]["waiting"], 3);
    std::fs::remove_file(&bucket).expect("a file");
    std::fs::create_dir(&bucket).expect("a directory");
    let recovered = told(&mut receiver, "recording.spool_recovered").await;
    let bytes = recovered["data"]["bytes"].as_u64().expect("a number");
    assert!(bytes * 10 < 6 << 20, "{recovered}");
    app.stop().await;
}
