//! The livestreams of a run, and the tokens for them.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use http::Uri;
use serde_json::{Value, json};

use crate::options::Options;
use crate::socket::Door;

/// Resolves the server's URL and finds a livestream and a token for each streamer.
pub(crate) async fn doors(options: &Options) -> anyhow::Result<Vec<Door>> {
    let (address, host) = address(&options.server).await?;
    let door = |token: String, livestream: String| Door {
        address,
        host: host.clone(),
        token,
        livestream,
        is_for_clips: false,
    };
    if options.demo {
        let mut doors = Vec::new();
        for number in 1..=options.streamers {
            let (user, livestream) = (format!("load-{number}"), format!("load-{number}"));
            let token = demo_token(options, &user, Some(&livestream)).await?;
            doors.push(door(token, livestream));
        }
        return Ok(doors);
    }
    let tokens = match (&options.token, &options.token_file) {
        (Some(token), _) => vec![token.clone()],
        (None, Some(file)) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        (None, None) => bail!(
            "nobody to connect as: give --demo for a demo server, or --livestream with --token or --token-file"
        ),
    };
    let wanted = usize::try_from(options.streamers)?;
    if options.livestream.len() != wanted {
        bail!(
            "{wanted} streamers need as many --livestream, not {}",
            options.livestream.len()
        );
    }
    if tokens.len() != wanted && tokens.len() != 1 {
        bail!(
            "{wanted} streamers need one token, or as many, not {}",
            tokens.len()
        );
    }
    if let Some(bad) = tokens
        .iter()
        .chain(&options.livestream)
        .position(|text| text.is_empty() || text.bytes().any(|byte| !(0x20..0x7f).contains(&byte)))
    {
        bail!("token or livestream number {} is no header value", bad + 1);
    }
    let tokens = tokens.into_iter().cycle();
    let livestreams = options.livestream.iter().cloned();
    Ok(tokens
        .zip(livestreams)
        .map(|(token, id)| door(token, id))
        .collect())
}

/// Listeners of one audience that connect as the same user: two audiences stay within the default limit of the server.
pub(crate) const LISTENERS_PER_USER: usize = 4;

/// Tokens for the listeners of a demo server; none elsewhere, where listeners use their streamer's token.
pub(crate) async fn guests(options: &Options) -> anyhow::Result<Vec<String>> {
    let mut tokens = Vec::new();
    if options.demo {
        let listeners = usize::try_from(options.listeners)?;
        for number in 0..listeners.div_ceil(LISTENERS_PER_USER) {
            tokens.push(demo_token(options, &format!("load-guest-{number}"), None).await?);
        }
    }
    Ok(tokens)
}

async fn address(server: &str) -> anyhow::Result<(SocketAddr, String)> {
    let uri: Uri = server
        .parse()
        .with_context(|| format!("{server} is no URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("{server} is no http:// URL: behind TLS, give the address that the proxy leads to");
    }
    let host = uri
        .host()
        .with_context(|| format!("{server} names no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let address = tokio::net::lookup_host((name, port))
        .await
        .with_context(|| format!("cannot find {host}"))?
        .next()
        .with_context(|| format!("{host} has no address"))?;
    Ok((address, format!("{host}:{port}")))
}

async fn demo_token(
    options: &Options,
    user: &str,
    livestream: Option<&str>,
) -> anyhow::Result<String> {
    let url = format!("{}/demo/token", options.server.trim_end_matches('/'));
    let asked = reqwest::Client::builder()
        .no_proxy()
        // The server's URL is http://, so no certificate authorities are loaded: there may be none.
        .tls_certs_only([])
        .build()?
        .post(&url)
        .json(&json!({ "user": user, "livestream": livestream }))
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    let answer: Value = asked
        .with_context(|| format!("no token from {url}: is it `castaway-media-server demo`?"))?
        .json()
        .await
        .with_context(|| format!("{url} answered with no JSON"))?;
    answer["token"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("{url} answered without a token"))
}
