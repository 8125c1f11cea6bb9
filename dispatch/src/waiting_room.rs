//! Pure: messages that wait for room at a consumer, in the order of arrival, and when newcomers are turned away.
use crate::limits::PRESSURE;
use crate::view::ConsumerId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a message that waits is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Wish {
    /// That one only.
    pub(crate) only: Option<ConsumerId>,
    /// Any but that one, if there is another.
    pub(crate) avoid: Option<ConsumerId>,
    /// A consumer that has nothing else.
    pub(crate) alone: bool,
}

/// Those who wait. `E` stands for a message.
#[derive(Debug)]
pub(crate) struct WaitingRoom<E> {
    order: BTreeMap<u64, Waiter<E>>,
    /// Those who take any consumer.
    any: BTreeSet<u64>,
    /// Those who want a certain one.
    only: BTreeSet<(ConsumerId, u64)>,
    next: u64,
    /// Since when the oldest has waited for too long.
    pressed: Option<Duration>,
}

#[derive(Debug)]
struct Waiter<E> {
    message: E,
    since: Duration,
    wish: Wish,
}

/// A consumer that has room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) consumer: ConsumerId,
    /// It has nothing to do at all.
    pub(crate) idle: bool,
    /// No other consumer is there, so that nobody can be choosy.
    pub(crate) sole: bool,
}

impl<E> Default for WaitingRoom<E> {
    fn default() -> Self {
        let (any, only) = (BTreeSet::new(), BTreeSet::new());
        Self { order: BTreeMap::new(), any, only, next: 0, pressed: None }
    }
}

impl<E: Copy> WaitingRoom<E> {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Since when the oldest waits.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.order.first_key_value().map(|(_, waiter)| waiter.since)
    }

    /// The place in the order of arrival.
    pub(crate) fn enter(&mut self, message: E, wish: Wish, now: Duration) -> u64 {
        let place = self.next;
        self.next += 1;
        self.order.insert(place, Waiter { message, since: now, wish });
        match wish.only {
            None => self.any.insert(place),
            Some(consumer) => self.only.insert((consumer, place)),
        };
        place
    }

    pub(crate) fn leave(&mut self, place: u64) -> Option<E> {
        let waiter = self.order.remove(&place)?;
        match waiter.wish.only {
            None => self.any.remove(&place),
            Some(consumer) => self.only.remove(&(consumer, place)),
        };
        Some(waiter.message)
    }

    /// The first who takes what is offered leaves with it.
    #[must_use]
    pub(crate) fn offer(&mut self, offer: Offer) -> Option<(E, Wish)> {
        let place = self.taker(offer)?;
        let wish = self.order[&place].wish;
        self.leave(place).map(|message| (message, wish))
    }

    /// The place of the first who would take it.
    pub(crate) fn taker(&self, offer: Offer) -> Option<u64> {
        let takes = |place: &u64| {
            let wish = self.order[place].wish;
            (!wish.alone || offer.idle) && (offer.sole || wish.avoid != Some(offer.consumer))
        };
        let any = self.any.iter().find(|place| takes(place)).copied();
        let of_this = (offer.consumer, 0)..=(offer.consumer, u64::MAX);
        let only = self.only.range(of_this).map(|(_, place)| place).find(|place| takes(place)).copied();
        any.into_iter().chain(only).min()
    }

    /// Those who want a consumer that will not come again: from now on they take any.
    pub(crate) fn forget(&mut self, consumer: ConsumerId) {
        let places: Vec<_> = self.only.range((consumer, 0)..=(consumer, u64::MAX)).copied().collect();
        for (consumer, place) in places {
            self.only.remove(&(consumer, place));
            self.any.insert(place);
            if let Some(waiter) = self.order.get_mut(&place) {
                waiter.wish.only = None;
            }
        }
    }

    /// Whether a newcomer is to be turned away: for a while now the oldest has waited for half of what it may.
    pub(crate) fn is_pressed(&mut self, max_wait: Duration, now: Duration) -> bool {
        let late = self.oldest().is_some_and(|since| now.saturating_sub(since) >= max_wait / 2);
        if !late {
            self.pressed = None;
            return false;
        }
        let since = *self.pressed.get_or_insert(now);
        now.saturating_sub(since) >= PRESSURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConsumerId = ConsumerId::new(1);
    const B: ConsumerId = ConsumerId::new(2);

    fn offer(consumer: ConsumerId) -> Offer {
        Offer { consumer, idle: true, sole: false }
    }

    #[test]
    fn the_first_who_takes_the_offer_gets_it() {
        let only = |consumer| Wish { only: Some(consumer), ..Wish::default() };
        let avoid = |consumer| Wish { avoid: Some(consumer), ..Wish::default() };
        let mut room = WaitingRoom::default();
        for (message, wish) in [(1, only(B)), (2, avoid(A)), (3, only(A)), (4, Wish::default())] {
            room.enter(message, wish, Duration::ZERO);
        }
        let taken = |room: &mut WaitingRoom<i32>, offered| room.offer(offered).map(|(message, _)| message);
        assert_eq!(taken(&mut room, offer(A)), Some(3));
        assert_eq!(taken(&mut room, offer(B)), Some(1));
        assert_eq!(taken(&mut room, offer(A)), Some(4), "2 avoids it");
        assert_eq!(taken(&mut room, offer(A)), None);
        assert_eq!(taken(&mut room, Offer { sole: true, ..offer(A) }), Some(2));
        assert_eq!(room.len(), 0);
    }

    #[test]
    fn who_is_to_be_alone_takes_an_idle_consumer_only() {
        let mut room = WaitingRoom::default();
        let wish = Wish { alone: true, ..Wish::default() };
        room.enter(1, wish, Duration::ZERO);
        assert_eq!(room.offer(Offer { idle: false, ..offer(A) }), None);
        assert_eq!(room.offer(offer(A)), Some((1, wish)));
    }

    #[test]
    fn those_who_wait_for_one_that_has_left_take_any_in_their_order() {
        let mut room = WaitingRoom::default();
        room.enter(1, Wish { only: Some(A), ..Wish::default() }, Duration::ZERO);
        let second = room.enter(2, Wish::default(), Duration::ZERO);
        room.forget(A);
        assert_eq!(room.offer(offer(B)).map(|(message, _)| message), Some(1));
        assert_eq!((room.leave(second), room.leave(second)), (Some(2), None));
    }

    #[test]
    fn newcomers_are_refused_when_the_oldest_has_waited_long_for_a_while() {
        let ms = Duration::from_millis;
        let mut room = WaitingRoom::default();
        let first = room.enter(1, Wish::default(), ms(0));
        assert!(!room.is_pressed(ms(1000), ms(499)));
        assert!(!room.is_pressed(ms(1000), ms(500)), "it has just come to that");
        assert!(!room.is_pressed(ms(1000), ms(599)));
        assert!(room.is_pressed(ms(1000), ms(600)));
        room.leave(first);
        assert!(!room.is_pressed(ms(1000), ms(601)));
        room.enter(2, Wish::default(), ms(601));
        assert!(!room.is_pressed(ms(1000), ms(1101)), "the count begins anew");
    }
}
