//! The locks and atomics of this room. The unit tests run them in models, too, where `shuttle` decides at every one of
//! them which task goes on: so a wake-up that can be missed, or a lock that waits for itself, is found.
//!
//! **Invariant**: outside a model these are `parking_lot`'s and `std`'s own.

pub(super) use std::sync::atomic::Ordering;

#[cfg(not(test))]
pub(super) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(test))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

#[cfg(test)]
pub(super) use modelled::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard};

#[cfg(test)]
mod modelled {
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;
    use std::sync::atomic::{self, Ordering};

    use shuttle::current::try_get_current_task;

    fn is_in_model() -> bool {
        try_get_current_task().is_some()
    }

    /// Lets another task go on.
    fn step() {
        if is_in_model() {
            shuttle::thread::yield_now();
        }
    }

    #[derive(Default)]
    pub(in crate::transport) struct Mutex<T> {
        /// Locked by tasks of a model alone, before `value`, which is free then.
        turn: shuttle::sync::Mutex<()>,
        value: parking_lot::Mutex<T>,
    }

    pub(in crate::transport) struct MutexGuard<'a, T> {
        // The first to be dropped.
        value: parking_lot::MutexGuard<'a, T>,
        _turn: Option<shuttle::sync::MutexGuard<'a, ()>>,
    }

    impl<T> Mutex<T> {
        pub(in crate::transport) fn new(value: T) -> Self {
            Self {
                turn: shuttle::sync::Mutex::new(()),
                value: parking_lot::Mutex::new(value),
            }
        }

        pub(in crate::transport) fn lock(&self) -> MutexGuard<'_, T> {
            // A panic in another task fails the model by itself.
            let turn =
                is_in_model().then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            MutexGuard {
                value: self.value.lock(),
                _turn: turn,
            }
        }

        pub(in crate::transport) fn get_mut(&mut self) -> &mut T {
            self.value.get_mut()
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.value
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.value
        }
    }

    /// An atomic of `std`. A model may switch tasks before and after each operation: what follows may be no step itself.
    macro_rules! atomic {
        ($name:ident, $value:ty $(, $operation:ident)*) => {
            #[derive(Default)]
            pub(in crate::transport) struct $name(atomic::$name);

            impl $name {
                pub(in crate::transport) fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                $(pub(in crate::transport) fn $operation(&self, value: $value, ordering: Ordering) -> $value {
                    step();
                    let before = self.0.$operation(value, ordering);
                    step();
                    before
                })*
            }
        };
    }

    atomic!(AtomicBool, bool, swap);
    atomic!(AtomicU32, u32, fetch_add);
    atomic!(AtomicU64, u64, fetch_add, swap);
    atomic!(AtomicUsize, usize, fetch_add, fetch_sub);

    /// Those that are read.
    macro_rules! load {
        ($($name:ident: $value:ty),*) => {
            $(impl $name {
                pub(in crate::transport) fn load(&self, ordering: Ordering) -> $value {
                    step();
                    let value = self.0.load(ordering);
                    step();
                    value
                }
            })*
        };
    }

    load!(AtomicBool: bool, AtomicU64: u64, AtomicUsize: usize);

    impl AtomicBool {
        pub(in crate::transport) fn store(&self, value: bool, ordering: Ordering) {
            step();
            self.0.store(value, ordering);
            step();
        }
    }
}
