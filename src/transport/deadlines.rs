//! All open sessions or connections, in the order of the times at which they must be looked at. So a sweep costs what is
//! due, and not what is open.
//!
//! A time is the earliest at which its entry can be due. What makes it later (signs of life, written bytes) changes nothing
//! here: the entry is looked at once in vain, and gets its next time. What makes it earlier calls [`Deadlines::hasten`].
//!
//! **Invariant**: an entry is here once, from [`Deadlines::add`] to [`Deadlines::remove`]. An entry whose time has come is
//! taken by the next [`Deadlines::due`], and no other entry is.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use prometheus::IntCounter;

use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// The time of an entry that is never due.
const NEVER: u64 = u64::MAX;

/// An entry's place among [`Deadlines`], which it contains.
pub(super) struct Place {
    id: u64,
    /// Nanoseconds since the start of the deadlines. Changes under their lock.
    at: AtomicU64,
}

/// See the module documentation.
pub(super) struct Deadlines<T> {
    start: Instant,
    /// Counts the entries that were looked at.
    checks: IntCounter,
    places: AtomicU64,
    // A lock, taken when an entry begins, is due, is hastened or ends. No other is taken under it.
    entries: Mutex<BTreeMap<(u64, u64), Weak<T>>>,
}

impl<T: AsRef<Place>> Deadlines<T> {
    pub(super) fn new(start: Instant, checks: IntCounter) -> Self {
        Self {
            start,
            checks,
            places: AtomicU64::new(0),
            entries: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Weak<T>>> {
        self.entries.lock()
    }

    /// A place for an entry of its own.
    pub(super) fn place(&self) -> Place {
        Place {
            id: self.places.fetch_add(1, Ordering::Relaxed),
            at: AtomicU64::new(NEVER),
        }
    }

    /// Adds an entry, which is never due unless it is hastened.
    pub(super) fn add(&self, entry: &Arc<T>) {
        let key = (NEVER, (**entry).as_ref().id);
        self.lock().insert(key, Arc::downgrade(entry));
    }

    /// Removes a dropped entry.
    pub(super) fn remove(&self, place: &Place) {
        let entries = &mut *self.lock();
        entries.remove(&(place.at.load(Ordering::Relaxed), place.id));
    }

    /// The entry is due at `time`, or earlier if that was so before.
    pub(super) fn hasten(&self, place: &Place, time: Option<Instant>) {
        let Some(time) = time else { return };
        let at = self.nanos(time);
        let entries = &mut *self.lock();
        let before = place.at.load(Ordering::Relaxed);
        if at >= before {
            return;
        }
        if let Some(entry) = entries.remove(&(before, place.id)) {
            entries.insert((at, place.id), entry);
            place.at.swap(at, Ordering::Relaxed);
        }
    }

    /// Takes the entries whose time has come. The caller looks at each and hastens it to its next time.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<T>> {
        let now = self.nanos(now);
        let mut due = Vec::new();
        let entries = &mut *self.lock();
        while let Some(first) = entries.first_entry()
            && first.key().0 <= now
        {
            let ((_, id), weak) = first.remove_entry();
            // One that is being dropped needs no place.
            if let Some(entry) = weak.upgrade() {
                (*entry).as_ref().at.swap(NEVER, Ordering::Relaxed);
                entries.insert((NEVER, id), weak);
                due.push(entry);
            }
        }
        self.checks.inc_by(due.len() as u64);
        due
    }

    /// All entries.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }

    fn nanos(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.start).as_nanos();
        u64::try_from(since).unwrap_or(NEVER).min(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    struct Entry(Place);

    impl AsRef<Place> for Entry {
        fn as_ref(&self) -> &Place {
            &self.0
        }
    }

    fn deadlines(start: Instant) -> Deadlines<Entry> {
        Deadlines::new(start, IntCounter::new("checks", "checks").unwrap())
    }

    /// What happens to one of a few entries, or to all.
    #[derive(Debug, Clone)]
    enum Step {
        Opens,
        /// The time, in seconds from now, that some entry must be looked at.
        Hastens(usize, u64),
        Closes(usize),
        Sweep(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => Just(Step::Opens),
            4 => (0..8_usize, 0..100_u64).prop_map(|(which, time)| Step::Hastens(which, time)),
            1 => (0..8_usize).prop_map(Step::Closes),
            3 => (0..30_u64).prop_map(Step::Sweep),
        ]
    }

    proptest! {
        #[test]
        fn sweep_finds_all_that_is_due(steps in prop::collection::vec(step(), 0..200)) {
            let mut now = Instant::now();
            let deadlines = deadlines(now);
            // Each with its time, as a list without order knows it.
            let mut model: Vec<(Arc<Entry>, Option<Instant>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Opens => {
                        let entry = Arc::new(Entry(deadlines.place()));
                        deadlines.add(&entry);
                        model.push((entry, None));
                    }
                    Step::Hastens(which, seconds) => {
                        let count = model.len().max(1);
                        if let Some((entry, time)) = model.get_mut(which % count) {
                            let next = now + Duration::from_secs(seconds);
                            deadlines.hasten(&entry.0, Some(next));
                            *time = Some(time.map_or(next, |time| time.min(next)));
                        }
                    }
                    Step::Closes(which) => {
                        if which < model.len() {
                            let (entry, _) = model.swap_remove(which);
                            deadlines.remove(&entry.0);
                        }
                    }
                    Step::Sweep(seconds) => {
                        now += Duration::from_secs(seconds);
                        let found: BTreeSet<u64> =
                            deadlines.due(now).iter().map(|it| it.0.id).collect();
                        let mut expected = BTreeSet::new();
                        for (entry, time) in &mut model {
                            if time.take_if(|time| *time <= now).is_some() {
                                expected.insert(entry.0.id);
                            }
                        }
                        prop_assert_eq!(found, expected);
                    }
                }
                prop_assert_eq!(deadlines.lock().len(), model.len());
                prop_assert_eq!(deadlines.all().len(), model.len());
            }
        }
    }

    #[test]
    fn entry_that_was_dropped_is_forgotten() {
        let now = Instant::now();
        let deadlines = deadlines(now);
        let entry = Arc::new(Entry(deadlines.place()));
        deadlines.add(&entry);
        deadlines.hasten(&entry.0, Some(now));
        drop(entry);
        assert!(deadlines.due(now).is_empty());
        assert!(deadlines.lock().is_empty());
    }

    #[test]
    fn time_beyond_all_times_is_never_due() {
        let now = Instant::now();
        let deadlines = deadlines(now);
        let entry = Arc::new(Entry(deadlines.place()));
        deadlines.add(&entry);
        deadlines.hasten(&entry.0, now.checked_add(Duration::MAX));
        deadlines.hasten(&entry.0, Some(now + Duration::from_hours(24 * 365 * 1000)));
        assert!(deadlines.due(now + Duration::from_hours(24)).is_empty());
        assert_eq!(deadlines.all().len(), 1);
    }
}
