//! Recordings of the whole daemon, in a directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use castaway_media_server::app::Directories;
use castaway_media_server::config::Config;
use castaway_media_server::recording::Manifest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::ctl;
use crate::support::app::{TEST_TIMEOUT, TestApp, world};
use crate::support::client::{Client, Said, Way};
use crate::support::wire::http_client;

/// A bucket in a directory, and a state directory.
pub(crate) struct Places {
    pub(crate) bucket: TempDir,
    pub(crate) state: TempDir,
    pub(crate) runtime: TempDir,
}

impl Places {
    pub(crate) fn new() -> Self {
        let directory = || tempfile::tempdir().expect("a directory");
        Self {
            bucket: directory(),
            state: directory(),
            runtime: directory(),
        }
    }

    pub(crate) fn directories(&self) -> Directories {
        Directories {
            state: Some(self.state.path().to_owned()),
            runtime: Some(self.runtime.path().to_owned()),
        }
    }

    pub(crate) fn configure(&self, config: &mut Config) {
        config.recording.url = Some(format!("file://{}", self.bucket.path().display()));
    }

    /// The file with this name, once it is there.
    pub(crate) async fn file(&self, name: &str) -> PathBuf {
        let start = std::time::Instant::now();
        loop {
            if let Some(found) = find(self.bucket.path(), name) {
                return found;
            }
            assert!(start.elapsed() < TEST_TIMEOUT, "{name} does not come");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    entries.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return find(&path, name);
        }
        path.ends_with(name).then_some(path)
    })
}

/// One MP3 frame, which says its number.
pub(crate) fn frame(number: u8) -> Vec<u8> {
    let mut frame = vec![0xFF, 0xFB, 0x90, 0x44];
    frame.resize(417, number);
    frame
}

pub(crate) async fn upload(streamer: &mut Client, number: u8) {
    streamer.upload(&frame(number).into()).await;
    streamer.is_received().await;
}

#[tokio::test]
async fn recording_outlives_a_restart_as_one() {
    let places = Places::new();
    let app = TestApp::beside(world().await, &places.directories(), |it| {
        places.configure(it);
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 1).await;
    upload(&mut streamer, 2).await;
    let google = app.stop().await;
    let app = TestApp::beside(google, &places.directories(), |it| places.configure(it)).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 3).await;
    streamer.leave().await;
    let manifest = places.file("manifest.json").await;
    let text = std::fs::read(&manifest).expect("a manifest");
    let manifest: Manifest = serde_json::from_slice(&text).expect("a manifest");
    assert_eq!(
        (manifest.livestream.as_str(), manifest.streamer.as_str()),
        ("show", "ada")
    );
    assert_eq!(manifest.reason.as_deref(), Some("ended"));
    let numbers: Vec<u64> = manifest.clips.iter().map(|clip| clip.sequence).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(manifest.missing.is_empty(), "{manifest:?}");
    let file = std::fs::read(places.file("recording.mp3").await).expect("a file");
    let sound: Vec<u8> = (1..=3).flat_map(frame).collect();
    assert!(file.ends_with(&sound) && file.len() > sound.len());
    app.stop().await;
}

#[tokio::test]
async fn known_clip_is_recorded_from_its_second_copy() {
    let places = Places::new();
    let app = TestApp::beside(world().await, &places.directories(), |it| {
        places.configure(it);
    })
    .await;
    let upload = async |streamer: &mut Client, number: u8| {
        let options = json!({ "id": format!("clip-{number}") }).to_string();
        streamer
            .upload_with(7, &frame(number).into(), &options)
            .await;
        streamer.is_received().await;
        let Said::Ack(7, answer) = streamer.next().await else {
            panic!("no answer");
        };
        answer
    };
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 1).await;
    let google = app.stop().await;
    // As after a crash between the note of its id and the write of its bytes.
    for lost in [places.bucket.path(), &places.state.path().join("recording")] {
        std::fs::remove_dir_all(lost).expect("a directory");
    }
    let app = TestApp::beside(google, &places.directories(), |it| places.configure(it)).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let answer = upload(&mut streamer, 1).await;
    assert_eq!(
        answer,
        json!({ "ok": true, "sequence": 1, "duplicate": true })
    );
    upload(&mut streamer, 2).await;
    streamer.leave().await;
    let manifest = places.file("manifest.json").await;
    let text = std::fs::read(&manifest).expect("a manifest");
    let manifest: Manifest = serde_json::from_slice(&text).expect("a manifest");
    let numbers: Vec<u64> = manifest.clips.iter().map(|clip| clip.sequence).collect();
    assert_eq!(numbers, [1, 2], "{manifest:?}");
    app.stop().await;
}

#[tokio::test]
async fn acknowledged_clip_is_on_the_disk() {
    let places = Places::new();
    // No bucket: what would be one is a file.
    let file = places.bucket.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let app = TestApp::beside(world().await, &places.directories(), |config| {
        config.recording.url = Some(format!("file://{}", file.display()));
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 1).await;
    let spooled = std::fs::read_dir(places.state.path().join("recording")).expect("a spool");
    let spooled: Vec<_> = spooled
        .flatten()
        .map(|entry| std::fs::read(entry.path()).expect("a file"))
        .collect();
    assert!(
        spooled.iter().any(|text| text.ends_with(&frame(1))),
        "{spooled:?}"
    );
    app.until_metric("castaway_recording_bucket_away", |away| away == 1)
        .await;
    app.stop().await;
}

#[tokio::test]
async fn operator_lists_shows_and_finishes_recordings() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let places = Places::new();
    let app = TestApp::beside(world().await, &places.directories(), |config| {
        places.configure(config);
        config.api.token = Some(TOKEN.into());
    })
    .await;
    let ask = async |method: &str, path: &str| {
        let url = app.health_url(&format!("/api/v1/recordings{path}"));
        let request = http_client().request(method.parse().expect("a method"), url);
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (
            status,
            serde_json::from_str::<Value>(&text).unwrap_or_default(),
        )
    };
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 1).await;
    app.until_metric("castaway_recording_clips_total", |clips| clips == 1)
        .await;
    let (status, list) = ask("GET", "?livestream=show").await;
    let open = &list["recordings"][0];
    assert_eq!(
        (status, &open["state"], &open["streamer"]),
        (200, &"open".into(), &"ada".into())
    );
    let id = open["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        ask("GET", "?livestream=other").await.1["recordings"],
        serde_json::json!([])
    );
    // While it is on air, and again with the clip that came since.
    for clips in 1..=2 {
        assert_eq!(ask("POST", &format!("/{id}/finish")).await.0, 204);
        app.until_metric("castaway_recordings_finished_total", |count| count == clips)
            .await;
        let (_, shown) = ask("GET", &format!("/{id}")).await;
        assert_eq!(
            (&shown["state"], &shown["clips"]),
            (&"finished".into(), &clips.into())
        );
        assert_eq!(
            shown["manifest"]["clips"].as_array().map(Vec::len),
            shown["clips"]
                .as_u64()
                .map(|it| usize::try_from(it).expect("few"))
        );
        upload(
            &mut streamer,
            u8::try_from(clips).expect("a small number") + 1,
        )
        .await;
        app.until_metric("castaway_recording_clips_total", |count| count == clips + 1)
            .await;
    }
    for (method, path, status) in [
        ("GET", "/20261130T180000000Z.show.9".to_owned(), 404),
        ("GET", "/nonsense".to_owned(), 404),
        ("POST", format!("/{id}9/finish"), 404),
        ("GET", "?limit=0".to_owned(), 400),
    ] {
        assert_eq!(ask(method, &path).await.0, status, "{method} {path}");
    }
    let ctl = async |arguments: &[&str]| {
        let arguments = [&["recordings"], arguments].concat();
        ctl(places.runtime.path(), &arguments).await
    };
    let (code, list, _) = ctl(&[]).await;
    assert_eq!(code, Some(0));
    assert!(list.contains(&id) && list.contains("finished"), "{list}");
    let (code, shown, _) = ctl(&[&id]).await;
    assert_eq!(code, Some(0));
    assert!(
        shown.contains(&id) && shown.contains("recording.mp3"),
        "{shown}"
    );
    let (code, said, error) = ctl(&[&id, "--finish"]).await;
    assert_eq!(code, Some(0), "{said}{error}");
    assert_eq!(ctl(&["20261130T180000000Z.show.9"]).await.0, Some(4));
    // Its clips are deleted: what is there stays.
    std::fs::remove_dir_all(places.file("manifest.json").await.with_file_name("clips"))
        .expect("clips");
    assert_eq!(ask("POST", &format!("/{id}/finish")).await.0, 409);
    app.stop().await;
}
