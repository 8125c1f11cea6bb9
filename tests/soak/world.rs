//! What the threads and processes of a soak share: places where addresses are found, chance, and an account of messages.
use crate::citizen::Msg;
use colloquium::{Address, ExitReason, Handle};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Addresses that are known; who is pushed out of them lives on with his links and timers only.
pub(crate) const PLACES: usize = 256;
pub(crate) const LIVE_AT_MOST: usize = 2000;
/// Few, so that they are fought over; and the runtime's limit, so that a lost one shows.
pub(crate) const NAMES: usize = 40;

/// What must have happened for a run to say anything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Spawn,
    SpawnLink,
    SpawnMonitor,
    Kill,
    Answered,
    Unanswered,
    CalledInside,
    Trapped,
    Down,
    Group,
    Named,
    TimerCancelled,
    TimerFired,
    Panicked,
    Returned,
}

const DEEDS: [Deed; 15] = [
    Deed::Spawn,
    Deed::SpawnLink,
    Deed::SpawnMonitor,
    Deed::Kill,
    Deed::Answered,
    Deed::Unanswered,
    Deed::CalledInside,
    Deed::Trapped,
    Deed::Down,
    Deed::Group,
    Deed::Named,
    Deed::TimerCancelled,
    Deed::TimerFired,
    Deed::Panicked,
    Deed::Returned,
];

/// The parcels' account.
#[derive(Default)]
struct Account {
    sent: AtomicU64,
    refused: AtomicU64,
    received: AtomicU64,
    returned: AtomicU64,
    lost: AtomicU64,
}

pub(crate) struct World {
    pub(crate) runtime: Handle,
    pub(crate) places: Mutex<Vec<Option<Address<Msg>>>>,
    pub(crate) is_over: AtomicBool,
    pub(crate) live: AtomicUsize,
    deeds: [AtomicU64; DEEDS.len()],
    account: Arc<Account>,
    token: Arc<()>,
    complaints: Mutex<Vec<String>>,
}

impl World {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            places: Mutex::new(vec![None; PLACES]),
            is_over: AtomicBool::new(true),
            live: AtomicUsize::new(0),
            deeds: Default::default(),
            account: Arc::default(),
            token: Arc::new(()),
            complaints: Mutex::default(),
        }
    }

    /// To be held by everything that the runtime is given to keep: bodies, messages, mappings, what timers make.
    pub(crate) fn token(&self) -> Arc<()> {
        Arc::clone(&self.token)
    }

    /// How many of them the runtime still holds.
    pub(crate) fn tokens(&self) -> usize {
        Arc::strong_count(&self.token) - 1
    }

    pub(crate) fn note(&self, deed: Deed) {
        self.deeds[deed as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A process found something wrong. Its panic would be lost among those that are on purpose.
    pub(crate) fn complain(&self, complaint: String) {
        self.complaints.lock().expect("nobody panics with the lock").push(complaint);
    }

    pub(crate) fn assert_no_complaints(&self) {
        let complaints = self.complaints.lock().expect("nobody panics with the lock");
        assert!(complaints.is_empty(), "{} complaints, among them {:#?}", complaints.len(), &complaints[..1]);
    }

    pub(crate) fn pick(&self, chance: &mut Chance) -> Option<Address<Msg>> {
        self.places.lock().expect("no thread panics")[chance.below(PLACES)].clone()
    }

    /// Makes an address known, in the place of another.
    pub(crate) fn settle(&self, chance: &mut Chance, address: Address<Msg>) {
        let pushed_out = self.places.lock().expect("no thread panics")[chance.below(PLACES)].replace(address);
        if let Some(pushed_out) = pushed_out.filter(|_| chance.one_in(2)) {
            pushed_out.exit(ExitReason::Shutdown);
        }
    }

    pub(crate) fn send(&self, to: &Address<Msg>, parcel: Parcel) {
        match to.send(Msg::Parcel(parcel)) {
            Ok(()) => self.account.sent.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                let Msg::Parcel(parcel) = error.into_message() else { unreachable!("it comes back as it was") };
                parcel.arrive(State::Returned);
                self.account.refused.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    pub(crate) fn start_timer(&self, to: &Address<Msg>, chance: &mut Chance) {
        let token = self.token();
        let timer = if chance.one_in(2) {
            to.send_after(chance.moment_or_hour(), Msg::Tick(token))
        } else {
            to.send_interval(chance.moment_or_hour(), move || Msg::Tick(Arc::clone(&token)))
        };
        if chance.one_in(2) && timer.cancel().is_some() {
            self.note(Deed::TimerCancelled);
        }
    }

    /// Every message that was taken was received or lost with its receiver, once, and every other came back.
    pub(crate) fn check_messages(&self) {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let Account { sent, refused, received, returned, lost } = &*self.account;
        assert_eq!(read(sent), read(received) + read(lost), "sent, and received or lost: {} lost", read(lost));
        assert_eq!(read(refused), read(returned), "refused, and returned");
        assert_eq!(self.live.load(Ordering::SeqCst), 0, "bodies that were not dropped");
    }

    pub(crate) fn assert_all_happened(&self) {
        for deed in DEEDS {
            assert!(self.deeds[deed as usize].load(Ordering::Relaxed) > 0, "{deed:?} never happened");
        }
        for (what, count) in [("received", &self.account.received), ("lost", &self.account.lost)] {
            assert!(count.load(Ordering::Relaxed) > 0, "no message was {what}");
        }
    }

    pub(crate) fn summary(&self) -> String {
        let deeds = DEEDS.iter().map(|deed| format!("{deed:?} {}", self.deeds[*deed as usize].load(Ordering::Relaxed)));
        format!("{}, sent {}", deeds.collect::<Vec<_>>().join(", "), self.account.sent.load(Ordering::Relaxed))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    UnderWay,
    Received,
    Returned,
}

/// A message that is accounted for when it is dropped, by how far it came.
pub(crate) struct Parcel {
    account: Arc<Account>,
    state: State,
    _token: Arc<()>,
}

impl Parcel {
    pub(crate) fn new(world: &World) -> Self {
        Self { account: Arc::clone(&world.account), state: State::UnderWay, _token: world.token() }
    }

    pub(crate) fn arrive(mut self, state: State) {
        self.state = state;
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let count = match self.state {
            State::UnderWay => &self.account.lost,
            State::Received => &self.account.received,
            State::Returned => &self.account.returned,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// Xorshift: chance enough, and no dependency.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 32) as usize % bound
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    /// For timers: short, so that they meet what else goes on, and the last ones do not hold the round up.
    pub(crate) fn moment(&mut self) -> Duration {
        Duration::from_micros(self.next() % 5000)
    }

    /// For timers that end with their process: the long ones would be left if they did not.
    pub(crate) fn moment_or_hour(&mut self) -> Duration {
        if self.one_in(4) { Duration::from_secs(3600) } else { self.moment() }
    }

    pub(crate) fn reason(&mut self) -> ExitReason {
        match self.below(5) {
            0 => ExitReason::Normal,
            1 => ExitReason::Shutdown,
            2 => ExitReason::Kill,
            3 => ExitReason::error("on purpose"),
            _ => ExitReason::shutdown_with("on purpose"),
        }
    }
}

pub(crate) fn name(chance: &mut Chance) -> Arc<str> {
    format!("name {}", chance.below(NAMES)).into()
}

pub(crate) fn group(chance: &mut Chance) -> Arc<str> {
    format!("group {}", chance.below(16)).into()
}
