//! Driver: each form of a process's body that we teach compiles, and ends with the reason that it stands for.
mod workers;

use colloquium::{Address, Context, ExitReason};
use std::convert::Infallible;
use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use workers::{arrival, on_each_size};

type AnyError = Box<dyn Error + Send + Sync>;

async fn spawned_and_sent<M: Send + 'static>(process: Address<M>, message: M) -> ExitReason {
    process.send(message).expect("it lives");
    process.ended().await
}

#[test]
fn an_async_closure_that_returns_a_result() {
    on_each_size(async |runtime| {
        let parse = async move |mut ctx: Context<&'static str>| -> Result<(), std::num::ParseIntError> {
            let number: u32 = ctx.recv().await.parse()?;
            assert_eq!(number, 7);
            Ok(())
        };
        assert_eq!(spawned_and_sent(runtime.spawn(parse).expect("room"), "7").await, ExitReason::Normal);
        let reason = spawned_and_sent(runtime.spawn(parse).expect("room"), "seven").await;
        let ExitReason::Error(cause) = &reason else { panic!("{reason:?}") };
        assert!(cause.downcast_ref::<std::num::ParseIntError>().is_some(), "the error as it was");
    });
}

/// A body with arguments of its own, as most are.
async fn with_arguments(mut ctx: Context<u64>, offset: u64, show: Sender<u64>) -> Result<(), AnyError> {
    let number = ctx.recv().await;
    show.send(number + offset)?;
    Err("done".into())
}

#[test]
fn an_async_function_with_arguments() {
    on_each_size(async |runtime| {
        let (show, shown) = channel();
        let process = runtime.spawn(move |ctx| with_arguments(ctx, 30, show)).expect("room");
        assert_eq!(spawned_and_sent(process, 12).await, ExitReason::error("done"));
        assert_eq!(arrival(&shown), 42);
    });
}

async fn without_arguments(mut ctx: Context<u64>) {
    ctx.recv().await;
}

#[test]
fn an_async_function_by_its_name() {
    on_each_size(async |runtime| {
        let process = runtime.spawn(without_arguments).expect("room");
        assert_eq!(spawned_and_sent(process, 1).await, ExitReason::Normal);
    });
}

async fn for_ever(mut ctx: Context<Sender<u64>>) -> ! {
    loop {
        ctx.recv().await.send(1).expect("somebody waits");
    }
}

async fn for_ever_with(mut ctx: Context<Sender<u64>>, answer: u64) -> ! {
    loop {
        ctx.recv().await.send(answer).expect("somebody waits");
    }
}

#[test]
fn bodies_that_never_end() {
    on_each_size(async |runtime| {
        let function = runtime.spawn(for_ever).expect("room");
        let wrapped = runtime.spawn(move |ctx| for_ever_with(ctx, 1)).expect("room");
        let closure = runtime
            .spawn(async |mut ctx: Context<Sender<u64>>| {
                loop {
                    ctx.recv().await.send(1).expect("somebody waits");
                }
            })
            .expect("room");
        let block = runtime
            .spawn(|mut ctx: Context<Sender<u64>>| async move {
                loop {
                    ctx.recv().await.send(1).expect("somebody waits");
                }
            })
            .expect("room");
        let annotated = runtime
            .spawn(async |mut ctx: Context<Sender<u64>>| -> Infallible {
                loop {
                    ctx.recv().await.send(1).expect("somebody waits");
                }
            })
            .expect("room");
        for process in [function, wrapped, closure, block, annotated] {
            let (show, shown) = channel();
            process.send(show).expect("it lives");
            assert_eq!(arrival(&shown), 1);
            process.exit(ExitReason::Shutdown);
            assert_eq!(process.ended().await, ExitReason::Shutdown);
        }
    });
}

#[test]
fn a_result_of_what_never_is() {
    on_each_size(async |runtime| {
        let body = async |mut ctx: Context<u64>| -> Result<Infallible, AnyError> {
            loop {
                if ctx.recv().await == 0 {
                    return Err("zero".into());
                }
            }
        };
        assert_eq!(spawned_and_sent(runtime.spawn(body).expect("room"), 0).await, ExitReason::error("zero"));
    });
}

#[test]
fn bodies_that_return_a_reason() {
    on_each_size(async |runtime| {
        let body = async |mut ctx: Context<ExitReason>| -> ExitReason { ctx.recv().await };
        let own = async |mut ctx: Context<ExitReason>| -> Result<ExitReason, AnyError> { Ok(ctx.recv().await) };
        let handed_on = async |mut ctx: Context<ExitReason>| -> Result<(), AnyError> { Err(ctx.recv().await.into()) };
        let as_error = async |mut ctx: Context<ExitReason>| -> Result<(), ExitReason> { Err(ctx.recv().await) };
        let question_mark = async |mut ctx: Context<ExitReason>| -> Result<(), AnyError> {
            let failed: Result<(), ExitReason> = Err(ctx.recv().await);
            failed?;
            Ok(())
        };
        for reason in [ExitReason::Shutdown, ExitReason::Kill, ExitReason::error("e"), ExitReason::shutdown_with("s")] {
            let processes = [
                runtime.spawn(body).expect("room"),
                runtime.spawn(own).expect("room"),
                runtime.spawn(handed_on).expect("room"),
                runtime.spawn(as_error).expect("room"),
                runtime.spawn(question_mark).expect("room"),
            ];
            for process in processes {
                assert_eq!(spawned_and_sent(process, reason.clone()).await, reason);
            }
        }
    });
}

#[test]
fn bodies_whose_error_is_a_text() {
    on_each_size(async |runtime| {
        let text = runtime.spawn(async |_: Context<()>| -> Result<(), &'static str> { Err("text") }).expect("room");
        assert_eq!(text.ended().await, ExitReason::error("text"));
        let string = runtime.spawn(async |_: Context<()>| -> Result<(), String> { Err("owned".to_owned()) });
        assert_eq!(string.expect("room").ended().await, ExitReason::error("owned"));
    });
}

/// The same forms by each verb that spawns.
#[test]
fn each_way_to_spawn_takes_each_form() {
    on_each_size(async |runtime| {
        let parent = async |mut ctx: Context<()>| -> Result<(), AnyError> {
            let linked = ctx.spawn_link(for_ever)?;
            let (monitored, reference) = ctx.spawn_monitor(|child| with_arguments(child, 1, channel().0), |_| ())?;
            let plain = ctx.spawn(async |_: Context<()>| -> Result<(), &str> { Ok(()) })?;
            let built = ctx.build().label("built").link().spawn(without_arguments)?;
            let scoped = ctx.build().spawn_scoped(for_ever)?;
            assert!(ctx.demonitor(reference));
            assert_eq!(plain.ended().await, ExitReason::Normal);
            ctx.unlink(&built);
            drop(scoped);
            monitored.kill();
            ctx.unlink(&linked);
            linked.kill();
            built.kill();
            Ok(())
        };
        assert_eq!(runtime.spawn(parent).expect("room").ended().await, ExitReason::Normal);
    });
}

/// One that the task cell holds in a box of its own.
#[test]
fn a_body_with_a_large_state() {
    on_each_size(async |runtime| {
        let body = async |mut ctx: Context<usize>| -> ExitReason {
            let state = [7_u8; 100_000];
            let at = ctx.recv().await;
            ExitReason::error(state[at].to_string())
        };
        assert_eq!(spawned_and_sent(runtime.spawn(body).expect("room"), 99_999).await, ExitReason::error("7"));
    });
}
