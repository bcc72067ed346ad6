//! The order of writes: what is intended for each livestream, and what is left to do for it. Pure.
//!
//! One writer per livestream asks [`Intentions::next`] what to do and reports what became of it. An attempt whose
//! answer was lost may have taken effect, or may yet, after a later attempt. After such a straggler the writer has
//! another look at the document before the matter is closed.
//!
//! **Invariant**: a livestream is closed only when its last intention is written and no attempt may land any more.

use std::collections::HashMap;
use std::hash::Hash;

/// What a writer is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Write this value.
    Write(bool),
    /// Wait until no straggler can land any more, read the document, and report what it says.
    Look,
    /// Nothing more: the writer ends.
    Close,
}

/// What is intended, per livestream.
#[derive(Debug)]
pub(super) struct Intentions<K>(HashMap<K, Intention>);

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts: an enum would be their product"
)]
struct Intention {
    value: bool,
    /// Whether the value is known to have been written since it was intended.
    written: bool,
    /// Whether an attempt whose answer was lost may land yet.
    straggling: bool,
    /// Whether it was intended, or intended anew, since the writer last asked what to do.
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

    /// Intends `false` for what an earlier run may have set, unless something is intended already; true if a writer
    /// must be started. What that run had sent last may land yet.
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

    /// What the writer of `key` is to do next. On [`Step::Close`] it is forgotten.
    pub(super) fn next(&mut self, key: &K) -> Step {
        let Some(intention) = self.0.get_mut(key) else {
            return Step::Close;
        };
        intention.news = false;
        if !intention.written {
            return Step::Write(intention.value);
        }
        if intention.straggling {
            return Step::Look;
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

    /// An attempt failed; `may_land` if it may have taken effect, or may yet.
    pub(super) fn failed(&mut self, key: &K, may_land: bool) {
        if let Some(intention) = self.0.get_mut(key) {
            intention.straggling |= may_land;
        }
    }

    /// The document was looked at when no straggler could land any more; it says `says`, or is gone.
    pub(super) fn looked(&mut self, key: &K, says: Option<bool>) {
        if let Some(intention) = self.0.get_mut(key) {
            intention.straggling = false;
            intention.written &= says.is_none_or(|says| says == intention.value);
        }
    }

    /// The document is gone: there is nothing more to do, unless something was intended meanwhile.
    pub(super) fn gone(&mut self, key: &K) {
        if self.0.get(key).is_some_and(|it| !it.news) {
            self.0.remove(key);
        }
    }

    /// Whether something was intended since the writer of `key` last asked what to do.
    pub(super) fn has_news(&self, key: &K) -> bool {
        self.0.get(key).is_some_and(|it| it.news)
    }

    /// Whether `false` is written and nothing can undo it.
    pub(super) fn is_cleared(&self, key: &K) -> bool {
        let cleared = |it: &Intention| !it.value && it.written && !it.straggling;
        self.0.get(key).is_some_and(cleared)
    }

    /// How many livestreams have something left to write. A last look is not counted: the write is done.
    pub(super) fn unwritten(&self) -> usize {
        self.0.values().filter(|it| !it.written).count()
    }
}

#[cfg(test)]
mod tests;
