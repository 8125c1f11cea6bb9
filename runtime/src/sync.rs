//! Shared: the locks and atomics of our own protocols; under `--cfg loom` they are loom's, so that it can explore them.
//!
//! Files whose protocol we wrote ourselves take their locks and atomics from here. What a library's protocol guards
//! (deques, parkers, the task cell) is not seen by loom and stands outside the models.

#[cfg(not(loom))]
mod real {
    pub(crate) use crossbeam_utils::atomic::AtomicCell;
    pub(crate) use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
    pub(crate) use std::sync::atomic;
    use std::time::Duration;

    /// What one thread sleeps on until another has given it.
    pub(crate) struct Token {
        /// Locked by the one thread for as long as it sleeps; no other takes it.
        parker: Mutex<crossbeam_utils::sync::Parker>,
        unparker: crossbeam_utils::sync::Unparker,
    }

    impl Token {
        pub(crate) fn new() -> Self {
            let parker = crossbeam_utils::sync::Parker::new();
            let unparker = parker.unparker().clone();
            Self { parker: Mutex::new(parker), unparker }
        }

        /// Takes it, once it is there, or the time is over.
        pub(crate) fn park_timeout(&self, at_most: Duration) {
            self.parker.lock().park_timeout(at_most);
        }

        pub(crate) fn unpark(&self) {
            self.unparker.unpark();
        }
    }

    /// A lock that nobody waits for.
    pub(crate) struct TryLock<T>(Mutex<T>);

    impl<T> TryLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock()
        }

        pub(crate) fn is_locked(&self) -> bool {
            self.0.is_locked()
        }
    }

    /// What threads sleep on beside a lock.
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(parking_lot::Condvar::new())
        }

        /// Sleeps until woken or for so long; true for the latter. It may also wake for nothing.
        pub(crate) fn wait_for<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            at_most: Duration,
        ) -> (MutexGuard<'a, T>, bool) {
            let timed_out = self.0.wait_for(&mut guard, at_most).timed_out();
            (guard, timed_out)
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Narrows a guard to one part of what it guards, which erases the type of the rest. (`peek` is for loom's sake.)
    pub(crate) fn narrow<'a, T, U>(
        guard: MutexGuard<'a, T>,
        part: fn(&mut T) -> &mut U,
        _peek: fn(&T) -> &U,
    ) -> MappedMutexGuard<'a, U> {
        MutexGuard::map(guard, part)
    }
}

#[cfg(loom)]
mod modelled {
    pub(crate) use loom::sync::atomic;
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);
    pub(crate) struct MutexGuard<'a, T>(loom::sync::MutexGuard<'a, T>, &'a loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(self.0.lock().expect("no model panics under a lock"), &self.0)
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("no model panics under a lock")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(|guard| MutexGuard(guard, &self.0))
        }

        /// loom knows no time: as long as it takes.
        pub(crate) fn try_lock_for(&self, _: Duration) -> Option<MutexGuard<'_, T>> {
            Some(self.lock())
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    /// loom knows no time: a token that never comes is waited for in vain, which loom tells. (Its own `park` loses it to a blocked
    /// thread.)
    pub(crate) struct Token(loom::sync::Mutex<bool>, loom::sync::Condvar);

    impl Token {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Mutex::new(false), loom::sync::Condvar::new())
        }

        pub(crate) fn park_timeout(&self, _: Duration) {
            let mut there = self.0.lock().expect("no model panics under a lock");
            while !*there {
                there = self.1.wait(there).expect("no model panics under a lock");
            }
            *there = false;
        }

        pub(crate) fn unpark(&self) {
            *self.0.lock().expect("no model panics under a lock") = true;
            self.1.notify_one();
        }
    }

    /// The word that is the lock, as parking_lot has it; what it guards stands in a lock of loom's, which is then free.
    pub(crate) struct TryLock<T>(atomic::AtomicBool, Mutex<T>);

    pub(crate) struct TryLockGuard<'a, T>(Option<MutexGuard<'a, T>>, &'a atomic::AtomicBool);

    impl<T> TryLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(atomic::AtomicBool::new(false), Mutex::new(value))
        }

        pub(crate) fn try_lock(&self) -> Option<TryLockGuard<'_, T>> {
            use atomic::Ordering::{Acquire, Relaxed};
            self.0.compare_exchange(false, true, Acquire, Relaxed).ok()?;
            Some(TryLockGuard(Some(self.1.lock()), &self.0))
        }

        pub(crate) fn is_locked(&self) -> bool {
            self.0.load(atomic::Ordering::Relaxed)
        }
    }

    impl<T> Deref for TryLockGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("held until it is dropped")
        }
    }

    impl<T> DerefMut for TryLockGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("held until it is dropped")
        }
    }

    impl<T> Drop for TryLockGuard<'_, T> {
        fn drop(&mut self) {
            drop(self.0.take());
            self.1.store(false, atomic::Ordering::Release);
        }
    }

    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        /// loom knows no time: a wait of no length is over at any moment, any other only when woken.
        pub(crate) fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, at_most: Duration) -> (MutexGuard<'a, T>, bool) {
            let MutexGuard(guard, mutex) = guard;
            let result = if at_most.is_zero() {
                drop(guard);
                loom::thread::yield_now();
                mutex.lock()
            } else {
                self.0.wait(guard)
            };
            (MutexGuard(result.expect("no model panics under a lock"), mutex), at_most.is_zero())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// A cell that is exchanged as a whole. The exchange itself is crossbeam's and stands outside the models.
    pub(crate) struct AtomicCell<T>(Mutex<T>);

    impl<T: Default> AtomicCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn swap(&self, value: T) -> T {
            std::mem::replace(&mut *self.0.lock(), value)
        }

        pub(crate) fn take(&self) -> T {
            self.swap(T::default())
        }
    }

    /// What `parking_lot`'s guard of the same name does: `erase` hides the type of the whole.
    pub(crate) struct MappedMutexGuard<'a, U>(Box<dyn Part<U> + 'a>);

    trait Part<U> {
        fn get(&self) -> &U;
        fn get_mut(&mut self) -> &mut U;
    }

    struct Narrowed<'a, T, U> {
        guard: MutexGuard<'a, T>,
        part: fn(&mut T) -> &mut U,
        peek: fn(&T) -> &U,
    }

    impl<T, U> Part<U> for Narrowed<'_, T, U> {
        fn get(&self) -> &U {
            (self.peek)(&self.guard)
        }

        fn get_mut(&mut self) -> &mut U {
            (self.part)(&mut self.guard)
        }
    }

    impl<U> Deref for MappedMutexGuard<'_, U> {
        type Target = U;
        fn deref(&self) -> &U {
            self.0.get()
        }
    }

    impl<U> DerefMut for MappedMutexGuard<'_, U> {
        fn deref_mut(&mut self) -> &mut U {
            self.0.get_mut()
        }
    }

    pub(crate) fn narrow<'a, T, U>(
        guard: MutexGuard<'a, T>,
        part: fn(&mut T) -> &mut U,
        peek: fn(&T) -> &U,
    ) -> MappedMutexGuard<'a, U>
    where
        T: 'a,
        U: 'a,
    {
        MappedMutexGuard(Box::new(Narrowed { guard, part, peek }))
    }
}

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use real::*;
