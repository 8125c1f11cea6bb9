//! Shared: berths: places in the process table that are kept for dormant processes of one kind, one after the other.
//!
//! Who makes a dormant process for each of very many messages has a record of them anyway, under a lock of its own: a [`Harbor`]. With
//! a berth for each place in that record a process is begun and ended there, and the table is not touched. What stands in the
//! table is where to ask: whoever looks for the process by its pid has it taken out of its berth ([`Table::get`]), into the
//! slot that the berth was. From then on it is latent like any other ([`super::latent`]), and the harbor has one berth less.
//!
//! The order of the locks is: a shard of the table, then the harbor's. A harbor therefore asks for berths, and gives them back,
//! without its lock. A berth's generation is counted by whoever has it, and noted in the slot when that is used otherwise.
//!
//! [`Table::get`]: super::table::Table::get
use crate::budget;
use crate::pid::Pid;
use crate::process::latent::{Dormant, Entry, Stand};
use crate::runtime::Handle;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Who keeps dormant processes in [berths](Handle::berth). Its methods may be called at any time, by any thread, with locks of
/// the runtime's held, and are to return at once, without asking the runtime for anything.
pub trait Harbor: Send + Sync + 'static {
    /// Gives up the process of that pid, which has the berth of that key: somebody has to do with it. It is in the table from
    /// now on as if it had been [spawned](Handle::spawn_dormant) there, and the berth is gone. `None` if it is not there.
    fn release(&self, key: usize, pid: Pid) -> Option<Arc<dyn Dormant>>;

    /// Who has the berth of that key, if the harbor can be asked within that time.
    ///
    /// # Errors
    ///
    /// [`Busy`], if it cannot.
    fn look(&self, key: usize, patience: Duration) -> Result<Option<Arc<dyn Dormant>>, Busy>;

    /// How many processes have berths.
    fn len(&self) -> usize;

    /// Whether none has.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives up all berths that nobody has: the runtime is at its limit of processes.
    fn idle(&self) -> Vec<Berth>;
}

/// A [`Harbor`] could not be asked in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// A place in the process table that is kept for dormant processes ([`Handle::berth`]).
#[must_use = "the table keeps the place until it is given back"]
pub struct Berth {
    index: u32,
    generation: u32,
    tag: u32,
}

impl Berth {
    /// The generation is that of a pid which nobody has.
    pub(crate) fn new(pid: Pid) -> Self {
        Self { index: pid.index(), generation: pid.generation(), tag: pid.runtime() }
    }

    /// The pid of who has it, or had it last.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::new(self.index, self.generation, self.tag)
    }

    /// Whether its four billion pids are used up: another is to take its place.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.generation >= u32::MAX - 1
    }

    /// Gives it to a process, which thereby is there: it is to be found by its pid as soon as its harbor finds it. It has ended
    /// when its harbor does not find it any more. `None` if the berth is [spent](Berth::is_spent).
    #[inline]
    pub fn take<D: Dormant>(&mut self, dormant: &D, parent: Pid) -> Option<Pid> {
        budget::charge();
        if self.is_spent() {
            return None;
        }
        self.generation += 1;
        let started = dormant.runtime().home().shared.clock.stamp();
        dormant.origin().settle(self.pid(), Some(parent), started);
        Some(self.pid())
    }
}

impl fmt::Debug for Berth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Berth({})", self.pid())
    }
}

impl Handle {
    /// Makes a harbor known: its processes are counted, and its idle berths asked for when there is no room for other
    /// processes.
    pub fn register_harbor(&self, harbor: &Arc<dyn Harbor>) {
        let shared = &self.home().shared;
        shared.table.register(harbor);
        // Who waits for the end holds those that it has found, and is to find no more: this will have nobody anyway.
        if shared.lifecycle.is_closing() {
            shared.table.unregister(harbor);
        }
    }

    /// A berth. The harbor is asked for who has it by `key`. As long as nobody has, it takes the room of a process, which the harbor is
    /// asked to give back before anybody is told that the limit is reached. `None` if there is no room, or the runtime is
    /// shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Berth, Busy, Context, Dormant, Handle, Harbor, Origin, Peer, Pid, Runtime};
    /// # use std::sync::{Arc, Mutex};
    /// # use std::task::{Wake, Waker};
    /// # use std::time::Duration;
    /// # struct Guest {
    /// #     origin: Origin,
    /// #     runtime: Handle,
    /// # }
    /// # impl Wake for Guest {
    /// #     fn wake(self: Arc<Self>) {}
    /// # }
    /// # impl Dormant for Guest {
    /// #     fn origin(&self) -> &Origin {
    /// #         &self.origin
    /// #     }
    /// #     fn runtime(&self) -> &Handle {
    /// #         &self.runtime
    /// #     }
    /// #     fn peer(&self) -> Option<Peer> {
    /// #         None
    /// #     }
    /// #     fn waker(self: Arc<Self>) -> Waker {
    /// #         Waker::from(self)
    /// #     }
    /// # }
    /// #[derive(Default)]
    /// struct Pier(Mutex<(Option<Berth>, Option<Arc<Guest>>)>); // `Guest` is `Dormant`
    ///
    /// impl Harbor for Pier {
    ///     fn release(&self, _: usize, pid: Pid) -> Option<Arc<dyn Dormant>> {
    ///         let (berth, guest) = &mut *self.0.lock().ok()?;
    ///         let _slot = berth.take_if(|berth| guest.is_some() && berth.pid() == pid)?;
    ///         Some(guest.take()?)
    ///     }
    ///     fn look(&self, _: usize, _: Duration) -> Result<Option<Arc<dyn Dormant>>, Busy> {
    ///         Ok(self.0.try_lock().map_err(|_| Busy)?.1.clone().map(|guest| guest as Arc<dyn Dormant>))
    ///     }
    ///     fn len(&self) -> usize {
    ///         self.0.lock().map_or(0, |place| usize::from(place.1.is_some()))
    ///     }
    ///     fn idle(&self) -> Vec<Berth> {
    ///         let Ok(mut place) = self.0.lock() else { return Vec::new() };
    ///         if place.1.is_some() { Vec::new() } else { place.0.take().into_iter().collect() }
    ///     }
    /// }
    ///
    /// let runtime = Runtime::new()?;
    /// let parent = runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await)?;
    /// let pier = Arc::new(Pier::default());
    /// let harbor: Arc<dyn Harbor> = pier.clone();
    /// runtime.register_harbor(&harbor);
    /// pier.0.lock().unwrap().0 = runtime.berth(&harbor, 0);
    /// # let [first, second] = [(); 2].map(|()| Arc::new(Guest { origin: Origin::new(), runtime: runtime.handle() }));
    ///
    /// let moor = |guest: &Arc<Guest>| {
    ///     let place = &mut *pier.0.lock().unwrap();
    ///     place.1 = Some(guest.clone());
    ///     place.0.as_mut().and_then(|berth| berth.take(&**guest, parent.pid()))
    /// };
    /// let pid = moor(&first).expect("it has pids");
    /// pier.0.lock().unwrap().1 = None; // It has ended,
    /// let next = moor(&second).expect("it has pids"); // and the next has its berth, and a pid of its own.
    /// assert!(!runtime.is_alive(pid) && runtime.is_alive(next));
    /// assert!(pier.is_empty(), "who was looked for has left it");
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn berth(&self, harbor: &Arc<dyn Harbor>, key: usize) -> Option<Berth> {
        let shared = &self.home().shared;
        if shared.lifecycle.is_closing() {
            return None;
        }
        let moored = Arc::new(Moored { harbor: Arc::downgrade(harbor), key });
        shared.table.insert_berth(self.home().index, moored).map(Berth::new)
    }

    /// Gives back berths that nobody has.
    pub fn unberth(&self, berths: Vec<Berth>) {
        for berth in berths {
            self.home().shared.table.remove_berth(berth.pid());
        }
    }

    /// A process in a berth has ended. To be told of those that end while the runtime shuts down.
    #[inline]
    pub fn left_berth(&self) {
        let shared = &self.home().shared;
        if shared.lifecycle.is_closing() {
            shared.lifecycle.process_ended(&shared.table);
        }
    }

    /// Whether the runtime shuts down, or has.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.home().shared.lifecycle.is_closing()
    }
}

/// What stands in the table for a berth.
pub(crate) struct Moored {
    pub(crate) harbor: Weak<dyn Harbor>,
    pub(crate) key: usize,
}

impl Entry for Moored {
    fn stand(self: Arc<Self>) -> Stand {
        Stand::Berth(self)
    }

    fn is_latent(&self) -> bool {
        false
    }

    fn is_berth(&self) -> bool {
        true
    }
}

/// A process that has left its berth, and has no control block.
pub(crate) struct Released(pub(crate) Arc<dyn Dormant>);

impl Entry for Released {
    fn stand(self: Arc<Self>) -> Stand {
        Stand::Dormant(Arc::clone(&self.0))
    }

    fn is_latent(&self) -> bool {
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::process::latent::{Origin, Peer};
    use crate::scheduler::Home;
    use std::task::Waker;

    struct Guest {
        origin: Origin,
        runtime: Handle,
    }

    impl Dormant for Guest {
        fn origin(&self) -> &Origin {
            &self.origin
        }

        fn runtime(&self) -> &Handle {
            &self.runtime
        }

        fn peer(&self) -> Option<Peer> {
            None
        }

        fn waker(self: Arc<Self>) -> Waker {
            Waker::noop().clone()
        }
    }

    struct Empty;

    impl Harbor for Empty {
        fn release(&self, _: usize, _: Pid) -> Option<Arc<dyn Dormant>> {
            None
        }

        fn look(&self, _: usize, _: Duration) -> Result<Option<Arc<dyn Dormant>>, Busy> {
            Ok(None)
        }

        fn len(&self) -> usize {
            0
        }

        fn idle(&self) -> Vec<Berth> {
            Vec::new()
        }
    }

    /// The slot of a berth that is spent is never used again, as that of any process; one that is not spent is, under later pids.
    #[test]
    fn a_spent_berth_has_no_more_pids_and_gives_none_back() {
        let runtime = Handle::new(Home::detached());
        let guest = Guest { origin: Origin::new(), runtime: runtime.clone() };
        let harbor: Arc<dyn Harbor> = Arc::new(Empty);
        let mut berth = runtime.berth(&harbor, 0).expect("there is room");
        let parent = berth.pid();
        let first = berth.take(&guest, parent).expect("it is new");
        assert!(first != parent && guest.origin.pid(first.runtime()) == Some(first));
        runtime.unberth(vec![berth]);
        let mut again = runtime.berth(&harbor, 0).expect("there is room");
        assert_eq!(again.pid().index(), first.index());
        assert!(again.pid().generation() > first.generation());
        again.generation = u32::MAX - 2;
        let last = again.take(&guest, parent).expect("the last");
        assert!(again.is_spent() && again.take(&guest, parent).is_none());
        assert_eq!((again.pid(), guest.origin.pid(last.runtime())), (last, Some(last)));
        runtime.unberth(vec![again]);
        let next = runtime.berth(&harbor, 0).expect("there is room");
        let fresh = next.pid();
        assert!(fresh.index() != last.index() || fresh.generation() > last.generation());
        runtime.unberth(vec![next]);
    }
}
