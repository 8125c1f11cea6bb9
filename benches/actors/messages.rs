//! Driver: workloads of messages and calls.
//!
//! Mailboxes are unbounded where the number of messages under way grows with the count, as the peers' are. Elsewhere they
//! are the default ones, whose 65 536 places cannot fill: there are as many messages under way as pairs, tokens or actors.
use crate::measure::{Latch, Outcome, Rng, YIELD_EVERY, begin, now, rate, resident_bytes};
use colloquium::{Address, Context, Mailbox, ReplyTo, Runtime};
use std::sync::{Arc, OnceLock};

/// Processes of a ring.
const RING: u64 = 10_000;
/// Senders of `fan_in`.
const SENDERS: u64 = 64;
/// Receivers of `fan_out`.
const RECEIVERS: u64 = 10_000;
/// Places in the mailbox of `fan_in_bounded`.
const BOUND: u32 = 1024;
/// Actors of `big`.
const BIG: u64 = 200;

/// Round trips in pairs of processes, `n` in all; both messages of one count.
pub(crate) fn pingpong(runtime: &Runtime, n: u64, pairs: u64) -> Outcome {
    let per_pair = n / pairs;
    let (ready, all_ready) = Latch::new(pairs);
    let (latch, done) = Latch::new(pairs);
    let pings: Vec<Address<u64>> = (0..pairs)
        .map(|_| {
            let (ready, latch) = (Arc::clone(&ready), Arc::clone(&latch));
            let ping = runtime.spawn(async move |mut ctx: Context<u64>| {
                let ping = ctx.address();
                let pong = ctx.spawn(async move |mut ctx: Context<u64>| {
                    loop {
                        let left = ctx.recv().await;
                        ping.send(left).expect("ping lives");
                    }
                });
                let pong = pong.expect("a process");
                ready.hit();
                loop {
                    match ctx.recv().await {
                        0 => latch.hit(),
                        left => pong.send(left - 1).expect("pong lives"),
                    }
                }
            });
            ping.expect("a process")
        })
        .collect();
    all_ready.wait();
    let start = now();
    for ping in &pings {
        ping.send(per_pair).expect("ping lives");
    }
    done.wait();
    rate(per_pair * pairs * 2, "msgs/s", start)
}

struct Ask(u64, ReplyTo<u64>);

/// Calls by clients to a server each, `n` in all; with the default time-out of five seconds, or without any.
pub(crate) fn call(runtime: &Runtime, n: u64, pairs: u64, timed: bool) -> Outcome {
    let per_pair = n / pairs;
    let (latch, done) = Latch::new(pairs);
    let servers: Vec<Address<Ask>> = (0..pairs)
        .map(|_| {
            let server = runtime.spawn(async |mut ctx: Context<Ask>| {
                loop {
                    let Ask(value, reply_to) = ctx.recv().await;
                    let _ = reply_to.send(value + 1);
                }
            });
            server.expect("a process")
        })
        .collect();
    let start = now();
    for server in servers {
        let latch = Arc::clone(&latch);
        let client = runtime.spawn(async move |mut ctx: Context<()>| {
            for i in 0..per_pair {
                let call = ctx.call(&server, |reply_to| Ask(i, reply_to));
                let answer = if timed { call.await } else { call.no_timeout().await };
                assert_eq!(answer.expect("an answer"), i + 1);
            }
            latch.hit();
        });
        client.expect("a process");
    }
    done.wait();
    rate(per_pair * pairs, "calls/s", start)
}

/// Tokens handed on in a ring of processes, `n` hops in all.
pub(crate) fn ring(runtime: &Runtime, n: u64, tokens: u64) -> Outcome {
    let per_token = n / tokens;
    let (latch, done) = Latch::new(tokens);
    // Each knows the one before it, but the first, which is told of the last when that is there.
    let last: Arc<OnceLock<Address<u64>>> = Arc::default();
    let mut nodes: Vec<Address<u64>> = Vec::new();
    for _ in 0..RING {
        let (latch, last, next) = (Arc::clone(&latch), Arc::clone(&last), nodes.last().cloned());
        let node = runtime.spawn(async move |mut ctx: Context<u64>| {
            let mut left = ctx.recv().await;
            let next = next.or_else(|| last.get().cloned()).expect("the ring is closed before a token comes");
            drop(last);
            loop {
                match left {
                    0 => latch.hit(),
                    left => next.send(left - 1).expect("the ring stays"),
                }
                left = ctx.recv().await;
            }
        });
        nodes.push(node.expect("a process"));
    }
    last.set(nodes[RING as usize - 1].clone()).expect("it is closed once");
    let start = now();
    for token in 0..tokens {
        nodes[(token * RING / tokens) as usize].send(per_token).expect("the ring stays");
    }
    done.wait();
    rate(per_token * tokens, "hops/s", start)
}

/// A receiver of `total` messages.
fn sink(runtime: &Runtime, mailbox: Mailbox, total: u64, latch: Arc<Latch>) -> Address<u64> {
    let sink = runtime.build().mailbox(mailbox).spawn(async move |mut ctx: Context<u64>| {
        for _ in 0..total {
            ctx.recv().await;
        }
        latch.hit();
        // It stays, as the peers' do: nothing ends within the time.
        ctx.recv().await;
    });
    sink.expect("a process")
}

/// 64 senders to one receiver, `n` messages; unbounded mailbox, and senders that yield now and then.
pub(crate) fn fan_in(runtime: &Runtime, n: u64) -> Outcome {
    let per_sender = n / SENDERS;
    let (latch, done) = Latch::new(1);
    let sink = sink(runtime, Mailbox::unbounded(), per_sender * SENDERS, latch);
    let start = now();
    for _ in 0..SENDERS {
        let sink = sink.clone();
        let sender = runtime.spawn(async move |mut ctx: Context<()>| {
            for i in 0..per_sender {
                sink.send(i).expect("the mailbox takes all");
                if i % YIELD_EVERY == 0 {
                    ctx.yield_now().await;
                }
            }
        });
        sender.expect("a process");
    }
    done.wait();
    rate(per_sender * SENDERS, "msgs/s", start)
}

/// As [`fan_in`], with a mailbox of 1024 and senders that wait for room.
pub(crate) fn fan_in_bounded(runtime: &Runtime, n: u64) -> Outcome {
    let per_sender = n / SENDERS;
    let (latch, done) = Latch::new(1);
    let sink = sink(runtime, Mailbox::bounded(BOUND), per_sender * SENDERS, latch);
    let start = now();
    for _ in 0..SENDERS {
        let sink = sink.clone();
        let sender = runtime.spawn(async move |_: Context<()>| {
            for i in 0..per_sender {
                sink.send_wait(i).await.expect("room within the default time-out");
            }
        });
        sender.expect("a process");
    }
    done.wait();
    rate(per_sender * SENDERS, "msgs/s", start)
}

/// One sender to 10 000 receivers in turn, `n` messages; unbounded mailboxes, and a sender that yields now and then.
pub(crate) fn fan_out(runtime: &Runtime, n: u64) -> Outcome {
    let each = n / RECEIVERS;
    let (latch, done) = Latch::new(RECEIVERS);
    let sinks: Vec<Address<u64>> =
        (0..RECEIVERS).map(|_| sink(runtime, Mailbox::unbounded(), each, Arc::clone(&latch))).collect();
    let start = now();
    let sender = runtime.spawn(async move |mut ctx: Context<()>| {
        for i in 0..each {
            for sink in &sinks {
                sink.send(i).expect("the mailbox takes all");
            }
        }
        ctx.recv().await;
    });
    sender.expect("a process");
    done.wait();
    rate(each * RECEIVERS, "msgs/s", start)
}

enum BigMessage {
    Ping(u64),
    Pong,
}

/// Savina's Big: 200 actors, each pings others at random, with one ping of its own under way; `n` pings and as many pongs.
pub(crate) fn big(runtime: &Runtime, n: u64) -> Outcome {
    let each = n / BIG;
    let (latch, done) = Latch::new(BIG);
    let everyone: Arc<OnceLock<Vec<Address<BigMessage>>>> = Arc::default();
    let made: Vec<Address<BigMessage>> = (0..BIG)
        .map(|me| {
            let (latch, everyone, mut rng) = (Arc::clone(&latch), Arc::clone(&everyone), Rng::new(me));
            let actor = runtime.spawn(async move |mut ctx: Context<BigMessage>| {
                let mut sent = 0;
                loop {
                    let message = ctx.recv().await;
                    let everyone = everyone.get().expect("all are there before the first message");
                    match message {
                        BigMessage::Ping(from) => everyone[from as usize].send(BigMessage::Pong).expect("it lives"),
                        BigMessage::Pong if sent == each => latch.hit(),
                        BigMessage::Pong => {
                            sent += 1;
                            everyone[rng.other(BIG, me)].send(BigMessage::Ping(me)).expect("it lives");
                        }
                    }
                }
            });
            actor.expect("a process")
        })
        .collect();
    everyone.set(made).expect("it is made once");
    let start = now();
    for actor in everyone.get().expect("it was just made") {
        actor.send(BigMessage::Pong).expect("it lives");
    }
    done.wait();
    rate(each * BIG * 2, "msgs/s", start)
}

/// Bytes of a queued message of 8 bytes, from `n` sent to a process that handles its first one for ever.
pub(crate) fn mailbox_mem(runtime: &Runtime, n: u64) -> Outcome {
    let (latch, is_stuck) = Latch::new(1);
    let stuck = runtime.build().mailbox(Mailbox::unbounded()).spawn(async move |mut ctx: Context<u64>| {
        ctx.recv().await;
        latch.hit();
        std::future::pending::<()>().await;
        ctx.recv().await;
    });
    let stuck = stuck.expect("a process");
    stuck.send(0).expect("it lives");
    is_stuck.wait();
    let sent = begin(runtime, async move |mut ctx: Context<()>| {
        let (before, start) = (resident_bytes(), now());
        for i in 0..n {
            stuck.send(i).expect("the mailbox takes all");
            if i % YIELD_EVERY == 0 {
                ctx.yield_now().await;
            }
        }
        let wall_seconds = start.elapsed().as_secs_f64();
        let value = resident_bytes().saturating_sub(before) as f64 / n as f64;
        let extras = vec![("enqueue_per_s", n as f64 / wall_seconds)];
        Outcome { value, unit: "bytes/queued msg", n, wall_seconds, extras }
    });
    sent.wait()
}
