//! Recordings: list, show, finish again.

use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use humantime_serde::re::humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Operator;
use super::problem::Problem;
use crate::recording::{Found, Manifest, RecordingId, Recordings, RecordingsError};

/// The recordings of an answer, and the most of one.
const USUAL: usize = 50;
const MOST: usize = 200;

/// Which recordings.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// Those of this livestream alone.
    livestream: Option<String>,
    /// The most of them, up to 200; 50 otherwise.
    limit: Option<usize>,
}

/// A recording.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordingView {
    id: String,
    livestream: String,
    streamer: String,
    /// RFC 3339.
    started: String,
    /// `open` or `finished`: again `open` only while clips that came late are joined.
    state: &'static str,
    /// Where its objects are, below `recording.url`.
    directory: String,
    /// The length of its sound; none until it is finished, as all below.
    seconds: Option<f64>,
    /// The size of its files.
    bytes: Option<u64>,
    /// Clips in the files.
    clips: Option<usize>,
    /// Clips that were accepted and are not recorded.
    missing: Option<usize>,
    /// Where the sound leaves out time.
    gaps: Option<usize>,
}

/// The latest recordings, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordingList {
    recordings: Vec<RecordingView>,
}

/// A recording with its manifest.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordingDetails {
    #[serde(flatten)]
    recording: RecordingView,
    /// As docs/recording.md describes it; none until it is finished.
    #[schema(value_type = Option<Object>)]
    manifest: Option<Manifest>,
    /// The podcasts as which its files are registered (`recording.podcast`).
    podcasts: Vec<PodcastView>,
}

/// A file that its streamer can publish as a podcast.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PodcastView {
    /// The id of the upload, for the app's backend.
    upload: String,
    /// The name of the file.
    file: String,
}

impl RecordingView {
    fn new(found: &Found) -> Self {
        let manifest = found.manifest.as_ref();
        let started = UNIX_EPOCH + Duration::from_millis(found.started.min(253_402_300_799_000));
        Self {
            id: found.id.to_string(),
            livestream: found.livestream.clone(),
            streamer: found.streamer.clone(),
            started: format_rfc3339_seconds(started).to_string(),
            state: if manifest.is_some() {
                "finished"
            } else {
                "open"
            },
            directory: found.id.directory(),
            seconds: manifest.map(|it| it.seconds),
            bytes: manifest.map(|it| it.files.iter().map(|file| file.bytes).sum()),
            clips: manifest.map(|it| it.clips.len()),
            missing: manifest.map(|it| it.missing.len()),
            gaps: manifest.map(|it| it.gaps.len()),
        }
    }
}

impl Api {
    fn recordings(&self) -> Result<&Recordings, Problem> {
        let none = || Problem::not_found("nothing is recorded: recording.url is not set");
        self.recordings.as_ref().ok_or_else(none)
    }
}

fn id(text: &str) -> Result<RecordingId, Problem> {
    RecordingId::parse(text).ok_or_else(|| Problem::not_found("there is no such recording"))
}

impl From<RecordingsError> for Problem {
    fn from(error: RecordingsError) -> Self {
        let status = match error {
            RecordingsError::Unknown => StatusCode::NOT_FOUND,
            RecordingsError::Swept => StatusCode::CONFLICT,
            RecordingsError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            RecordingsError::Bucket(_) => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, error.to_string())
    }
}

/// Lists the latest recordings, the newest first.
#[utoipa::path(get, path = "/api/v1/recordings", tag = "recordings", params(Choice),
    responses((status = 200, body = RecordingList), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nothing is recorded"),
        (status = 502, body = Problem, content_type = "application/problem+json", description = "The bucket fails")))]
pub(super) async fn list(
    State(api): State<Api>,
    choice: Result<Query<Choice>, QueryRejection>,
) -> Result<Json<RecordingList>, Problem> {
    let Query(Choice { livestream, limit }) = choice?;
    let limit = limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_request(format!(
            "limit must be from 1 to {MOST}"
        )));
    }
    let found = api.recordings()?.list(livestream.as_deref(), limit).await?;
    let recordings = found.iter().map(RecordingView::new).collect();
    Ok(Json(RecordingList { recordings }))
}

/// Shows a recording, with its manifest.
#[utoipa::path(get, path = "/api/v1/recordings/{id}", tag = "recordings",
    params(("id" = String, Path, description = "The recording's id")),
    responses((status = 200, body = RecordingDetails), (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 502, body = Problem, content_type = "application/problem+json", description = "The bucket fails")))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Json<RecordingDetails>, Problem> {
    let recordings = api.recordings()?;
    let found = recordings.show(id(&text)?).await?;
    let recording = RecordingView::new(&found);
    let podcasts = found.uploads.into_iter().map(|it| PodcastView {
        upload: it.id,
        file: it.file,
    });
    Ok(Json(RecordingDetails {
        recording,
        manifest: found.manifest,
        podcasts: podcasts.collect(),
    }))
}

/// Joins the clips of a recording now, whether its livestream is over or not, and those that came late included. Answers
/// before that is done.
#[utoipa::path(post, path = "/api/v1/recordings/{id}/finish", tag = "recordings",
    params(("id" = String, Path, description = "The recording's id")),
    responses((status = 204, description = "It is being finished"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Its clips are deleted"),
        (status = 502, body = Problem, content_type = "application/problem+json", description = "The bucket fails"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Too many wait")))]
pub(super) async fn finish(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let recordings = api.recordings()?;
    recordings.finish(id(&text)?).await?;
    tracing::info!(operator = %operator, recording = text, "operator: recording is finished");
    Ok(StatusCode::NO_CONTENT)
}
