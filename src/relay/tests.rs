use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::events::{Arrival, Event, Replacement};
use super::*;
use crate::broadcast::{ClipId, Epoch};

struct World {
    relay: Relay,
    directory: Directory,
    events: tokio::sync::mpsc::UnboundedReceiver<Arc<Event>>,
    id: LivestreamId,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (id, ada) = (LivestreamId::new("one").expect("an id"), UserId::new("ada"));
        let directory = Directory::memory([(id.clone(), ada)]);
        let (config, metrics) = (Config::default(), Metrics::new());
        let bans = Bans::open(None, 1, &metrics);
        let relay = Relay::new(&config, directory.clone(), None, bans, metrics);
        Self {
            events: relay.subscribe(),
            relay,
            directory,
            id,
            now: Instant::now(),
        }
    }

    /// A streamer comes, and is on air.
    fn streams(&self) -> StreamerId {
        let epoch = self.relay.next_epoch();
        let socket = SocketId(u128::from(epoch.0));
        let ada = UserId::new("ada");
        let started = self.relay.start(&self.id, &ada, socket, epoch, self.now);
        assert_eq!(started, Ok(()));
        assert!(self.relay.air(&self.id, epoch));
        StreamerId { socket, epoch }
    }

    fn event(&mut self) -> Arc<Event> {
        self.events.try_recv().expect("an event")
    }

    async fn flag(&self) -> bool {
        let found = self
            .directory
            .find(&self.id, crate::directory::Freshness::Fresh);
        let entry = found.await.expect("memory answers");
        entry.expect("it exists").streamer_connected
    }
}

#[test]
fn kick_before_the_greeting_is_remembered() {
    let world = World::new();
    let ada = UserId::new("ada");
    let (first, second) = (world.relay.next_epoch(), world.relay.next_epoch());
    let starts = |epoch| {
        let started = world
            .relay
            .start(&world.id, &ada, SocketId(1), epoch, world.now);
        assert_eq!(started, Ok(()));
    };
    starts(first);
    assert_eq!(world.relay.dismissal(&world.id, first), None);
    let kicked = world.relay.dismiss_streamer(&world.id, "Kicked.");
    assert_eq!(kicked, Ok(ada.clone()));
    let text = world.relay.dismissal(&world.id, first);
    assert_eq!(text.as_deref(), Some("Kicked."));
    starts(second);
    assert_eq!(
        world.relay.dismissal(&world.id, second),
        None,
        "another socket"
    );
}

#[test]
fn streamer_that_never_airs_is_counted_as_abandoned() {
    let world = World::new();
    let epoch = world.relay.next_epoch();
    let ada = UserId::new("ada");
    let started = world
        .relay
        .start(&world.id, &ada, SocketId(1), epoch, world.now);
    assert_eq!(started, Ok(()));
    world.relay.lost(&world.id, epoch, world.now);
    let events = &world.relay.0.metrics.livestream_events;
    assert_eq!(events.with_label_values(&["abandoned"]).get(), 1);
}

#[test]
fn takeover_names_the_replaced_socket_first() {
    let mut world = World::new();
    let old = world.streams();
    assert!(matches!(
        *world.event(),
        Event::StreamerCame { arrival: Arrival::Started, epoch, .. } if epoch == old.epoch
    ));
    let new = world.streams();
    assert!(matches!(
        *world.event(),
        Event::StreamerReplaced { streamer: Some(streamer), replacement: Replacement::Here, .. }
            if streamer == old
    ));
    assert!(matches!(
        *world.event(),
        Event::StreamerCame { arrival: Arrival::TookOver, epoch, .. } if epoch == new.epoch
    ));
}

#[test]
fn state_is_the_latest_after_its_delivery() {
    let mut world = World::new();
    let streamer = world.streams();
    world.event();
    world.relay.announce(world.now);
    let slow = world.event();
    world.relay.lost(&world.id, streamer.epoch, world.now);
    assert!(matches!(*world.event(), Event::StreamerLost { .. }));
    world.relay.announce(world.now);
    assert!(world.events.try_recv().is_err(), "one is still in work");
    drop(slow);
    world.relay.announce(world.now);
    assert!(matches!(
        *world.event(),
        Event::StateChanged {
            standing: Standing {
                state: State::Reconnecting,
                ..
            },
            ..
        }
    ));
}

#[test]
fn end_is_emitted_once_with_its_totals() {
    let mut world = World::new();
    let streamer = world.streams();
    world.event();
    let (ada, bytes) = (UserId::new("ada"), bytes::Bytes::from_static(b"clip"));
    let clip = Upload { bytes, id: None };
    let uploaded = world
        .relay
        .upload(&world.id, streamer.epoch, &ada, clip, world.now);
    assert_eq!(uploaded.expect("current").sequence, 1);
    let end = world.now + Duration::from_secs(7);
    world.relay.end(&world.id, streamer.epoch, end);
    world.relay.end(&world.id, streamer.epoch, end);
    world.relay.lost(&world.id, streamer.epoch, end);
    let ended = world.event();
    let Event::LivestreamEnded { ending, totals, .. } = &*ended else {
        panic!("an end");
    };
    assert_eq!(*ending, Ending::Ended);
    let totals = totals.expect("it was on air");
    assert_eq!((totals.seconds, totals.clips, totals.bytes), (7, 1, 4));
    assert!(world.events.try_recv().is_err());
}

#[test]
fn silence_is_told_once_until_the_next_clip() {
    let mut world = World::new();
    let streamer = world.streams();
    world.event();
    let (ada, after) = (UserId::new("ada"), Duration::from_secs(30));
    let silent = |world: &mut World, seconds| {
        let now = world.now + Duration::from_secs(seconds);
        world.relay.watch_silence(now);
        let event = world.events.try_recv().ok()?;
        let Event::Silent {
            streamer, lasted, ..
        } = &*event
        else {
            panic!("another event")
        };
        let (id, user) = streamer.clone().expect("it is here");
        assert_eq!((id.epoch, user), (Epoch(1), UserId::new("ada")));
        Some(*lasted)
    };
    assert_eq!(silent(&mut world, 29), None);
    assert_eq!(silent(&mut world, 30), Some(after));
    assert_eq!(silent(&mut world, 300), None, "once");
    assert_eq!(world.relay.0.metrics.livestreams_silent.get(), 1);
    let clip = Upload {
        bytes: bytes::Bytes::from_static(b"clip"),
        id: None,
    };
    let now = world.now + Duration::from_secs(400);
    let uploaded = world
        .relay
        .upload(&world.id, streamer.epoch, &ada, clip, now);
    assert_eq!(uploaded.expect("current").sequence, 1);
    assert_eq!(silent(&mut world, 429), None);
    assert_eq!(world.relay.0.metrics.livestreams_silent.get(), 0);
    assert_eq!(silent(&mut world, 430), Some(after), "another one");
    let now = world.now + Duration::from_secs(500);
    world.relay.lost(&world.id, streamer.epoch, now);
    world.event();
    assert_eq!(silent(&mut world, 510), None, "it has no streamer");
    assert_eq!(
        world.relay.standing(&world.id).state,
        State::Reconnecting,
        "nothing ended"
    );
}

#[tokio::test]
async fn flag_follows_a_livestream_from_air_to_end() {
    let world = World::new();
    assert!(!world.flag().await);
    let streamer = world.streams();
    assert!(world.flag().await);
    world.relay.lost(&world.id, streamer.epoch, world.now);
    assert!(world.flag().await, "the grace period runs");
    world.relay.expire(world.now + Duration::from_hours(1));
    assert!(!world.flag().await);
}

#[tokio::test]
async fn flag_of_a_stopping_daemon_is_only_cleared() {
    let world = World::new();
    world.streams();
    world.relay.stop();
    world.relay.clear_flags();
    assert!(!world.flag().await);
    world.streams();
    assert!(!world.flag().await);
}

/// What may happen to a streamer that gives its clips ids.
#[derive(Debug, Clone, Copy)]
enum Step {
    Upload { id: u32 },
    Return,
    TakeOver,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..12_u32).prop_map(|id| Step::Upload { id }),
        1 => Just(Step::Return),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn clip_with_an_id_is_relayed_once(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut streamer = world.streams();
        let mut sequences: HashMap<u32, u64> = HashMap::new();
        for step in steps {
            match step {
                Step::Upload { id } => {
                    let upload = Upload {
                        bytes: bytes::Bytes::from_static(b"clip"),
                        id: ClipId::new(&id.to_string()),
                    };
                    let ada = UserId::new("ada");
                    let uploaded = world.relay.upload(&world.id, streamer.epoch, &ada, upload, world.now);
                    let uploaded = uploaded.expect("current");
                    let next = sequences.len() as u64 + 1;
                    prop_assert_eq!(uploaded.is_duplicate, sequences.contains_key(&id));
                    prop_assert_eq!(uploaded.sequence, *sequences.entry(id).or_insert(next));
                }
                Step::Return => {
                    world.relay.lost(&world.id, streamer.epoch, world.now);
                    streamer = world.streams();
                }
                Step::TakeOver => streamer = world.streams(),
                Step::Restart => {
                    let left = world.relay.snapshot();
                    world = World::new();
                    world.relay.restore(left, world.now);
                    streamer = world.streams();
                }
            }
        }
    }
}

/// What may happen between a streamer that keeps its clips until their acks and a listener that resumes.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// A clip comes, and its ack.
    Live,
    /// The ack is lost, or the clip before it; the streamer returns, takes over, or finds another process.
    Lost { arrives: bool, back: Step },
    /// The listener comes back.
    Resume,
}

fn turn() -> impl Strategy<Value = Turn> {
    let back = prop::sample::select(vec![Step::Return, Step::TakeOver, Step::Restart]);
    prop_oneof![
        4 => Just(Turn::Live),
        2 => (any::<bool>(), back).prop_map(|(arrives, back)| Turn::Lost { arrives, back }),
        2 => Just(Turn::Resume),
    ]
}

/// A streamer that sends one clip after the other until its ack, and a listener that resumes.
struct Scene {
    world: World,
    streamer: StreamerId,
    position: Option<Position>,
    heard: Vec<String>,
}

impl Scene {
    fn sends(&self, id: u64) {
        let id = id.to_string();
        let bytes = bytes::Bytes::copy_from_slice(id.as_bytes());
        let id = ClipId::new(&id);
        let (ada, upload) = (UserId::new("ada"), Upload { bytes, id });
        let world = &self.world;
        let uploaded = world
            .relay
            .upload(&world.id, self.streamer.epoch, &ada, upload, world.now);
        assert!(uploaded.is_ok(), "{uploaded:?}");
    }

    fn comes_back(&mut self, back: Step) {
        match back {
            Step::Return => {
                self.world
                    .relay
                    .lost(&self.world.id, self.streamer.epoch, self.world.now);
            }
            Step::Restart => {
                let left = self.world.relay.snapshot();
                self.world = World::new();
                self.world.relay.restore(left, self.world.now);
            }
            Step::TakeOver | Step::Upload { .. } => {}
        }
        self.streamer = self.world.streams();
    }

    /// The listener comes, gets what it missed, and leaves.
    fn resumes(&mut self) {
        let found = self.world.relay.find(&self.world.id).expect("on air");
        let active = lock(&found);
        let history = active.livestream.history();
        let clips: Vec<_> = match self.position {
            Some(position) => history.after(position).expect("all of it").collect(),
            None => history.clips().next_back().into_iter().collect(),
        };
        for clip in clips {
            self.position = Some(clip.position);
            self.heard
                .push(String::from_utf8_lossy(&clip.bytes).into_owned());
        }
    }
}

proptest! {
    #[test]
    fn resuming_listener_hears_each_clip_in_order(turns in prop::collection::vec(turn(), 1..20)) {
        let world = World::new();
        let streamer = world.streams();
        let mut scene = Scene { world, streamer, position: None, heard: Vec::new() };
        let mut next = 0;
        for turn in turns {
            match turn {
                Turn::Live => scene.sends(next),
                Turn::Lost { arrives, back } => {
                    if arrives {
                        scene.sends(next);
                    }
                    scene.comes_back(back);
                    scene.sends(next);
                }
                Turn::Resume => {
                    scene.resumes();
                    continue;
                }
            }
            next += 1;
        }
        scene.resumes();
        let first = next.saturating_sub(scene.heard.len() as u64);
        let expected: Vec<String> = (first..next).map(|id| id.to_string()).collect();
        prop_assert_eq!(scene.heard, expected);
    }
}
