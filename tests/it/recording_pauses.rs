//! Who decides whether a livestream is recorded: its document, and its streamer, who pauses the recording.

use castaway_media_server::config::{Config, RecordingPolicy};
use castaway_media_server::recording::Manifest;
use serde_json::{Value, json};

use crate::recording::{Places, frame, upload};
use crate::support::app::{TestApp, world};
use crate::support::client::{Client, Said, Way};
use crate::support::google::{Endpoint, Fault};

const NO_RECORD: &str =
    "This livestream is not recorded, set record to true in its document and ask again.";

/// The answer to `recording` with this argument.
async fn wish(client: &mut Client, argument: &str) -> Value {
    let comma = if argument.is_empty() { "" } else { "," };
    client
        .say(&format!("2/streamer,7[\"recording\"{comma}{argument}]"))
        .await;
    match client.next().await {
        Said::Ack(7, answer) => answer,
        other => panic!("no answer but {other:?}"),
    }
}

fn going(recording: bool, paused: bool) -> Value {
    json!({ "ok": true, "recording": recording, "paused": paused })
}

fn error(text: &str) -> Value {
    json!({ "ok": false, "error": text })
}

fn is_recorded(state: &Value) -> bool {
    state["recording"] == true
}

async fn manifest(places: &Places) -> Manifest {
    let text = std::fs::read(places.file("manifest.json").await).expect("a manifest");
    serde_json::from_slice(&text).expect("a manifest")
}

async fn start(places: &Places, change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::beside(world().await, &places.directories(), |config| {
        places.configure(config);
        change(config);
    })
    .await
}

#[tokio::test]
async fn paused_clips_are_heard_and_not_recorded() {
    for way in Way::ALL {
        let places = Places::new();
        let app = start(&places, |config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        upload(&mut streamer, 1).await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        listener.until_state(is_recorded).await;
        listener.hears(&frame(1).into()).await;
        upload(&mut streamer, 2).await;
        listener.hears(&frame(2).into()).await;
        for question in ["", "null"] {
            assert_eq!(wish(&mut streamer, question).await, going(true, false));
        }
        listener.states.clear();
        for _ in 0..2 {
            assert_eq!(wish(&mut streamer, "false").await, going(false, true));
        }
        listener.until_state(|state| !is_recorded(state)).await;
        for number in 3..=4 {
            upload(&mut streamer, number).await;
            listener.hears(&frame(number).into()).await;
        }
        assert_eq!(wish(&mut streamer, "").await, going(false, true));
        listener.states.clear();
        assert_eq!(wish(&mut streamer, "true").await, going(true, false));
        listener.until_state(is_recorded).await;
        upload(&mut streamer, 5).await;
        listener.hears(&frame(5).into()).await;
        streamer.leave().await;
        let manifest = manifest(&places).await;
        let numbers: Vec<u64> = manifest.clips.iter().map(|clip| clip.sequence).collect();
        assert_eq!(numbers, [1, 2, 5], "{way:?}");
        assert!(manifest.missing.is_empty(), "{manifest:?}");
        assert!(
            manifest.gaps.iter().all(|gap| gap.reason == "pause"),
            "{manifest:?}"
        );
        let file = std::fs::read(places.file("recording.mp3").await).expect("a file");
        let sound = [1, 2, 5].map(frame).concat();
        assert!(file.ends_with(&sound), "{way:?}");
        for paused in [3, 4] {
            let is_in = file
                .windows(100)
                .any(|part| part.iter().all(|it| *it == paused));
            assert!(!is_in, "clip {paused} was paused");
        }
        app.stop().await;
    }
}

#[tokio::test]
async fn livestream_paused_at_both_ends_misses_nothing() {
    let places = Places::new();
    let app = start(&places, |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    assert_eq!(wish(&mut streamer, "false").await, going(false, true));
    for number in 1..=3 {
        upload(&mut streamer, number).await;
    }
    assert_eq!(wish(&mut streamer, "true").await, going(true, false));
    upload(&mut streamer, 4).await;
    assert_eq!(wish(&mut streamer, "false").await, going(false, true));
    upload(&mut streamer, 5).await;
    streamer.leave().await;
    let manifest = manifest(&places).await;
    let numbers: Vec<u64> = manifest.clips.iter().map(|clip| clip.sequence).collect();
    assert_eq!(numbers, [4]);
    assert!(manifest.missing.is_empty(), "{manifest:?}");
    app.stop().await;
}

#[tokio::test]
async fn livestream_that_is_never_recorded_leaves_nothing() {
    let places = Places::new();
    let app = start(&places, |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    assert_eq!(wish(&mut streamer, "false").await, going(false, true));
    upload(&mut streamer, 1).await;
    streamer.leave().await;
    assert_eq!(streamer.next().await, Said::Closed);
    app.until_metric("castaway_recording_waiting", |waiting| waiting == 0)
        .await;
    let left = std::fs::read_dir(places.bucket.path()).expect("a bucket");
    assert_eq!(left.count(), 0);
    app.stop().await;
}

#[tokio::test]
async fn pause_outlives_a_crash_and_a_restart() {
    let places = Places::new();
    let app = start(&places, |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 1).await;
    assert_eq!(wish(&mut streamer, "false").await, going(false, true));
    // What the next process would find, if this one crashed now.
    let note = std::fs::read_to_string(places.runtime.path().join("handover")).expect("a note");
    assert!(note.contains("\"paused 2\""), "{note}");
    upload(&mut streamer, 2).await;
    // A connection that is lost, and then the process.
    drop(streamer);
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    assert_eq!(wish(&mut streamer, "").await, going(false, true));
    upload(&mut streamer, 3).await;
    let google = app.stop().await;
    let app = TestApp::beside(google, &places.directories(), |it| places.configure(it)).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    assert_eq!(wish(&mut streamer, "").await, going(false, true));
    upload(&mut streamer, 4).await;
    assert_eq!(wish(&mut streamer, "true").await, going(true, false));
    upload(&mut streamer, 5).await;
    streamer.leave().await;
    let manifest = manifest(&places).await;
    let numbers: Vec<u64> = manifest.clips.iter().map(|clip| clip.sequence).collect();
    assert_eq!(numbers, [1, 5]);
    assert!(manifest.missing.is_empty(), "{manifest:?}");
    app.stop().await;
}

#[tokio::test]
async fn document_decides_whether_it_is_recorded() {
    let places = Places::new();
    let app = start(&places, |config| {
        config.recording.policy = RecordingPolicy::Document;
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 1).await;
    assert_eq!(wish(&mut streamer, "").await, going(false, false));
    assert_eq!(wish(&mut streamer, "true").await, error(NO_RECORD));
    app.google.world().set_record("show", true);
    app.google.fail(Endpoint::Read, Fault::Status(503), 9);
    assert_eq!(
        wish(&mut streamer, "true").await,
        error("Service is temporarily unavailable, try again.")
    );
    app.google.heal();
    assert_eq!(wish(&mut streamer, "true").await, going(true, false));
    streamer.until_state(is_recorded).await;
    upload(&mut streamer, 2).await;
    // Read again as soon as a streamer comes.
    app.google.world().set_record("show", false);
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    assert_eq!(wish(&mut streamer, "").await, going(false, false));
    upload(&mut streamer, 3).await;
    streamer.leave().await;
    let manifest = manifest(&places).await;
    let numbers: Vec<u64> = manifest.clips.iter().map(|clip| clip.sequence).collect();
    assert_eq!(numbers, [2]);
    assert!(manifest.missing.is_empty(), "{manifest:?}");
    app.stop().await;
}

#[tokio::test]
async fn pause_holds_while_the_document_is_read() {
    let places = Places::new();
    let app = start(&places, |config| {
        config.recording.policy = RecordingPolicy::Document;
    })
    .await;
    app.google.world().set_record("show", true);
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    upload(&mut streamer, 1).await;
    assert_eq!(wish(&mut streamer, "false").await, going(false, true));
    let slow = Fault::Slow(std::time::Duration::from_millis(500));
    app.google.fail(Endpoint::Read, slow, 1);
    streamer.say("2/streamer,8[\"recording\",true]").await;
    streamer.say("2/streamer,9[\"recording\",false]").await;
    for _ in 0..2 {
        let Said::Ack(8 | 9, answer) = streamer.next().await else {
            panic!("no answer");
        };
        assert_eq!(answer, going(false, true));
    }
    upload(&mut streamer, 2).await;
    assert_eq!(wish(&mut streamer, "true").await, going(true, false));
    upload(&mut streamer, 3).await;
    streamer.leave().await;
    let numbers = manifest(&places).await.clips;
    let numbers: Vec<u64> = numbers.iter().map(|clip| clip.sequence).collect();
    assert_eq!(numbers, [1, 3]);
    app.stop().await;
}

#[tokio::test]
async fn wish_without_effect_is_answered_in_words() {
    let places = Places::new();
    let app = start(&places, |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    for bad in ["\"true\"", "0", "{}", "true,true"] {
        assert_eq!(
            wish(&mut streamer, bad).await,
            error("Recording must be true, false or nothing."),
            "{bad}"
        );
    }
    for _ in 0..30 {
        assert_eq!(wish(&mut streamer, "false").await, going(false, true));
        assert_eq!(wish(&mut streamer, "true").await, going(true, false));
    }
    assert_eq!(wish(&mut streamer, "false").await, going(false, true));
    let limited = wish(&mut streamer, "true").await;
    let text = limited["error"].as_str().expect("a text");
    assert!(
        text.starts_with("Recording rate limit exceeded, retry in "),
        "{limited}"
    );
    assert!(limited["retryAfterMs"].as_u64() > Some(0), "{limited}");
    upload(&mut streamer, 1).await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    listener.hears(&frame(1).into()).await;
    listener.say("2/listener,9[\"recording\",false]").await;
    let answer = error("Unknown event recording.");
    assert_eq!(listener.next().await, Said::Ack(9, answer));
    app.stop().await;
}

#[tokio::test]
async fn server_without_recordings_says_so_and_no_more() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let text = "Livestreams are not recorded on this server, ask its operator for recordings.";
    for argument in ["", "false", "true"] {
        assert_eq!(wish(&mut streamer, argument).await, error(text));
    }
    let as_ever = json!({ "state": "live", "listeners": 0 });
    streamer.until_state(|state| *state == as_ever).await;
    app.stop().await;
}
