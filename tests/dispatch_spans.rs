//! Spans of dispatches: whose child each is, what it says, and that handlers' events stand in it. One test, since the subscriber is
//! the program's.
mod workers;

use colloquium::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use workers::{on_each_size, until};

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Each with its parent, its name and what is recorded of it.
    spans: BTreeMap<u64, (Option<u64>, String)>,
    /// Each with the span that it stands in.
    events: Vec<(Option<u64>, String)>,
    made: u64,
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string takes all");
    }
}

fn current() -> Option<u64> {
    ENTERED.with_borrow(|entered| entered.last().copied())
}

impl Subscriber for Seen {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("colloquium_dispatch::dispatcher") || metadata.target() == "app"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = span.metadata().name().to_owned();
        span.record(&mut Text(&mut text));
        let mut inner = self.0.lock().expect("no panic with it");
        inner.made += 1;
        let id = inner.made;
        inner.spans.insert(id, (span.parent().map(Id::into_u64).or_else(current), text));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut inner = self.0.lock().expect("no panic with it");
        let (_, text) = inner.spans.get_mut(&span.into_u64()).expect("it was made");
        values.record(&mut Text(text));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        self.0.lock().expect("no panic with it").events.push((current(), text));
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        let top = ENTERED.with_borrow_mut(Vec::pop);
        assert_eq!(top, Some(span.into_u64()), "they are left in order");
    }
}

#[test]
fn a_dispatch_has_a_span_below_its_callers_and_its_handlers_events_stand_in_it() {
    let seen = Seen::default();
    tracing::subscriber::set_global_default(seen.clone()).expect("there is no other");
    on_each_size(async move |runtime| {
        *seen.0.lock().expect("no panic with it") = Inner::default();
        let quiet = ConsumerRegistration::function(|_: Delivery<u64>| async {
            tracing::info!(target: "app", "without");
            Ok(())
        });
        let quiet = ConsumerGroup::alike("quiet", 1, &quiet).start(&*runtime).await.expect("it starts");
        let inner = ConsumerRegistration::function(|_: Delivery<u64>| async {
            tracing::info!(target: "app", "inner");
            Ok(())
        });
        let inner = ConsumerGroup::alike("inner", 1, &inner).spans(true).keyed_by(|n| *n);
        let inner = inner.start(&*runtime).await.expect("it starts");
        let to = inner.clone();
        let outer = ConsumerRegistration::function(move |number: Delivery<u64>| {
            let to = to.clone();
            async move {
                tracing::info!(target: "app", "outer");
                to.dispatch(*number).id(20).await.or_discard()?;
                tracing::info!(target: "app", "outer again");
                Ok(())
            }
        });
        let outer = ConsumerGroup::alike("outer", 1, &outer).spans(true).start(&*runtime).await.expect("it starts");
        let conversation = tracing::info_span!(target: "app", "request").in_scope(|| outer.dispatch(5).id(10).start());
        conversation.await.expect("completed");
        quiet.dispatch(1).await.expect("completed");
        until(&runtime, || outer.group().snapshot().in_flight + inner.group().snapshot().in_flight == 0).await;
        let inner = seen.0.lock().expect("no panic with it");
        let spans: Vec<_> = inner.spans.values().map(|(parent, text)| (*parent, text.as_str())).collect();
        let key = spans[2].1.split(' ').find(|word| word.starts_with("key=")).expect("its key is told");
        let nested = format!("dispatch group=inner message=20 parent=10 {key} attempt=1 outcome=\"Delivered\"");
        let expected = [
            (None, "request"),
            (Some(1), "dispatch group=outer message=10 attempt=1 outcome=\"Delivered\""),
            (Some(2), &*nested),
        ];
        assert_eq!(spans, expected);
        let events: Vec<_> = inner.events.iter().map(|(span, text)| (*span, text.as_str())).collect();
        let expected = [
            (Some(2), " message=outer"),
            (Some(3), " message=inner"),
            (Some(2), " message=outer again"),
            (None, " message=without"),
        ];
        assert_eq!(events, expected);
    });
}
