//! The document ends as last intended, for every sequence of failures.

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{collection, prop_assert, prop_assert_eq, proptest};

use super::*;

/// A random event in the life of one livestream.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A value is intended.
    Intend(bool),
    /// The writer's attempt succeeds.
    Succeed,
    /// The attempt does not reach Firestore, and the writer knows.
    Fail,
    /// The attempt takes effect, but the answer is lost.
    LoseAnswer,
    /// The attempt takes effect after the writer has given it up.
    Straggle,
    /// A straggler takes effect.
    Land,
    /// A value is intended during an attempt that succeeds.
    IntendMeanwhile(bool),
    /// The node crashes and restarts.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any::<bool>().prop_map(Event::Intend),
        3 => Just(Event::Succeed),
        2 => Just(Event::Fail),
        2 => Just(Event::LoseAnswer),
        2 => Just(Event::Straggle),
        2 => Just(Event::Land),
        1 => any::<bool>().prop_map(Event::IntendMeanwhile),
        1 => Just(Event::Crash),
    ]
}

/// Firestore, the state file and one node.
#[derive(Default)]
struct World {
    document: bool,
    stragglers: Vec<bool>,
    in_file: bool,
    intentions: Intentions<()>,
    last: bool,
}

impl World {
    fn land_one(&mut self) {
        if !self.stragglers.is_empty() {
            self.document = self.stragglers.remove(0);
        }
    }

    fn intend(&mut self, value: bool) {
        self.last = value;
        self.intentions.intend(&(), value);
    }

    fn attempt(&mut self, event: Event) {
        match self.intentions.next(&()) {
            Step::Close => {}
            Step::Check => {
                // Time passes: every straggler takes effect before the writer reads.
                while !self.stragglers.is_empty() {
                    self.land_one();
                }
                self.intentions.was_read(&(), Some(self.document));
            }
            Step::Write(value) => {
                self.in_file = true;
                match event {
                    Event::Fail => self.intentions.failed(&(), false),
                    Event::LoseAnswer => {
                        self.document = value;
                        self.intentions.failed(&(), true);
                    }
                    Event::Straggle => {
                        self.stragglers.push(value);
                        self.intentions.failed(&(), true);
                    }
                    Event::IntendMeanwhile(next) => {
                        self.document = value;
                        self.intend(next);
                        self.intentions.succeeded(&(), value);
                    }
                    _ => {
                        self.document = value;
                        self.intentions.succeeded(&(), value);
                    }
                }
            }
        }
        if self.intentions.is_cleared(&()) {
            self.in_file = false;
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Intend(value) => self.intend(value),
            Event::Land => self.land_one(),
            Event::Crash => {
                self.intentions = Intentions::default();
                self.last = false;
                if self.in_file {
                    self.intentions.recover(&());
                }
            }
            attempt => self.attempt(attempt),
        }
    }
}

proptest! {
    #[test]
    fn document_ends_as_last_intended(events in collection::vec(event(), 0..60)) {
        let mut world = World::default();
        for event in events {
            world.happen(event);
        }
        // The outage ends: every later attempt succeeds.
        for _ in 0..10 {
            world.attempt(Event::Succeed);
        }
        prop_assert_eq!(world.document, world.last);
        prop_assert!(world.stragglers.iter().all(|value| *value == world.last));
        prop_assert_eq!(world.intentions.unwritten(), 0);
        prop_assert_eq!(world.intentions.next(&()), Step::Close, "the intention is removed");
        prop_assert!(world.last || !world.in_file);
    }
}

#[test]
fn intention_after_a_missing_document_is_tried_again() {
    let mut intentions = Intentions::default();
    assert!(intentions.intend(&(), true));
    assert_eq!(intentions.next(&()), Step::Write(true));
    assert!(!intentions.intend(&(), true));
    intentions.gone(&());
    assert_eq!(intentions.next(&()), Step::Write(true));
    intentions.gone(&());
    assert_eq!(intentions.next(&()), Step::Close);
}

#[test]
fn recovery_clears_no_livestream_that_is_live_again() {
    let mut intentions = Intentions::default();
    assert!(intentions.intend(&(), true));
    assert!(!intentions.recover(&()));
    assert_eq!(intentions.next(&()), Step::Write(true));
}
