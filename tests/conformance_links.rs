//! Driver: links, as OTP has them: scenarios S-001 to S-012, and more of their kind.
mod workers;

use colloquium::{Address, Context, ExitReason, Handle, Pid, ReplyTo, Runtime};
use std::time::Duration;
use workers::{Dice, Msg, Probe, Seen, corpse, mortal, on_each_size, on_threads, races, some_of, watcher};

const BIG: usize = 128 * 1024;

#[test]
fn s_001_a_dead_peer_ends_the_linked() {
    on_each_size(async |runtime| {
        let (p, witness, q) = (Probe::new(&runtime), Probe::trapping(&runtime), mortal(&runtime));
        p.link(q.clone());
        witness.link(p.clone());
        assert_eq!(p.links(), [q.pid(), witness.pid()]);
        assert_eq!(runtime.info(q.pid()).expect("it lives").links, [p.pid()]);
        let reason = ExitReason::error("r");
        q.send(reason.clone()).expect("it lives");
        assert_eq!((q.ended().await, p.ended().await), (reason.clone(), reason.clone()));
        let exit = witness.trapped();
        assert_eq!((exit.from, exit.reason, exit.by_link), (Some(p.pid()), reason, true));
        assert_eq!(witness.links(), []);
    });
}

#[test]
fn s_002_either_side_unlinks_for_both() {
    on_each_size(async |runtime| {
        for by_p in [true, false] {
            let (p, q) = (Probe::new(&runtime), Probe::new(&runtime));
            p.link(q.clone());
            assert_eq!((p.links(), q.links()), (vec![q.pid()], vec![p.pid()]));
            let (side, other) = if by_p { (&p, q.pid()) } else { (&q, p.pid()) };
            side.ask(move |ctx| ctx.unlink(other));
            assert_eq!((p.links(), q.links()), (vec![], vec![]));
            let watcher = watcher(&runtime, q.clone());
            q.exit(ExitReason::error("crash"));
            assert_eq!(watcher.down().reason, ExitReason::error("crash"));
            p.is_quiet();
        }
    });
}

#[test]
fn s_003_linked_twice_and_unlinked_once_is_not_linked() {
    on_each_size(async |runtime| {
        let (p, q) = (Probe::new(&runtime), Probe::new(&runtime));
        p.link(q.clone());
        p.link(q.pid());
        let p_address = p.clone();
        q.link(p_address);
        assert_eq!((p.links(), q.links()), (vec![q.pid()], vec![p.pid()]));
        let other = q.clone();
        p.ask(move |ctx| ctx.unlink(other));
        assert_eq!((p.links(), q.links()), (vec![], vec![]));
        let watcher = watcher(&runtime, q.clone());
        q.kill();
        assert_eq!(watcher.down().reason, ExitReason::Killed);
        p.is_quiet();
    });
}

#[test]
fn s_004_a_link_to_oneself_is_none() {
    on_each_size(async |runtime| {
        let p = Probe::named(&runtime, "self");
        p.ask(|ctx| {
            ctx.link(ctx.pid());
            ctx.link(ctx.address());
            ctx.link("self");
        });
        assert_eq!(p.links(), []);
        p.ask(|ctx| ctx.unlink(ctx.pid()));
        p.is_quiet();
        p.exit_after(Duration::ZERO, ExitReason::error("own"));
        assert_eq!(p.ended().await, ExitReason::error("own"));
    });
}

#[test]
fn s_005_a_link_to_the_long_dead_gives_noproc() {
    on_each_size(async |runtime| {
        for reason in [ExitReason::error("its own"), ExitReason::Normal, ExitReason::Killed] {
            let dead = corpse(&runtime, reason).await;
            for by_pid in [true, false] {
                let (trapping, other) = (Probe::trapping(&runtime), Probe::new(&runtime));
                for probe in [&trapping, &other] {
                    let dead = dead.clone();
                    probe.tell(move |ctx| if by_pid { ctx.link(dead.pid()) } else { ctx.link(dead) });
                }
                let exit = trapping.trapped();
                assert_eq!((exit.from, exit.reason, exit.by_link), (Some(dead.pid()), ExitReason::NoProcess, true));
                trapping.is_quiet();
                assert_eq!(trapping.links(), []);
                assert_eq!(other.ended().await, ExitReason::NoProcess);
            }
        }
    });
}

/// What a probe gets of a peer that is killed just before `act` is done, which also empties the mailbox: shown before
/// that, taken out by it, and shown later, when the peer has told everybody.
fn race_the_dying(
    runtime: &Handle,
    (p, watcher): &(Probe, Probe),
    act: impl FnOnce(&mut Context<Msg>, Address<ExitReason>) + Send + 'static,
) -> (Pid, Vec<Seen>, Vec<Seen>) {
    let q = mortal(runtime);
    p.link(q.clone());
    watcher.monitor(q.clone());
    let peer = q.clone();
    q.kill();
    let drained = p.ask(move |ctx| {
        act(ctx, peer);
        std::iter::from_fn(|| ctx.try_recv()).map(Msg::into_seen).collect::<Vec<_>>()
    });
    let mut early = p.shown();
    early.extend(drained);
    watcher.down();
    p.ask(|_| ());
    (q.pid(), early, p.shown())
}

fn no_exit_after_unlink(runtime: &Runtime, by_pid: bool) {
    let probes = (Probe::trapping(runtime), Probe::new(runtime));
    for _ in 0..races() {
        let unlink = move |ctx: &mut Context<Msg>, peer: Address<ExitReason>| {
            if by_pid { ctx.unlink(peer.pid()) } else { ctx.unlink(peer) }
        };
        let (_, early, late) = race_the_dying(runtime, &probes, unlink);
        assert!(early.len() <= 1, "{early:?}");
        assert_eq!(late, [], "after unlink and drain");
    }
}

#[test]
fn s_006_no_exit_comes_after_unlink_and_drain() {
    on_each_size(async |runtime| no_exit_after_unlink(&runtime, false));
}

#[test]
fn s_006_no_exit_comes_after_unlink_by_pid_and_drain() {
    on_each_size(async |runtime| no_exit_after_unlink(&runtime, true));
}

/// The old link's exit must not count for the new link, which finds the peer dead or dying.
#[test]
fn s_006_a_link_made_anew_to_the_dying_gives_noproc_once() {
    on_each_size(async |runtime| {
        let probes = (Probe::trapping(&runtime), Probe::new(&runtime));
        for round in 0..races() {
            let relink = move |ctx: &mut Context<Msg>, peer: Address<ExitReason>| {
                ctx.unlink(peer.clone());
                let old = std::iter::from_fn(|| ctx.try_recv()).count();
                assert!(old <= 1);
                if round % 2 == 0 { ctx.link(peer.pid()) } else { ctx.link(peer) }
            };
            let (pid, early, late) = race_the_dying(&runtime, &probes, relink);
            let noproc = |seen: &Seen| matches!(seen, Seen::Exit(exit) if exit.from == Some(pid) && exit.reason == ExitReason::NoProcess);
            assert_eq!(early.iter().filter(|seen| noproc(seen)).count(), 1, "{early:?}");
            assert_eq!(late, []);
            assert_eq!(probes.0.links(), []);
        }
    });
}

/// Links and unlinks at random, each turn handed to the other side now and then.
async fn link_at_random(mut ctx: Context<Pairing>) {
    ctx.trap_exits(|exit| Pairing::Exit(exit.reason));
    let mut exits = Vec::new();
    loop {
        match ctx.recv().await {
            Pairing::Play(peer, seed) => {
                let mut dice = Dice::new(seed);
                for _ in 0..100 {
                    if dice.below(2) == 0 {
                        ctx.link(&peer);
                    } else {
                        ctx.unlink(&peer);
                    }
                    if dice.below(4) == 0 {
                        ctx.yield_now().await;
                    }
                }
            }
            Pairing::Exit(reason) => exits.push(reason),
            Pairing::Tell(reply_to) => drop(reply_to.send(std::mem::take(&mut exits))),
        }
    }
}

enum Pairing {
    Play(Address<Pairing>, u64),
    Exit(ExitReason),
    Tell(ReplyTo<Vec<ExitReason>>),
}

#[test]
fn s_008_random_links_and_unlinks_from_both_sides_agree_in_the_end() {
    on_each_size(async |runtime| {
        for round in 0..5_u64 {
            let player = || runtime.spawn(link_at_random).expect("room");
            let pairs: Vec<_> = (0..some_of(100)).map(|_| (player(), player())).collect();
            for (i, (a, b)) in (0_u64..).zip(&pairs) {
                a.send(Pairing::Play(b.clone(), 1000 * round + i)).expect("it lives");
                b.send(Pairing::Play(a.clone(), 7777 * round + 31 * i + 5)).expect("it lives");
            }
            let mut linked = 0;
            for (a, b) in &pairs {
                for player in [a, b] {
                    assert_eq!(player.call(Pairing::Tell).no_timeout().await.expect("an answer"), []);
                }
                let links = |of: &Address<Pairing>| runtime.info(of.pid()).expect("it lives").links;
                let agreed = links(a) == [b.pid()];
                assert_eq!(
                    (links(a), links(b)),
                    if agreed { (vec![b.pid()], vec![a.pid()]) } else { (vec![], vec![]) }
                );
                linked += usize::from(agreed);
                let watcher = watcher(&runtime, a.clone());
                a.exit(ExitReason::Kill);
                assert_eq!(watcher.down().reason, ExitReason::Killed);
                let told = b.call(Pairing::Tell).no_timeout().await.expect("an answer");
                assert_eq!(told, vec![ExitReason::Killed; usize::from(agreed)]);
                b.kill();
            }
            assert!((1..100).contains(&linked), "both outcomes are reached: {linked} of 100");
        }
    });
}

/// One link against one unlink, and two links, at the same moment; then one of the two dies.
#[test]
fn link_and_unlink_at_the_same_moment_settle_to_one_view() {
    on_each_size(async |runtime| {
        for round in 0..races() {
            let (a, b) = (Probe::trapping(&runtime), Probe::trapping(&runtime));
            if round % 3 == 0 {
                a.link(b.clone());
            }
            let (to_b, to_a) = (b.clone(), a.clone());
            a.tell(move |ctx| ctx.link(to_b));
            b.tell(move |ctx| if round % 2 == 0 { ctx.link(to_a) } else { ctx.unlink(to_a) });
            a.is_quiet();
            b.is_quiet();
            let linked = a.links() == [b.pid()];
            assert_eq!(b.links() == [a.pid()], linked);
            assert!(linked || round % 2 == 1, "two links make one");
            let watcher = watcher(&runtime, a.clone());
            a.kill();
            watcher.down();
            if linked {
                assert_eq!(b.trapped().from, Some(a.pid()));
            }
            b.is_quiet();
        }
    });
}

/// A chain of so many processes, each linked to the one before; the last is returned, and a watcher of the first.
fn chain(runtime: &Handle, length: usize) -> (Address<ExitReason>, Probe) {
    let mut last = mortal(runtime);
    let watcher = watcher(runtime, last.clone());
    for _ in 1..length {
        let body = async |mut ctx: Context<ExitReason>| ctx.recv().await;
        last = runtime.build().link_to(&last).spawn(body).expect("room for a process");
    }
    (last, watcher)
}

#[test]
fn s_010_kill_becomes_killed_along_a_chain_and_stays_kill_if_it_was_the_reason() {
    on_each_size(async |runtime| {
        for length in [1, 2, 9, 10] {
            let (last, watcher) = chain(&runtime, length);
            last.exit(ExitReason::Kill);
            assert_eq!(watcher.down().reason, ExitReason::Killed);
            let (last, watcher) = chain(&runtime, length);
            last.send(ExitReason::Kill).expect("it lives");
            assert_eq!(watcher.down().reason, ExitReason::Kill);
        }
    });
}

#[test]
fn s_011_a_peer_that_ends_normally_is_only_forgotten() {
    on_each_size(async |runtime| {
        let (p, q) = (Probe::new(&runtime), mortal(&runtime));
        p.link(q.clone());
        let watcher = watcher(&runtime, q.clone());
        q.send(ExitReason::Normal).expect("it lives");
        assert_eq!(watcher.down().reason, ExitReason::Normal);
        assert_eq!(p.links(), []);
        p.is_quiet();
    });
}

#[test]
fn s_012_a_large_reason_arrives_whole() {
    on_each_size(async |runtime| {
        let large = "r".repeat(BIG);
        let reason = ExitReason::error(large.clone());
        let (last, watcher) = chain(&runtime, 3);
        let trapping = Probe::trapping(&runtime);
        trapping.link(last.clone());
        last.send(reason).expect("it lives");
        for reason in [trapping.trapped().reason, watcher.down().reason] {
            let ExitReason::Error(cause) = reason else { panic!("{reason:?}") };
            assert_eq!(cause.to_string(), large);
        }
    });
}

/// Unlinks its peer when it is dropped: in the midst of its process's end.
struct Unlinks(Context<()>, Pid);

impl Drop for Unlinks {
    fn drop(&mut self) {
        self.0.unlink(self.1);
    }
}

#[test]
fn a_process_whose_end_is_certain_keeps_its_links() {
    on_each_size(async |runtime| {
        let p = Probe::trapping(&runtime);
        let peer = p.pid();
        let q = runtime.spawn(async move |ctx: Context<()>| {
            let mut unlinks = Unlinks(ctx, peer);
            unlinks.0.recv().await;
        });
        let q = q.expect("room for one");
        p.link(q.clone());
        q.exit(ExitReason::error("r"));
        let exit = p.trapped();
        assert_eq!((exit.from, exit.reason), (Some(q.pid()), ExitReason::error("r")));
        p.is_quiet();
    });
}

#[test]
fn a_linked_process_that_traps_no_exits_is_ended_here_and_now() {
    // In a simulation, where signals may be held back, nothing is certain.
    on_threads(async |runtime| {
        let p = Probe::trapping(&runtime);
        let end = |q: Address<Msg>, reason: ExitReason| p.ask(move |ctx| ctx.end_linked(&q, reason));
        let linked = || {
            let q = Probe::new(&runtime);
            p.link(q.clone());
            q
        };
        for (reason, expected) in [(ExitReason::Shutdown, ExitReason::Shutdown), (ExitReason::Kill, ExitReason::Killed)]
        {
            let q = linked();
            assert!(end(q.clone(), reason));
            let exit = p.trapped();
            assert_eq!((exit.from, exit.reason, exit.by_link), (Some(q.pid()), expected.clone(), true));
            assert_eq!(q.ended().await, expected);
            assert!(!end(q.clone(), ExitReason::Kill), "it is gone");
        }
        let normal = linked();
        assert!(
            !end(normal.clone(), ExitReason::Normal) && runtime.is_alive(normal.pid()),
            "a normal exit ends nobody"
        );
        let stranger = Probe::new(&runtime);
        assert!(!end(stranger.clone(), ExitReason::Kill) && runtime.is_alive(stranger.pid()), "it is not linked");
        let traps = Probe::trapping(&runtime);
        p.link(traps.clone());
        assert!(!end(traps.clone(), ExitReason::Shutdown));
        traps.is_quiet();
        assert!(end(traps.clone(), ExitReason::Kill));
        assert_eq!(p.trapped().reason, ExitReason::Killed);
        p.is_quiet();
    });
}
