//! A process is killed at each await of a socket: its descriptors and its places in the poller come back, and the peer learns of it.
#![cfg(target_os = "linux")]

mod bounded;
mod workers;

use bounded::{until, within};
use colloquium::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use colloquium::{Address, Context, ExitReason, Handle, Whereabouts};
use futures_io::{AsyncRead, AsyncWrite};
use std::fs::{read_dir, read_link, read_to_string};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use workers::{Dice, OnDrop, on_threads};

/// Descriptors are the whole program's, so that one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone<R>(test: impl FnOnce() -> R) -> R {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    test()
}

/// Sockets that this program has open. (Pollers come and go with runtimes, whose threads end late.)
fn sockets() -> usize {
    let all = read_dir("/proc/self/fd").expect("Linux tells it").flatten();
    all.filter(|fd| read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))).count()
}

/// Sockets that stand in a poller, each as often as that has descriptors. (A poller's own waker has the highest token.)
fn registrations() -> usize {
    let all = read_dir("/proc/self/fdinfo").expect("Linux tells it").flatten();
    let infos = all.filter_map(|info| read_to_string(info.path()).ok());
    let of = |info: String| info.lines().filter(|line| line.starts_with("tfd:") && !line.contains(OWN)).count();
    infos.map(of).sum()
}

const OWN: &str = "data: ffffffffffffffff";

/// Where a process stands when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Connect,
    Accept,
    Read,
    ReadExact,
    Peek,
    Write,
    WriteAll,
    PollRead,
    PollReadVectored,
    PollWrite,
    PollWriteVectored,
    /// These two never wait.
    Flush,
    Close,
}

impl At {
    const STREAM: [Self; 11] = [
        Self::Read,
        Self::ReadExact,
        Self::Peek,
        Self::Write,
        Self::WriteAll,
        Self::PollRead,
        Self::PollReadVectored,
        Self::PollWrite,
        Self::PollWriteVectored,
        Self::Flush,
        Self::Close,
    ];

    fn waits(self) -> bool {
        !matches!(self, Self::Flush | Self::Close)
    }

    fn writes(self) -> bool {
        matches!(self, Self::Write | Self::WriteAll | Self::PollWrite | Self::PollWriteVectored)
    }
}

/// What the two kinds of streams have in common, but for their traits.
trait Stream: Send + Sync + Sized + 'static {
    const HAS_PEEK: bool;
    fn pair(runtime: &Handle) -> impl Future<Output = (Self, Self)>;
    fn operate(&self, at: At) -> impl Future<Output = io::Result<usize>> + Send;
    fn read_some(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>>;
    fn write_some(&self, bytes: &[u8]) -> impl Future<Output = io::Result<usize>>;
}

/// More than a socket takes at once.
static MUCH: [u8; 1 << 16] = [7; 1 << 16];

/// One await.
macro_rules! operate {
    ($stream:expr, $at:expr, $peek:expr) => {{
        let (stream, mut one, mut two) = ($stream, [0; 3], [0; 3]);
        match $at {
            At::Read => stream.read(&mut one).await,
            At::ReadExact => stream.read_exact(&mut one).await.map(|()| 3),
            At::Peek => $peek(stream, &mut one).await,
            At::Write => stream.write(&MUCH).await,
            At::WriteAll => stream.write_all(&MUCH).await.map(|()| MUCH.len()),
            At::PollRead => poll_fn(|cx| Pin::new(&mut &*stream).poll_read(cx, &mut one)).await,
            At::PollReadVectored => {
                let mut buffers = [io::IoSliceMut::new(&mut one), io::IoSliceMut::new(&mut two)];
                poll_fn(|cx| Pin::new(&mut &*stream).poll_read_vectored(cx, &mut buffers)).await
            }
            At::PollWrite => poll_fn(|cx| Pin::new(&mut &*stream).poll_write(cx, &MUCH)).await,
            At::PollWriteVectored => {
                let slices = [io::IoSlice::new(&MUCH), io::IoSlice::new(&MUCH)];
                poll_fn(|cx| Pin::new(&mut &*stream).poll_write_vectored(cx, &slices)).await
            }
            At::Flush => poll_fn(|cx| Pin::new(&mut &*stream).poll_flush(cx)).await.map(|()| 0),
            At::Close => poll_fn(|cx| Pin::new(&mut &*stream).poll_close(cx)).await.map(|()| 0),
            At::Connect | At::Accept => unreachable!("not of streams"),
        }
    }};
}

impl Stream for TcpStream {
    const HAS_PEEK: bool = true;

    async fn pair(runtime: &Handle) -> (Self, Self) {
        let listener = TcpListener::bind(runtime, anywhere()).expect("a free port");
        let near = within(Self::connect(runtime, listener.local_addr().expect("it has one"))).await;
        (near.expect("it listens"), within(listener.accept()).await.expect("one has connected").0)
    }

    async fn operate(&self, at: At) -> io::Result<usize> {
        operate!(self, at, TcpStream::peek)
    }

    async fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer).await
    }

    async fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes).await
    }
}

impl Stream for UnixStream {
    const HAS_PEEK: bool = false;

    async fn pair(runtime: &Handle) -> (Self, Self) {
        Self::pair(runtime).expect("a pair")
    }

    async fn operate(&self, at: At) -> io::Result<usize> {
        operate!(self, at, UnixStream::read)
    }

    async fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer).await
    }

    async fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes).await
    }
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// When the kill comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Before the await: the process has killed itself, and awaits all the same.
    Before,
    /// While it waits.
    Waiting,
    /// The moment that it need not wait any longer, or about then.
    Racing,
}

/// A process that does this again and again, until it has to wait; dead by its own hand the first time, if it is to be.
fn victim<F>(runtime: &Handle, when: When, mut operate: impl FnMut() -> F + Send + 'static) -> Address<()>
where
    F: Future<Output = ()> + Send,
{
    let body = async move |mut ctx: Context<()>| {
        if when == When::Before {
            ctx.address().kill();
            operate().await;
            // A kill need not end it at an await that is ready.
            ctx.recv().await;
            unreachable!("it is dead");
        }
        loop {
            operate().await;
        }
    };
    runtime.spawn(body).expect("a process")
}

async fn kill(runtime: &Handle, victim: &Address<()>, when: When, at: At) {
    if when == When::Waiting {
        let waits = || runtime.info(victim.pid()).expect("it lives").whereabouts == Whereabouts::Io;
        until(waits).await;
    }
    victim.kill();
    assert_eq!(within(victim.ended()).await, ExitReason::Killed, "{at:?} {when:?}");
}

/// What the peer reads to the end, and how that comes.
async fn rest<S: Stream>(peer: &S) -> io::Result<usize> {
    let (mut all, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        match within(peer.read_some(&mut buffer)).await? {
            0 => return Ok(all),
            some => all += some,
        }
    }
}

/// Kills one that uses a stream. With `unread`, the peer has sent something that the victim does not read.
async fn kill_at<S: Stream>(runtime: &Handle, at: At, when: When, unread: bool) {
    let (near, far) = S::pair(runtime).await;
    if unread {
        within(near.write_some(b"unread")).await.expect("room");
        // On its way at the latest when the victim's socket is full.
    }
    let (near, far) = (near, Arc::new(far));
    let written = Arc::new(AtomicU64::new(0));
    let wrote = Arc::clone(&written);
    let victim = victim(runtime, when, move || {
        let (far, wrote) = (Arc::clone(&far), Arc::clone(&wrote));
        async move {
            let done = far.operate(at).await.expect("open");
            wrote.fetch_add(done as u64, Ordering::SeqCst);
        }
    });
    kill(runtime, &victim, when, at).await;
    let (what, end) = (format!("{at:?} {when:?} {unread}"), rest(&near).await);
    if unread {
        assert_eq!(end.expect_err(&what).kind(), ErrorKind::ConnectionReset, "{what}");
    } else {
        let read = end.unwrap_or_else(|error| panic!("{what}: {error}")) as u64;
        let wrote = if at.writes() { written.load(Ordering::SeqCst) } else { 0 };
        // Of a write to the end, or of one in the same poll as the kill, nobody says how far it came.
        assert!(
            read == wrote || (at.writes() && (at == At::WriteAll || when == When::Before)),
            "{what}: {read}, {wrote}"
        );
    }
}

async fn kill_each<S: Stream>(runtime: &Handle) {
    for at in At::STREAM.into_iter().filter(|at| *at != At::Peek || S::HAS_PEEK) {
        kill_at::<S>(runtime, at, When::Before, false).await;
        if at.waits() {
            kill_at::<S>(runtime, at, When::Waiting, false).await;
        }
        if at.writes() {
            kill_at::<S>(runtime, at, When::Waiting, true).await;
        }
        assert_given_back(at).await;
    }
}

async fn assert_given_back(at: At) {
    until(|| (sockets(), registrations()) == (0, 0)).await;
    assert_eq!((sockets(), registrations()), (0, 0), "{at:?}");
}

#[test]
fn a_kill_at_each_await_of_a_stream_gives_all_back_and_tells_the_peer() {
    alone(|| {
        on_threads(async |runtime| {
            kill_each::<TcpStream>(&runtime).await;
            kill_each::<UnixStream>(&runtime).await;
        });
    });
}

/// Listeners are told apart by what they listen at.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf, #[expect(dead_code, reason = "removes the file")] OnDrop<Box<dyn FnMut() + Send>>),
}

impl Listener {
    fn bind(runtime: &Handle, tcp: bool) -> (Self, Place) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        if tcp {
            let listener = TcpListener::bind(runtime, anywhere()).expect("a free port");
            let at = listener.local_addr().expect("it has one");
            return (Self::Tcp(listener), Place::Tcp(at));
        }
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("colloquium-kills-{}-{number}", std::process::id()));
        let listener = UnixListener::bind(runtime, &path).expect("a free path");
        let remove = path.clone();
        let removed: Box<dyn FnMut() + Send> = Box::new(move || drop(std::fs::remove_file(&remove)));
        (Self::Unix(listener), Place::Unix(path, OnDrop(removed)))
    }

    async fn accept(&self) {
        match self {
            Self::Tcp(listener) => drop(listener.accept().await.expect("a connection")),
            Self::Unix(listener) => drop(listener.accept().await.expect("a connection")),
        }
    }
}

impl Place {
    /// Connects, if anybody listens, and waits until the other end is closed.
    async fn connect(&self, runtime: &Handle) -> io::Result<usize> {
        match self {
            Self::Tcp(at) => told_of_end(&within(TcpStream::connect(runtime, *at)).await?).await,
            Self::Unix(path, _) => told_of_end(&within(UnixStream::connect(runtime, path)).await?).await,
        }
    }
}

/// Says something first: if a listener is closed at the end of a handshake, Linux may forget that, and tell its peer when that
/// sends.
async fn told_of_end<S: Stream>(stream: &S) -> io::Result<usize> {
    within(stream.write_some(b"x")).await?;
    rest(stream).await
}

/// A peer that comes too late is refused; one that stands in the listener's queue sees an end or a reset.
#[test]
fn a_kill_at_accept_closes_the_listener_and_who_waits_to_be_accepted() {
    alone(|| {
        on_threads(async |runtime| {
            for (tcp, when) in
                [(true, When::Before), (true, When::Waiting), (false, When::Before), (false, When::Waiting)]
            {
                let (listener, place) = Listener::bind(&runtime, tcp);
                let listener = Arc::new(listener);
                let victim = victim(&runtime, when, move || {
                    let listener = Arc::clone(&listener);
                    async move { listener.accept().await }
                });
                kill(&runtime, &victim, when, At::Accept).await;
                let error = place.connect(&runtime).await.expect_err("nobody listens");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{when:?}");
                assert_given_back(At::Accept).await;
            }
            let mut dice = Dice::new(3);
            for round in 0..100 {
                let (listener, place) = Listener::bind(&runtime, round % 2 == 0);
                let listener = Arc::new(listener);
                let victim = victim(&runtime, When::Racing, move || {
                    let listener = Arc::clone(&listener);
                    async move { listener.accept().await }
                });
                let peer = runtime.handle();
                let thread = workers::in_thread(move || peer.block_on(place.connect(&peer)));
                (0..dice.below(20_000)).for_each(|_| std::hint::spin_loop());
                kill(&runtime, &victim, When::Racing, At::Accept).await;
                let seen = thread.join().expect("the peer does not fail");
                let told = |error: &io::Error| {
                    let refused = error.kind() == ErrorKind::ConnectionRefused;
                    refused || matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
                };
                assert!(seen.as_ref().map_or_else(told, |read| *read == 0), "{seen:?}");
            }
            assert_given_back(At::Accept).await;
        });
    });
}

/// Whether a connection to there is asked for and not answered.
fn is_connecting(to: SocketAddr) -> bool {
    let all = read_to_string("/proc/net/tcp").expect("Linux tells it");
    let (port, mut lines) = (format!(":{:04X}", to.port()), all.lines());
    lines.any(|line| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|remote| remote.ends_with(&port)) && words.next() == Some("02")
    })
}

/// A listener whose queue is full lets who connects wait. One that is killed then has never been there.
#[test]
fn a_kill_at_connect_leaves_no_connection() {
    alone(|| {
        on_threads(async |runtime| {
            for when in [When::Waiting, When::Before] {
                let listener = std::net::TcpListener::bind(anywhere()).expect("a free port");
                listener.set_nonblocking(true).expect("a socket takes that");
                let at = listener.local_addr().expect("it has one");
                let kept = Arc::new(Mutex::new(Vec::new()));
                let (handle, keep) = (runtime.handle(), Arc::clone(&kept));
                let victim = victim(&runtime, when, move || {
                    let (handle, keep) = (handle.clone(), Arc::clone(&keep));
                    async move {
                        let stream = TcpStream::connect(&handle, at).await.expect("it listens");
                        keep.lock().expect("no panic").push(stream);
                    }
                });
                if when == When::Waiting {
                    until(|| is_connecting(at)).await;
                }
                kill(&runtime, &victim, when, At::Connect).await;
                let mut kept = std::mem::take(&mut *kept.lock().expect("no panic"));
                // One that was let in as it was killed is closed; those that it had made before are open.
                let came: Vec<_> = std::iter::from_fn(|| listener.accept().ok()).collect();
                let open = came.iter().filter(|(stream, _)| {
                    stream.set_nonblocking(true).expect("a socket takes that");
                    stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
                });
                assert_eq!((open.count(), came.len() - kept.len()), (kept.len(), usize::from(came.len() > kept.len())));
                kept.clear();
                drop((came, listener));
                assert_given_back(At::Connect).await;
            }
        });
    });
}

/// What is waited for comes as the kill does, from two threads.
async fn race<S: Stream>(runtime: &Handle, at: At, spin: u64) {
    let (near, far) = S::pair(runtime).await;
    let far = Arc::new(far);
    let victim = victim(runtime, When::Racing, move || {
        let far = Arc::clone(&far);
        async move {
            far.operate(at).await.expect("open");
        }
    });
    until(|| runtime.info(victim.pid()).expect("it lives").whereabouts == Whereabouts::Io).await;
    let peer = runtime.clone();
    let thread = workers::in_thread(move || {
        let handle = peer.clone();
        handle.block_on(async move {
            let some = if at.writes() { near.read_some(&mut [0; 512]).await } else { near.write_some(b"x").await };
            some.and(rest(&near).await)
        })
    });
    (0..spin).for_each(|_| std::hint::spin_loop());
    kill(runtime, &victim, When::Racing, at).await;
    if let Err(error) = thread.join().expect("the peer does not fail") {
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{at:?}: {error}");
    }
}

#[test]
fn a_kill_beside_what_was_waited_for_gives_all_back() {
    alone(|| {
        on_threads(async |runtime| {
            let mut dice = Dice::new(5);
            for _ in 0..25 {
                for at in [At::Read, At::PollRead, At::Write, At::PollWrite] {
                    race::<TcpStream>(&runtime, at, dice.below(20_000)).await;
                    race::<UnixStream>(&runtime, at, dice.below(20_000)).await;
                }
            }
            assert_given_back(At::Read).await;
        });
    });
}
