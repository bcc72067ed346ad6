//! The state machine of every node together with a model of the record, explored by a model checker.
//!
//! Nodes crash and are cut off; Redis restarts empty or from an old copy; commands and answers are lost; a command may
//! arrive long after its node has given it up. `CASTAWAY_MODEL` multiplies the number of faults and searches longer.

mod commands;
mod events;
mod listeners;
mod properties;
mod redis;
mod world;

use super::MOST_UNANSWERED;
use stateright::{Checker, HasDiscoveries, Model, Property};

use events::Event;
use redis::{Fence, Fences};
use world::{Fault, World};

/// States to explore, times `CASTAWAY_MODEL`.
const MOST_STATES: usize = 200_000;

/// The limits of a search: nodes, arriving streamers, clips, and faults of each kind.
#[derive(Debug, Clone)]
struct Search {
    nodes: usize,
    streamers: u8,
    clips: u8,
    faults: Vec<(Fault, u8)>,
    fences: Fences,
    /// What has happened before.
    before: Vec<Event>,
}

impl Model for Search {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let mut world = World::new(self.nodes, self.streamers, self.clips, &self.faults);
        world.fences = self.fences;
        for event in &self.before {
            world.happen(*event, self.fences);
        }
        vec![world]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        events.extend(world.events());
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        next.happen(event, self.fences);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no clip is out of order", |_, world: &World| {
                world.is_in_order()
            }),
            Property::always("streamers are heard in their order", |_, world: &World| {
                world.streamers_are_heard_in_order()
            }),
            Property::always(
                "an acknowledged clip is on every node or can be",
                |_, world: &World| world.acknowledged_are_available(),
            ),
            Property::always(
                "no streamer is replaced by an older one",
                |_, world: &World| !world.is_robbed,
            ),
            Property::always(
                "it ends with one owner, a right flag and every clip heard",
                |model: &Self, world: &World| world.comes_to_rest(model.fences),
            ),
        ]
    }
}

fn search(streamers: u8, clips: u8, faults: &[(Fault, u8)]) -> Search {
    Search {
        nodes: 2,
        streamers,
        clips,
        faults: faults.to_vec(),
        fences: Fences(None),
        before: Vec::new(),
    }
}

/// Two nodes that are cut off, each with a streamer that has said something, the first one's before the second one's.
fn two_unconfirmed(faults: &[(Fault, u8)]) -> Search {
    let mut search = search(2, 2, &[&[(Fault::Cut, 2)], faults].concat());
    for at in [0, 1] {
        let given_up = [Event::GiveUp(at); MOST_UNANSWERED as usize];
        search.before.extend([Event::Cut(at), Event::Come(at)]);
        search.before.extend(given_up);
        search.before.push(Event::Upload(at));
    }
    search
}

fn depth() -> u8 {
    std::env::var("CASTAWAY_MODEL")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
}

/// The names of the violated properties, with the shortest paths to them.
fn broken(search: Search, most: usize) -> Vec<&'static str> {
    let checker = search
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(most)
        .spawn_bfs()
        .join();
    for (name, path) in checker.discoveries() {
        println!("{name}:");
        let steps = path.into_vec();
        for (_, event) in &steps {
            println!("  {event:?}");
        }
        println!("  {:?}", steps.last());
    }
    println!(
        "{} states, {} of them different",
        checker.state_count(),
        checker.unique_state_count()
    );
    checker.discoveries().into_keys().collect()
}

fn holds(search: Search) {
    let most = MOST_STATES * usize::from(depth());
    assert_eq!(broken(search, most), Vec::<&str>::new());
}

fn is_found(search: Search) {
    assert!(!broken(search, MOST_STATES * 5).is_empty());
}

#[test]
fn model_takeover_with_lost_and_late_commands() {
    let many = depth();
    holds(search(2, 2, &[(Fault::Lost, many), (Fault::Late, many)]));
}

#[test]
fn model_streamer_that_comes_and_goes() {
    let many = depth();
    holds(search(3, 2, &[(Fault::Cut, many), (Fault::Lost, many - 1)]));
}

#[test]
fn model_nodes_cut_off_and_crashed() {
    let many = depth();
    holds(search(2, 1, &[(Fault::Cut, many), (Fault::Crash, 1)]));
}

#[test]
fn model_crash_after_a_lost_command() {
    let many = depth();
    holds(search(2, 1, &[(Fault::Lost, many), (Fault::Crash, 1)]));
}

#[test]
fn model_two_unconfirmed_streamers() {
    let mut search = two_unconfirmed(&[(Fault::Lost, depth())]);
    search.nodes = 3;
    holds(search);
}

#[test]
fn model_finds_an_earlier_streamer_that_replaces() {
    let mut search = two_unconfirmed(&[]);
    search.fences = Fences(Some(Fence::Came));
    is_found(search);
}

#[test]
fn model_finds_an_earlier_streamer_heard_later() {
    let mut search = two_unconfirmed(&[]);
    search.fences = Fences(Some(Fence::HeardOrder));
    is_found(search);
}

#[test]
fn model_redis_restarts() {
    let many = depth();
    holds(search(
        1,
        2,
        &[
            (Fault::Restart, many),
            (Fault::Copy, 1),
            (Fault::Lost, many),
        ],
    ));
}

#[test]
fn model_three_nodes() {
    let mut three = search(2, 1, &[(Fault::Cut, 1), (Fault::Lost, depth() - 1)]);
    three.nodes = 3;
    holds(three);
}

#[test]
fn model_finds_a_claim_without_compare_and_set() {
    let mut search = search(2, 0, &[(Fault::Cut, 1)]);
    search.fences = Fences(Some(Fence::CompareAndSet));
    is_found(search);
}

#[test]
fn model_finds_a_claim_without_a_deadline() {
    let mut search = search(3, 0, &[(Fault::Late, 1)]);
    search.fences = Fences(Some(Fence::Deadline));
    is_found(search);
}

#[test]
fn model_finds_a_clip_of_an_old_epoch() {
    let mut search = search(2, 2, &[(Fault::Cut, 1)]);
    search.fences = Fences(Some(Fence::PublishedEpoch));
    is_found(search);
}

#[test]
fn model_finds_a_gap_after_a_restart() {
    let mut search = search(1, 2, &[(Fault::Restart, 1), (Fault::Lost, 1)]);
    search.nodes = 1;
    search.fences = Fences(Some(Fence::WholeHistory));
    is_found(search);
}

#[test]
fn model_finds_a_release_of_an_old_epoch() {
    let mut search = search(2, 1, &[(Fault::Late, 1)]);
    search.fences = Fences(Some(Fence::ReleasedEpoch));
    is_found(search);
}

#[test]
fn model_finds_an_owner_without_the_clips_before() {
    let mut search = search(2, 1, &[(Fault::Lost, 1)]);
    search.fences = Fences(Some(Fence::CatchUp));
    is_found(search);
}

#[test]
fn model_finds_a_flag_before_its_enrolment() {
    let mut search = search(1, 0, &[(Fault::Lost, 1), (Fault::Crash, 1)]);
    search.fences = Fences(Some(Fence::Enrolment));
    is_found(search);
}
