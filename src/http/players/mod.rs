//! Listening with any player: an endless HTTP stream of ADTS or MP3, and HLS.
//!
//! The relay feeds [`Players::run`] with every accepted clip. It keeps each livestream's
//! [`Window`](crate::media::Window), and [`router`] serves from it. All listeners of a livestream share its buffers, so a
//! listener costs no memory for its clips.
//!
//! **Invariant**: unless `players.access` is `public`, no byte of a livestream is sent without a valid token or pass, and
//! every answer is `private` to caches. A player counts as a listener of its livestream as long as it listens.

mod access;
mod answer;
mod count;
mod icy;
mod livestream;
mod metrics;
mod refusal;
mod routes;
mod stream;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::broadcast::{Clip, LivestreamId};
use crate::config;
use crate::http::documents::Documents;
use crate::identity::{Identity, Passes};
use crate::media::{self, Segment, Unplayable};
use crate::relay::{Fed, Relay};
use count::Counts;
use livestream::Livestream;
use metrics::PlayerMetrics;

pub use routes::router;

/// How often sessions and ended livestreams are checked.
const TICK: Duration = Duration::from_secs(1);

/// The livestreams that players can listen to; cheap to clone.
#[derive(Clone)]
pub struct Players(Arc<Inner>);

/// What the relay feeds, for [`Players::run`].
pub type Feed = mpsc::UnboundedReceiver<Fed>;

struct Inner {
    config: config::Players,
    trusted_proxies: Vec<ipnet::IpNet>,
    identity: Identity,
    /// None where passes are off.
    passes: Option<Passes>,
    relay: Relay,
    documents: Documents,
    metrics: PlayerMetrics,
    /// Listening passes, by event.
    passes_used: prometheus::IntCounterVec,
    listeners: Arc<Counts>,
    waiting: Arc<Counts>,
    // Locked to find, add or remove a livestream. Its size is bounded by the relay's own limit of livestreams, and by
    // those that ended in the last `linger`.
    livestreams: Mutex<HashMap<LivestreamId, Arc<Livestream>>>,
}

impl Players {
    /// No livestream yet, and the relay's feed from now on.
    pub fn new(
        config: &config::Config,
        identity: Identity,
        passes: Option<Passes>,
        relay: Relay,
        documents: Documents,
        metrics: &crate::metrics::Metrics,
    ) -> prometheus::Result<(Self, Feed)> {
        let passes_used = metrics.passes.clone();
        let metrics = PlayerMetrics::register(metrics.registry())?;
        let players = &config.players;
        let dropped = metrics.clips.with_label_values(&["dropped"]);
        let feed = relay.feed(players.queue_bytes, dropped);
        let inner = Inner {
            config: players.clone(),
            trusted_proxies: config.server.trusted_proxies.clone(),
            identity,
            passes,
            relay,
            documents,
            metrics,
            passes_used,
            listeners: Counts::new(players.max_listeners, players.max_listeners_per_address),
            waiting: Counts::new(players.max_waiting, players.max_waiting_per_address),
            livestreams: Mutex::default(),
        };
        Ok((Self(Arc::new(inner)), feed))
    }

    /// Takes what the relay feeds, and checks sessions, as long as the relay lives.
    pub async fn run(self, mut feed: Feed) -> std::io::Result<()> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // First all that is queued: the check compares with the relay.
                biased;
                next = feed.recv() => match next {
                    Some(next) => self.take(next),
                    None => return Ok(()),
                },
                _ = ticks.tick() => self.check(Instant::now().into_std()),
            }
        }
    }

    fn take(&self, next: Fed) {
        match next {
            Fed::Clip(id, clip, _room) => self.clip(&id, &clip),
            Fed::Ended(id) => {
                if let Some(found) = self.find(&id) {
                    found.end(Instant::now().into_std());
                }
            }
            Fed::Released(id) => {
                if let Some(found) = self.0.livestreams.lock().remove(&id) {
                    found.close();
                }
            }
        }
    }

    fn clip(&self, id: &LivestreamId, clip: &Clip) {
        let segment = segment(clip);
        let outcome = segment
            .as_ref()
            .map_or_else(|error| error.as_str(), |_| "remuxed");
        self.0.metrics.clips.with_label_values(&[outcome]).inc();
        if let Err(reason) = &segment {
            tracing::debug!(livestream.id = %id, clip.sequence = clip.sequence, %reason, "a clip is not for players");
        }
        self.find_or_create(id).add(segment);
    }

    fn find(&self, id: &LivestreamId) -> Option<Arc<Livestream>> {
        self.0.livestreams.lock().get(id).cloned()
    }

    /// The livestream; a new one if it is unknown or over.
    fn find_or_create(&self, id: &LivestreamId) -> Arc<Livestream> {
        let mut livestreams = self.0.livestreams.lock();
        if let Some(found) = livestreams.get(id)
            && !found.has_ended()
        {
            return found.clone();
        }
        let created = Arc::new(Livestream::new(&self.0.config));
        livestreams.insert(id.clone(), created.clone());
        created
    }

    /// Ends silent sessions, and forgets livestreams that ended a while ago.
    fn check(&self, now: std::time::Instant) {
        let Inner {
            config,
            relay,
            livestreams,
            ..
        } = &*self.0;
        // A livestream that the relay does not know ended before its player was counted.
        livestreams.lock().retain(|id, livestream| {
            if !livestream.has_ended() && !relay.is_known(id) {
                livestream.end(now);
            }
            livestream.end_silent_sessions(config.session_timeout, now);
            !now.checked_sub(config.linger)
                .is_some_and(|time| livestream.ended_before(time))
        });
    }

    /// Before a stop: breaks off all streams, so that their players connect to the next process. Livestreams do not end.
    pub fn close(&self) {
        for livestream in self.0.livestreams.lock().values() {
            livestream.close();
        }
    }
}

/// The clip in its place.
fn segment(clip: &Clip) -> Result<Segment, Unplayable> {
    let audio = media::read(&clip.bytes)?;
    // Every clip that can be read is given one when it is accepted.
    let place = clip
        .place
        .ok_or(Unplayable::Damaged("it has no place on the timeline"))?;
    Segment::new(place, audio)
}

#[cfg(test)]
mod tests;
