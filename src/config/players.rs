//! The section `[players]`.

use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use serde::{Deserialize, Serialize};

use super::{Config, PassPolicy, Problems};

/// Who may listen with a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlayerAccess {
    /// nobody: the routes do not exist.
    #[default]
    Off,
    /// clients with an ID token in `Authorization: Bearer`.
    Token,
    /// these, and clients with a listening pass, there or as `?pass=`; needs `listener.passes`.
    Pass,
    /// everybody who knows the livestream's id; caches may keep and share what they get.
    Public,
}

/// `[players]`: listening by HTTP audio and HLS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Players {
    /// Who may listen with a player.
    pub access: PlayerAccess,
    /// The latest clips of a livestream that players may ask for: the length of the playlist. In a cluster the same on all
    /// nodes, and no more than `livestream.history_clips` and `cluster.history_clips`, or nodes list more and less.
    pub history_clips: usize,
    /// The total size of those, as they are sent; the latest clip is always part of it.
    pub history_bytes: usize,
    /// How many of them start an HTTP stream, so that a player's buffer fills at once.
    pub burst_clips: usize,
    /// The most listeners with players in total: HTTP streams and HLS sessions. One livestream has at most
    /// `livestream.max_listeners` of all kinds.
    pub max_listeners: usize,
    /// The most of those from one address (an IPv6 /64 network is one); through a trusted proxy, of one client.
    pub max_listeners_per_address: usize,
    /// An HLS session ends when its player has not asked for the playlist for this long.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// The most requests that wait, for the next clip or for Redis; beyond, players are asked to try again.
    pub max_waiting: usize,
    /// The most of those from one address.
    pub max_waiting_per_address: usize,
    /// How long a request waits for the next clip, before it gets the playlist as it is. Shorter than
    /// `server.request_timeout`, and than the 10 s that browsers' players wait for an answer.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// Bytes of clips of all livestreams that wait to be remuxed; beyond, players miss clips.
    pub queue_bytes: usize,
    /// How long the playlist of an ended livestream, with its last clips, can still be read.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
}

impl Default for Players {
    fn default() -> Self {
        Self {
            access: PlayerAccess::default(),
            history_clips: 6,
            history_bytes: 8 << 20,
            burst_clips: 2,
            max_listeners: 10_000,
            max_listeners_per_address: 500,
            session_timeout: Duration::from_secs(30),
            max_waiting: 10_000,
            max_waiting_per_address: 500,
            max_wait: Duration::from_secs(8),
            queue_bytes: 64 << 20,
            linger: Duration::from_mins(1),
        }
    }
}

impl Config {
    pub(super) fn check_players(&self, problems: &mut Problems) {
        let Self {
            players,
            server,
            upload,
            listener,
            ..
        } = self;
        // Who has no players shortens `server.request_timeout` as before.
        if players.access == PlayerAccess::Off {
            return;
        }
        problems.push_if(
            players.access == PlayerAccess::Pass && listener.passes == PassPolicy::Off,
            "players.access",
            "needs listener.passes = \"streamers\", or nobody could get a pass; or choose \"token\"",
        );
        problems.push_if(
            players.queue_bytes < upload.max_clip_bytes,
            "players.queue_bytes",
            "must be at least upload.max_clip_bytes, or players would miss clips of that size",
        );
        problems.push_if(
            players.max_wait >= server.request_timeout,
            "players.max_wait",
            format!(
                "must be shorter than server.request_timeout (\"{}\"), or requests that wait would be cut off",
                format_duration(server.request_timeout)
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_are_checked_only_where_they_are_on() {
        let mut config = Config::default();
        config.server.request_timeout = config.players.max_wait;
        config.upload.max_clip_bytes = config.players.queue_bytes + 1;
        let problems = |config: &Config| {
            let mut problems = Problems::default();
            config.check_players(&mut problems);
            problems.to_string()
        };
        assert!(!problems(&config).contains("players."));
        config.players.access = PlayerAccess::Public;
        let found = problems(&config);
        for key in ["players.max_wait", "players.queue_bytes"] {
            assert!(found.contains(key), "{found}");
        }
    }

    #[test]
    fn access_by_pass_needs_passes() {
        let mut config = Config::default();
        config.players.access = PlayerAccess::Pass;
        let is_refused = |config: &Config| {
            let mut problems = Problems::default();
            config.check_players(&mut problems);
            problems.to_string().contains("players.access")
        };
        config.listener.passes = PassPolicy::Off;
        assert!(is_refused(&config));
        config.listener.passes = PassPolicy::Streamers;
        assert!(!is_refused(&config));
    }
}
