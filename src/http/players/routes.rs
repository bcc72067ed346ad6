//! `GET /livestreams/{id}/{file}`: streams, playlists and segments.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::answer::{Content, Lifetime};
use super::count::Counted;
use super::icy;
use super::livestream::{Livestream, Playlist, SessionKey};
use super::refusal::{MAX_AHEAD, Refusal};
use super::stream::{Listening, Place};
use super::{Inner, Players, segment};
use crate::broadcast::{LivestreamId, UserId};
use crate::directory::About;
use crate::media::{AacConfig, Codec, Segment};
use crate::relay::Player;
use crate::transport::{Connection, RequestConnection, client_address, counted_address};

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// The playlist of segments, beside the one that names the coding.
const MEDIA_PLAYLIST: &str = "live.m3u8";

const ICY_METADATA: HeaderName = HeaderName::from_static("icy-metadata");
const ICY_INTERVAL: HeaderName = HeaderName::from_static("icy-metaint");
const ICY_NAME: HeaderName = HeaderName::from_static("icy-name");

/// Where a request comes from.
#[derive(Clone)]
pub(super) struct Client {
    /// The address that it counts for.
    pub(super) address: IpAddr,
    /// None in tests without a network.
    pub(super) connection: Option<Arc<Connection>>,
}

/// What a request asks for.
pub(super) struct Asked<'a> {
    pub(super) id: LivestreamId,
    file: &'a str,
    /// The clip that the playlist must have.
    sequence: Option<u64>,
    /// The pass in the address.
    pub(super) pass: Option<String>,
    headers: &'a HeaderMap,
    client: &'a Client,
}

/// The parameters of the address.
#[derive(Deserialize)]
pub(super) struct Parameters {
    /// The answer waits for the clip with this sequence.
    #[serde(rename = "_HLS_msn")]
    sequence: Option<u64>,
    /// A listening pass.
    pass: Option<String>,
}

/// The routes, for the client port.
pub fn router(players: Players) -> Router {
    files(players.clone()).layer(middleware::from_fn_with_state(players, find_client))
}

/// The routes, without what finds the client's address.
pub(super) fn files(players: Players) -> Router {
    Router::new()
        .route("/livestreams/{id}/{file}", get(answer))
        .with_state(players)
}

async fn find_client(State(players): State<Players>, mut request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<ConnectInfo<RequestConnection>>();
    let Some(ConnectInfo(RequestConnection(connection))) = connection.cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let peer = connection.peer().ip();
    let address = client_address(peer, request.headers(), &players.0.trusted_proxies);
    if address != peer && !connection.count_for(address) {
        return players.refuse(&Refusal::AddressLimit);
    }
    request.extensions_mut().insert(Client {
        address,
        connection: Some(connection),
    });
    next.run(request).await
}

async fn answer(
    State(players): State<Players>,
    Extension(client): Extension<Client>,
    Path((id, file)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let Some(id) = LivestreamId::new(&id) else {
        return players.refuse(&Refusal::NotStarted);
    };
    let asked = Asked {
        id,
        file: &file,
        sequence: parameters.sequence,
        pass: parameters.pass,
        headers: &headers,
        client: &client,
    };
    let answered = players.answer(&asked).await;
    answered.unwrap_or_else(|refusal| players.refuse(&refusal))
}

impl Asked<'_> {
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    fn session(&self) -> SessionKey {
        let mut hasher = DefaultHasher::new();
        self.header(&USER_AGENT).hash(&mut hasher);
        (counted_address(self.client.address), hasher.finish())
    }
}

impl Players {
    async fn answer(&self, asked: &Asked<'_>) -> Result<Response, Refusal> {
        let (kind, extension) = kind_of(asked.file);
        self.0.metrics.requests.with_label_values(&[kind]).inc();
        match kind {
            "stream" => {
                let user = self.admit(asked, true).await?;
                self.stream(asked, extension, user).await
            }
            "playlist" => self.playlist(asked).await,
            _ => {
                self.admit(asked, false).await?;
                let livestream = self.find(&asked.id).ok_or(Refusal::NotStarted)?;
                self.segment(&livestream, asked)
            }
        }
    }

    /// Counts a listener. In a cluster this node follows the livestream for it.
    async fn listen(&self, asked: &Asked<'_>) -> Result<(Arc<Livestream>, Player), Refusal> {
        let relay = &self.0.relay;
        let elsewhere = if relay.is_started(&asked.id) {
            None
        } else {
            let _place = self.place_to_wait(asked.client)?;
            relay.find_started(&asked.id).await?
        };
        let now = Instant::now().into_std();
        let player = relay.add_player(&asked.id, elsewhere.as_ref(), now)?;
        Ok((self.find_or_create(&asked.id), player))
    }

    fn place_to_wait(&self, client: &Client) -> Result<Counted, Refusal> {
        let taken = self.0.waiting.take(client.address, &self.0.metrics.waiting);
        taken.map_err(|_| Refusal::TooManyWaiting)
    }

    async fn stream(
        &self,
        asked: &Asked<'_>,
        extension: &str,
        user: Option<UserId>,
    ) -> Result<Response, Refusal> {
        let metrics = &self.0.metrics;
        let listeners = &self.0.listeners;
        let counted = listeners.take(asked.client.address, &metrics.streams);
        let counted = counted.map_err(Refusal::of_limit)?;
        let (livestream, player) = self.listen(asked).await?;
        self.wait_for_first(&livestream, asked).await?;
        let nothing = Refusal::nothing_yet(&livestream);
        let place = Place {
            _player: player,
            _counted: counted,
            connection: asked.client.connection.clone(),
            relay: self.0.relay.clone(),
            turn: rand::random(),
            user,
            id: asked.id.clone(),
        };
        let (burst, missed) = (self.0.config.burst_clips, metrics.missed.clone());
        let listening = Listening::new(livestream, burst, missed, place).ok_or(nothing)?;
        let (content_type, coding) = match listening.codec() {
            Codec::Aac(_) => ("audio/aac", "aac"),
            Codec::Mp3(_) => ("audio/mpeg", "mp3"),
        };
        if !extension.is_empty() && extension != coding {
            let text = format!("this livestream is sent as {coding}: ask for live.{coding}");
            return Err(Refusal::NotPlayable(text));
        }
        let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")];
        if asked.header(&ICY_METADATA) != Some("1") {
            return Ok((headers, listening.body()).into_response());
        }
        let title = self.title(asked).await;
        let mut response = (headers, listening.with_title(&title).body()).into_response();
        let interval = HeaderValue::from(icy::INTERVAL);
        response.headers_mut().insert(ICY_INTERVAL, interval);
        // As UTF-8, which players expect of Icecast as well.
        if let Ok(name) = HeaderValue::from_bytes(title.as_bytes()) {
            response.headers_mut().insert(ICY_NAME, name);
        }
        Ok(response)
    }

    /// The title of the document; the livestream's id if there is none.
    async fn title(&self, asked: &Asked<'_>) -> String {
        let documents = &self.0.documents;
        let about = documents.about(&asked.id, asked.client.address).await;
        let title = about.as_ref().map_or("", About::title);
        let known = if title.is_empty() {
            asked.id.as_str()
        } else {
            title
        };
        known.to_owned()
    }

    /// The session's livestream; begins a session if the player has none.
    async fn session(&self, asked: &Asked<'_>) -> Result<Arc<Livestream>, Refusal> {
        let (key, now) = (asked.session(), Instant::now().into_std());
        let known = self.find(&asked.id);
        let is_new = !known.as_ref().is_some_and(|it| it.has_session(key));
        self.admit(asked, is_new).await?;
        if let Some(livestream) = known.filter(|it| it.touch(key, now) || it.has_ended()) {
            return Ok(livestream);
        }
        let (address, gauge) = (asked.client.address, &self.0.metrics.sessions);
        let counted = self.0.listeners.take(address, gauge);
        let counted = counted.map_err(Refusal::of_limit)?;
        let (livestream, player) = self.listen(asked).await?;
        livestream.begin_session(key, player, counted, now);
        Ok(livestream)
    }

    async fn playlist(&self, asked: &Asked<'_>) -> Result<Response, Refusal> {
        let livestream = self.session(asked).await?;
        self.wait_for_first(&livestream, asked).await?;
        let is_of_segments = asked.file == MEDIA_PLAYLIST;
        if is_of_segments {
            self.wait_for_clip(&livestream, asked).await?;
        }
        let written = {
            let mut state = livestream.state();
            if is_of_segments {
                state.playlist()
            } else {
                state.window.multivariant(MEDIA_PLAYLIST).map(Playlist::new)
            }
        };
        let Playlist { text, tag } = written.ok_or_else(|| Refusal::nothing_yet(&livestream))?;
        let content = Content {
            kind: PLAYLIST,
            tag: format!("{tag:016x}"),
            bytes: self.carry_pass(text, asked),
            lifetime: Lifetime::Second,
        };
        Ok(content.answer(asked.headers, self.is_public()))
    }

    /// Waits for the first clip of a livestream that has started, and for the clips before it.
    async fn wait_for_first(
        &self,
        livestream: &Livestream,
        asked: &Asked<'_>,
    ) -> Result<(), Refusal> {
        self.wait(livestream, asked, || {
            let state = livestream.state();
            let is_known = state.window.latest().is_some() || state.unplayable.is_some();
            Ok(is_known || state.is_closed)
        })
        .await?;
        if livestream.is_filled() || livestream.state().window.latest().is_none() {
            return Ok(());
        }
        let _place = self.place_to_wait(asked.client)?;
        let Inner { relay, config, .. } = &*self.0;
        let earlier = async {
            let clips = relay.latest_clips(&asked.id, config.history_clips).await;
            clips.iter().flat_map(|clip| segment(clip)).collect()
        };
        livestream.fill(earlier).await;
        Ok(())
    }

    /// Waits until the playlist has the clip that the player asks for, or the livestream is over. In time or not, the
    /// player gets the playlist: in the grace period an error would make players give up.
    async fn wait_for_clip(
        &self,
        livestream: &Livestream,
        asked: &Asked<'_>,
    ) -> Result<(), Refusal> {
        let Some(sequence) = asked.sequence else {
            return Ok(());
        };
        self.wait(livestream, asked, || {
            let state = livestream.state();
            let latest = state.window.latest().unwrap_or(0);
            if sequence > latest.saturating_add(MAX_AHEAD) {
                return Err(Refusal::TooFarAhead);
            }
            Ok(sequence <= latest || state.is_closed)
        })
        .await
    }

    async fn wait(
        &self,
        livestream: &Livestream,
        asked: &Asked<'_>,
        is_there: impl Fn() -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let mut changes = livestream.changes();
        if is_there()? {
            return Ok(());
        }
        let _place = self.place_to_wait(asked.client)?;
        let wait = async {
            // The sender lives as long as the livestream, which is borrowed here.
            while !is_there()? && changes.changed().await.is_ok() {}
            Ok(())
        };
        let in_time = tokio::time::timeout(self.0.config.max_wait, wait).await;
        in_time.unwrap_or(Ok(()))
    }

    fn segment(&self, livestream: &Livestream, asked: &Asked<'_>) -> Result<Response, Refusal> {
        let file = asked.file;
        let (kind, bytes): (_, Bytes) = if let Some(config) = header_name(file) {
            ("audio/mp4", Segment::hls_header(config))
        } else {
            let state = livestream.state();
            let segment = state.window.segment(file).ok_or(Refusal::NoSegment)?;
            let kind = match segment.place.codec {
                Codec::Aac(_) => "audio/mp4",
                Codec::Mp3(_) => "audio/mpeg",
            };
            (kind, segment.hls.clone())
        };
        let content = Content {
            kind,
            tag: file.to_owned(),
            bytes,
            lifetime: Lifetime::Immutable,
        };
        Ok(content.answer(asked.headers, self.is_public()))
    }
}

/// What kind of file it is, as a metric's label, and the extension of a stream.
fn kind_of(file: &str) -> (&'static str, &str) {
    match file {
        "live" => ("stream", ""),
        "live.aac" | "live.mp3" => ("stream", &file[5..]),
        "index.m3u8" | MEDIA_PLAYLIST => ("playlist", ""),
        _ => ("segment", ""),
    }
}

/// The coding in the name of a header, `aac-{rate}-{channels}.mp4`.
fn header_name(file: &str) -> Option<AacConfig> {
    let (rate, channels) = file
        .strip_prefix("aac-")?
        .strip_suffix(".mp4")?
        .split_once('-')?;
    AacConfig::with(rate.parse().ok()?, channels.parse().ok()?)
}
