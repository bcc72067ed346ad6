use std::time::Instant;

use super::*;
use crate::bans::Bans;
use crate::broadcast::State;
use crate::config::{Config, RecordingPolicy};
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::recording::Recording;
use crate::relay::{Event, SocketId, StreamerId};

struct World {
    relay: Relay,
    id: LivestreamId,
    now: Instant,
    /// What would write the clips; it does not run.
    _recording: Recording,
    _directory: tempfile::TempDir,
}

impl World {
    fn new(policy: RecordingPolicy) -> Self {
        let (id, ada) = (LivestreamId::new("one").expect("an id"), UserId::new("ada"));
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.recording.url = Some(format!("file://{}/bucket", directory.path().display()));
        config.recording.policy = policy;
        let metrics = Metrics::new();
        let opened = Recorder::open(&config, Some(directory.path()), &metrics);
        let (recorder, recording) = opened.expect("a bucket").expect("a url");
        let bans = Bans::open(None, 1, &metrics);
        let memory = Directory::memory([(id.clone(), ada)]);
        let relay = Relay::new(&config, memory, None, bans, metrics);
        relay.record_to(recorder);
        Self {
            relay,
            id,
            now: Instant::now(),
            _recording: recording,
            _directory: directory,
        }
    }

    /// A streamer comes, and is on air; its document has this `record`.
    fn streams(&self, record: bool) -> StreamerId {
        let epoch = self.relay.next_epoch();
        let socket = SocketId(u128::from(epoch.0));
        let ada = UserId::new("ada");
        let started = self.relay.start(&self.id, &ada, socket, epoch, self.now);
        assert_eq!(started, Ok(()));
        self.relay.allow_recording(&self.id, epoch, record);
        assert!(self.relay.air(&self.id, epoch));
        StreamerId { socket, epoch }
    }

    fn pauses(&self, streamer: StreamerId, is_paused: bool) -> RecordingChange {
        let (relay, epoch) = (&self.relay, streamer.epoch);
        let change = if is_paused {
            relay.pause_recording(&self.id, epoch)
        } else {
            relay.resume_recording(&self.id, epoch, relay.recording_pauses(&self.id))
        };
        change.expect("it is recorded")
    }

    fn is_recorded(&self) -> bool {
        self.relay.standing(&self.id).is_recorded
    }

    fn follows(&self, epoch: u64, recording: &str) {
        let record = Record {
            epoch,
            state: Some(State::Live),
            recording: RecordingState::parse(recording),
            ..Record::expected()
        };
        self.relay.follow(&self.id, &record, self.now);
    }

    fn owns(&self, epoch: u64) {
        let found = self.relay.find(&self.id).expect("it is known");
        lock(&found).owned_epoch = Some(epoch);
    }
}

#[tokio::test]
async fn pause_is_announced_at_once() {
    let world = World::new(RecordingPolicy::Always);
    let mut events = world.relay.subscribe();
    let mut announced = || {
        world.relay.announce(world.now);
        let mut told = None;
        while let Ok(event) = events.try_recv() {
            if let Event::StateChanged { standing, .. } = &*event {
                told = Some(standing.is_recorded);
            }
        }
        told
    };
    let streamer = world.streams(false);
    assert_eq!(announced(), Some(true));
    assert_eq!(announced(), None);
    let change = world.pauses(streamer, true);
    assert!(change.state.is_paused());
    assert_eq!(announced(), Some(false));
    assert_eq!(world.relay.0.metrics.recordings_paused.get(), 1);
    world.pauses(streamer, false);
    assert_eq!(announced(), Some(true));
    assert_eq!(world.relay.0.metrics.recordings_paused.get(), 0);
}

#[tokio::test]
async fn document_decides_where_that_is_configured() {
    let world = World::new(RecordingPolicy::Document);
    let streamer = world.streams(false);
    assert!(!world.is_recorded());
    let refused = world.relay.resume_recording(&world.id, streamer.epoch, 0);
    assert_eq!(refused.unwrap_err(), NotRecorded::NotAllowed);
    world.relay.allow_recording(&world.id, streamer.epoch, true);
    assert!(world.is_recorded());
    // Another socket, after the document was changed.
    world.streams(false);
    assert!(!world.is_recorded());
    let stale = world.relay.recording(&world.id, streamer.epoch);
    assert_eq!(stale, Err(NotRecorded::StaleEpoch));
}

#[tokio::test]
async fn pause_outlives_a_takeover_and_a_restart() {
    let world = World::new(RecordingPolicy::Always);
    let first = world.streams(false);
    world.pauses(first, true);
    let second = world.streams(false);
    assert!(!world.is_recorded());
    world.relay.lost(&world.id, second.epoch, world.now);
    let left = world.relay.snapshot();
    let next = World::new(RecordingPolicy::Always);
    next.relay.restore(left, next.now);
    assert!(!next.is_recorded());
    let streamer = next.streams(false);
    assert!(!next.is_recorded());
    next.pauses(streamer, false);
    assert!(next.is_recorded());
}

#[tokio::test(start_paused = true)]
async fn pause_is_answered_once_it_is_noted() {
    let world = World::new(RecordingPolicy::Always);
    let streamer = world.streams(false);
    let change = world.pauses(streamer, true);
    world.relay.until_note_is_due().await;
    let unnoted = world.relay.unnoted();
    world.relay.noted(&unnoted);
    assert!(change.is_kept().await);
    assert!(world.relay.unnoted().0.is_empty());
    let change = world.pauses(streamer, false);
    assert!(!change.is_kept().await, "nobody has noted it");
    assert!(world.is_recorded());
}

#[tokio::test]
async fn pause_on_another_node_holds_here() {
    let world = World::new(RecordingPolicy::Always);
    let listens = world.relay.find_or_create(&world.id, world.now);
    drop(listens.expect("room"));
    world.follows(5, "on");
    assert!(world.is_recorded());
    world.follows(5, "paused 7");
    assert!(!world.is_recorded());
    world.streams(false);
    assert!(!world.is_recorded(), "its streamer has come here");
}

#[tokio::test]
async fn pause_unknown_to_redis_outlasts_the_record() {
    let world = World::new(RecordingPolicy::Always);
    let streamer = world.streams(false);
    world.owns(7);
    world.pauses(streamer, true);
    world.relay.lost(&world.id, streamer.epoch, world.now);
    world.follows(7, "on");
    assert!(!world.is_recorded(), "the record is older");
    world.follows(8, "on");
    assert!(world.is_recorded(), "another node had the streamer since");
}

#[tokio::test]
async fn owner_again_adopts_what_others_said() {
    let world = World::new(RecordingPolicy::Always);
    let record = |epoch, recording| Record {
        epoch,
        recording: RecordingState::parse(recording),
        ..Record::expected()
    };
    let streamer = world.streams(false);
    world.owns(7);
    world
        .relay
        .adopt_recording(&world.id, &record(7, "paused 3"));
    assert!(
        world.is_recorded(),
        "its own record says less than it knows"
    );
    world
        .relay
        .adopt_recording(&world.id, &record(8, "paused 3"));
    assert!(!world.is_recorded());
    world.pauses(streamer, false);
    world
        .relay
        .adopt_recording(&world.id, &record(9, "paused 3"));
    assert!(world.is_recorded(), "the streamer has said so here since");
}

#[tokio::test]
async fn server_without_a_bucket_records_nothing() {
    let world = World::new(RecordingPolicy::Always);
    let metrics = Metrics::new();
    let bans = Bans::open(None, 1, &metrics);
    let memory = Directory::memory([]);
    let relay = Relay::new(&Config::default(), memory, None, bans, metrics);
    let plain = World { relay, ..world };
    let streamer = plain.streams(true);
    assert!(!plain.is_recorded());
    let answer = plain.relay.recording(&plain.id, streamer.epoch);
    assert_eq!(answer, Err(NotRecorded::Off));
    let (text, _) = plain.relay.recording_for_record(&plain.id);
    assert_eq!(text, "", "the record is left alone");
}

#[tokio::test(start_paused = true)]
async fn wish_that_changes_nothing_costs_nothing() {
    let world = World::new(RecordingPolicy::Always);
    let streamer = world.streams(false);
    world.pauses(streamer, true);
    world.relay.until_note_is_due().await;
    let again = world.pauses(streamer, true);
    // It is not noted yet: it is tried once more.
    world.relay.until_note_is_due().await;
    world.relay.noted(&world.relay.unnoted());
    assert!(again.is_kept().await);
    assert!(world.pauses(streamer, true).is_kept().await);
    let due = tokio::time::timeout(KEPT_WITHIN, world.relay.until_note_is_due());
    assert!(due.await.is_err(), "there is nothing to note");
}

#[tokio::test]
async fn pause_outlasts_an_earlier_wish_to_record() {
    let world = World::new(RecordingPolicy::Document);
    let streamer = world.streams(true);
    world.pauses(streamer, true);
    // The streamer wishes to record, and to pause while its document is read.
    let pauses = world.relay.recording_pauses(&world.id);
    world.pauses(streamer, true);
    let late = world
        .relay
        .resume_recording(&world.id, streamer.epoch, pauses);
    assert!(late.expect("an answer").state.is_paused());
    assert!(!world.is_recorded());
    world.pauses(streamer, false);
    assert!(world.is_recorded());
}
