//! The tests' double of Google as a process of its own, for test suites in other languages.
//!
//! It prints one JSON line: `{"google": "http://…", "admin": "http://…", "environment": {…}}`. `environment` is what a
//! server needs to find Google here; `google` serves signing keys, look-ups, tokens, Firestore, Secret Manager and the
//! metadata server. `admin` takes JSON:
//!
//! | call | does |
//! |---|---|
//! | `PUT /livestreams/{id}` `{"artistId": "ada", "streamerConnected": false}` | makes a document; `record` may be in it |
//! | `GET /livestreams/{id}` | its fields, plain; 404 if there is none |
//! | `DELETE /livestreams/{id}` | deletes it |
//! | `POST /tokens` `{"user": "ada", "kind": "valid"}` | `{"token": "…"}`; kinds: `valid`, `expired`, `foreign`, `unknown-key`, `forged`, `unsigned`, or `{"ends": seconds}` |
//! | `PUT /users/{id}` `{"state": "disabled"}` | or `deleted`, or `there` |
//! | `PUT /secrets/{name}` `{"text": "…"}` | sets the latest version of a secret |
//! | `PUT /api-key` `{"key": "…"}` | the API key that look-ups need; with `null` they take any |
//! | `GET /api-keys` | the API keys that look-ups came with |
//! | `GET /service-account` | the JSON of the server's service account |
//! | `POST /faults` `{"endpoint": "write", "fault": "status", "status": 503, "times": 5}` | the next calls go wrong; faults: `status`, `slow` and `late` (with `ms`), `garbage`, `closed`, `lost`; endpoints: `keys`, `lookup`, `token`, `read`, `write`, `secret`, `metadata-project`, `metadata-token` |
//! | `DELETE /faults` | no more faults |
//! | `GET /calls` | how many calls each endpoint has had |
//! | `POST /stop`, `POST /resume` | refuses connections, and takes them again |
//!
//! It ends when its standard input does; with `--service` only when it is killed.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use clap::Parser;
use serde_json::{Map, Value, json};

#[path = "../tests/it/support/google/mod.rs"]
#[expect(dead_code, reason = "the tests use all of it, this process a part")]
mod google;

use google::{Account, Endpoint, Fault, GoogleDouble, Kind};

const ENDPOINTS: [(&str, Endpoint); 8] = [
    ("keys", Endpoint::Keys),
    ("lookup", Endpoint::Lookup),
    ("token", Endpoint::Token),
    ("read", Endpoint::Read),
    ("write", Endpoint::Write),
    ("secret", Endpoint::Secret),
    ("metadata-project", Endpoint::MetadataProject),
    ("metadata-token", Endpoint::MetadataToken),
];

#[derive(Parser)]
struct Arguments {
    /// Where Google is
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where it is told what to do
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: SocketAddr,
    /// Where documents are kept: a power cut loses none
    #[arg(long, value_name = "FILE")]
    documents: Option<PathBuf>,
    /// The project's id, if another than the tests' own
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Does not end with the standard input
    #[arg(long)]
    service: bool,
}

type Refused = (StatusCode, String);

fn bad(what: &str) -> Refused {
    (StatusCode::BAD_REQUEST, what.to_owned())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let google = GoogleDouble::start_on(arguments.listen).await;
    if let Some(project) = arguments.project {
        google.world().project = project;
    }
    if let Some(file) = arguments.documents {
        google.world().keep_livestreams_in(file)?;
    }
    let router = Router::new()
        .route(
            "/livestreams/{id}",
            put(put_livestream)
                .get(livestream)
                .delete(delete_livestream),
        )
        .route("/tokens", post(token))
        .route("/users/{id}", put(user))
        .route("/secrets/{name}", put(secret))
        .route("/api-key", put(api_key))
        .route("/api-keys", get(api_keys))
        .route("/service-account", get(service_account))
        .route("/faults", post(fault).delete(heal))
        .route("/calls", get(calls))
        .route("/stop", post(stop))
        .route("/resume", post(resume))
        .with_state(google.clone());
    let listener = tokio::net::TcpListener::bind(arguments.admin).await?;
    let admin = format!("http://{}", listener.local_addr()?);
    let config = google.config().google;
    let (project, api_key) = {
        let world = google.world();
        (world.project.clone(), world.api_key.clone())
    };
    let line = json!({
        "google": google.url(),
        "admin": admin,
        "environment": {
            "PROJECT_ID": project,
            "IDENTITY_SERVER_API_KEY": api_key,
            "CLIENT_EMAIL": config.client_email,
            "PRIVATE_KEY": google::tokens::pairs()[0].pem.replace('\n', "\\n"),
            "CASTAWAY_GOOGLE__KEYS_URL": config.keys_url,
            "CASTAWAY_GOOGLE__IDENTITY_URL": config.identity_url,
            "CASTAWAY_GOOGLE__FIRESTORE_URL": config.firestore_url,
            "CASTAWAY_GOOGLE__TOKEN_URL": config.token_url,
            "GCE_METADATA_HOST": google.address.to_string(),
        },
    });
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served,
        ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())), if !arguments.service => {
            ended?.map(drop)
        }
    }
}

async fn put_livestream(
    State(google): State<GoogleDouble>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) {
    let artist = body["artistId"].as_str().unwrap_or_default();
    let connected = body["streamerConnected"].as_bool().unwrap_or_default();
    let mut world = google.world();
    world.put_livestream(&id, artist, connected);
    if let Some(record) = body["record"].as_bool() {
        world.set_record(&id, record);
    }
}

async fn livestream(
    State(google): State<GoogleDouble>,
    Path(id): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let world = google.world();
    let fields = world.livestreams.get(&id).ok_or(StatusCode::NOT_FOUND)?;
    let plain = fields.iter().map(|(key, value)| {
        let value = value.as_object().and_then(|it| it.values().next().cloned());
        (key.clone(), value.unwrap_or_default())
    });
    Ok(Json(Value::Object(plain.collect::<Map<_, _>>())))
}

async fn delete_livestream(State(google): State<GoogleDouble>, Path(id): Path<String>) {
    google.world().delete_livestream(&id);
}

async fn token(
    State(google): State<GoogleDouble>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refused> {
    let user = body["user"]
        .as_str()
        .ok_or_else(|| bad("user is missing"))?;
    let kind = match (
        body["kind"].as_str().unwrap_or("valid"),
        body["ends"].as_i64(),
    ) {
        (_, Some(seconds)) => Kind::Ends(seconds),
        ("valid", _) => Kind::Valid,
        ("expired", _) => Kind::Expired,
        ("foreign", _) => Kind::Foreign,
        ("unknown-key", _) => Kind::UnknownKey,
        ("forged", _) => Kind::Forged,
        ("unsigned", _) => Kind::Unsigned,
        _ => return Err(bad("no such kind")),
    };
    Ok(Json(json!({ "token": google.token(user, kind) })))
}

async fn user(
    State(google): State<GoogleDouble>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<(), Refused> {
    let mut world = google.world();
    match body["state"].as_str() {
        Some("there") => world.accounts.remove(&id),
        Some("disabled") => world.accounts.insert(id, Account::Disabled),
        Some("deleted") => world.accounts.insert(id, Account::Deleted),
        _ => return Err(bad("no such state")),
    };
    Ok(())
}

async fn secret(
    State(google): State<GoogleDouble>,
    Path(name): Path<String>,
    Json(body): Json<Value>,
) -> Result<(), Refused> {
    let text = body["text"]
        .as_str()
        .ok_or_else(|| bad("text is missing"))?;
    google.world().secrets.insert(name, text.to_owned());
    Ok(())
}

async fn api_key(State(google): State<GoogleDouble>, Json(body): Json<Value>) {
    google.world().api_key = body["key"].as_str().map(str::to_owned);
}

async fn api_keys(State(google): State<GoogleDouble>) -> Json<Value> {
    Json(json!(google.world().api_keys_seen))
}

async fn service_account(State(google): State<GoogleDouble>) -> Json<Value> {
    let config = google.config().google;
    Json(json!({
        "type": "service_account",
        "project_id": config.project_id,
        "client_email": config.client_email,
        "private_key": google::tokens::pairs()[0].pem,
        "token_uri": config.token_url,
    }))
}

async fn fault(State(google): State<GoogleDouble>, Json(body): Json<Value>) -> Result<(), Refused> {
    let named = ENDPOINTS.iter().find(|(name, _)| body["endpoint"] == *name);
    let (_, endpoint) = named.ok_or_else(|| bad("no such endpoint"))?;
    let time = Duration::from_millis(body["ms"].as_u64().unwrap_or(1000));
    let fault = match body["fault"].as_str() {
        Some("status") => Fault::Status(
            body["status"]
                .as_u64()
                .and_then(|it| u16::try_from(it).ok())
                .unwrap_or(500),
        ),
        Some("slow") => Fault::Slow(time),
        Some("late") => Fault::Late(time),
        Some("garbage") => Fault::Garbage,
        Some("closed") => Fault::Closed,
        Some("lost") => Fault::Lost,
        _ => return Err(bad("no such fault")),
    };
    let times = body["times"].as_u64().unwrap_or(1).min(100_000);
    google.fail(*endpoint, fault, usize::try_from(times).unwrap_or(1));
    Ok(())
}

async fn heal(State(google): State<GoogleDouble>) {
    google.heal();
}

async fn calls(State(google): State<GoogleDouble>) -> Json<Value> {
    let counted = ENDPOINTS.iter();
    let counted =
        counted.map(|(name, endpoint)| ((*name).to_owned(), google.calls(*endpoint).into()));
    Json(Value::Object(counted.collect()))
}

async fn stop(State(google): State<GoogleDouble>) {
    google.stop();
}

async fn resume(State(google): State<GoogleDouble>) {
    google.resume().await;
}
