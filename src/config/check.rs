//! The checks that types cannot make: the range of every number and duration, and combinations of values.
//!
//! **Invariant**: every key with a number or a duration has a range here (a test checks this), so that no sum of two of
//! them and a point in time overflows.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::error::Problems;
use super::http::is_origin;
use super::{Config, Log};
use humantime_serde::re::humantime::format_duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The most bytes of any buffer: 64 GiB.
const MEMORY: u64 = 64 << 30;
/// The largest count.
const COUNT: u64 = 10_000_000;

/// The range of one key.
type Range<T> = (&'static str, T, T, T);

impl Config {
    /// The problems of the values.
    pub(super) fn check(&self) -> Problems {
        let mut problems = Problems::default();
        for (key, value, least, most) in self.numbers() {
            problems.push_if(value < least, key, at_least(least));
            problems.push_if(value > most, key, format!("may be at most {most}"));
        }
        for (key, value, least, most) in self.durations() {
            let shown = format_duration(least);
            let zero = least == MILLISECOND;
            let text = if zero {
                "must be greater than zero".to_owned()
            } else {
                format!("must be at least \"{shown}\"")
            };
            problems.push_if(value < least, key, text);
            let shown = format_duration(most);
            problems.push_if(value > most, key, format!("may be at most \"{shown}\""));
        }
        self.check_together(&mut problems);
        self.check_texts(&mut problems);
        self.log.check_level(&mut problems);
        problems
    }

    #[rustfmt::skip]
    fn numbers(&self) -> Vec<Range<u64>> {
        let Self { server, upload, livestream, listener, passes, identity, google, http, players, cluster, log, api, webhooks, recording, .. } = self;
        vec![
            ("server.max_connections", server.max_connections as u64, 1, COUNT),
            ("server.max_connections_per_address", server.max_connections_per_address as u64, 1, COUNT),
            ("server.max_sockets_per_user", server.max_sockets_per_user.into(), 1, COUNT),
            ("server.max_sessions", server.session_limit() as u64, 1, COUNT),
            ("server.max_sessions_per_address", server.session_limit_per_address() as u64, 1, COUNT),
            ("server.max_unjoined_sessions_per_address", server.unjoined_limit_per_address() as u64, 1, COUNT),
            ("server.max_sessions_per_connection", server.max_sessions_per_connection as u64, 1, COUNT),
            ("server.max_header_bytes", server.max_header_bytes as u64, 1024, 1 << 20),
            ("server.max_message_bytes_before_join", server.max_message_bytes_before_join as u64, 1024, MEMORY),
            ("server.min_bytes_per_second", server.min_bytes_per_second.into(), 1, 1 << 30),
            ("server.max_refusals", server.max_refusals.into(), 1, COUNT),
            ("server.send_buffer_bytes", server.send_buffer_bytes.into(), 1, 1 << 30),
            ("upload.max_clip_bytes", upload.max_clip_bytes as u64, 1, 256 << 20),
            ("upload.clips_per_minute", upload.clips_per_minute.into(), 1, COUNT),
            // The product of a burst and the longest time for one of it has to fit 64 bits of nanoseconds.
            ("upload.clips_burst", upload.clips_burst.into(), 1, COUNT),
            ("upload.bytes_per_second", upload.bytes_per_second.into(), 1, u32::MAX.into()),
            ("upload.bytes_burst", upload.bytes_burst.into(), 1, u32::MAX.into()),
            ("livestream.join_clips", livestream.join_clips as u64, 0, COUNT),
            ("livestream.history_clips", livestream.history_clips as u64, 0, COUNT),
            ("livestream.history_bytes", livestream.history_bytes as u64, 0, MEMORY),
            ("livestream.handover_bytes", livestream.handover_bytes as u64, 0, MEMORY),
            ("livestream.max_live", livestream.max_live as u64, 1, COUNT),
            ("livestream.max_listeners", livestream.max_listeners as u64, 1, COUNT),
            ("listener.queue_clips", listener.queue_clips as u64, 1, COUNT),
            ("passes.per_minute", passes.per_minute.into(), 1, COUNT),
            ("identity.failed_lookups_per_user", identity.failed_lookups_per_user.into(), 1, COUNT),
            ("identity.failed_lookups_per_address", identity.failed_lookups_per_address.into(), 1, COUNT),
            ("identity.unknown_keys_per_address", identity.unknown_keys_per_address.into(), 1, COUNT),
            ("identity.max_returns", identity.max_returns as u64, 1, COUNT),
            ("identity.max_returns_per_user", identity.max_returns_per_user as u64, 1, COUNT),
            ("listener.queue_bytes", listener.queue_bytes as u64, 1, MEMORY),
            ("log.queue_bytes", log.queue_bytes as u64, 1, MEMORY),
            ("log.refusals_per_minute", log.refusals_per_minute.into(), 0, COUNT),
            ("google.max_requests", google.max_requests as u64, 1, 100_000),
            ("google.cache_entries", google.cache_entries, 1, COUNT),
            ("http.max_documents", http.max_documents, 1, COUNT),
            ("http.documents_per_minute", http.documents_per_minute.into(), 1, COUNT),
            ("http.documents_per_minute_per_address", http.documents_per_minute_per_address.into(), 1, COUNT),
            ("players.history_clips", players.history_clips as u64, 3, 1_000),
            ("players.history_bytes", players.history_bytes as u64, 1, MEMORY),
            ("players.burst_clips", players.burst_clips as u64, 1, 1_000),
            ("players.max_listeners", players.max_listeners as u64, 1, COUNT),
            ("players.max_listeners_per_address", players.max_listeners_per_address as u64, 1, COUNT),
            ("players.max_waiting", players.max_waiting as u64, 1, COUNT),
            ("players.max_waiting_per_address", players.max_waiting_per_address as u64, 1, COUNT),
            ("players.queue_bytes", players.queue_bytes as u64, 1, MEMORY),
            ("api.max_failures_per_minute", api.max_failures_per_minute.into(), 1, COUNT), ("api.max_bans", api.max_bans as u64, 1, 1_000_000),
            ("recording.max_requests", recording.max_requests as u64, 1, 1_000), ("recording.retries", recording.retries as u64, 0, 100), ("recording.queue_bytes", recording.queue_bytes as u64, 1, MEMORY), ("recording.spool_bytes", recording.spool_bytes, 1 << 20, 1 << 50), ("webhooks.max_requests", webhooks.max_requests as u64, 1, 1_000),
            ("webhooks.queue_messages", webhooks.queue_messages as u64, 1, 1_000_000),
            ("webhooks.queue_bytes", webhooks.queue_bytes as u64, 64 << 10, MEMORY),
            ("webhooks.refusals_per_minute", webhooks.refusals_per_minute.into(), 0, COUNT),
            ("cluster.history_clips", cluster.history_clips as u64, 1, COUNT),
            ("cluster.history_bytes", cluster.history_bytes as u64, 1, MEMORY),
            ("cluster.fetch_bytes", cluster.fetch_bytes as u64, 1, MEMORY),
            ("cluster.queue_clips", cluster.queue_clips as u64, 1, COUNT),
            ("cluster.queue_bytes", cluster.queue_bytes as u64, 1, MEMORY),
        ]
    }

    #[rustfmt::skip]
    fn durations(&self) -> Vec<Range<Duration>> {
        let Self { server, livestream, listener, passes, identity, google, http, players, cluster, api, webhooks, recording, .. } = self;
        vec![
            ("api.peer_timeout", api.peer_timeout, MILLISECOND, HOUR),
            ("server.ping_interval", server.ping_interval, MILLISECOND, HOUR),
            ("server.ping_timeout", server.ping_timeout, MILLISECOND, HOUR),
            ("server.streamer_timeout", server.streamer_timeout, MILLISECOND, HOUR),
            ("server.connect_timeout", server.connect_timeout, MILLISECOND, HOUR),
            ("server.header_timeout", server.header_timeout, MILLISECOND, HOUR),
            ("server.idle_timeout", server.idle_timeout, MILLISECOND, DAY),
            ("server.request_timeout", server.request_timeout, MILLISECOND, HOUR),
            ("server.tcp_user_timeout", server.tcp_user_timeout, SECOND, HOUR * 9),
            // The kernel takes whole seconds, at most 32767 of them.
            ("server.tcp_keepalive_time", server.tcp_keepalive_time, SECOND, HOUR * 9),
            ("server.drain_time", server.drain_time, Duration::ZERO, DAY),
            ("server.shutdown_timeout", server.shutdown_timeout, MILLISECOND, HOUR),
            ("livestream.grace", livestream.grace, Duration::ZERO, DAY),
            ("livestream.silence_after", livestream.silence_after, Duration::ZERO, DAY),
            ("livestream.recheck_interval", livestream.recheck_interval, SECOND, HOUR),
            ("listener.stall_timeout", listener.stall_timeout, MILLISECOND, HOUR),
            ("listener.max_lag", listener.max_lag, MILLISECOND, DAY),
            ("passes.max_lifetime", passes.max_lifetime, SECOND, DAY * 366),
            ("identity.clock_skew", identity.clock_skew, Duration::ZERO, Duration::from_mins(10)),
            ("identity.return_window", identity.return_window, Duration::ZERO, DAY * 7),
            ("google.connect_timeout", google.connect_timeout, MILLISECOND, HOUR),
            // The app gives up on `success` after 5 s.
            ("google.request_timeout", google.request_timeout, MILLISECOND, Duration::from_millis(4_500)),
            ("google.cache_ttl", google.cache_ttl, Duration::ZERO, DAY),
            ("http.document_ttl", http.document_ttl, MILLISECOND, DAY),
            ("http.document_timeout", http.document_timeout, MILLISECOND, HOUR),
            ("players.max_wait", players.max_wait, MILLISECOND, HOUR),
            ("players.linger", players.linger, SECOND, HOUR),
            ("players.session_timeout", players.session_timeout, SECOND, HOUR),
            ("cluster.lease", cluster.lease, MILLISECOND, HOUR),
            ("cluster.heartbeat", cluster.heartbeat, MILLISECOND, HOUR),
            ("cluster.timeout", cluster.timeout, MILLISECOND, SECOND * 2),
            ("cluster.linger", cluster.linger, Duration::ZERO, DAY),
            ("recording.timeout", recording.timeout, MILLISECOND, HOUR), ("recording.max_retry_wait", recording.max_retry_wait, SECOND, HOUR), ("recording.finish_after", recording.finish_after, SECOND, DAY), ("recording.wait_for_clips", recording.wait_for_clips, Duration::ZERO, DAY), ("recording.keep_clips", recording.keep_clips, Duration::ZERO, DAY * 366), ("webhooks.timeout", webhooks.timeout, MILLISECOND, Duration::from_mins(10)),
            ("webhooks.retry_time", webhooks.retry_time, SECOND, DAY * 30),
        ]
    }

    fn check_together(&self, problems: &mut Problems) {
        self.check_players(problems);
        self.check_http(problems);
        self.check_webhooks(problems);
        self.check_recording(problems);
        let Self {
            server,
            upload,
            livestream,
            listener,
            identity,
            cluster,
            ..
        } = self;
        problems.push_if(
            server.listen == server.health_listen && server.listen.port() != 0,
            "server.health_listen",
            "must differ from server.listen: clients and health checks have a port each",
        );
        problems.push_if(
            u64::from(upload.bytes_burst) < upload.max_clip_bytes as u64,
            "upload.bytes_burst",
            "must be at least upload.max_clip_bytes, or the largest clip could never be sent",
        );
        problems.push_if(
            listener.queue_bytes < upload.max_clip_bytes,
            "listener.queue_bytes",
            "must be at least upload.max_clip_bytes, or the largest clip could never be heard",
        );
        problems.push_if(
            (listener.queue_clips as u64) < u64::from(upload.clips_burst),
            "listener.queue_clips",
            format!(
                "must be at least upload.clips_burst ({}), or listeners would lose clips of the flush after an outage",
                upload.clips_burst
            ),
        );
        problems.push_if(
            listener.queue_clips < livestream.history_clips,
            "listener.queue_clips",
            "must be at least livestream.history_clips, or a listener would lose clips when it comes back",
        );
        problems.push_if(
            listener.queue_bytes < livestream.history_bytes,
            "listener.queue_bytes",
            "must be at least livestream.history_bytes, or a listener would lose clips when it comes back",
        );
        problems.push_if(
            livestream.history_clips < livestream.join_clips,
            "livestream.history_clips",
            "must be at least livestream.join_clips: a listener that joins gets its clips from the history",
        );
        problems.push_if(
            identity.return_window < livestream.grace,
            "identity.return_window",
            format!(
                "must be at least livestream.grace (\"{}\"), or a streamer could not come back to a livestream that \
                 waits for it",
                format_duration(livestream.grace)
            ),
        );
        problems.push_if(
            cluster.lease < cluster.heartbeat.saturating_mul(2).saturating_add(cluster.timeout),
            "cluster.lease",
            "must be at least twice cluster.heartbeat and cluster.timeout, or one lost command would lose it",
        );
        problems.push_if(
            cluster.queue_bytes < upload.max_clip_bytes,
            "cluster.queue_bytes",
            "must be at least upload.max_clip_bytes, or the largest clip could reach no other node",
        );
    }

    fn check_texts(&self, problems: &mut Problems) {
        let Self {
            server,
            google,
            cluster,
            ..
        } = self;
        problems.push_if(
            server.cors_origins.is_empty() || !server.cors_origins.iter().all(|it| is_origin(it)),
            "server.cors_origins",
            "must be [\"*\"], or a list of origins as browsers send them, such as [\"https://app.example\", \
             \"http://localhost:5173\"]: a scheme, a host in small letters, a port unless it is the scheme's own, and \
             no path",
        );
        for (key, url) in [
            ("google.keys_url", &google.keys_url),
            ("google.identity_url", &google.identity_url),
            ("google.firestore_url", &google.firestore_url),
            ("google.token_url", &google.token_url),
        ] {
            let example = "must be a URL such as \"https://firestore.googleapis.com/v1\"";
            problems.push_if(!is_url(url), key, example);
        }
        problems.push_if(
            cluster.url.as_ref().is_some_and(|url| !is_redis_url(url)),
            "cluster.url",
            "must be redis://[user:password@]host[:port][/db], or rediss:// for TLS; special characters in a password \
             are percent-encoded",
        );
        problems.push_if(
            cluster.prefix.is_empty() || cluster.prefix.contains(['{', '}']),
            "cluster.prefix",
            "must be a word without braces",
        );
        problems.push_if(
            cluster.node.as_ref().is_some_and(|node| node.len() > 200),
            "cluster.node",
            "may have at most 200 bytes",
        );
    }
}

fn at_least(least: u64) -> String {
    if least == 1 {
        "must be greater than zero".to_owned()
    } else {
        format!("must be at least {least}")
    }
}

/// Whether Redis's client accepts the URL. It knows more schemes; only those with a host make sense for a cluster.
fn is_redis_url(url: &SecretString) -> bool {
    // Errors are not passed on: they could quote the password.
    let Ok(url) = Url::parse(url.expose_secret()) else {
        return false;
    };
    // Of these schemes the host is text, an address too.
    let host = url.host_str().unwrap_or_default();
    let is_wildcard = host
        .trim_matches(['[', ']'])
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified());
    let database = url.path().trim_matches('/');
    !host.is_empty()
        && !is_wildcard
        && matches!(url.scheme(), "redis" | "rediss" | "valkey" | "valkeys")
        && (database.is_empty() || database.parse::<u32>().is_ok())
}

fn is_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
}

impl Log {
    /// Whether the level is valid: a misspelt level would count as a module's name, and disable our logs.
    fn check_level(&self, problems: &mut Problems) {
        let bare = |directive: &str| {
            directive
                .trim()
                .parse::<tracing::level_filters::LevelFilter>()
                .is_ok()
        };
        let known = self
            .level
            .split(',')
            .all(|directive| directive.contains('=') || bare(directive));
        problems.push_if(
            !known || tracing_subscriber::EnvFilter::try_new(&self.level).is_err(),
            "log.level",
            "must be off, error, warn, info, debug or trace, or directives such as \
             info,castaway_media_server::relay=debug",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use figment::Figment;
    use figment::providers::Serialized;
    use figment::value::Value;
    use humantime_serde::re::humantime::parse_duration;

    use super::*;
    use crate::config::Sources;
    use crate::config::load::keys;

    fn problems(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().to_string()
    }

    #[test]
    fn every_number_and_duration_has_a_range() {
        let mut config = Config::default();
        // Unset, they have no type.
        config.server.max_sessions = Some(1);
        config.server.max_sessions_per_address = Some(1);
        config.server.max_unjoined_sessions_per_address = Some(1);
        let ranges: BTreeSet<String> = config
            .numbers()
            .iter()
            .map(|range| range.0.to_owned())
            .chain(config.durations().iter().map(|range| range.0.to_owned()))
            .collect();
        let defaults = Figment::from(Serialized::defaults(&config));
        let needs_one = |key: &String| match defaults.find_value(key) {
            Ok(Value::Num(..)) => true,
            Ok(Value::String(_, text)) => parse_duration(&text).is_ok(),
            _ => false,
        };
        assert_eq!(ranges, keys().into_iter().filter(needs_one).collect());
    }

    #[test]
    fn values_outside_a_range_are_refused() {
        for (key, _, least, most) in Config::default().durations() {
            let beyond = most + MILLISECOND;
            let below = least.checked_sub(MILLISECOND);
            for value in [Some(beyond), below, Some(Duration::MAX)]
                .into_iter()
                .flatten()
            {
                let name = crate::config::error::env_name(key);
                let text = format_duration(value).to_string();
                let sources = Sources {
                    environment: [(name, text)].into(),
                    ..Sources::default()
                };
                let error = Config::load(&sources).expect_err(key).to_string();
                assert!(error.contains(key), "{error}");
            }
        }
    }

    #[test]
    fn origin_is_read_as_browsers_send_it() {
        for good in [
            "*",
            "null",
            "https://app.example",
            "http://localhost:5173",
            "https://a.example:8443",
            "http://[::1]:3000",
            "capacitor://localhost",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "https://",
            "https://*.example.com",
            "https://app.example/",
            "https://app.example/path",
            "https://App.example",
            "HTTPS://app.example",
            "https://app.example:443",
            "https://app.example:",
            "https://app.example:99999",
            "https://user@app.example",
            "https://a b",
            "https://a.example, https://b.example",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn contradictory_values_are_all_named() {
        let said = problems(|config| {
            config.listener.queue_clips = 119;
            config.identity.return_window = Duration::from_secs(29);
            config.server.cors_origins = vec!["example.com".into()];
            config.server.tcp_user_timeout = Duration::from_millis(999);
            config.google.keys_url = "googleapis.com/keys".into();
        });
        for part in [
            "5 problems",
            "listener.queue_clips must be at least upload.clips_burst (120)",
            "identity.return_window must be at least livestream.grace (\"30s\")",
            "server.cors_origins",
            "server.tcp_user_timeout must be at least \"1s\"",
            "google.keys_url",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(Config::default().check().is_empty());
    }
}
