//! The order of writes: the intended value of each livestream, and the next step towards it. Pure.
//!
//! One writer per livestream asks [`Intentions::next`] for its next step and reports the result. An attempt with a lost
//! answer is a straggler: it may have taken effect, or may take effect after a later attempt. After a straggler the
//! writer reads the document again before it closes the intention.
//!
//! **Invariant**: an intention is closed only if its last value is written and no attempt can still take effect.

use std::collections::HashMap;
use std::hash::Hash;

/// The next step of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Write this value.
    Write(bool),
    /// Wait until no straggler can take effect any longer, read the document, and report its value.
    Check,
    /// End: nothing is left to do.
    Close,
}

/// The intended value per livestream.
#[derive(Debug)]
pub(super) struct Intentions<K>(HashMap<K, Intention>);

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts: an enum would be their product"
)]
struct Intention {
    value: bool,
    /// Whether the value was certainly written since it was intended.
    written: bool,
    /// Whether an attempt with a lost answer may still take effect.
    straggling: bool,
    /// Whether a value was intended since the writer's latest step began.
    news: bool,
}

impl<K> Default for Intentions<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Intentions<K> {
    /// Intends `value`; true if a writer must be started.
    pub(super) fn intend(&mut self, key: &K, value: bool) -> bool {
        if let Some(intention) = self.0.get_mut(key) {
            intention.value = value;
            intention.written = false;
            intention.news = true;
            return false;
        }
        self.insert(key, value, false);
        true
    }

    /// Intends `false` for a livestream that an earlier run may have set, unless a value is intended already; true if a
    /// writer must be started. The last write of that run may still take effect.
    pub(super) fn recover(&mut self, key: &K) -> bool {
        if let Some(intention) = self.0.get_mut(key) {
            intention.straggling = true;
            return false;
        }
        self.insert(key, false, true);
        true
    }

    fn insert(&mut self, key: &K, value: bool, straggling: bool) {
        let intention = Intention {
            value,
            written: false,
            straggling,
            news: true,
        };
        self.0.insert(key.clone(), intention);
    }

    /// The next step for the writer of `key`. [`Step::Close`] removes the intention.
    pub(super) fn next(&mut self, key: &K) -> Step {
        let Some(intention) = self.0.get_mut(key) else {
            return Step::Close;
        };
        intention.news = false;
        if !intention.written {
            return Step::Write(intention.value);
        }
        if intention.straggling {
            return Step::Check;
        }
        self.0.remove(key);
        Step::Close
    }

    /// An attempt to write `value` succeeded.
    pub(super) fn succeeded(&mut self, key: &K, value: bool) {
        if let Some(intention) = self.0.get_mut(key) {
            intention.written = intention.value == value;
        }
    }

    /// An attempt failed; `may_land` if it may have taken effect or may still do so.
    pub(super) fn failed(&mut self, key: &K, may_land: bool) {
        if let Some(intention) = self.0.get_mut(key) {
            intention.straggling |= may_land;
        }
    }

    /// The document was read when no straggler could take effect any longer; `value` is none if it is gone.
    pub(super) fn was_read(&mut self, key: &K, value: Option<bool>) {
        if let Some(intention) = self.0.get_mut(key) {
            intention.straggling = false;
            intention.written &= value.is_none_or(|value| value == intention.value);
        }
    }

    /// The document is gone: nothing is left to do, unless a value was intended meanwhile.
    pub(super) fn gone(&mut self, key: &K) {
        if self.0.get(key).is_some_and(|it| !it.news) {
            self.0.remove(key);
        }
    }

    /// Whether a value was intended since the latest step of the writer of `key` began.
    pub(super) fn has_news(&self, key: &K) -> bool {
        self.0.get(key).is_some_and(|it| it.news)
    }

    /// Whether `false` is written and nothing can undo it.
    pub(super) fn is_cleared(&self, key: &K) -> bool {
        let cleared = |it: &Intention| !it.value && it.written && !it.straggling;
        self.0.get(key).is_some_and(cleared)
    }

    /// The number of livestreams with a value left to write. A final read does not count: its write is done.
    pub(super) fn unwritten(&self) -> usize {
        self.0.values().filter(|it| !it.written).count()
    }
}

#[cfg(test)]
mod tests;
