//! The messages: what is sent about which event of the relay.
//!
//! **Invariant**: of what two nodes could both tell, both make the same id, so that a receiver can discard the second. A
//! message's id and body never change.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use humantime_serde::re::humantime::{format_rfc3339_millis, format_rfc3339_seconds};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::broadcast::{LivestreamId, UserId};
use crate::relay::{Arrival, Ending, Event, Totals};
use crate::unix_time::millis;

/// The types of messages.
pub(super) const TYPES: [&str; 12] = [
    STARTED,
    RECONNECTING,
    RESUMED,
    SILENT,
    ENDED,
    REFUSED,
    BANNED,
    UNBANNED,
    READY,
    REGISTERED,
    SPOOL_FILLING,
    SPOOL_RECOVERED,
];
const STARTED: &str = "livestream.started";
const RECONNECTING: &str = "livestream.reconnecting";
const RESUMED: &str = "livestream.resumed";
const SILENT: &str = "livestream.silent";
const ENDED: &str = "livestream.ended";
const REFUSED: &str = "streamer.refused";
const BANNED: &str = "user.banned";
const UNBANNED: &str = "user.unbanned";
const READY: &str = "recording.ready";
const REGISTERED: &str = "recording.registered";
const SPOOL_FILLING: &str = "recording.spool_filling";
const SPOOL_RECOVERED: &str = "recording.spool_recovered";

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// Unique, and the same at each try.
    pub(super) id: String,
    /// Messages of one lane are delivered one after the other.
    pub(super) lane: String,
    /// The time of the event, in milliseconds since the Unix epoch.
    pub(super) created: u64,
    /// One of [`TYPES`].
    pub(super) kind: String,
    pub(super) body: String,
}

/// What a message does to the livestreams that receivers take for live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Opens,
    Closes,
}

impl Message {
    /// Of a livestream, or of what concerns a user alone.
    fn new(
        kind: &'static str,
        lane: String,
        mut data: Value,
        node: Option<&str>,
        now: SystemTime,
    ) -> Self {
        data["node"] = node.into();
        let body = json!({
            "type": kind,
            "timestamp": format_rfc3339_millis(now).to_string(),
            "data": data,
        });
        Self {
            id: format!("msg_{:032x}", rand::random::<u128>()),
            lane,
            created: millis(now),
            kind: kind.to_owned(),
            body: body.to_string(),
        }
    }

    /// The same, with the id that every node makes of these parts.
    fn identified(mut self, epoch: impl std::fmt::Display) -> Self {
        let name = format!("{}\n{}\n{epoch}", self.kind, self.lane);
        let digest = digest(&SHA256, name.as_bytes());
        let hexadecimal = digest.as_ref()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"));
        self.id = format!("msg_{}", hexadecimal.collect::<String>());
        self
    }

    /// The bytes that it counts for in the queue.
    pub(super) fn bytes(&self) -> usize {
        self.id.len() + self.lane.len() + self.kind.len() + self.body.len()
    }

    pub(super) fn effect(&self) -> Option<Effect> {
        match &*self.kind {
            STARTED | RESUMED => Some(Effect::Opens),
            ENDED => Some(Effect::Closes),
            _ => None,
        }
    }

    /// Of an event on this node, which has the name in a cluster alone; none if there is nothing to tell.
    pub(super) fn of(event: &Event, node: Option<&str>, now: SystemTime) -> Option<Self> {
        let of_livestream = |kind, livestream: &LivestreamId, mut data: Value| {
            data["livestream"] = livestream.as_str().into();
            Self::new(kind, livestream.to_string(), data, node, now)
        };
        Some(match event {
            Event::StreamerCame { livestream, user, arrival, .. } => {
                let kind = match arrival {
                    Arrival::Started => STARTED,
                    Arrival::Resumed => RESUMED,
                    // It was live, and is.
                    Arrival::TookOver => return None,
                };
                of_livestream(kind, livestream, json!({ "streamer": user.as_str() }))
            }
            Event::StreamerLost { livestream, user, totals } => {
                let data = json!({ "streamer": user.as_str(), "totals": shown(totals) });
                of_livestream(RECONNECTING, livestream, data)
            }
            Event::Silent { livestream, streamer: Some((_, user)), lasted, .. } => {
                let data = json!({ "streamer": user.as_str(), "seconds": lasted.as_secs() });
                of_livestream(SILENT, livestream, data)
            }
            Event::LivestreamEnded { livestream, user: Some(user), epoch, ending, totals, .. } => {
                let message = of_livestream(ENDED, livestream, ended(Some(user), *ending, totals.as_ref()));
                match epoch {
                    Some(epoch) => message.identified(*epoch),
                    None => message,
                }
            }
            Event::OrphanEnded { livestream, epoch } => {
                of_livestream(ENDED, livestream, ended(None, Ending::Expired, None)).identified(*epoch)
            }
            Event::StreamerRefused { livestream, user, reason, text, is_temporary } => {
                let data = json!({
                    "streamer": user.as_ref().map(UserId::as_str),
                    "reason": reason,
                    "error": text,
                    "temporary": is_temporary,
                });
                of_livestream(REFUSED, livestream, data)
            }
            Event::UserBanned { user, ban } => {
                let until = ban.until.and_then(|until| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(until)));
                let data = json!({
                    "user": user.as_str(),
                    "until": until.map(|until| format_rfc3339_seconds(until).to_string()),
                    "reason": ban.reason,
                });
                Self::new(BANNED, of_user(user), data, node, now)
            }
            Event::UserUnbanned { user } => {
                Self::new(UNBANNED, of_user(user), json!({ "user": user.as_str() }), node, now)
            }
            Event::RecordingReady { id, manifest, url } => {
                let data = json!({
                    "livestream": manifest.livestream,
                    "streamer": manifest.streamer,
                    "recording": id.to_string(),
                    "title": manifest.title,
                    "started": manifest.started,
                    "ended": manifest.ended,
                    "seconds": manifest.seconds,
                    "url": url,
                    "files": manifest.files,
                    "clips_left_out": manifest.left_out.len(),
                    "clips_missing": manifest.missing.len(),
                    "gaps": manifest.gaps.len(),
                });
                let files = manifest.files.iter().map(|file| file.sha256.as_str());
                let name = format!("{id} {}", files.collect::<Vec<_>>().join(" "));
                Self::new(READY, manifest.livestream.clone(), data, node, now).identified(name)
            }
            Event::RecordingRegistered { id, manifest, upload } => {
                let data = json!({
                    "livestream": manifest.livestream,
                    "streamer": upload.user,
                    "recording": id.to_string(),
                    "title": manifest.title,
                    "file": upload.file,
                    "upload": upload.id,
                    "path": upload.path,
                    "seconds": upload.seconds,
                });
                Self::new(REGISTERED, manifest.livestream.clone(), data, node, now).identified(&upload.id)
            }
            Event::RecordingSpool { fill } => {
                let kind = if fill.is_nearly_full { SPOOL_FILLING } else { SPOOL_RECOVERED };
                let data = json!({ "bytes": fill.bytes, "limit": fill.limit, "waiting": fill.waiting });
                Self::new(kind, OF_THE_SPOOL.to_owned(), data, node, now)
            }
            Event::StreamerReplaced { .. }
            | Event::Dismissed { .. }
            | Event::SentAway { .. }
            | Event::StateChanged { .. }
            // Another node tells of these.
            | Event::Silent { streamer: None, .. }
            | Event::LivestreamEnded { user: None, .. } => return None,
        })
    }

    /// The end of a livestream that a process before this one left, and that did not continue.
    pub(super) fn left_behind(livestream: &str, now: SystemTime) -> Self {
        let data = json!({ "livestream": livestream, "streamer": null, "reason": "stopped", "totals": null });
        Self::new(ENDED, livestream.to_owned(), data, None, now)
    }
}

/// The lane of the clips that wait for the bucket.
const OF_THE_SPOOL: &str = "recording/spool";

/// The lane of a user. No livestream has a name with a slash.
fn of_user(user: &UserId) -> String {
    format!("user/{user}")
}

fn ended(user: Option<&UserId>, ending: Ending, totals: Option<&Totals>) -> Value {
    let reason = match ending {
        // By the check of another node, when no streamer came.
        Ending::Elsewhere => Ending::Expired,
        ending => ending,
    };
    json!({
        "streamer": user.map(UserId::as_str),
        "reason": reason.as_str(),
        "totals": totals.map(shown),
    })
}

fn shown(totals: &Totals) -> Value {
    json!({
        "seconds": totals.seconds,
        "clips": totals.clips,
        "bytes": totals.bytes,
        "peak_listeners": totals.peak_listeners,
        "listeners_joined": totals.joined,
        "listener_seconds": totals.listener_seconds,
        "clips_dropped": totals.dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_both_tell_use_one_id() {
        let livestream = LivestreamId::new("one").unwrap();
        let of = |event| Message::of(&event, Some("node"), SystemTime::now()).unwrap();
        let owner = |epoch| {
            of(Event::LivestreamEnded {
                livestream: livestream.clone(),
                user: Some(UserId::new("ada")),
                epoch,
                ending: Ending::Elsewhere,
                streamer: None,
                audience: Vec::new(),
                totals: None,
            })
        };
        let other = |epoch| {
            of(Event::OrphanEnded {
                livestream: livestream.clone(),
                epoch,
            })
        };
        assert_eq!(owner(Some(7)).id, other(7).id);
        assert_ne!(owner(Some(7)).id, owner(Some(8)).id);
        assert_ne!(owner(None).id, owner(None).id, "no other node tells");
    }
}
