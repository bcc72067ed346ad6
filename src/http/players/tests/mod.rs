mod bans;
mod passes;
mod restart;

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use axum::{Extension, Router};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::routes::{Client, files};
use super::*;
use crate::bans::Bans;
use crate::broadcast::{Epoch, State, UserId};
use crate::config::{Config, PlayerAccess};
use crate::directory::{About, Directory};
use crate::identity::Signer;
use crate::metrics::Metrics;
use crate::relay::{SocketId, Upload};

const M4A: &[u8] = include_bytes!("../../../media/fixtures/tone.m4a");
const ADTS: &[u8] = include_bytes!("../../../media/fixtures/tone.aac");
const MP3: &[u8] = include_bytes!("../../../media/fixtures/tone.mp3");

struct World {
    players: Players,
    passes: Option<Passes>,
    feed: Mutex<Feed>,
    router: Router,
    relay: Relay,
    epoch: Epoch,
    signer: Signer,
    metrics: Metrics,
}

fn id() -> LivestreamId {
    LivestreamId::new("show").expect("an id")
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// A livestream on air, without a clip.
fn world(change: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::default();
    config.players.access = PlayerAccess::Public;
    change(&mut config);
    let signer = Signer::new("project").expect("a key");
    let identity = Identity::local(&signer, &config.identity).expect("an identity");
    let passes = Passes::in_memory(&config).expect("a key");
    let metrics = Metrics::new();
    let directory = Directory::memory([]);
    let about = About::new(["Ada's tea", "", "", ""]);
    assert!(directory.create(&id(), &UserId::new("ada"), about));
    let documents = Documents::new(&config.http, directory.clone(), metrics.registry());
    let documents = documents.expect("metrics");
    let relay = Relay::new(
        &config,
        directory,
        None,
        Bans::open(None, 1, &metrics),
        metrics.clone(),
    );
    let (known, source) = (passes.clone(), relay.clone());
    let made = Players::new(&config, identity, known, source, documents, &metrics);
    let (players, feed) = made.expect("metrics");
    let client = Client {
        address: Ipv4Addr::LOCALHOST.into(),
        connection: None,
    };
    let router = files(players.clone()).layer(Extension(client));
    let mut world = World {
        players,
        passes,
        feed: Mutex::new(feed),
        router,
        epoch: relay.next_epoch(),
        relay,
        signer,
        metrics,
    };
    world.goes_on_air();
    world
}

impl World {
    fn goes_on_air(&mut self) {
        self.epoch = self.relay.next_epoch();
        let ada = UserId::new("ada");
        let started = self
            .relay
            .start(&id(), &ada, SocketId(7), self.epoch, now());
        assert_eq!(started, Ok(()));
        assert!(self.relay.air(&id(), self.epoch));
    }

    /// The players' task gets all that is queued.
    fn fed(&self) {
        while let Ok(fed) = self.feed.lock().try_recv() {
            self.players.take(fed);
        }
    }

    fn clip(&self, bytes: &'static [u8]) {
        let (ada, bytes) = (UserId::new("ada"), Bytes::from_static(bytes));
        let upload = Upload { bytes, id: None };
        let uploaded = self.relay.upload(&id(), self.epoch, &ada, upload, now());
        uploaded.expect("an accepted clip");
        self.fed();
    }

    fn end(&self) {
        self.relay.end(&id(), self.epoch, now());
        self.fed();
    }

    fn listeners(&self) -> (State, usize) {
        let standing = self.relay.standing(&id());
        (standing.state, standing.listeners)
    }

    async fn get(&self, file: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let request = Request::get(format!("/livestreams/show/{file}"));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let request = request.body(Body::empty()).expect("a request");
        self.router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer")
    }

    async fn text(&self, file: &str) -> (u16, String) {
        let (status, _, body) = whole(self.get(file, &[]).await).await;
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// The names of the listed segments.
    async fn segments(&self) -> Vec<String> {
        let (status, playlist) = self.text("live.m3u8").await;
        assert_eq!(status, 200, "{playlist}");
        let lines = playlist.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }
}

async fn whole(answer: Response<Body>) -> (u16, HeaderMap, Bytes) {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status.as_u16(), parts.headers, body)
}

#[tokio::test(start_paused = true)]
async fn stream_lasts_from_burst_to_end_of_livestream() {
    let world = world(|config| config.players.burst_clips = 2);
    (1..=3).for_each(|_| world.clip(M4A));
    let answer = world.get("live", &[]).await;
    assert_eq!(answer.headers()["content-type"], "audio/aac");
    world.clip(M4A);
    world.end();
    let (_, _, body) = whole(answer).await;
    assert_eq!(body, [ADTS, ADTS, ADTS].concat());
}

#[tokio::test(start_paused = true)]
async fn slow_stream_loses_the_oldest_clips() {
    let world = world(|config| config.players.history_clips = 2);
    world.clip(M4A);
    let answer = world.get("live.aac", &[]).await;
    (2..=5).for_each(|_| world.clip(M4A));
    world.end();
    let (_, _, body) = whole(answer).await;
    assert_eq!(body, [ADTS, ADTS].concat());
    let missed = "castaway_player_clips_missed_total 3";
    assert!(world.metrics.render().contains(missed));
}

#[tokio::test]
async fn stream_of_another_coding_is_not_offered() {
    let world = world(|_| {});
    world.clip(MP3);
    let (status, text) = world.text("live.aac").await;
    assert_eq!((status, text.contains("live.mp3")), (415, true), "{text}");
}

#[tokio::test]
async fn format_that_cannot_be_remuxed_is_415() {
    let world = world(|_| {});
    world.clip(b"OggS and the rest");
    for file in ["live", "index.m3u8", "live.m3u8"] {
        let (status, text) = world.text(file).await;
        assert_eq!((status, text.contains("Ogg")), (415, true), "{text}");
    }
}

#[tokio::test]
async fn playlist_leads_to_every_file() {
    let world = world(|_| {});
    world.clip(M4A);
    world.clip(M4A);
    let (status, index) = world.text("index.m3u8").await;
    assert_eq!(status, 200);
    assert!(
        index.contains("CODECS=\"mp4a.40.2\"\nlive.m3u8\n"),
        "{index}"
    );
    let (_, playlist) = world.text("live.m3u8").await;
    let header = playlist.split('"').nth(1).expect("a header");
    let segments = world.segments().await;
    let files: Vec<&str> = segments
        .iter()
        .map(String::as_str)
        .chain([header])
        .collect();
    assert_eq!(files.len(), 3, "{playlist}");
    for file in files {
        let (status, headers, body) = whole(world.get(file, &[]).await).await;
        assert_eq!((status, body.is_empty()), (200, false), "{file}");
        let cache = "public, max-age=31536000, immutable";
        assert_eq!(headers["cache-control"], cache);
    }
}

#[tokio::test]
async fn segment_is_sent_in_parts_and_once() {
    let world = world(|_| {});
    world.clip(MP3);
    let file = world.segments().await.remove(0);
    let (_, headers, all) = whole(world.get(&file, &[]).await).await;
    let (status, part_headers, part) =
        whole(world.get(&file, &[("range", "bytes=5-9")]).await).await;
    assert_eq!((status, &part[..]), (206, &all[5..10]));
    let place = format!("bytes 5-9/{}", all.len());
    assert_eq!(part_headers["content-range"], place.as_str());
    let tag = headers["etag"].to_str().expect("a tag");
    let (status, _, body) = whole(world.get(&file, &[("if-none-match", tag)]).await).await;
    assert_eq!((status, body.len()), (304, 0));
}

#[tokio::test(start_paused = true)]
async fn playlist_waits_for_the_next_clip() {
    let world = world(|_| {});
    world.clip(M4A);
    let asked = world.text("live.m3u8?_HLS_msn=2");
    let ((status, playlist), ()) = tokio::join!(asked, async { world.clip(M4A) });
    assert_eq!(status, 200);
    assert!(playlist.contains("-2.m4s"), "{playlist}");
    // Nothing comes: the playlist as it is.
    assert_eq!(world.text("live.m3u8?_HLS_msn=3").await, (200, playlist));
    assert_eq!(world.text("live.m3u8?_HLS_msn=5").await.0, 400);
    // The end is an answer as well.
    let asked = world.text("live.m3u8?_HLS_msn=3");
    let ((_, playlist), ()) = tokio::join!(asked, async { world.end() });
    assert!(playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_are_bounded() {
    let world = world(|config| config.players.max_waiting = 1);
    world.clip(M4A);
    let first = world.text("live.m3u8?_HLS_msn=2");
    let second = world.text("live.m3u8?_HLS_msn=2");
    let ((first, _), (second, text)) = tokio::join!(first, second);
    assert_eq!((first, second), (200, 503));
    assert!(text.contains("too many requests wait"), "{text}");
}

#[tokio::test]
async fn streams_of_an_address_are_bounded() {
    let world = world(|config| config.players.max_listeners_per_address = 1);
    world.clip(M4A);
    let first = world.get("live", &[]).await;
    assert_eq!(world.get("live", &[]).await.status(), 429);
    drop(first);
    assert_eq!(world.get("live", &[]).await.status(), 200);
}

#[tokio::test]
async fn nothing_is_sent_without_a_valid_token() {
    let world = world(|config| config.players.access = PlayerAccess::Token);
    world.clip(M4A);
    let window = world.players.find(&id()).expect("a window");
    let first = window
        .state()
        .window
        .segments()
        .next()
        .map(|it| it.place.epoch);
    let segment = format!("{}-1.m4s", first.expect("a segment"));
    let files = [
        "live",
        "index.m3u8",
        "live.m3u8",
        &segment,
        "aac-16000-1.mp4",
    ];
    let user = UserId::new("ada");
    let token = world.signer.mint(&user, Duration::from_mins(1));
    for file in files {
        for headers in [&[][..], &[("authorization", "Bearer nonsense")]] {
            assert_eq!(world.get(file, headers).await.status(), 401, "{file}");
        }
        let authorization = format!("Bearer {token}");
        let answer = world.get(file, &[("authorization", &authorization)]).await;
        assert_eq!(answer.status(), 200, "{file}");
        let cache = answer.headers()["cache-control"].to_str().expect("text");
        assert!(!cache.contains("public"), "{file}: {cache}");
    }
}

#[tokio::test(start_paused = true)]
async fn ended_livestream_is_forgotten_after_a_while() {
    let mut world = world(|_| {});
    world.clip(M4A);
    world.end();
    tokio::time::advance(Duration::from_secs(59)).await;
    world.players.check(now());
    assert_eq!(world.text("live.m3u8").await.0, 200);
    assert_eq!(world.text("live").await.0, 404);
    tokio::time::advance(Duration::from_secs(2)).await;
    world.players.check(now());
    assert_eq!(world.text("live.m3u8").await.0, 404);
    // Another one of the same id begins with its own coding.
    world.goes_on_air();
    world.clip(MP3);
    assert!(world.segments().await[0].contains(".mp3"));
}

#[tokio::test(start_paused = true)]
async fn player_counts_as_listener_while_it_listens() {
    let world = world(|_| {});
    world.clip(M4A);
    let stream = world.get("live", &[]).await;
    assert_eq!(world.listeners(), (State::Live, 1));
    // Both playlists are of one session; another player has its own.
    world.text("index.m3u8").await;
    world.text("live.m3u8").await;
    assert_eq!(world.listeners().1, 2);
    whole(world.get("live.m3u8", &[("user-agent", "other")]).await).await;
    assert_eq!(world.listeners().1, 3);
    drop(stream);
    assert_eq!(world.listeners().1, 2);
    for transport in ["http\"} 0", "hls\"} 2"] {
        let line = format!("castaway_player_listeners{{transport=\"{transport}");
        assert!(world.metrics.render().contains(&line), "{line}");
    }
    tokio::time::advance(Duration::from_secs(20)).await;
    world.text("live.m3u8").await;
    tokio::time::advance(Duration::from_secs(20)).await;
    world.players.check(now());
    assert_eq!(world.listeners().1, 1, "one asked in time");
}

#[tokio::test(start_paused = true)]
async fn stream_waits_through_the_grace_period() {
    let mut world = world(|config| config.players.burst_clips = 1);
    world.clip(M4A);
    let answer = world.get("live", &[]).await;
    world.relay.lost(&id(), world.epoch, now());
    world.fed();
    assert_eq!(world.listeners().0, State::Reconnecting);
    assert_eq!(world.segments().await.len(), 1);
    world.goes_on_air();
    world.clip(M4A);
    world.end();
    assert_eq!(whole(answer).await.2, [ADTS, ADTS].concat());
}

#[tokio::test(start_paused = true)]
async fn player_before_the_first_clip_waits_for_it() {
    let world = world(|_| {});
    let asked = world.text("index.m3u8");
    let ((status, _), ()) = tokio::join!(asked, async { world.clip(M4A) });
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn livestream_without_a_clip_is_asked_for_again() {
    let world = world(|_| {});
    let answer = world.get("live", &[]).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(world.listeners().1, 0, "the refused one has left");
}

#[tokio::test(start_paused = true)]
async fn stop_breaks_off_streams_and_ends_no_livestream() {
    let world = world(|_| {});
    world.clip(M4A);
    let answer = world.get("live", &[]).await;
    world.players.close();
    let mut body = answer.into_body();
    let clip = body.frame().await.expect("a frame").expect("a clip");
    assert_eq!(clip.into_data().expect("bytes"), ADTS);
    // Without an end, so that it is no end of the livestream to the player.
    assert!(body.frame().await.expect("more").is_err());
    assert!(!world.text("live.m3u8").await.1.contains("ENDLIST"));
}

#[tokio::test(start_paused = true)]
async fn clip_that_finds_no_room_is_a_gap() {
    let world = world(|config| config.players.queue_bytes = 4 << 10);
    world.clip(M4A);
    world.segments().await;
    // The task is busy: the queue has room for two clips of less than two KiB.
    let (ada, bytes) = (UserId::new("ada"), Bytes::from_static(M4A));
    for _ in 0..4 {
        let upload = Upload {
            bytes: bytes.clone(),
            id: None,
        };
        let uploaded = world.relay.upload(&id(), world.epoch, &ada, upload, now());
        uploaded.expect("the relay accepts every clip");
    }
    world.fed();
    world.clip(M4A);
    let dropped = "castaway_player_clips_total{outcome=\"dropped\"} 2";
    assert!(world.metrics.render().contains(dropped));
    let (_, playlist) = world.text("live.m3u8").await;
    let (_, end) = playlist.split_once("-3.m4s").expect("the third clip");
    assert_eq!(end.matches("#EXT-X-GAP").count(), 2, "{playlist}");
    // Its place is that on all nodes.
    assert!(!end.contains("#EXT-X-DISCONTINUITY\n"), "{playlist}");
}

#[tokio::test]
async fn title_is_sent_to_players_that_ask() {
    let world = world(|_| {});
    world.clip(M4A);
    let plain = world.get("live", &[]).await;
    assert!(!plain.headers().contains_key("icy-metaint"));
    let answer = world.get("live", &[("icy-metadata", "1")]).await;
    assert_eq!(answer.headers()["icy-metaint"], "16000");
    assert_eq!(answer.headers()["icy-name"], "Ada's tea");
    assert_eq!(plain.status(), 200);
}
