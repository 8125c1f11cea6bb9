//! Driver: a group's metrics for the recorder of the `metrics` crate, whichever the program has installed.
use crate::metrics::{GroupMetrics, LatencyHistogram};
use metrics::{Label, counter, gauge};

/// The quantiles of latencies that are told.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("1", 1.0)];

impl GroupMetrics {
    /// Hands all of this to the recorder of the `metrics` crate: nothing happens if the program has none. Call it whenever the
    /// recorder is about to be read, or each second. (Feature `metrics`.)
    ///
    /// Counters, labelled `group`, and with `_consumer_` in their names also `consumer`:
    /// `colloquium_dispatch_{dispatched,delivered,completed,failed,crashed,lost,rerouted,poisoned,refused,dead_letters,restarts,ejections}_total`
    /// and `colloquium_dispatch_consumer_{delivered,completed,failed,crashed,lost,starts}_total`. Gauges:
    /// `colloquium_dispatch_{waiting,in_flight}`, `colloquium_dispatch_{in,out,shed}_per_second`,
    /// `colloquium_dispatch_consumer_in_flight`, `colloquium_dispatch_consumer_out_per_second`, and
    /// `colloquium_dispatch_{wait,handling,whole}_seconds` for each `quantile`.
    pub fn record(&self) {
        let of_group = || vec![Label::new("group", self.name.to_string())];
        let totals = &self.totals;
        for (name, count) in [
            ("colloquium_dispatch_dispatched_total", totals.dispatched),
            ("colloquium_dispatch_delivered_total", totals.delivered),
            ("colloquium_dispatch_completed_total", totals.completed),
            ("colloquium_dispatch_failed_total", totals.failed),
            ("colloquium_dispatch_crashed_total", totals.crashed),
            ("colloquium_dispatch_lost_total", totals.lost),
            ("colloquium_dispatch_rerouted_total", totals.rerouted),
            ("colloquium_dispatch_poisoned_total", self.poisoned),
            ("colloquium_dispatch_refused_total", totals.refused),
            ("colloquium_dispatch_dead_letters_total", self.dead_letters),
            ("colloquium_dispatch_restarts_total", totals.restarts),
            ("colloquium_dispatch_ejections_total", totals.ejections),
        ] {
            counter!(name, of_group()).absolute(count);
        }
        for (name, value) in [
            ("colloquium_dispatch_waiting", self.waiting as f64),
            ("colloquium_dispatch_in_flight", self.in_flight as f64),
            ("colloquium_dispatch_in_per_second", self.rates.into),
            ("colloquium_dispatch_out_per_second", self.rates.out),
            ("colloquium_dispatch_shed_per_second", self.rates.shed),
        ] {
            gauge!(name, of_group()).set(value);
        }
        self.record_latency("colloquium_dispatch_wait_seconds", &self.wait);
        self.record_latency("colloquium_dispatch_handling_seconds", &self.handling);
        self.record_latency("colloquium_dispatch_whole_seconds", &self.whole);
        self.record_consumers();
    }

    fn record_latency(&self, name: &'static str, histogram: &LatencyHistogram) {
        for (label, part) in QUANTILES {
            if let Some(time) = histogram.quantile(part) {
                let labels = vec![Label::new("group", self.name.to_string()), Label::new("quantile", label)];
                gauge!(name, labels).set(time.as_secs_f64());
            }
        }
    }

    fn record_consumers(&self) {
        for consumer in &self.consumers {
            let labels = || {
                let id = consumer.id.to_string();
                vec![Label::new("group", self.name.to_string()), Label::new("consumer", id)]
            };
            for (name, count) in [
                ("colloquium_dispatch_consumer_delivered_total", consumer.delivered),
                ("colloquium_dispatch_consumer_completed_total", consumer.completed),
                ("colloquium_dispatch_consumer_failed_total", consumer.failed),
                ("colloquium_dispatch_consumer_crashed_total", consumer.crashed),
                ("colloquium_dispatch_consumer_lost_total", consumer.lost),
                ("colloquium_dispatch_consumer_starts_total", consumer.starts),
            ] {
                counter!(name, labels()).absolute(count);
            }
            gauge!("colloquium_dispatch_consumer_in_flight", labels()).set(f64::from(consumer.in_flight));
            gauge!("colloquium_dispatch_consumer_out_per_second", labels()).set(consumer.out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ConsumerMetrics, Rates};
    use crate::view::{ConsumerId, GroupTotals};
    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Keeps all that it is told, by name and labels.
    #[derive(Default)]
    struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Kept {
        fn cell(&self, key: &Key) -> Arc<AtomicU64> {
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            Arc::clone(self.0.lock().entry(format!("{} {}", key.name(), labels.join(","))).or_default())
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn the_recorder_is_told_every_number_with_its_labels() {
        let mut whole = LatencyHistogram::default();
        (0..100).for_each(|_| whole.add(500_000_000));
        let consumer = ConsumerMetrics {
            id: ConsumerId::new(3),
            delivered: 21,
            completed: 22,
            failed: 23,
            crashed: 24,
            lost: 25,
            in_flight: 26,
            starts: 27,
            out: 2.5,
        };
        let totals = GroupTotals {
            dispatched: 1,
            delivered: 2,
            rerouted: 3,
            completed: 4,
            failed: 5,
            crashed: 6,
            lost: 7,
            refused: 8,
            restarts: 9,
            ejections: 10,
        };
        let metrics = GroupMetrics {
            name: "resizers".into(),
            totals,
            dead_letters: 11,
            poisoned: 12,
            waiting: 13,
            in_flight: 14,
            rates: Rates { into: 1.5, out: 1.25, shed: 0.25 },
            wait: LatencyHistogram::default(),
            handling: LatencyHistogram::default(),
            whole,
            consumers: vec![consumer],
        };
        let kept = Kept::default();
        metrics::with_local_recorder(&kept, || metrics.record());
        let read = |name: &str, labels: &str| {
            let kept = kept.0.lock();
            let cell = kept.get(&format!("colloquium_dispatch_{name} group=resizers{labels}"));
            cell.map_or_else(|| panic!("{name} {labels} was not told"), |cell| cell.load(Ordering::Relaxed))
        };
        let counters = "dispatched delivered rerouted completed failed crashed lost refused restarts ejections dead_letters poisoned";
        for (expected, name) in (1..).zip(counters.split(' ')) {
            assert_eq!(read(&format!("{name}_total"), ""), expected, "{name}");
        }
        for (expected, name) in (21..).zip("delivered completed failed crashed lost".split(' ')) {
            assert_eq!(read(&format!("consumer_{name}_total"), ",consumer=3"), expected, "{name}");
        }
        assert_eq!(read("consumer_starts_total", ",consumer=3"), 27);
        let gauge = |name: &str, labels: &str| f64::from_bits(read(name, labels));
        assert_eq!((gauge("waiting", ""), gauge("in_flight", "")), (13.0, 14.0));
        let per_second = ["in", "out", "shed"].map(|way| gauge(&format!("{way}_per_second"), ""));
        assert_eq!(per_second, [1.5, 1.25, 0.25]);
        assert_eq!(gauge("consumer_in_flight", ",consumer=3"), 26.0);
        assert_eq!(gauge("consumer_out_per_second", ",consumer=3"), 2.5);
        assert_eq!(gauge("whole_seconds", ",quantile=0.99"), 0.5);
        assert!(!kept.0.lock().keys().any(|key| key.contains("wait_seconds")), "of nothing there is no quantile");
    }
}
