//! Whether the clips of a livestream are recorded.
//!
//! **Invariant**: a pause lasts until the streamer ends it. Clips that are not recorded on purpose are told by their
//! sequences, in a span that ends before the next recorded clip.

use std::fmt;

/// Sequences of clips that are not recorded on purpose: from the first to before the second.
pub type LeftOutSpan = (u64, u64);

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RecordingState {
    /// Whether livestreams are recorded, and this one's document does not rule it out.
    is_allowed: bool,
    /// Whether the streamer has paused it.
    is_paused: bool,
    /// Clips of which the recording is not told yet.
    left_out: Option<LeftOut>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LeftOut {
    from: u64,
    /// None while it lasts.
    until: Option<u64>,
}

impl RecordingState {
    /// Nothing has been recorded so far.
    pub fn off() -> Self {
        Self {
            left_out: Some(LeftOut {
                from: 1,
                until: None,
            }),
            ..Self::default()
        }
    }

    /// Whether clips are recorded now.
    pub fn is_on(self) -> bool {
        self.is_allowed && !self.is_paused
    }

    /// Whether the streamer has paused it.
    pub fn is_paused(self) -> bool {
        self.is_paused
    }

    /// Whether clips would be recorded, had the streamer not paused it.
    pub fn is_held(self) -> bool {
        self.is_allowed && self.is_paused
    }

    /// The name in the API: `on`, `paused` or `off`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self {
                is_paused: true, ..
            } => "paused",
            Self {
                is_allowed: true, ..
            } => "on",
            Self { .. } => "off",
        }
    }

    /// Allows it, or no longer, from the clip with this sequence on.
    pub fn allow(&mut self, is_allowed: bool, next: u64) {
        self.is_allowed = is_allowed;
        self.settle(next);
    }

    /// Pauses it, or goes on, from the clip with this sequence on.
    pub fn pause(&mut self, is_paused: bool, next: u64) {
        self.is_paused = is_paused;
        self.settle(next);
    }

    /// A clip is recorded: returns the span before it of which the recording is not told yet.
    pub fn record(&mut self) -> Option<LeftOutSpan> {
        let LeftOut { from, until } = self.left_out.take()?;
        until.map(|until| (from, until))
    }

    /// The livestream is over before the clip with this sequence: the span of which the recording is not told yet.
    pub fn left_out_before(self, next: u64) -> Option<LeftOutSpan> {
        let LeftOut { from, until } = self.left_out?;
        let until = until.unwrap_or(next);
        (from < until).then_some((from, until))
    }

    /// Whether a clip with this sequence, which another process has accepted, is recorded if it comes again.
    pub fn takes_again(self, sequence: u64) -> bool {
        let is_left_out = self.left_out.is_some_and(|LeftOut { from, until }| {
            from <= sequence && until.is_none_or(|until| sequence < until)
        });
        self.is_allowed && !is_left_out
    }

    /// Clips are numbered again, from this sequence on. Those of a pause that lasts are left out under these numbers too.
    pub fn renumber(&mut self, next: u64) {
        if let Some(LeftOut { from, until: None }) = &mut self.left_out {
            *from = next.min(*from);
        }
    }

    /// Takes over what another node says of it. What the document of the livestream says is known here, if the streamer is.
    pub fn adopt(&mut self, other: Self, has_streamer: bool, next: u64) {
        let is_allowed = if has_streamer {
            self.is_allowed
        } else {
            other.is_allowed
        };
        *self = Self {
            is_allowed,
            ..other
        };
        if has_streamer {
            self.settle(next);
        }
    }

    fn settle(&mut self, next: u64) {
        let left_out = self.left_out;
        self.left_out = match (self.is_on(), left_out) {
            (false, left_out) => Some(LeftOut {
                from: left_out.map_or(next, |it| it.from),
                until: None,
            }),
            (true, Some(LeftOut { from, until: None })) => (from < next).then_some(LeftOut {
                from,
                until: Some(next),
            }),
            (true, left_out) => left_out,
        };
    }
}

/// As [`RecordingState::parse`] reads it.
impl fmt::Display for RecordingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        if let Some(LeftOut { from, until }) = self.left_out {
            write!(f, " {from}")?;
            if let Some(until) = until {
                write!(f, " {until}")?;
            }
        }
        Ok(())
    }
}

impl RecordingState {
    /// Reads a state; none if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (is_allowed, is_paused) = match words.next()? {
            "on" => (true, false),
            // Whether it is allowed, too, the next streamer's node finds out.
            "paused" => (false, true),
            "off" => (false, false),
            _ => return None,
        };
        let mut number = || words.next().map(|word| word.parse().ok());
        let (from, until) = (number(), number());
        if words.next().is_some() {
            return None;
        }
        let left_out = match (from, until) {
            (None, _) => None,
            (Some(from), None) => Some(LeftOut {
                from: from?,
                until: None,
            }),
            (Some(from), Some(until)) => Some(LeftOut {
                from: from?,
                until: Some(until?),
            }),
        };
        Some(Self {
            is_allowed,
            is_paused,
            left_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Clip,
        Pause(bool),
        Allow(bool),
        /// Another process, or another node, goes on with what it is told.
        Move,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Clip),
            1 => any::<bool>().prop_map(Step::Pause),
            1 => any::<bool>().prop_map(Step::Allow),
            1 => Just(Step::Move),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn every_clip_is_recorded_or_left_out(is_allowed: bool, steps in steps()) {
            let mut state = RecordingState::default();
            state.allow(is_allowed, 1);
            let (mut is_allowed, mut is_paused, mut next) = (is_allowed, false, 1);
            let (mut recorded, mut told) = (BTreeSet::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Pause(pause) => {
                        is_paused = pause;
                        state.pause(pause, next);
                    }
                    Step::Allow(allow) => {
                        is_allowed = allow;
                        state.allow(allow, next);
                    }
                    Step::Move => {
                        let read = RecordingState::parse(&state.to_string()).expect("a state");
                        state = RecordingState::default();
                        state.adopt(read, false, next);
                        state.allow(is_allowed, next);
                    }
                    Step::Clip => {
                        if state.is_on() {
                            let span = state.record();
                            for sequence in span.map_or(0..0, |(from, until)| from..until) {
                                prop_assert!(told.insert(sequence), "{sequence} is told twice");
                            }
                            recorded.insert(next);
                        }
                        next += 1;
                    }
                }
                prop_assert_eq!(state.is_on(), is_allowed && !is_paused);
                prop_assert_eq!(state.is_paused(), is_paused);
            }
            let untold = |it: &u64| !recorded.contains(it) && !told.contains(it);
            for sequence in (1..next).filter(untold) {
                prop_assert!(!state.takes_again(sequence), "{sequence} was left out");
            }
            for sequence in state.left_out_before(next).map_or(0..0, |(from, until)| from..until) {
                prop_assert!(told.insert(sequence), "{sequence} is told twice");
            }
            prop_assert!(recorded.is_disjoint(&told));
            let all: BTreeSet<u64> = recorded.union(&told).copied().collect();
            prop_assert_eq!(all, (1..next).collect());
        }

        #[test]
        fn state_is_read_as_it_was_written(is_allowed: bool, is_paused: bool, from: u64, until: u64) {
            for left_out in [
                None,
                Some(LeftOut { from, until: None }),
                Some(LeftOut { from, until: Some(until) }),
            ] {
                let state = RecordingState { is_allowed: is_allowed && !is_paused, is_paused, left_out };
                prop_assert_eq!(RecordingState::parse(&state.to_string()), Some(state));
            }
        }
    }

    #[test]
    fn pause_covers_clips_that_are_numbered_again() {
        let mut state = RecordingState::default();
        state.allow(true, 1);
        state.pause(true, 116);
        state.renumber(101);
        assert!(!state.takes_again(112));
        state.pause(false, 113);
        assert_eq!(state.record(), Some((101, 113)));
    }

    #[test]
    fn recording_that_begins_late_leaves_out_the_rest() {
        let mut state = RecordingState::off();
        state.allow(true, 500);
        assert_eq!(state.record(), Some((1, 500)));
    }

    #[test]
    fn strange_state_is_refused() {
        for bad in ["", "live", "on 1 2 3", "on x", "paused 1 -2", " on"] {
            assert_eq!(RecordingState::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn streamers_node_keeps_what_the_document_says() {
        let mut here = RecordingState::default();
        here.allow(true, 1);
        here.adopt(
            RecordingState::parse("paused 7").expect("a state"),
            true,
            20,
        );
        assert!(here.is_paused());
        here.pause(false, 22);
        assert_eq!(here.record(), Some((7, 22)));
        here.adopt(RecordingState::parse("off 3").expect("a state"), true, 30);
        assert!(here.is_on());
        assert_eq!(here.record(), Some((3, 30)));
    }
}
