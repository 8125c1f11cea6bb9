//! Sockets used from processes and from plain threads.
#![cfg(unix)]

mod bounded;
mod workers;

use bounded::{as_process, next, poll_once, until, within};
use colloquium::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use colloquium::{Address, Context, ExitReason, Handle, Runtime, Whereabouts};
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use workers::{Dice, LONG, on_threads};

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// Sends back whatever comes, until the end.
async fn echo(stream: TcpStream) {
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

/// A process that listens and has a process for each connection.
fn echo_server(runtime: &Handle) -> (Address<()>, SocketAddr) {
    let listener = TcpListener::bind(runtime, anywhere()).expect("a free port");
    let at = listener.local_addr().expect("it has one");
    let server = runtime.spawn(async move |mut ctx: Context<()>| {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let each = ctx.build().label("server").spawn(async move |_: Context<()>| echo(stream).await);
            each.expect("a process");
        }
    });
    (server.expect("a process"), at)
}

/// Two that are connected over TCP.
async fn connected(runtime: &Handle) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(runtime, anywhere()).expect("a free port");
    let near = TcpStream::connect(runtime, listener.local_addr().expect("it has one"));
    let near = within(near).await.expect("it listens");
    let (far, peer) = within(listener.accept()).await.expect("one has connected");
    assert_eq!((peer, far.peer_addr().ok()), (near.local_addr().expect("connected"), near.local_addr().ok()));
    (near, far)
}

#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux tells it").count()
}

/// What the system allows; what this program may open without others in it running short.
#[cfg(target_os = "linux")]
fn connections_wanted() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux tells it");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line of that name");
    let soft = line.split_whitespace().nth(3).and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
    // Two descriptors for a connection, as both ends are here, and as much again for the other tests.
    1000.min(soft / 4)
}

/// The program's own tests share descriptors, so that this one counts in a program of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_thousand_connections_echo_under_load_and_kill_and_leave_no_descriptor() {
    const COUNTED: &str = "COLLOQUIUM_COUNTS_DESCRIPTORS";
    if std::env::var_os(COUNTED).is_none() {
        let own = std::env::current_exe().expect("a program");
        let name = "a_thousand_connections_echo_under_load_and_kill_and_leave_no_descriptor";
        let run = std::process::Command::new(own).args(["--exact", name, "--nocapture"]).env(COUNTED, "1").output();
        let run = run.expect("it runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        return;
    }
    let runtime = Runtime::builder().workers(2).build().expect("a runtime");
    let clock = Runtime::builder().workers(1).build().expect("a runtime");
    clock.block_on(within(async {
        // The poller has descriptors of its own, which stay.
        drop(TcpListener::bind(&runtime, anywhere()).expect("a free port"));
        let base = descriptors();
        let (server, at) = echo_server(&runtime);
        let busy: Vec<Address<()>> = (0..4).map(|_| yielding(&runtime)).collect();
        let (open, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut clients: Vec<Address<()>> = Vec::new();
        // In waves, since the system lets 128 wait for a listener and makes further ones try again after seconds.
        while clients.len() < connections_wanted() {
            for _ in 0..64 {
                let (seed, open, done) = (clients.len() as u64, Arc::clone(&open), Arc::clone(&done));
                let client = runtime.spawn(async move |mut ctx: Context<()>| {
                    let stream = TcpStream::connect(&ctx.runtime(), at).await.expect("it listens");
                    talk(&stream, seed, 1).await;
                    open.fetch_add(1, Ordering::SeqCst);
                    ctx.recv().await;
                    talk(&stream, seed, 20).await;
                    done.fetch_add(1, Ordering::SeqCst);
                });
                clients.push(client.expect("a process"));
            }
            until(|| open.load(Ordering::SeqCst) == clients.len()).await;
        }
        assert!(descriptors() >= base + 2 * clients.len(), "all are open at once");
        clients.iter().for_each(|client| client.send(()).expect("it waits"));
        // Every third is killed, whatever it does at that moment.
        let mut dice = Dice::new(7);
        let doomed = clients.iter().enumerate().filter(|(number, _)| number % 3 == 0);
        for (_, client) in doomed {
            clock.sleep(Duration::from_micros(dice.below(300))).await;
            client.kill();
        }
        let mut normal = 0;
        for client in &clients {
            match client.ended().await {
                ExitReason::Normal => normal += 1,
                reason => assert_eq!(reason, ExitReason::Killed),
            }
        }
        assert!(normal >= clients.len() * 2 / 3 && normal == done.load(Ordering::SeqCst));
        busy.iter().for_each(Address::kill);
        server.kill();
        // The servers learn of their clients' ends by the sockets' being closed, and end themselves.
        until(|| runtime.runtime_info().processes == 0 && descriptors() == base).await;
        drop(server);
        runtime.shutdown(LONG).await.into_result().expect("nobody is wedged");
    }));
}

/// A process that is always busy and gives way now and then.
fn yielding(runtime: &Handle) -> Address<()> {
    let busy = runtime.spawn(async |mut ctx: Context<()>| {
        loop {
            (0..1000).for_each(|_| std::hint::spin_loop());
            ctx.yield_now().await;
        }
    });
    busy.expect("a process")
}

/// Sends messages of all lengths and has each back as it was.
async fn talk(stream: &TcpStream, seed: u64, rounds: usize) {
    let mut dice = Dice::new(seed);
    for _ in 0..rounds {
        let sent: Vec<u8> = (0..=dice.below(1500)).map(|_| dice.below(256) as u8).collect();
        stream.write_all(&sent).await.expect("it reads");
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).await.expect("it answers");
        assert!(sent == back);
    }
}

async fn client(runtime: &Handle, at: SocketAddr, seed: u64, rounds: usize) {
    let stream = TcpStream::connect(runtime, at).await.expect("it listens");
    talk(&stream, seed, rounds).await;
}

#[test]
fn a_half_that_is_closed_leaves_the_other_open() {
    on_threads(async |runtime| {
        let (near, far) = connected(&runtime).await;
        let server = runtime.spawn(async move |_: Context<()>| {
            let (mut all, mut buffer) = (Vec::new(), [0; 7]);
            loop {
                match far.read(&mut buffer).await.expect("it writes") {
                    0 => break,
                    read => all.extend_from_slice(&buffer[..read]),
                }
            }
            far.write_all(&all).await.expect("it reads still");
        });
        let server = server.expect("a process");
        within(async {
            near.write_all(b"what is to be said").await.expect("it reads");
            near.shutdown(Shutdown::Write).expect("open");
            assert_eq!(near.write(b"more").await.expect_err("closed").kind(), ErrorKind::BrokenPipe);
            let mut back = [0; 18];
            near.read_exact(&mut back).await.expect("it answers");
            assert_eq!(&back, b"what is to be said");
            assert_eq!(near.read(&mut back).await.expect("its end"), 0);
            assert_eq!(near.read(&mut back).await.expect("its end stays"), 0);
            assert_eq!(server.ended().await, ExitReason::Normal);
        })
        .await;
    });
}

#[test]
fn a_reset_is_an_error_and_wakes_who_waits() {
    on_threads(async |runtime| {
        let (near, far) = connected(&runtime).await;
        within(near.write_all(b"unread")).await.expect("room");
        let mut buffer = [0; 1];
        {
            let mut read = pin!(near.read(&mut buffer));
            assert!(poll_once(&mut read).await.is_pending());
            until(|| has_arrived(&far)).await;
            // Closed with something unread, which the system tells as a reset.
            drop(far);
            assert_eq!(within(read).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        }
        let error = within(near.write_all(b"more")).await.expect_err("reset");
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    });
}

fn has_arrived(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let mut peeked = pin!(stream.peek(&mut byte));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    peeked.as_mut().poll(&mut cx).is_ready()
}

#[test]
fn who_is_refused_learns_of_it() {
    on_threads(async |runtime| {
        let listener = TcpListener::bind(&runtime, anywhere()).expect("a free port");
        let at = listener.local_addr().expect("it has one");
        drop(listener);
        let error = within(TcpStream::connect(&runtime, at)).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = within(UnixStream::connect(&runtime, "/nonexistent/socket")).await.expect_err("nothing there");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_dropped_read_loses_no_byte() {
    on_threads(async |runtime| {
        let (near, far) = UnixStream::pair(&runtime).expect("a pair");
        let mut got = Vec::new();
        for number in 0..200u8 {
            let mut buffer = [0; 3];
            {
                let mut read = pin!(far.read(&mut buffer));
                assert!(poll_once(&mut read).await.is_pending());
            }
            within(near.write_all(&[number, number])).await.expect("room");
            while got.len() < 2 * (usize::from(number) + 1) {
                let read = within(far.read(&mut buffer)).await.expect("open");
                got.extend_from_slice(&buffer[..read]);
            }
        }
        assert!(got.chunks(2).zip(0..200).all(|(pair, number)| pair == [number, number]));
    });
}

/// Of two that wait to read the later has the earlier one's place, and keeps it when that one gives up.
#[test]
fn who_gives_up_waiting_leaves_the_place_to_the_one_who_took_it() {
    on_threads(async |runtime| {
        let (near, far) = UnixStream::pair(&runtime).expect("a pair");
        let far = Arc::new(far);
        let mut buffer = [0; 1];
        let mut given_up = Box::pin(far.read(&mut buffer));
        assert!(poll_once(&mut given_up).await.is_pending());
        let takes = Arc::clone(&far);
        let reader = runtime.spawn(async move |_: Context<()>| {
            assert_eq!(takes.read(&mut [0; 1]).await.expect("open"), 1);
        });
        let reader = reader.expect("a process");
        until(|| runtime.info(reader.pid()).is_some_and(|info| info.whereabouts == Whereabouts::Io)).await;
        drop(given_up);
        within(near.write_all(b"x")).await.expect("room");
        assert_eq!(within(reader.ended()).await, ExitReason::Normal);
    });
}

#[test]
fn a_dropped_write_has_written_nothing() {
    on_threads(async |runtime| {
        let (near, far) = UnixStream::pair(&runtime).expect("a pair");
        let mut written = 0;
        // Until the system takes no more; what that attempt would have written never comes.
        loop {
            let mut write = pin!(near.write(&[1; 1000]));
            match poll_once(&mut write).await {
                std::task::Poll::Ready(wrote) => written += wrote.expect("open"),
                std::task::Poll::Pending => break,
            }
        }
        near.shutdown(Shutdown::Write).expect("open");
        let (mut read, mut buffer) = (0, [0; 4096]);
        loop {
            match within(far.read(&mut buffer)).await.expect("open") {
                0 => break,
                some => read += some,
            }
        }
        assert_eq!(read, written);
    });
}

#[test]
fn a_dropped_accept_loses_no_connection_and_a_dropped_connect_leaves_none() {
    on_threads(async |runtime| {
        let listener = TcpListener::bind(&runtime, anywhere()).expect("a free port");
        let at = listener.local_addr().expect("it has one");
        {
            let mut accept = pin!(listener.accept());
            assert!(poll_once(&mut accept).await.is_pending());
        }
        {
            let mut connect = pin!(TcpStream::connect(&runtime, at));
            let _ = poll_once(&mut connect).await;
        }
        // The one that gave up may stand in the listener's queue; it is closed then.
        let client = within(TcpStream::connect(&runtime, at)).await.expect("it listens");
        let own = client.local_addr().expect("connected");
        loop {
            let (stream, peer) = within(listener.accept()).await.expect("a connection");
            if peer == own {
                break;
            }
            assert!(matches!(within(stream.read(&mut [0])).await, Ok(0) | Err(_)));
        }
    });
}

#[test]
fn a_killed_owner_closes_its_sockets() {
    on_threads(async |runtime| {
        let (near, far) = connected(&runtime).await;
        let (tell, mut told) = channel();
        let owner = runtime.spawn(async move |_: Context<()>| {
            tell.send(()).expect("the test waits");
            far.read(&mut [0]).await.expect("open");
        });
        next(&mut told).await;
        let owner = owner.expect("a process");
        owner.kill();
        assert_eq!(within(owner.ended()).await, ExitReason::Killed);
        assert_eq!(within(near.read(&mut [0])).await.expect("an orderly end"), 0);
    });
}

/// More than the system holds at once, in both directions at the same time, in pieces of any size: each edge is used.
#[test]
fn much_data_goes_through_in_both_directions() {
    const BYTES: usize = 2 << 20;
    async fn send(stream: &UnixStream, seed: u64) {
        let (mut dice, mut pieces, mut left) = (Dice::new(seed), Dice::new(seed + 1), BYTES);
        while left > 0 {
            let length = left.min(1 + pieces.below(100_000) as usize);
            let piece: Vec<u8> = (0..length).map(|_| dice.below(256) as u8).collect();
            stream.write_all(&piece).await.expect("it reads");
            left -= length;
        }
        stream.shutdown(Shutdown::Write).expect("open");
    }
    async fn check(stream: &UnixStream, seed: u64) {
        let (mut dice, mut pieces, mut got) = (Dice::new(seed), Dice::new(seed + 2), 0);
        let mut buffer = vec![0; 100_000];
        loop {
            let length = 1 + pieces.below(100_000) as usize;
            match stream.read(&mut buffer[..length]).await.expect("open") {
                0 => break,
                read => {
                    assert!(buffer[..read].iter().all(|byte| *byte == dice.below(256) as u8));
                    got += read;
                }
            }
        }
        assert_eq!(got, BYTES);
    }
    on_threads(async |runtime| {
        let (a, b) = UnixStream::pair(&runtime).map(|(a, b)| (Arc::new(a), Arc::new(b))).expect("a pair");
        let all = [(&a, true, 1), (&a, false, 2), (&b, true, 2), (&b, false, 1)].map(|(stream, sends, seed)| {
            let stream = Arc::clone(stream);
            let process = runtime.spawn(
                async move |_: Context<()>| {
                    if sends { send(&stream, seed).await } else { check(&stream, seed).await }
                },
            );
            process.expect("a process")
        });
        for process in all {
            assert_eq!(within(process.ended()).await, ExitReason::Normal);
        }
    });
}

#[test]
fn sockets_work_on_plain_threads_and_with_the_standard_librarys() {
    on_threads(async |runtime| {
        let (listener, handle) = (std::net::TcpListener::bind(anywhere()).expect("a free port"), runtime.handle());
        let at = listener.local_addr().expect("it has one");
        let listener = TcpListener::from_std(&runtime, listener).expect("it is taken over");
        let thread = workers::in_thread(move || {
            let own = Runtime::builder().workers(1).build().expect("a runtime");
            own.block_on(async {
                let stream = TcpStream::connect(&handle, at).await.expect("it listens");
                stream.write_all(b"ping").await.expect("it reads");
                let mut back = [0; 4];
                stream.read_exact(&mut back).await.expect("it answers");
                back
            })
        });
        let (stream, _) = within(listener.accept()).await.expect("one connects");
        stream.set_nodelay(true).expect("TCP has it");
        assert!(stream.nodelay().expect("TCP has it") && stream.take_error().expect("it says").is_none());
        let mut got = [0; 4];
        within(stream.read_exact(&mut got)).await.expect("it writes");
        within(stream.write_all(b"pong")).await.expect("it reads");
        assert_eq!((&got, &thread.join().expect("it does not fail")), (b"ping", b"pong"));
        let mut blocking = std::net::TcpStream::connect(at).expect("it listens");
        let (stream, _) = within(listener.accept()).await.expect("one connects");
        blocking.write_all(b"x").expect("room");
        within(stream.read_exact(&mut got[..1])).await.expect("it writes");
        within(stream.write_all(b"y")).await.expect("it reads");
        blocking.read_exact(&mut got[..1]).expect("it was written");
        assert_eq!(&got[..1], b"y");
    });
}

#[test]
fn the_traits_of_futures_io_do_what_the_methods_do() {
    use futures_io::{AsyncRead, AsyncWrite};
    use std::io::{IoSlice, IoSliceMut};
    on_threads(async |runtime| {
        let (mut near, mut far) = UnixStream::pair(&runtime).expect("a pair");
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        let mut near = pin!(&mut near);
        let wrote = within(poll_fn(|cx| near.as_mut().poll_write_vectored(cx, &slices))).await;
        assert_eq!(wrote.expect("room"), 5);
        assert_eq!(within(poll_fn(|cx| near.as_mut().poll_write(cx, b"f"))).await.expect("room"), 1);
        within(poll_fn(|cx| near.as_mut().poll_flush(cx))).await.expect("nothing is held back");
        within(poll_fn(|cx| near.as_mut().poll_close(cx))).await.expect("open");
        let (mut first, mut second) = ([0; 4], [0; 4]);
        let mut far = pin!(&mut far);
        let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let read = within(poll_fn(|cx| far.as_mut().poll_read_vectored(cx, &mut buffers))).await.expect("it wrote");
        let mut rest = [0; 8];
        let mut all = [first, second].concat();
        all.truncate(read);
        loop {
            match within(poll_fn(|cx| far.as_mut().poll_read(cx, &mut rest))).await.expect("it wrote") {
                0 => break,
                read => all.extend_from_slice(&rest[..read]),
            }
        }
        assert_eq!(all, b"abcdef");
        assert_eq!(within(poll_fn(|cx| far.as_mut().poll_read(cx, &mut []))).await.expect("nothing asked"), 0);
    });
}

#[test]
fn unix_listeners_take_connections() {
    on_threads(async |runtime| {
        let workers = runtime.runtime_info().workers.len();
        let path = std::env::temp_dir().join(format!("colloquium-{}-{workers}.socket", std::process::id()));
        let remove = path.clone();
        let _removed = workers::OnDrop(move || drop(std::fs::remove_file(&remove)));
        let listener = UnixListener::bind(&runtime, &path).expect("a free path");
        let accept = runtime.spawn(async move |_: Context<()>| {
            let stream = listener.accept().await.expect("one connects");
            stream.write_all(b"welcome").await.expect("room");
        });
        let stream = within(UnixStream::connect(&runtime, &path)).await.expect("it listens");
        let mut got = [0; 7];
        within(stream.read_exact(&mut got)).await.expect("it writes");
        assert_eq!(&got, b"welcome");
        assert_eq!(within(accept.expect("a process").ended()).await, ExitReason::Normal);
    });
}

#[test]
fn a_shutdown_ends_what_is_awaited_of_sockets() {
    for workers in workers::SIZES {
        let runtime = Runtime::builder().workers(workers).build().expect("a runtime");
        let clock = Runtime::builder().workers(1).build().expect("a runtime");
        clock.block_on(async {
            let (near, _far) = UnixStream::pair(&runtime).expect("a pair");
            let mut buffer = [0];
            let mut read = pin!(near.read(&mut buffer));
            assert!(poll_once(&mut read).await.is_pending());
            within(runtime.shutdown(LONG)).await.into_result().expect("nobody is wedged");
            assert_eq!(within(read).await.expect_err("nobody polls").kind(), ErrorKind::NotConnected);
            let error = within(near.write(b"x")).await.expect_err("nobody polls");
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            assert!(UnixStream::pair(&runtime).is_err() && TcpListener::bind(&runtime, anywhere()).is_err());
        });
    }
}

/// The one worker sleeps in the poller: messages, timers and spawns of other threads wake it from there.
#[test]
fn who_sleeps_in_the_poller_is_woken_for_all_else() {
    on_threads(async |runtime| {
        let (near, far) = UnixStream::pair(&runtime).expect("a pair");
        let reader =
            runtime.spawn(async move |_: Context<()>| far.read(&mut [0]).await.map(|read| assert_eq!(read, 1)));
        let reader = reader.expect("a process");
        for round in 0..50u64 {
            let process = runtime.spawn(async move |mut ctx: Context<u64>| assert_eq!(ctx.recv().await, round));
            let process = process.expect("a process");
            within(runtime.sleep(Duration::from_micros(100 * (round % 10)))).await;
            process.send(round).expect("it waits");
            assert_eq!(within(process.ended()).await, ExitReason::Normal);
        }
        within(near.write_all(b"x")).await.expect("room");
        assert_eq!(within(reader.ended()).await, ExitReason::Normal);
    });
}

#[test]
fn sockets_go_on_beside_processes_that_yield_and_beside_those_that_do_not() {
    on_threads(async |model| {
        let workers = model.runtime_info().workers.len();
        let builder = Runtime::builder().workers(workers).stall_limit(Duration::from_millis(4));
        let runtime = builder.build().expect("a runtime");
        let (server, at) = echo_server(&runtime);
        let busy: Vec<Address<()>> = (0..workers).map(|_| yielding(&runtime)).collect();
        within(as_process(&runtime, move |ctx: Context<()>| async move { client(&ctx.runtime(), at, 1, 8).await }))
            .await;
        busy.iter().for_each(Address::kill);
        let flag = Arc::new(AtomicBool::new(false));
        let at_the_end = Arc::clone(&flag);
        let release = workers::OnDrop(move || at_the_end.store(true, Ordering::SeqCst));
        let running = Arc::new(AtomicUsize::new(0));
        for _ in 0..workers {
            let (flag, running) = (Arc::clone(&flag), Arc::clone(&running));
            let hog = runtime.spawn(async move |_: Context<()>| {
                running.fetch_add(1, Ordering::SeqCst);
                while !flag.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            });
            hog.expect("a process");
        }
        until(|| running.load(Ordering::SeqCst) == workers).await;
        within(as_process(&runtime, move |ctx: Context<()>| async move { client(&ctx.runtime(), at, 2, 8).await }))
            .await;
        drop(release);
        server.kill();
        within(runtime.shutdown(LONG)).await.into_result().expect("nobody is wedged");
    });
}

/// As without sockets: one worker sleeps in the poller, and nothing wakes anybody.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_runtime_with_open_sockets_uses_no_processor() {
    fn switches(runtime: &str) -> Vec<String> {
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux tells it");
        let mut all: Vec<String> = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
            .filter(|status| status.starts_with(&format!("Name:\t{runtime}-")))
            .map(|status| status.lines().filter(|line| line.contains("Name") || line.contains("ctxt")).collect())
            .collect();
        all.sort();
        all
    }
    let clock = Runtime::builder().workers(1).build().expect("a runtime");
    let runtime = Runtime::builder().workers(2).name("open").build().expect("a runtime");
    clock.block_on(within(async {
        let (_server, at) = echo_server(&runtime);
        let stream = TcpStream::connect(&runtime, at).await.expect("it listens");
        loop {
            stream.write_all(b"x").await.expect("it reads");
            stream.read_exact(&mut [0]).await.expect("it answers");
            let before = switches("open");
            clock.sleep(Duration::from_millis(200)).await;
            if before == switches("open") {
                assert!(before.len() >= 3, "two workers and the overseer: {before:?}");
                break;
            }
        }
        stream.write_all(b"x").await.expect("it reads");
        stream.read_exact(&mut [0]).await.expect("it answers");
    }));
}
