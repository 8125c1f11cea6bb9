//! Driver: dumps for those outside the program: by a signal, and over a Unix socket. Each has a thread of its own, which needs
//! no worker.
use crate::tree::Tree;
use crate::tree::request::Request;
use crate::tree::root::spawn;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle as SignalHandle, Signals};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
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
/// What is written at a time.
const PART: usize = 16 * 1024;

/// Listens to signals until it is dropped.
pub(crate) struct Listening(SignalHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.close();
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
    let mut wanted = Vec::new();
    if on.dump.is_some() {
        wanted.push(SIGUSR1);
    }
    if on.stop.is_some() {
        for signal in [SIGTERM, SIGINT] {
            // Asked before the first one is seen to, and carried out by the signal itself: a stop that hangs can be ended.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&stopping))?;
            wanted.push(signal);
        }
    }
    let mut signals = Signals::new(wanted)?;
    let handle = signals.handle();
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
    Ok(Listening(handle))
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
            // One that a program has left behind, and nobody answers.
            Err(error) if error.kind() == ErrorKind::AddrInUse && UnixStream::connect(path).is_err() => {
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
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let served = stream.and_then(|stream| serve(stream, &tree));
                if let Err(error) = served {
                    // Somebody went away, or took too long.
                    tracing::debug!(%error, "a dump was not delivered");
                }
            }
        })?;
        Ok(socket)
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
