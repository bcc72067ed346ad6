//! Clips with an id, on their way to other nodes.

use super::*;
use crate::bans::Bans;
use crate::broadcast::{ClipId, Epoch, UserId};
use crate::cluster::{Message, decode, encode};
use crate::directory::Directory;
use crate::media::Place;
use crate::metrics::Metrics;
use crate::relay::{SocketId, Upload, Uploaded};

/// A place, in few letters.
const fn at(epoch: u64, sequence: u64) -> Position {
    Position::new(epoch, sequence)
}

struct World {
    relay: Relay,
    link: Arc<Link>,
    id: LivestreamId,
    epoch: Epoch,
    now: Instant,
}

impl World {
    /// A livestream on air, with a link that nobody empties but the test.
    fn new() -> Self {
        let (id, ada) = (LivestreamId::new("one").expect("an id"), UserId::new("ada"));
        let directory = Directory::memory([(id.clone(), ada.clone())]);
        let metrics = Metrics::new();
        let bans = Bans::open(None, 10, &metrics);
        let relay = Relay::new(&Config::default(), directory, None, bans, metrics);
        let (epoch, now) = (relay.next_epoch(), Instant::now());
        let started = relay.start(&id, &ada, SocketId(1), epoch, now);
        assert_eq!(started, Ok(()));
        assert!(relay.air(&id, epoch));
        let bounds = LinkBounds {
            clips: 8,
            bytes: 1000,
        };
        let metrics = crate::cluster::metrics::Metrics::new(&prometheus::Registry::new());
        let (link, _) = Link::new(bounds, metrics.expect("metrics"), Arc::default());
        let found = relay.find(&id).expect("it is on air");
        lock(&found).link = Some(link.clone());
        Self {
            relay,
            link,
            id,
            epoch,
            now,
        }
    }

    fn uploads(&self, clip_id: &str) -> Uploaded {
        let upload = Upload {
            bytes: Bytes::from_static(b"clip"),
            id: ClipId::new(clip_id),
        };
        let ada = UserId::new("ada");
        let uploaded = self
            .relay
            .upload(&self.id, self.epoch, &ada, upload, self.now);
        uploaded.expect("the relay accepts every clip")
    }

    fn next_sequence(&self) -> u64 {
        let found = self.relay.find(&self.id).expect("it is on air");
        let active = lock(&found);
        let streamer = active.livestream.streamer_and_next_sequence();
        streamer.expect("a streamer").1
    }
}

#[tokio::test]
async fn repeated_clip_in_flight_gets_the_same_answer() {
    let world = World::new();
    let first = world.uploads("a");
    let second = world.uploads("a");
    assert!(!first.is_duplicate && second.is_duplicate);
    let waiting = world.link.take(usize::MAX, None).expect("the first");
    assert!(world.link.is_empty(), "the second is not published");
    let third = world.uploads("a");
    waiting.answer(Ok(9));
    drop(waiting);
    let fourth = world.uploads("a");
    for uploaded in [first, second, third, fourth] {
        let ticket = uploaded.ticket.expect("a link");
        assert_eq!(ticket.answer().await, Ok(9));
    }
    assert_eq!(world.next_sequence(), 2, "one was relayed");
}

#[tokio::test]
async fn late_clip_is_not_published_twice() {
    let world = World::new();
    let first = world.uploads("a");
    let waiting = world.link.take(usize::MAX, None).expect("the first");
    waiting.mark_late();
    let second = world.uploads("a");
    for uploaded in [first, second] {
        let ticket = uploaded.ticket.expect("a link");
        assert_eq!(ticket.answer().await, Err(Unpublished::Away));
    }
    assert!(world.link.is_empty(), "the first may still be published");
    waiting.answer(Ok(9));
    let third = world.uploads("a");
    assert!(third.is_duplicate);
    assert_eq!(third.ticket.expect("a link").answer().await, Ok(9));
}

#[tokio::test]
async fn clip_unknown_to_other_nodes_is_published_again() {
    let world = World::new();
    let first = world.uploads("a");
    let waiting = world.link.take(usize::MAX, None).expect("the first");
    waiting.answer(Err(Unpublished::Away));
    let ticket = first.ticket.expect("a link");
    assert_eq!(ticket.answer().await, Err(Unpublished::Away));
    let second = world.uploads("a");
    assert!(!second.is_duplicate, "its first answer was a refusal");
    let waiting = world.link.take(usize::MAX, None).expect("the second");
    waiting.answer(Ok(4));
    assert_eq!(second.ticket.expect("a link").answer().await, Ok(4));
    assert_eq!(world.next_sequence(), 2, "listeners here got it once");
    assert!(world.uploads("a").is_duplicate);
}

#[tokio::test]
async fn clip_of_another_node_is_known_here() {
    let world = World::new();
    let ids = vec![(ClipId::new("a").expect("an id"), 41)];
    world.relay.know_clips(&world.id, ids);
    let repeated = world.uploads("a");
    assert!(repeated.is_duplicate);
    assert_eq!(repeated.ticket.expect("a link").answer().await, Ok(41));
    assert!(world.link.is_empty());
    assert_eq!(world.next_sequence(), 1, "nothing was relayed here");
}

#[tokio::test]
async fn publication_with_a_lost_answer_is_not_repeated() {
    let world = World::new();
    let first = world.uploads("a");
    let waiting = world.link.take(usize::MAX, None).expect("the first");
    // Redis has the clip, as the next claim says; the answer to its publication never came.
    let ids = vec![(ClipId::new("a").expect("an id"), 7)];
    world.relay.know_clips(&world.id, ids);
    waiting.answer(Err(Unpublished::Away));
    drop(first);
    let repeated = world.uploads("a");
    assert!(repeated.is_duplicate);
    assert_eq!(repeated.ticket.expect("a link").answer().await, Ok(7));
    assert!(world.link.is_empty());
}

#[tokio::test]
async fn clip_refused_here_comes_from_another_node_once() {
    let world = World::new();
    for (clip_id, result) in [("a", Err(Unpublished::Superseded)), ("b", Ok(1))] {
        world.uploads(clip_id);
        let waiting = world.link.take(usize::MAX, None).expect("a clip");
        waiting.answer(result);
    }
    assert_eq!(world.next_sequence(), 3);
    world
        .relay
        .yield_to_other(&world.id, Replacement::Elsewhere);
    for (sequence, clip_id) in [(2, "a"), (3, "c")] {
        let clip = RemoteClip {
            position: at(9, sequence),
            node: "other".into(),
            id: ClipId::new(clip_id),
            sent_at: 0,
            came: 0,
            place: None,
            bytes: Bytes::from_static(b"clip"),
        };
        world.relay.accept_remote_clip(&world.id, clip, world.now);
    }
    let found = world.relay.find(&world.id).expect("it is on air");
    let last = lock(&found)
        .livestream
        .history()
        .clips()
        .rfind(|clip| !clip.is_repeat)
        .map(|clip| clip.sequence);
    assert_eq!(last, Some(3), "a was heard here, c was not");
}

impl World {
    /// Another epoch is granted, after these positions.
    fn is_granted(&self, position: Position, before: Position, own: Option<u64>) {
        let granted = Granted {
            position,
            before,
            own,
        };
        self.relay
            .begin_epoch(&self.id, &self.link, &granted, self.now);
    }

    /// The positions after this one, as a listener that resumes gets them.
    fn after(&self, position: Position) -> Option<Vec<Position>> {
        let found = self.relay.find(&self.id).expect("it is on air");
        let active = lock(&found);
        let later = active.livestream.history().after(position)?;
        Some(later.map(|clip| clip.position).collect())
    }
}

#[tokio::test]
async fn clip_is_published_with_the_number_heard_here() {
    let world = World::new();
    world.is_granted(at(7, 40), at(5, 40), None);
    for clip_id in ["a", "b"] {
        world.uploads(clip_id);
    }
    assert_eq!(world.after(at(5, 40)), Some(vec![at(7, 41), at(7, 42)]));
    assert_eq!(world.after(at(5, 39)), None, "this node did not follow");
    for sequence in [41, 42] {
        let waiting = world.link.take(usize::MAX, None).expect("a clip");
        assert_eq!(waiting.clip.position, Some(at(7, sequence)));
    }
}

#[tokio::test]
async fn clips_queued_without_an_epoch_get_both_numbers() {
    let world = World::new();
    world.uploads("a");
    let found = world.relay.find(&world.id).expect("it is on air");
    let local = lock(&found).livestream.local_epoch();
    world.is_granted(at(7, 0), at(0, 0), None);
    world.uploads("b");
    let waiting = world.link.take(usize::MAX, None).expect("the first");
    assert_eq!(waiting.clip.position, Some(at(7, 1)));
    // A listener here has heard it, and one that comes from another node knows it by its number there.
    assert_eq!(world.after(at(7, 1)), Some(vec![at(7, 2)]));
    assert_eq!(
        world.after(at(local, 1)),
        None,
        "clips of others may be missing"
    );
}

#[tokio::test]
async fn owner_that_claims_again_keeps_its_chain() {
    let world = World::new();
    world.is_granted(at(7, 0), at(0, 0), None);
    world.uploads("a");
    // The lease was lost, and the first clip was never published.
    let unpublished = world.link.take(usize::MAX, None).expect("the first");
    unpublished.answer(Err(Unpublished::Away));
    world.is_granted(at(9, 0), at(7, 0), Some(7));
    world.uploads("b");
    assert_eq!(world.after(at(7, 1)), Some(vec![at(9, 1)]));
    // The streamer sends it again: it is published with a number of its own, and heard here once.
    world.uploads("a");
    assert_eq!(world.after(at(7, 1)), Some(vec![at(9, 1), at(9, 2)]));
    assert_eq!(world.after(at(9, 2)), Some(Vec::new()));
    assert_eq!(world.next_sequence(), 3, "two were relayed");
}

#[test]
fn owner_alone_tells_of_the_end() {
    for (epoch, tells) in [(7, true), (8, false)] {
        let world = World::new();
        let mut events = world.relay.subscribe();
        let found = world.relay.find(&world.id).expect("it is on air");
        lock(&found).owned_epoch = Some(7);
        world.relay.lost(&world.id, world.epoch, world.now);
        assert!(!world.relay.release(&world.id), "its streamer is awaited");
        let record = Record {
            epoch,
            state: Some(State::Ended),
            ..Record::expected()
        };
        world.relay.follow(&world.id, &record, world.now);
        drop(events.try_recv().expect("the loss"));
        let ended = events.try_recv().expect("the end");
        let Event::LivestreamEnded { user, epoch, .. } = &*ended else {
            panic!("another event")
        };
        assert_eq!((user.is_some(), *epoch), (tells, Some(record.epoch)));
    }
}

const M4A: &[u8] = include_bytes!("../../media/fixtures/tone.m4a");

impl World {
    /// A node with players, which nobody reads.
    fn with_players() -> Self {
        let world = Self::new();
        let dropped = world.relay.0.metrics.clips_in.clone();
        drop(world.relay.feed(1 << 20, dropped));
        world
    }

    fn uploads_sound(&self) {
        let upload = Upload {
            bytes: Bytes::from_static(M4A),
            id: None,
        };
        let ada = UserId::new("ada");
        let uploaded = self
            .relay
            .upload(&self.id, self.epoch, &ada, upload, self.now);
        uploaded.expect("the relay accepts every clip");
    }

    /// Publishes a clip, which the other node gets.
    fn reaches(&self, other: &Self) {
        let clip = self.link.take(usize::MAX, None).expect("a clip").clip;
        let position = clip.position.expect("an epoch");
        let Some(Message::Clip(clip)) = decode(encode(position, "node", 0, &clip)) else {
            panic!("not a clip")
        };
        other.relay.accept_remote_clip(&other.id, clip, other.now);
    }

    fn places(&self) -> Vec<Option<Place>> {
        let found = self.relay.find(&self.id).expect("it is on air");
        let active = lock(&found);
        let clips = active.livestream.history().clips();
        clips.map(|clip| clip.place).collect()
    }
}

#[tokio::test]
async fn clip_has_one_place_on_all_nodes() {
    let (first, second) = (World::with_players(), World::with_players());
    second
        .relay
        .yield_to_other(&second.id, Replacement::Elsewhere);
    first.is_granted(at(7, 40), at(5, 40), None);
    for _ in 0..2 {
        first.uploads_sound();
        first.reaches(&second);
    }
    // Not sound.
    first.uploads("a");
    first.reaches(&second);
    let places = first.places();
    assert_eq!(places, second.places());
    let named = places.iter().flatten().map(|it| (it.epoch, it.sequence));
    assert_eq!(named.collect::<Vec<_>>(), [(7, 41), (7, 42)]);
    assert_eq!(places[2], None);
}

#[tokio::test]
async fn next_owner_continues_the_timeline() {
    let (first, second) = (World::with_players(), World::with_players());
    second
        .relay
        .yield_to_other(&second.id, Replacement::Elsewhere);
    first.is_granted(at(7, 0), at(0, 0), None);
    first.uploads_sound();
    first.reaches(&second);
    let epoch = second.relay.next_epoch();
    let started = second.relay.start(
        &second.id,
        &UserId::new("ada"),
        SocketId(2),
        epoch,
        second.now,
    );
    assert_eq!(started, Ok(()));
    second.is_granted(at(9, 1), at(7, 1), None);
    let second = World { epoch, ..second };
    second.uploads_sound();
    let [Some(before), Some(after)] = second.places()[..] else {
        panic!("two places")
    };
    assert_eq!((after.epoch, after.sequence), (9, 2));
    assert!(after.start >= before.end());
    let more = u64::from(after.is_discontinuity);
    assert_eq!(after.discontinuities, before.discontinuities + more);
}

#[tokio::test]
async fn place_is_learnt_by_a_new_owner_only() {
    let (first, second) = (World::with_players(), World::with_players());
    first.is_granted(at(7, 0), at(0, 0), None);
    first.uploads_sound();
    let place = first.places()[0].expect("a place");
    assert!(second.relay.lacks_place(&second.id));
    second.relay.continue_after(&second.id, place);
    assert!(!second.relay.lacks_place(&second.id));
    second.is_granted(at(9, 1), at(7, 1), None);
    second.uploads_sound();
    assert_eq!(second.places()[0].map(|it| it.sequence), Some(2));
    assert!(!first.relay.lacks_place(&first.id), "it has its own");
}

#[tokio::test]
async fn clip_is_not_read_without_players() {
    let world = World::new();
    world.is_granted(at(7, 0), at(0, 0), None);
    world.uploads_sound();
    assert_eq!(world.places(), [None]);
    assert!(!world.relay.lacks_place(&world.id));
}
