//! Bans: list, show, set, remove.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use humantime_serde::re::humantime::{format_rfc3339_seconds, parse_rfc3339_weak};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Operator;
use super::problem::Problem;
use crate::bans::{Ban, BanError, MAX_REASON, Subject};
use crate::broadcast::LivestreamId;
use crate::relay::BanChanged;
use crate::unix_time::millis;

/// The longest id of a user, in characters: Firebase's own limit.
const MAX_USER: usize = 128;

/// What a ban shall be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBan {
    /// Its end, RFC 3339 in UTC, as in `2026-12-01T18:00:00Z`; unset: until it is removed.
    until: Option<String>,
    /// For operators; clients do not see it. At most 1,000 bytes.
    #[serde(default)]
    reason: String,
}

/// A ban.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BanView {
    /// `user` or `livestream`.
    kind: &'static str,
    id: String,
    /// Its end, RFC 3339; none: until it is removed.
    until: Option<String>,
    reason: String,
}

/// All bans.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BanList {
    bans: Vec<BanView>,
}

impl BanView {
    fn new(subject: &Subject, ban: Ban) -> Self {
        let time = |until| UNIX_EPOCH.checked_add(Duration::from_millis(until));
        let until = ban.until.and_then(time);
        Self {
            kind: subject.kind(),
            id: subject.id().to_owned(),
            until: until.map(|until| format_rfc3339_seconds(until).to_string()),
            reason: ban.reason,
        }
    }
}

fn subject(kind: &str, id: String) -> Result<Subject, Problem> {
    match kind {
        "user" if !id.is_empty() && id.chars().count() <= MAX_USER => Ok(Subject::User(id)),
        "user" => Err(Problem::bad_request("a user's id has 1 to 128 characters")),
        "livestream" if LivestreamId::new(&id).is_some() => Ok(Subject::Livestream(id)),
        "livestream" => Err(Problem::bad_request("no livestream can have this id")),
        _ => Err(Problem::not_found("a ban is of a `user` or a `livestream`")),
    }
}

impl NewBan {
    fn checked(self, now: SystemTime) -> Result<Ban, Problem> {
        let until = self.until.map(|text| {
            let parsed = parse_rfc3339_weak(&text).map_err(|_| {
                Problem::bad_request("until must be a time such as 2026-12-01T18:00:00Z")
            })?;
            if parsed <= now {
                return Err(Problem::bad_request("until must be in the future"));
            }
            Ok(millis(parsed))
        });
        if self.reason.len() > MAX_REASON {
            return Err(Problem::bad_request(format!(
                "reason may have at most {MAX_REASON} bytes"
            )));
        }
        Ok(Ban {
            until: until.transpose()?,
            reason: self.reason,
        })
    }
}

impl Api {
    /// Changes a ban, and writes the line in the log. It is done to its end also if the client leaves.
    async fn change(
        &self,
        operator: Operator,
        subject: Subject,
        ban: Option<Ban>,
    ) -> Result<Option<BanChanged>, Problem> {
        let relay = self.relay.clone();
        let changed = tokio::spawn(async move {
            let view = ban.clone().map(|ban| BanView::new(&subject, ban));
            let (kind, id) = (subject.kind(), subject.id().to_owned());
            let changed = relay.change_ban(subject, ban, SystemTime::now()).await?;
            match view {
                _ if changed.is_none() => {}
                Some(BanView { until, reason, .. }) => {
                    tracing::info!(operator = %operator, kind, id, until, reason, "operator: banned");
                }
                None => tracing::info!(operator = %operator, kind, id, "operator: ban removed"),
            }
            Ok::<_, BanError>(changed)
        });
        let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the change has failed");
        Ok(changed.await.map_err(failed)??)
    }
}

/// Lists the bans.
#[utoipa::path(get, path = "/api/v1/bans", tag = "bans", responses((status = 200, body = BanList)))]
pub(super) async fn list(State(api): State<Api>) -> Json<BanList> {
    let all = api.relay.bans().all(SystemTime::now()).into_iter();
    let bans = all
        .map(|(subject, ban)| BanView::new(&subject, ban))
        .collect();
    Json(BanList { bans })
}

/// Shows a ban.
#[utoipa::path(get, path = "/api/v1/bans/{kind}/{id}", tag = "bans",
    params(("kind" = String, Path, description = "`user` or `livestream`"), ("id" = String, Path, description = "Its id")),
    responses((status = 200, body = BanView), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(api): State<Api>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<BanView>, Problem> {
    let subject = subject(&kind, id)?;
    let ban = api.relay.bans().get(&subject, SystemTime::now());
    let ban = ban.ok_or_else(|| Problem::not_found("there is no such ban"))?;
    Ok(Json(BanView::new(&subject, ban)))
}

/// Bans a user or a livestream, or changes the ban. It ends the livestreams that it concerns, disconnects banned users, and
/// keeps them out: at a join, at a return, at a refresh of a token, and at every upload.
#[utoipa::path(put, path = "/api/v1/bans/{kind}/{id}", tag = "bans", request_body = NewBan,
    params(("kind" = String, Path, description = "`user` or `livestream`"), ("id" = String, Path, description = "Its id")),
    responses((status = 200, body = BanView, description = "Changed"), (status = 201, body = BanView, description = "Banned"),
        (status = 202, body = BanView, description = "Banned on this node, and on the others as soon as Redis answers"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "There are `api.max_bans`"),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "It cannot be written")))]
pub(super) async fn put(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    Path((kind, id)): Path<(String, String)>,
    body: Result<Json<NewBan>, JsonRejection>,
) -> Result<(StatusCode, Json<BanView>), Problem> {
    let subject = subject(&kind, id)?;
    let Json(body) = body?;
    let ban = body.checked(SystemTime::now())?;
    let view = BanView::new(&subject, ban.clone());
    let changed = api.change(operator, subject, Some(ban)).await?;
    let status = match changed {
        Some(changed) if !changed.is_everywhere => StatusCode::ACCEPTED,
        Some(changed) if changed.was_banned => StatusCode::OK,
        _ => StatusCode::CREATED,
    };
    Ok((status, Json(view)))
}

/// Removes a ban.
#[utoipa::path(delete, path = "/api/v1/bans/{kind}/{id}", tag = "bans",
    params(("kind" = String, Path, description = "`user` or `livestream`"), ("id" = String, Path, description = "Its id")),
    responses((status = 204, description = "Removed"),
        (status = 202, description = "Removed on this node, and on the others as soon as Redis answers"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json", description = "That cannot be written")))]
pub(super) async fn remove(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let subject = subject(&kind, id)?;
    match api.change(operator, subject, None).await? {
        None => Err(Problem::not_found("there is no such ban")),
        Some(changed) if changed.is_everywhere => Ok(StatusCode::NO_CONTENT),
        Some(_) => Ok(StatusCode::ACCEPTED),
    }
}
