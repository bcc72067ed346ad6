//! `castaway-media-server ctl`: the operator's API from the command line.
//!
//! **Invariant**: what the API refuses is an error with its own words, and never exit code 0.

mod table;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use humantime_serde::re::humantime::{format_rfc3339_seconds, parse_duration};
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::{Value, json};

/// The sockets of the daemon as systemd runs it: the group's, or else root's.
const SOCKETS: [&str; 2] = [
    "/run/castaway-media-server-admin.sock",
    "/run/castaway-media-server/api.sock",
];
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Exit codes; clap uses 2, too.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_ANSWER: u8 = 3;
const NOT_FOUND: u8 = 4;

/// What to do, and where.
#[derive(Debug, Args)]
pub struct Ctl {
    /// The socket of the daemon on this machine, if not systemd's: root and the group `castaway-admin` may use that.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// The health port of a daemon on another machine, such as `http://10.0.0.1:8080`; needs `--token-file`.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<Url>,
    /// A file with a token of `castaway.api.token`.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// What to do.
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List the livestreams.
    List {
        /// The order.
        #[arg(long, value_enum, default_value_t)]
        sort: Sort,
        /// Livestreams to leave out at the beginning.
        #[arg(long, default_value_t = 0)]
        offset: usize,
        /// The most livestreams, up to 1,000.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
    /// Show a livestream and its sockets.
    Show {
        /// The livestream.
        livestream: String,
    },
    /// End a livestream for everybody.
    End {
        /// The livestream.
        livestream: String,
    },
    /// Disconnect a livestream's streamer, or a socket, for good.
    ///
    /// The livestream then waits for its streamer for the grace period: end it, or ban the user, if it must not come back.
    Kick {
        /// The livestream whose streamer is disconnected.
        #[arg(required_unless_present = "id", conflicts_with = "id")]
        livestream: Option<String>,
        /// The socket that is disconnected instead; `show` lists them.
        #[arg(long = "id", value_name = "SOCKET")]
        id: Option<String>,
        /// The error that the client is shown.
        #[arg(long)]
        text: Option<String>,
    },
    /// Ban a user or a livestream.
    ///
    /// A banned user is disconnected, and kept out in both roles; a banned livestream is ended, and nobody joins it.
    Ban {
        /// Who or what.
        #[arg(value_enum)]
        kind: Kind,
        /// The id.
        id: String,
        /// How long, such as 2h or 30days; without it, until `unban`.
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        lasting: Option<Duration>,
        /// Why, for operators.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Remove a ban.
    Unban {
        /// Who or what.
        #[arg(value_enum)]
        kind: Kind,
        /// The id.
        id: String,
    },
    /// List the bans.
    Bans,
    /// List the nodes.
    Nodes,
    /// List the latest recordings, or show one, or have it finished.
    ///
    /// A recording is finished by itself. `--finish` joins its clips now: while its livestream is on air, or again.
    Recordings {
        /// The recording to show.
        id: Option<String>,
        /// Those of this livestream alone.
        #[arg(long, conflicts_with = "id")]
        livestream: Option<String>,
        /// The most recordings, up to 200.
        #[arg(long, default_value_t = 50, conflicts_with = "id")]
        limit: usize,
        /// Join its clips now.
        #[arg(long, requires = "id")]
        finish: bool,
    },
    /// Send the clients of a node to others; again: see what is left.
    ///
    /// The node is not ready from now on and admits nobody. Its clients leave over `server.drain_time`, streamers last.
    Drain {
        /// The node, if it is not the one that is asked.
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// Admit clients again.
        #[arg(long)]
        undo: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    User,
    Livestream,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Livestream => "livestream",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Sort {
    /// By id.
    #[default]
    Id,
    /// The most listeners first.
    Listeners,
    /// The highest data rate first.
    BytesPerSecond,
    /// The oldest first.
    Since,
}

impl Sort {
    fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Listeners => "listeners",
            Self::BytesPerSecond => "bytes_per_second",
            Self::Since => "since",
        }
    }
}

/// A request, and how its answer is shown.
struct Request {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    show: fn(&Value) -> String,
}

impl Request {
    fn new(method: Method, path: &[&str], show: fn(&Value) -> String) -> Self {
        Self {
            method,
            path: path.iter().map(|&part| part.to_owned()).collect(),
            query: Vec::new(),
            body: None,
            show,
        }
    }
}

impl Act {
    fn request(&self) -> Request {
        match self {
            Self::List {
                sort,
                offset,
                limit,
            } => Request {
                query: vec![
                    ("sort", sort.as_str().to_owned()),
                    ("offset", offset.to_string()),
                    ("limit", limit.to_string()),
                ],
                ..Request::new(Method::GET, &["livestreams"], table::livestreams)
            },
            Self::Show { livestream } => {
                Request::new(Method::GET, &["livestreams", livestream], table::details)
            }
            Self::End { livestream } => {
                let path = ["livestreams", livestream, "end"];
                Request::new(Method::POST, &path, |_| "ended\n".to_owned())
            }
            Self::Kick {
                livestream,
                id,
                text,
            } => {
                let streamer = livestream
                    .as_ref()
                    .map(|it| vec!["livestreams", it, "streamer"]);
                let socket = || vec!["sockets", id.as_deref().unwrap_or_default()];
                let path = streamer.unwrap_or_else(socket);
                Request {
                    query: text.iter().map(|text| ("text", text.clone())).collect(),
                    ..Request::new(Method::DELETE, &path, table::kicked)
                }
            }
            Self::Ban {
                kind,
                id,
                lasting,
                reason,
            } => {
                let until = lasting.and_then(|lasting| SystemTime::now().checked_add(lasting));
                let until = until.map(|until| format_rfc3339_seconds(until).to_string());
                Request {
                    body: Some(json!({ "until": until, "reason": reason })),
                    ..Request::new(Method::PUT, &["bans", kind.as_str(), id], table::banned)
                }
            }
            Self::Unban { kind, id } => {
                let path = ["bans", kind.as_str(), id];
                Request::new(Method::DELETE, &path, |_| "removed\n".to_owned())
            }
            Self::Bans => Request::new(Method::GET, &["bans"], table::bans),
            Self::Nodes => Request::new(Method::GET, &["nodes"], table::nodes),
            Self::Recordings {
                id: Some(id),
                finish: true,
                ..
            } => {
                let path = ["recordings", id, "finish"];
                Request::new(Method::POST, &path, |_| "it is being finished\n".to_owned())
            }
            Self::Recordings { id: Some(id), .. } => {
                Request::new(Method::GET, &["recordings", id], table::recording)
            }
            Self::Recordings {
                livestream, limit, ..
            } => {
                let livestream = livestream.iter().map(|it| ("livestream", it.clone()));
                Request {
                    query: livestream.chain([("limit", limit.to_string())]).collect(),
                    ..Request::new(Method::GET, &["recordings"], table::recordings)
                }
            }
            Self::Drain { node, undo } => {
                let method = if *undo { Method::DELETE } else { Method::POST };
                Request {
                    query: node.iter().map(|node| ("node", node.clone())).collect(),
                    ..Request::new(method, &["drain"], table::drain)
                }
            }
        }
    }
}

impl Ctl {
    /// Does it, and prints the answer.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let request = self.act.request();
        let answer = match self.send(&request).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return complain(NO_ANSWER, &format!("the daemon does not answer: {error:#}"));
            }
            Err(error) => return complain(USAGE, &format!("{error:#}")),
        };
        let status = answer.status();
        let text = answer.text().await.context("the answer is cut off")?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if !status.is_success() {
            let detail = body["detail"]
                .as_str()
                .unwrap_or("the answer is no problem document");
            let code = if status == StatusCode::NOT_FOUND {
                NOT_FOUND
            } else {
                FAILED
            };
            return complain(code, &format!("{status}: {detail}"));
        }
        let shown = if self.json {
            format!("{body:#}\n")
        } else {
            (request.show)(&body)
        };
        io::stdout().write_all(shown.as_bytes())?;
        if status == StatusCode::ACCEPTED {
            writeln!(
                io::stderr(),
                "castaway-media-server: Redis does not answer: so far this holds on one node"
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn socket(&self) -> PathBuf {
        let mut sockets = SOCKETS.iter().map(PathBuf::from);
        let named = self.socket.clone();
        named.unwrap_or_else(|| {
            let found = sockets.find(|path| path.exists());
            found.unwrap_or_else(|| PathBuf::from(SOCKETS[0]))
        })
    }

    /// The outer error is one of the arguments, the inner one of the connection.
    async fn send(&self, request: &Request) -> anyhow::Result<anyhow::Result<Response>> {
        let builder = Client::builder().no_proxy().timeout(TIMEOUT);
        let (client, mut url) = if let Some(url) = &self.url {
            (builder.build()?, url.clone())
        } else {
            // Nothing is encrypted there, so no authority is needed.
            let builder = builder.tls_certs_only([]);
            let client = builder.unix_socket(self.socket()).build()?;
            (client, Url::parse("http://localhost")?)
        };
        if !matches!(url.scheme(), "http" | "https") {
            bail!("--url must begin with http:// or https://");
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["api", "v1"])
                .extend(&request.path);
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let mut sent = client.request(request.method.clone(), url);
        if let Some(file) = &self.token_file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let line = text.lines().next().unwrap_or_default();
            // As in `castaway.api.token`: a name may stand before it.
            let token = line.rsplit_once(':').map_or(line, |(_, token)| token);
            sent = sent.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        if let Some(body) = &request.body {
            sent = sent.json(body);
        }
        Ok(sent.send().await.map_err(Into::into))
    }
}

fn complain(code: u8, text: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "castaway-media-server: {text}")?;
    Ok(ExitCode::from(code))
}
