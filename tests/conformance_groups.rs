//! S-086 to S-089 of `conformance/otp.md`, and more of their kind: process groups.

mod bounded;
mod workers;

use bounded::{as_process, until, within};
use colloquium::{Address, Context, Down, ExitReason, GroupChange, GroupEvent, Handle, NotJoined, Pid, ProcessEnded};
use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use workers::on_each_size;

/// What a member of a group is told to do.
enum Order {
    Join(&'static str),
    Leave(&'static str),
    End,
}

async fn member(mut ctx: Context<Order>) {
    loop {
        match ctx.recv().await {
            Order::Join(group) => ctx.join(group).expect("alive"),
            Order::Leave(group) => ctx.leave(group).expect("a member"),
            Order::End => return,
        }
    }
}

fn members(runtime: &Handle, count: usize) -> Vec<Address<Order>> {
    (0..count).map(|_| runtime.spawn(member).expect("a process")).collect()
}

async fn order(runtime: &Handle, member: &Address<Order>, order: Order) {
    member.send(order).expect("it lives");
    // Received, and the next receive begun: the order has been carried out.
    until(|| {
        let info = runtime.info(member.pid()).expect("it lives");
        info.mailbox == 0 && matches!(info.activity, colloquium::Activity::Receiving(_))
    })
    .await;
}

#[test]
fn s_086_joined_thrice_and_left_twice_once_is_left() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<()>| {
            let (runtime, own) = (ctx.runtime(), ctx.address());
            assert_eq!(ctx.leave("group"), Err(NotJoined), "an unknown group");
            assert!(runtime.member_pids("group").is_empty() && runtime.groups().is_empty());
            for times in 1..=3 {
                assert_eq!(ctx.join("group"), Ok(()));
                assert_eq!(runtime.members("group"), vec![own.clone(); times]);
            }
            ctx.join("other").expect("alive");
            assert_eq!(runtime.groups(), ["group".into(), "other".into()]);
            for left in (0..3).rev() {
                assert_eq!(ctx.leave("group"), Ok(()));
                assert_eq!(runtime.member_pids("group"), vec![own.pid(); left]);
            }
            assert_eq!(ctx.leave("group"), Err(NotJoined));
            assert_eq!(runtime.groups(), ["other".into()], "an empty group is none");
            assert!(runtime.members::<u32>("other").is_empty(), "of another type");
        })
        .await;
        assert!(runtime.groups().is_empty());
    });
}

#[test]
fn s_086_a_stranger_cannot_leave_and_members_stand_in_the_order_of_joining() {
    on_each_size(async |runtime| {
        let members = members(&runtime, 3);
        for index in [2, 0, 1, 0] {
            order(&runtime, &members[index], Order::Join("group")).await;
        }
        let in_order = |indices: &[usize]| indices.iter().map(|at| members[*at].pid()).collect::<Vec<Pid>>();
        assert_eq!(runtime.member_pids("group"), in_order(&[2, 0, 1, 0]));
        as_process(&runtime, async |mut ctx: Context<()>| assert_eq!(ctx.leave("group"), Err(NotJoined))).await;
        order(&runtime, &members[2], Order::Leave("group")).await;
        assert_eq!(runtime.member_pids("group"), in_order(&[0, 1, 0]));
    });
}

#[test]
fn s_087_whoever_is_told_of_a_members_end_finds_none_of_its_places() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<Down>| {
            for round in 0..100 {
                let (tell, told) = channel();
                let body = async move |mut ctx: Context<()>| {
                    (0..3).for_each(|_| ctx.join("group").expect("alive"));
                    ctx.join(format!("group {round}")).expect("alive");
                    tell.send(()).expect("the test waits");
                    ctx.recv().await;
                };
                let (child, _) = ctx.spawn_monitor(body, |down| down).expect("a child");
                let mut told = told;
                bounded::next(&mut told).await;
                let runtime = ctx.runtime();
                assert_eq!(runtime.member_pids("group"), vec![child.pid(); 3]);
                if round % 2 == 0 {
                    child.kill();
                    assert!(runtime.member_pids("group").is_empty(), "a doomed member counts as none");
                } else {
                    child.send(()).expect("it lives");
                }
                assert_eq!(within(ctx.recv()).await.pid, Some(child.pid()));
                assert!(runtime.member_pids("group").is_empty() && runtime.groups().is_empty());
            }
        })
        .await;
    });
}

#[test]
fn s_087_a_doomed_process_joins_no_group() {
    on_each_size(async |runtime| {
        let (tell, told) = channel();
        let process = runtime.spawn(async move |mut ctx: Context<()>| {
            ctx.address().kill();
            tell.send(ctx.join("group")).expect("the test waits");
        });
        within(process.expect("a process").ended()).await;
        assert_eq!(bounded::came(&told), Err(ProcessEnded));
        assert!(runtime.groups().is_empty());
    });
}

/// What the subscriber gets: events, and the word to stop.
enum Told {
    Event(GroupEvent),
    Stop,
}

/// How often each pid is in the group, by the snapshot and the events after it.
fn replay(members: &mut BTreeMap<Pid, usize>, event: &GroupEvent) {
    let times = members.entry(event.pid).or_default();
    match event.change {
        GroupChange::Joined => *times += 1,
        GroupChange::Left => *times = times.checked_sub(1).expect("left more often than joined"),
    }
    members.retain(|_, times| *times > 0);
}

fn counted(pids: &[Pid]) -> BTreeMap<Pid, usize> {
    let mut members = BTreeMap::new();
    pids.iter().for_each(|pid| *members.entry(*pid).or_default() += 1);
    members
}

/// Joins and leaves in an order that `dice` throws, then ends, or stays in the group.
async fn restless(mut ctx: Context<()>, mut dice: workers::Dice) {
    let mut joined = 0;
    for _ in 0..60 {
        if joined > 0 && dice.below(2) == 0 {
            ctx.leave("group").expect("a member");
            joined -= 1;
        } else {
            ctx.join("group").expect("alive");
            joined += 1;
        }
        if dice.below(4) == 0 {
            ctx.yield_now().await;
        }
    }
    if dice.below(2) == 0 {
        ctx.recv().await;
    }
}

async fn subscriber(mut ctx: Context<Told>, show: std::sync::mpsc::Sender<BTreeMap<Pid, usize>>, begin_after: usize) {
    for _ in 0..begin_after {
        ctx.yield_now().await;
    }
    let view = ctx.monitor_group("group", Told::Event);
    let mut members = counted(&view.members);
    while let Told::Event(event) = ctx.recv().await {
        assert_eq!(&*event.group, "group");
        replay(&mut members, &event);
    }
    // What was said before the word to stop stands before it; nothing is said after it.
    show.send(members).expect("the test waits");
}

#[test]
fn s_089_the_snapshot_and_the_events_after_it_make_the_group_as_it_is() {
    const SUBSCRIBERS: usize = 6;
    on_each_size(async |runtime| {
        for round in 0..workers::some_of(10) as u64 {
            let (show, shown) = channel();
            let restless: Vec<_> = (0..8)
                .map(|which| workers::Dice::new(round * 100 + which + 1))
                .map(|dice| runtime.spawn(move |ctx| restless(ctx, dice)).expect("a process"))
                .collect();
            let subscribers: Vec<_> = (0..SUBSCRIBERS)
                .map(|which| (show.clone(), which * 5))
                .map(|(show, after)| runtime.spawn(move |ctx| subscriber(ctx, show, after)).expect("a process"))
                .collect();
            let settled = |process: &Address<()>| match runtime.info(process.pid()) {
                Some(info) => matches!(info.activity, colloquium::Activity::Receiving(_)),
                None => runtime.member_pids("group").iter().all(|pid| *pid != process.pid()),
            };
            until(|| restless.iter().all(settled)).await;
            for process in restless.iter().filter(|process| !process.is_alive()) {
                within(process.ended()).await;
            }
            let listening = |to: &Address<Told>| {
                runtime.info(to.pid()).is_some_and(|info| matches!(info.activity, colloquium::Activity::Receiving(_)))
            };
            until(|| subscribers.iter().all(listening)).await;
            let expected = counted(&runtime.member_pids("group"));
            subscribers.iter().for_each(|to| to.send(Told::Stop).expect("it lives"));
            for process in subscribers {
                assert_eq!(within(process.ended()).await, ExitReason::Normal);
                assert_eq!(bounded::came(&shown), expected);
            }
            restless.iter().for_each(Address::kill);
            until(|| runtime.processes().is_empty() && runtime.groups().is_empty()).await;
        }
    });
}

#[test]
fn s_089_a_members_end_is_told_once_for_each_time_it_had_joined() {
    on_each_size(async |runtime| {
        let members = members(&runtime, 2);
        order(&runtime, &members[0], Order::Join("group")).await;
        let pids: Vec<Pid> = members.iter().map(Address::pid).collect();
        let (first, second) = (members[0].clone(), members[1].clone());
        as_process(&runtime, async move |mut ctx: Context<GroupEvent>| {
            let handle = ctx.runtime();
            assert_eq!(ctx.monitor_group("group", |event| event).members, [pids[0]]);
            order(&handle, &second, Order::Join("group")).await;
            order(&handle, &second, Order::Join("elsewhere")).await;
            order(&handle, &second, Order::Join("group")).await;
            second.send(Order::End).expect("it lives");
            within(second.ended()).await;
            first.kill();
            within(first.ended()).await;
            let mut changes = Vec::new();
            while changes.len() < 5 {
                let event = within(ctx.recv()).await;
                changes.push((event.pid, event.change));
            }
            let (joined, left) = (GroupChange::Joined, GroupChange::Left);
            let [a, b] = [pids[0], pids[1]];
            assert_eq!(changes, [(b, joined), (b, joined), (b, left), (b, left), (a, left)]);
            assert_eq!(ctx.try_recv(), None);
        })
        .await;
    });
}

#[test]
fn s_089_the_end_of_a_subscription_flushes_what_was_said() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<(&'static str, GroupChange)>| {
            assert!(!ctx.demonitor_group("group"));
            ctx.monitor_group("group", |event| ("first", event.change));
            ctx.monitor_group("other", |event| ("other", event.change));
            ctx.join("group").expect("alive");
            ctx.join("other").expect("alive");
            assert_eq!(ctx.recv().await, ("first", GroupChange::Joined));
            ctx.leave("group").expect("a member");
            ctx.join("group").expect("alive");
            assert!(ctx.demonitor_group("group") && !ctx.demonitor_group("group"));
            ctx.join("group").expect("alive");
            // Anew, with another mapping: nothing that was said to the first comes.
            assert_eq!(ctx.monitor_group("group", |event| ("second", event.change)).members.len(), 2);
            ctx.leave("group").expect("a member");
            let left: Vec<_> = std::iter::from_fn(|| ctx.try_recv()).collect();
            assert_eq!(left, [("other", GroupChange::Joined), ("second", GroupChange::Left)]);
        })
        .await;
    });
}

#[test]
fn s_089_a_dead_subscriber_is_forgotten_and_a_second_subscription_doubles_nothing() {
    on_each_size(async |runtime| {
        as_process(&runtime, async |mut ctx: Context<u8>| {
            ctx.monitor_group("group", |_| 1);
            ctx.monitor_group("group", |_| 2);
            ctx.join("group").expect("alive");
            assert_eq!((ctx.try_recv(), ctx.try_recv()), (Some(2), None));
        })
        .await;
        // Who subscribes to an empty group makes no group of it.
        as_process(&runtime, async |mut ctx: Context<u8>| {
            assert!(ctx.monitor_group("group", |_| 1).members.is_empty());
            assert!(ctx.runtime().groups().is_empty());
        })
        .await;
        as_process(&runtime, async |mut ctx: Context<u8>| ctx.join("group").expect("alive")).await;
        assert!(runtime.groups().is_empty() && runtime.processes().is_empty());
    });
}
