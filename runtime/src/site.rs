//! Shared: the places in the program where processes are spawned, each with a small number, which is all that a process
//! has to hold.
//!
//! A list behind a lock, and in front of it, per thread, the last few places that were asked for: who spawns in a loop
//! takes no lock. Numbers are given once and never changed, so that what a thread remembers stays true. The list is bounded
//! by the text of the program.
use indexmap::IndexSet;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use std::cell::Cell;
use std::panic::Location;

/// Places that a thread remembers: those that one loop or supervisor spawns from.
const REMEMBERED: usize = 16;

type Place = &'static Location<'static>;

thread_local! {
    static LAST: [Cell<Option<(u32, Place, u16)>>; REMEMBERED] = const { [const { Cell::new(None) }; REMEMBERED] };
}

/// What has no number: no program that people write spawns in so many places, and if one does, the rest are not told.
pub(crate) const UNKNOWN: u16 = u16::MAX;

/// The places of one runtime.
pub(crate) struct Sites {
    /// Of the runtime, since a thread may spawn in several.
    tag: u32,
    all: Mutex<IndexSet<Place, FxBuildHasher>>,
}

impl Sites {
    pub(crate) fn new(tag: u32) -> Self {
        Self { tag, all: Mutex::default() }
    }

    /// The number of a place.
    #[inline]
    pub(crate) fn number(&self, place: Place) -> u16 {
        let at = (place.line() as usize ^ place.column() as usize) % REMEMBERED;
        LAST.with(|last| match last[at].get() {
            Some((tag, known, number)) if std::ptr::eq(known, place) && tag == self.tag => number,
            _ => {
                let number = self.find(place);
                last[at].set(Some((self.tag, place, number)));
                number
            }
        })
    }

    #[cold]
    fn find(&self, place: Place) -> u16 {
        u16::try_from(self.all.lock().insert_full(place).0).unwrap_or(UNKNOWN)
    }

    /// The place with this number.
    pub(crate) fn place(&self, number: u16) -> Option<Place> {
        let all = self.all.lock();
        all.get_index(usize::from(number)).copied().filter(|_| number != UNKNOWN)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[track_caller]
    fn here() -> Place {
        Location::caller()
    }

    #[test]
    fn a_place_has_one_number_in_each_runtime() {
        let (sites, other) = (Sites::new(1), Sites::new(2));
        let places: Vec<Place> = vec![here(), here(), here()];
        assert_eq!(other.number(places[2]), 0);
        for _ in 0..2 {
            let numbers: Vec<u16> = places.iter().map(|place| sites.number(place)).collect();
            assert_eq!(numbers, [0, 1, 2]);
        }
        assert_eq!((other.number(places[2]), other.number(places[0])), (0, 1));
        assert_eq!((sites.place(1), sites.place(3)), (Some(places[1]), None));
    }
}
