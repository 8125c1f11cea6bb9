//! Pure: what is to be seen of a group's yard.
use super::entry::Plan;
use super::{At, Yard};
use crate::metrics::{Coming, Going, Latencies, Rates};
use crate::picture::{ConsumerPart, GroupPart, Seen, Spot};
use crate::seats::Occupant;
use crate::view::{ConsumerId, GroupTotals};
use colloquium_runtime::Pid;
use std::time::Duration;

impl<T: Clone, A: Occupant> Yard<T, A> {
    /// Messages that are in.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Messages that wait for room or for their key.
    pub(crate) fn waiting(&self) -> usize {
        self.room.len() + self.lanes.waiting()
    }

    /// What it has counted since it was made.
    pub(crate) fn totals(&self) -> GroupTotals {
        let (Coming { dispatched, delivered, .. }, Going { completed, .. }) = (&*self.coming, &*self.going);
        GroupTotals { dispatched: *dispatched, delivered: *delivered, completed: *completed, ..self.totals }
    }

    pub(crate) fn rates(&self, now: Duration) -> Rates {
        Rates { into: self.coming.into.rate(now), out: self.going.out.rate(now), shed: self.counted.shed.rate(now) }
    }

    /// How long messages have taken so far.
    pub(crate) fn latencies(&mut self) -> &Latencies {
        self.counted.count(&mut self.going)
    }

    pub(crate) fn keys(&self) -> usize {
        self.lanes.taken()
    }

    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.room.oldest()
    }

    /// All messages that are in.
    pub(crate) fn tickets(&self) -> Vec<T> {
        self.entries.iter().map(|(_, ticket, _)| ticket.clone()).collect()
    }

    /// Those that are out at a consumer.
    pub(crate) fn tickets_at(&self, id: ConsumerId) -> Vec<T> {
        let there =
            self.entries.iter().filter(|(.., entry)| matches!(entry.at, At::Out { consumer, .. } if consumer == id));
        there.map(|(_, ticket, _)| ticket.clone()).collect()
    }

    /// The group as a whole, but for its consumers and messages.
    pub(crate) fn part(&self, now: Duration) -> GroupPart {
        GroupPart {
            rates: self.rates(now),
            shedding: self.counted.shedding(now),
            waiting: self.waiting(),
            most_waiting: self.bounds.waiting,
            oldest: self.room.oldest(),
            max_wait: self.bounds.max_wait,
            messages: self.entries.len(),
            crashed: self.totals.crashed,
            breaker: self.breaker.is_open().then_some(self.breaker_since),
            paused: self.paused,
            closing: self.closing,
            usable: self.seats.usable(),
        }
    }

    /// Some consumers, from that position on.
    pub(crate) fn consumers(&self, from: usize, most: usize) -> Vec<ConsumerPart> {
        let page = self.seats.iter().skip(from).take(most);
        let part = |seat: &crate::seats::Seat<A>| ConsumerPart {
            id: seat.id,
            up: seat.occupant.is_some(),
            started: seat.occupant.as_ref().map_or(0, Occupant::started).min(seat.taken),
            taken: seat.taken,
            half_open: seat.half_open,
            ejected: seat.ejected_until.map(|until| (seat.trouble_since, until)),
            failed: seat.failed.then_some(seat.trouble_since),
            stuck: seat.stuck,
            leaving: seat.leaving,
            back_off: seat.back_off,
            charged: seat.health.charged(),
            starts: seat.incarnation,
        };
        page.map(part).collect()
    }

    /// Shows some messages, from that number on; the number to go on from, if there are more.
    pub(crate) fn messages(&self, from: usize, most: usize, mut see: impl FnMut(Seen<'_, T>)) -> Option<usize> {
        let end = from.saturating_add(most).min(self.entries.end());
        for (slot, (ticket, entry)) in (from..end).filter_map(|slot| Some((slot, self.entries.get(slot)?))) {
            let spot = match entry.at {
                At::Parked => Spot::Between,
                At::Lane => Spot::Key,
                At::Room(_) => Spot::Room,
                At::Out { consumer, .. } => Spot::Out(consumer),
            };
            let Plan { key, since, again, .. } = self.plans[slot];
            see(Seen { id: entry.id, key, since, again, spot, ticket });
        }
        (end < self.entries.end()).then_some(end)
    }

    /// Whether the process is a consumer of this group that holds a delivery.
    pub(super) fn holds(&self, pid: Pid) -> bool {
        self.pids.get(pid).and_then(|id| self.seats.get(id)).is_some_and(|seat| seat.taken > 0)
    }
}
