//! Who may use the API: an operator with a token on the health port, or a user of the machine on the Unix socket.
//!
//! **Invariant**: a token is compared in constant time, and is in no log line and no answer.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, StatusCode, header};
use parking_lot::{Mutex, RwLock};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::problem::Problem;
use crate::config;

/// The shortest token, in characters.
const SHORTEST: usize = 32;
/// The most tokens: the old one and the new one.
const MOST: usize = 2;
/// Addresses whose failures are counted at a time; while there are more, each further one is refused.
const ADDRESSES: usize = 1_024;
const MINUTE: Duration = Duration::from_mins(1);

/// Who acts, for the log.
#[derive(Debug, Clone)]
pub(super) enum Operator {
    /// The name of a token.
    Token(String),
    /// The user and the process of the socket's peer, as this process's namespaces show them.
    Uid(Option<(u32, Option<i32>)>),
    /// An operator of another node, which asks this one.
    Peer {
        /// Who asks there.
        operator: String,
        /// The other node.
        node: String,
    },
}

impl Operator {
    /// Whether another node asks.
    pub(super) fn is_peer(&self) -> bool {
        matches!(self, Self::Peer { .. })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(name) => write!(f, "token {name}"),
            Self::Uid(Some((uid, Some(pid)))) => write!(f, "uid {uid}, pid {pid}"),
            Self::Uid(Some((uid, None))) => write!(f, "uid {uid}"),
            Self::Uid(None) => f.write_str("unknown uid"),
            Self::Peer { operator, node } => write!(f, "{operator} on {node}"),
        }
    }
}

/// The tokens, and the failures of addresses.
pub(super) struct Tokens {
    // Replaced as a whole by a reload.
    known: RwLock<Vec<Token>>,
    max_failures: u32,
    // A lock: taken at a failure, and before each check.
    failures: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

struct Token {
    name: String,
    /// Of the token: digests have one length, whatever was sent.
    digest: Vec<u8>,
}

impl Tokens {
    pub(super) fn new(api: &config::Api) -> Self {
        let tokens = Self {
            known: RwLock::default(),
            max_failures: api.max_failures_per_minute,
            failures: Mutex::default(),
        };
        tokens.set(api.token.as_ref());
        tokens
    }

    /// Replaces the tokens.
    pub(super) fn set(&self, token: Option<&SecretString>) {
        let text = token.map_or("", |token| token.expose_secret());
        *self.known.write() = parse(text)
            .enumerate()
            .map(|(index, (name, token))| Token {
                name: name.map_or_else(|| (index + 1).to_string(), str::to_owned),
                digest: digest(&SHA256, token.as_bytes()).as_ref().to_vec(),
            })
            .collect();
    }

    /// Whether there is a token.
    pub(super) fn is_any(&self) -> bool {
        !self.known.read().is_empty()
    }

    /// The owner of the token in these headers.
    pub(super) fn check(&self, headers: &HeaderMap, address: IpAddr) -> Result<Operator, Problem> {
        let now = Instant::now();
        self.check_failures(address, now)?;
        let value = headers.get(header::AUTHORIZATION);
        let sent = value.and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.split_once(' '));
        let sent = sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
        let sent = sent.map_or("", |(_, token)| token.trim());
        let sent = digest(&SHA256, sent.as_bytes());
        let known = self.known.read();
        // Each one is compared, so that the time does not tell which one is right.
        let mut owner = None;
        for token in known.iter() {
            if verify_slices_are_equal(&token.digest, sent.as_ref()).is_ok() {
                owner = Some(Operator::Token(token.name.clone()));
            }
        }
        owner.ok_or_else(|| {
            self.count_failure(address, now);
            let detail = if known.is_empty() {
                "the API is closed on this port: set the credential castaway.api.token, or use the Unix socket"
            } else {
                "send the header `Authorization: Bearer` with a token of castaway.api.token"
            };
            Problem::new(StatusCode::UNAUTHORIZED, detail)
        })
    }

    fn check_failures(&self, address: IpAddr, now: Instant) -> Result<(), Problem> {
        let mut failures = self.failures.lock();
        if failures.len() >= ADDRESSES {
            failures.retain(|_, (since, _)| now.saturating_duration_since(*since) < MINUTE);
        }
        let left = match failures.get(&address) {
            Some((since, count)) if *count >= self.max_failures => {
                MINUTE.saturating_sub(now.saturating_duration_since(*since))
            }
            None if failures.len() >= ADDRESSES => MINUTE,
            _ => return Ok(()),
        };
        if left.is_zero() {
            return Ok(());
        }
        let problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many failed authentications: ask again later, or use the Unix socket",
        );
        Err(problem.retry_after(left.as_secs() + 1))
    }

    fn count_failure(&self, address: IpAddr, now: Instant) {
        let mut failures = self.failures.lock();
        let (since, count) = failures.entry(address).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= MINUTE {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }
}

/// The tokens in the value of `api.token`, each with its name.
fn parse(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| match line.split_once(':') {
        Some((name, token)) => (Some(name.trim()), token.trim()),
        None => (None, line),
    })
}

/// The problem of a value of `api.token`, if it has one.
pub fn token_problem(token: &SecretString) -> Option<&'static str> {
    let tokens: Vec<_> = parse(token.expose_secret()).collect();
    let is_short = |(_, token): &(Option<&str>, &str)| token.chars().count() < SHORTEST;
    let is_broken = |(name, token): &(Option<&str>, &str)| {
        name.is_some_and(str::is_empty) || !token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if tokens.is_empty() || tokens.len() > MOST {
        Some("must hold one token, or two, on a line each")
    } else if tokens.iter().any(is_short) {
        Some("must hold tokens of at least 32 characters, such as those of `openssl rand -hex 32`")
    } else if tokens.iter().any(is_broken) {
        Some(
            "must hold tokens of printable ASCII without spaces, each behind a name and a colon or alone",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn tokens(text: &str) -> Tokens {
        Tokens::new(&config::Api {
            token: Some(text.into()),
            max_failures_per_minute: 2,
            ..config::Api::default()
        })
    }

    fn check(tokens: &Tokens, header: &str, address: &str) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, header.parse().unwrap());
        let checked = tokens.check(&headers, address.parse().unwrap());
        let status = |problem: Problem| {
            use axum::response::IntoResponse as _;
            problem.into_response().status().as_u16()
        };
        checked.map(|operator| operator.to_string()).map_err(status)
    }

    #[tokio::test(start_paused = true)]
    async fn two_tokens_are_good_during_a_rotation() {
        let tokens = tokens(&format!("ops: {OLD}\n{NEW}\n"));
        let ask = |token: &str| check(&tokens, &format!("Bearer {token}"), "1.2.3.4");
        assert_eq!(ask(OLD), Ok("token ops".into()));
        assert_eq!(ask(NEW), Ok("token 2".into()));
        assert_eq!(ask(&OLD[1..]), Err(401));
        tokens.set(Some(&NEW.into()));
        assert_eq!(ask(NEW), Ok("token 1".into()));
        assert_eq!(ask(OLD), Err(401));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_an_address_are_limited() {
        let tokens = tokens(OLD);
        let good = format!("Bearer {OLD}");
        assert_eq!(check(&tokens, "Bearer x", "1.2.3.4"), Err(401));
        assert_eq!(check(&tokens, "Basic x", "1.2.3.4"), Err(401));
        assert_eq!(check(&tokens, &good, "1.2.3.4"), Err(429));
        assert_eq!(check(&tokens, &good, "1.2.3.5"), Ok("token 1".into()));
        tokio::time::advance(MINUTE).await;
        assert_eq!(check(&tokens, &good, "1.2.3.4"), Ok("token 1".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_counted_addresses_is_bounded() {
        let tokens = tokens(OLD);
        let good = format!("Bearer {OLD}");
        for number in 0..ADDRESSES {
            let address = format!("10.0.{}.{}", number / 256, number % 256);
            assert_eq!(check(&tokens, "Bearer x", &address), Err(401));
        }
        assert_eq!(check(&tokens, &good, "1.2.3.4"), Err(429));
        assert_eq!(check(&tokens, &good, "10.0.0.1"), Ok("token 1".into()));
        tokio::time::advance(MINUTE).await;
        assert_eq!(check(&tokens, &good, "1.2.3.4"), Ok("token 1".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_token_is_good_while_none_is_set() {
        let tokens = Tokens::new(&config::Api::default());
        assert_eq!(check(&tokens, "Bearer ", "1.2.3.4"), Err(401));
    }

    #[test]
    fn weak_or_too_many_tokens_are_refused() {
        let problem = |text: &str| token_problem(&text.into()).is_some();
        assert!(!problem(OLD));
        assert!(!problem(&format!("a:{OLD}\n\nb: {NEW}\n")));
        assert!(problem(""));
        assert!(problem(&OLD[1..]));
        assert!(problem(&format!("{OLD}\n{NEW}\n{OLD}x")));
        assert!(problem(&format!("{OLD} {NEW}")));
    }
}
