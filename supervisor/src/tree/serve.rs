//! Driver: dumps for those outside the program: by a signal, and over a Unix socket. Each has a thread of its own, which needs
//! no worker.
use crate::tree::Tree;
use crate::tree::request::Request;
use crate::tree::root::spawn;
use parking_lot::Mutex;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle as SignalHandle, Signals};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a request may have: a path, and some words.
const REQUEST_BYTES: usize = 4096;
/// How long whoever has connected may take to ask. Others wait as long.
const ASK: Duration = Duration::from_secs(1);
/// How long they may take to read some of the answer, and all of it.
const READ: Duration = Duration::from_secs(2);
const READ_ALL: Duration = Duration::from_secs(10);
/// How long it waits when nobody can be let in.
const PAUSE: Duration = Duration::from_millis(100);
/// What is written at a time.
const PART: usize = 16 * 1024;

/// Listens to signals until it is dropped. Those that stop a program then do what they do when nobody listens.
pub(crate) struct Listening {
    signals: SignalHandle,
    stopping: Arc<AtomicBool>,
    defaults: Vec<SigId>,
}

/// Those who listen for a stop, and what restores the signals' own effect when the last of them has gone: once a program has
/// listened to a signal, the system does nothing at it by itself.
struct Listeners {
    count: usize,
    restored: Vec<SigId>,
}

static LISTENERS: Mutex<Listeners> = Mutex::new(Listeners { count: 0, restored: Vec::new() });

impl Drop for Listening {
    fn drop(&mut self) {
        self.signals.close();
        if self.defaults.is_empty() {
            return;
        }
        let mut listeners = LISTENERS.lock();
        listeners.count -= 1;
        if listeners.count == 0 {
            self.stopping.store(true, Ordering::SeqCst);
            listeners.restored = std::mem::take(&mut self.defaults);
        } else {
            unregister(&mut self.defaults);
        }
    }
}

fn unregister(ids: &mut Vec<SigId>) {
    for id in ids.drain(..) {
        // It is there: nobody else takes it out.
        let _ = signal_hook::low_level::unregister(id);
    }
}

/// What is done at signals.
pub(crate) struct OnSignals {
    /// At SIGUSR1.
    pub(crate) dump: Option<Box<dyn Fn() + Send>>,
    /// At SIGTERM and ctrl-c, the first time; the next one ends the program as if nobody had listened.
    pub(crate) stop: Option<Box<dyn Fn(i32) + Send>>,
}

pub(crate) fn listen_to_signals(on: OnSignals) -> io::Result<Listening> {
    let stopping = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new(on.dump.as_ref().map(|_| SIGUSR1))?;
    let mut listening = Listening { signals: signals.handle(), stopping: Arc::clone(&stopping), defaults: Vec::new() };
    if on.stop.is_some() {
        let mut listeners = LISTENERS.lock();
        for signal in [SIGTERM, SIGINT] {
            // Asked before the first one is seen to, and carried out by the signal itself: a stop that hangs can be ended.
            let default = signal_hook::flag::register_conditional_default(signal, Arc::clone(&stopping))?;
            listeners.count += usize::from(listening.defaults.is_empty());
            listening.defaults.push(default);
            signals.add_signal(signal)?;
        }
        unregister(&mut listeners.restored);
    }
    spawn("signals", move || {
        for signal in signals.forever() {
            match (signal, &on.dump, &on.stop) {
                (SIGUSR1, Some(dump), _) => dump(),
                (SIGTERM | SIGINT, _, Some(stop)) => {
                    stopping.store(true, Ordering::SeqCst);
                    stop(signal);
                }
                _ => {}
            }
        }
    })?;
    Ok(listening)
}

/// A socket that answers until it is dropped.
pub(crate) struct Socket {
    path: PathBuf,
    over: Arc<AtomicBool>,
}

impl Socket {
    /// Serves one after the other: what is asked for is the same for all, and costs them as much.
    pub(crate) fn open(path: &Path, tree: Tree) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            // One that a program has left behind, and nobody answers. What is no socket was not made by one of these.
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_behind(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        // From its making to here, the folder's rights and the umask are what keeps others out.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let over = Arc::new(AtomicBool::new(false));
        let socket = Self { path: path.to_owned(), over: Arc::clone(&over) };
        spawn("dump socket", move || {
            serve_all(listener.incoming(), &over, |stream| serve(stream, &tree), || std::thread::park_timeout(PAUSE));
        })?;
        Ok(socket)
    }
}

fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err()
}

/// Serves one after the other, until it is over. Where nobody can be let in (the program has too many files open, for one) the
/// next attempt would fail as soon, so that there is a pause.
fn serve_all<S>(
    incoming: impl Iterator<Item = io::Result<S>>,
    over: &AtomicBool,
    mut serve: impl FnMut(S) -> io::Result<()>,
    mut pause: impl FnMut(),
) {
    for stream in incoming.take_while(|_| !over.load(Ordering::SeqCst)) {
        let failed = stream.is_err();
        if let Err(error) = stream.and_then(&mut serve) {
            // Somebody went away, or took too long.
            tracing::debug!(%error, "a dump was not delivered");
        }
        if failed {
            pause();
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the one who accepts. If that fails there is none.
        drop(UnixStream::connect(&self.path));
        drop(std::fs::remove_file(&self.path));
    }
}

/// One request: a line, or the end of what is sent.
fn serve(mut stream: UnixStream, tree: &Tree) -> io::Result<()> {
    stream.set_write_timeout(Some(READ))?;
    let until = tree.now().saturating_add(ASK);
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < REQUEST_BYTES && line.last() != Some(&b'\n') {
        let left = until.saturating_sub(tree.now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.extend(byte),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let answer = match Request::parse(&String::from_utf8_lossy(&line)) {
        Ok(request) => request.write(&tree.look(&request.look)),
        Err(error) => error + "\n",
    };
    let until = tree.now().saturating_add(READ_ALL);
    for part in answer.as_bytes().chunks(PART) {
        if tree.now() >= until {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.write_all(part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_let_in_is_not_tried_again_at_once() {
        let (over, mut served, mut pauses) = (AtomicBool::new(false), Vec::new(), 0);
        let incoming = [Ok(1), Err(ErrorKind::OutOfMemory.into()), Err(ErrorKind::OutOfMemory.into()), Ok(2), Ok(3)];
        let serve = |stream| {
            served.push(stream);
            over.store(stream == 2, Ordering::SeqCst);
            Err(ErrorKind::BrokenPipe.into())
        };
        serve_all(incoming.into_iter(), &over, serve, || pauses += 1);
        assert_eq!((served, pauses), (vec![1, 2], 2), "somebody who goes away holds nobody up");
    }
}
