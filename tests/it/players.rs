//! Listening with players, over the network: what is refused, what is bounded, and what outlives a restart.

use std::time::Duration;

use bytes::Bytes;
use castaway_media_server::app::Directories;
use castaway_media_server::config::{Config, PlayerAccess};
use reqwest::header::HeaderMap;
use tokio::io::AsyncReadExt as _;

use crate::support::app::{TEST_TIMEOUT, TestApp, world};
use crate::support::client::{Client, Way};
use crate::support::google::Kind;
use crate::support::raw::Raw;
use crate::support::wire::http_client;

const MP3: &[u8] = include_bytes!("../../src/media/fixtures/tone-bare.mp3");
const M4A: &[u8] = include_bytes!("../../src/media/fixtures/tone.m4a");

fn public(config: &mut Config) {
    config.players.access = PlayerAccess::Public;
}

async fn get(app: &TestApp, path: &str) -> (u16, HeaderMap, Bytes) {
    let url = app.url(&format!("/livestreams/{path}"));
    let answer = http_client().get(url).send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.expect("a body"))
}

async fn text(app: &TestApp, path: &str) -> (u16, String) {
    let (status, _, body) = get(app, path).await;
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

async fn on_air(app: &TestApp, clip: &'static [u8]) -> Client {
    let mut streamer = Client::streamer(app, Way::WebSocket, "show").await;
    uploads(&mut streamer, clip).await;
    streamer
}

async fn uploads(streamer: &mut Client, clip: &'static [u8]) {
    streamer.upload(&Bytes::from_static(clip)).await;
    streamer.is_received().await;
}

/// The value of a tag of a playlist.
fn tag(playlist: &str, name: &str) -> u64 {
    let (_, rest) = playlist.split_once(&format!("#{name}:")).expect(playlist);
    rest.lines()
        .next()
        .expect("a line")
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn player_comes_again_while_redis_is_away() {
    let app = TestApp::with_config(|config| {
        public(config);
        config.cluster.url = Some("redis://127.0.0.1:1".to_owned().into());
    })
    .await;
    let (status, why) = text(&app, "show/live").await;
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("try again"), "{why}");
}

#[tokio::test]
async fn players_are_off_by_default() {
    let app = TestApp::start().await;
    let _streamer = on_air(&app, MP3).await;
    for file in ["live", "live.mp3", "index.m3u8", "live.m3u8"] {
        assert_eq!(get(&app, &format!("show/{file}")).await.0, 404, "{file}");
    }
}

#[tokio::test]
async fn player_hears_the_livestream_to_its_end() {
    let app = TestApp::with_config(public).await;
    let mut streamer = on_air(&app, MP3).await;
    let url = app.url("/livestreams/show/live");
    let stream = http_client().get(url).send().await.expect("an answer");
    assert_eq!(stream.headers()["content-type"], "audio/mpeg");
    assert_eq!(stream.headers()["cache-control"], "no-store");
    app.until_metric(r#"castaway_player_listeners{transport="http"}"#, |it| {
        it == 1
    })
    .await;
    // The streamer sees it.
    streamer.until_state(|state| state["listeners"] == 1).await;
    uploads(&mut streamer, MP3).await;
    streamer.leave().await;
    let heard = stream.bytes().await.expect("a whole body");
    assert_eq!(heard, [MP3, MP3].concat());
    app.until_metric("castaway_player_listeners", |it| it == 0)
        .await;
    let (status, playlist) = text(&app, "show/live.m3u8").await;
    assert_eq!(
        (status, playlist.ends_with("#EXT-X-ENDLIST\n")),
        (200, true)
    );
}

#[tokio::test]
async fn players_of_other_sites_may_listen() {
    let app = TestApp::with_config(public).await;
    let _streamer = on_air(&app, M4A).await;
    for file in ["index.m3u8", "live.m3u8", "aac-16000-1.mp4"] {
        let url = app.url(&format!("/livestreams/show/{file}"));
        for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
            let request = http_client().request(method.clone(), &url);
            let answer = request.header("origin", "https://other.example").send();
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 200, "{method} {file}");
            assert_eq!(answer.headers()["access-control-allow-origin"], "*");
            assert!(answer.headers().contains_key("etag"), "{method} {file}");
        }
    }
}

#[tokio::test]
async fn format_without_players_is_415_and_relayed() {
    let app = TestApp::with_config(public).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let formats: [(&[u8], &str); 4] = [
        (b"\x1A\x45\xDF\xA3 a clip", "WebM"),
        (b"OggS a clip", "Ogg"),
        (b"RIFF\0\0\0\0WAVE a clip", "WAV"),
        (b"fLaC a clip", "FLAC"),
    ];
    for (clip, name) in formats {
        uploads(&mut streamer, clip).await;
        listener.hears(&Bytes::from_static(clip)).await;
        let outcome = r#"castaway_player_clips_total{outcome="format"}"#;
        let before = app.metric(outcome);
        app.until_metric(outcome, |it| it > before || it > 0).await;
        for file in ["live", "live.m3u8", "index.m3u8"] {
            // The task that remuxes may be a clip behind.
            let started = tokio::time::Instant::now();
            loop {
                let (status, reason) = text(&app, &format!("show/{file}")).await;
                assert_eq!(status, 415, "{reason}");
                if reason.contains(name) {
                    break;
                }
                assert!(started.elapsed() < TEST_TIMEOUT, "{name}: {reason}");
            }
        }
    }
}

#[tokio::test]
async fn operator_is_told_why_players_hear_nothing() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let app = TestApp::with_config(|config| {
        public(config);
        config.api.token = Some(TOKEN.into());
    })
    .await;
    let unplayable = async || {
        let url = app.health_url("/api/v1/livestreams/show");
        let token = format!("Bearer {TOKEN}");
        let request = http_client().get(url).header("authorization", token);
        let answer = request.send().await;
        let text = answer.expect("an answer").text().await.expect("a body");
        let details: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        details["unplayable"].as_str().map(str::to_owned)
    };
    let mut streamer = on_air(&app, MP3).await;
    assert_eq!(unplayable().await, None);
    uploads(&mut streamer, b"fLaC a clip").await;
    let why = unplayable().await.expect("a reason");
    assert!(why.contains("FLAC"), "{why}");
}

#[tokio::test]
async fn bad_paths_are_refused() {
    let app = TestApp::with_config(public).await;
    let _streamer = on_air(&app, M4A).await;
    for (path, expected) in [
        ("other/live", 404),
        ("nothing/index.m3u8", 404),
        ("show/nothing", 404),
        ("show/..", 404),
        ("show/%2e%2e%2fsecret", 404),
        ("show/1-1.m4s", 404),
        ("show/-.m4s", 404),
        ("show/aac-1-1.mp4", 404),
        ("show/aac-48000-999.mp4", 404),
        ("show/aac-99999999999999999999-1.mp4", 404),
        ("show/%ff", 400),
        ("__x__/live", 404),
        ("show/live.m3u8?_HLS_msn=-1", 400),
        ("show/live.m3u8?_HLS_msn=x", 400),
        ("show/live.m3u8?_HLS_msn=99", 400),
        ("show/live.m3u8?_HLS_msn=18446744073709551615", 400),
        ("show/live.mp3", 415),
    ] {
        assert_eq!(get(&app, path).await.0, expected, "{path}");
    }
    let url = app.url("/livestreams/show/live");
    let posted = http_client().post(url).send().await.expect("an answer");
    assert_eq!(posted.status().as_u16(), 405);
    assert_eq!(get(&app, "show/live.m3u8").await.0, 200);
}

#[tokio::test]
async fn bad_tokens_are_refused() {
    let app = TestApp::with_config(|config| config.players.access = PlayerAccess::Token).await;
    let _streamer = on_air(&app, M4A).await;
    let ask = async |file: &str, token: Option<String>| {
        let url = app.url(&format!("/livestreams/show/{file}"));
        let request = http_client().get(url);
        let request = token.iter().fold(request, |request, token| {
            request.header("authorization", format!("Bearer {token}"))
        });
        request.send().await.expect("an answer")
    };
    for file in [
        "live",
        "index.m3u8",
        "live.m3u8",
        "1-1.m4s",
        "aac-16000-1.mp4",
    ] {
        for kind in [Kind::Expired, Kind::Foreign, Kind::Forged, Kind::Unsigned] {
            let answer = ask(file, Some(app.google.token("bob", kind))).await;
            assert_eq!(answer.status().as_u16(), 401, "{file}: {kind:?}");
        }
        let answer = ask(file, None).await;
        assert_eq!(answer.status().as_u16(), 401, "{file}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    }
    for file in ["live", "index.m3u8", "live.m3u8", "aac-16000-1.mp4"] {
        let answer = ask(file, Some(app.token("bob"))).await;
        assert_eq!(answer.status().as_u16(), 200, "{file}");
        let cache = answer.headers()["cache-control"].to_str().expect("text");
        assert!(!cache.contains("public"), "{file}: {cache}");
    }
}

#[tokio::test]
async fn flood_of_playlist_requests_is_bounded() {
    let app = TestApp::with_config(|config| {
        public(config);
        config.players.max_waiting_per_address = 5;
        config.players.max_listeners_per_address = 3;
    })
    .await;
    let mut streamer = on_air(&app, M4A).await;
    assert_eq!(get(&app, "show/live.m3u8").await.0, 200);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let url = app.url("/livestreams/show/live.m3u8?_HLS_msn=2");
        asked.spawn(async move {
            let answer = http_client().get(url).send().await.expect("an answer");
            answer.status().as_u16()
        });
    }
    let full = r#"castaway_player_requests_refused_total{reason="too_many_waiting"}"#;
    app.until_metric(full, |it| it == 35).await;
    assert_eq!(app.metric("castaway_player_requests_waiting"), 5);
    uploads(&mut streamer, M4A).await;
    let mut statuses = asked.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [[200; 5].as_slice(), &[503; 35]].concat());
    assert_eq!(app.metric("castaway_player_requests_waiting"), 0);
    // Other names make no more sessions than the address may have.
    for number in 1..6 {
        let url = app.url("/livestreams/show/live.m3u8");
        let request = http_client()
            .get(url)
            .header("user-agent", number.to_string());
        let status = request.send().await.expect("an answer").status().as_u16();
        assert_eq!(
            status,
            if number < 3 { 200 } else { 429 },
            "session {number}"
        );
    }
    assert_eq!(
        app.metric(r#"castaway_player_listeners{transport="hls"}"#),
        3
    );
}

#[tokio::test]
async fn player_that_reads_nothing_is_disconnected() {
    let app = TestApp::with_config(|config| {
        public(config);
        config.server.send_buffer_bytes = 16 << 10;
        config.listener.stall_timeout = Duration::from_millis(600);
        config.upload.clips_per_minute = 10_000_000;
        config.upload.clips_burst = 1_000;
        config.listener.queue_clips = 1_000;
        config.upload.bytes_burst = 1 << 30;
    })
    .await;
    let mut streamer = on_air(&app, MP3).await;
    let mut stalled = Raw::connect(&app).await;
    stalled
        .send(b"GET /livestreams/show/live HTTP/1.1\r\nhost: castaway\r\n\r\n")
        .await;
    app.until_metric("castaway_player_listeners", |it| it == 1)
        .await;
    // More than all buffers of both kernels and of the HTTP server hold.
    let clip = Bytes::from(MP3.repeat(1_000));
    for _ in 0..24 {
        streamer.upload(&clip).await;
        streamer.is_received().await;
    }
    let closed = r#"castaway_connections_closed_total{reason="stalled"}"#;
    app.until_metric(closed, |it| it == 1).await;
    app.until_metric("castaway_player_listeners", |it| it == 0)
        .await;
    // Nothing but an end follows what its kernel has.
    let mut rest = Vec::new();
    let read = tokio::time::timeout(TEST_TIMEOUT, stalled.tcp.read_to_end(&mut rest));
    assert!(read.await.is_ok(), "the connection is closed");
}

#[tokio::test]
async fn playlist_continues_after_a_restart() {
    let runtime = tempfile::tempdir().expect("a directory");
    let directories = Directories {
        runtime: Some(runtime.path().to_owned()),
        state: None,
    };
    let app = TestApp::beside(world().await, &directories, public).await;
    let mut streamer = on_air(&app, M4A).await;
    for _ in 0..3 {
        uploads(&mut streamer, M4A).await;
    }
    let (_, before) = text(&app, "show/live.m3u8?_HLS_msn=4").await;
    let url = app.url("/livestreams/show/live");
    let stream = http_client().get(url).send().await.expect("an answer");
    let google = app.stop().await;
    // A stream that does not end whole, so that its player comes to the next process.
    assert!(stream.bytes().await.is_err());

    let app = TestApp::beside(google, &directories, public).await;
    // In the grace period, before the streamer is back.
    assert_eq!(text(&app, "show/live.m3u8").await, (200, before.clone()));
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    uploads(&mut streamer, M4A).await;
    let (_, after) = text(&app, "show/live.m3u8?_HLS_msn=5").await;
    assert_eq!(tag(&after, "EXT-X-MEDIA-SEQUENCE"), 1, "{after}");
    assert!(
        after.starts_with(&before) && after.contains("-5.m4s"),
        "{after}"
    );
}
