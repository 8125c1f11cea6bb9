//! Driver: Unix domain sockets.
use crate::io::readiness::Direction;
use crate::io::socket::{Done, Socket};
use crate::net::stream::{closed, poll_read_vectored, poll_write_vectored, read_once, stream, write_once};
use crate::runtime::Handle;
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A connection of a Unix domain socket.
#[derive(Debug)]
pub struct UnixStream {
    socket: Socket<mio::net::UnixStream>,
}

stream!(UnixStream);

impl UnixStream {
    /// Connects to who listens at this path.
    ///
    /// # Errors
    ///
    /// What the system says: nothing there, refused; [`WouldBlock`](io::ErrorKind::WouldBlock) if more wait to be accepted
    /// than the listener holds, of whose room the system does not tell. [`SocketInSimulation`](crate::net::SocketInSimulation)
    /// in a simulation.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was begun.
    pub async fn connect(runtime: &Handle, path: impl AsRef<Path>) -> io::Result<Self> {
        let socket = Socket::new(runtime, false, || mio::net::UnixStream::connect(path))?;
        let is_connected = |stream: &mio::net::UnixStream| match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(Done::Full(())),
        };
        socket.attempt(Direction::Write, is_connected).await?;
        Ok(Self { socket })
    }

    /// Two that are connected with each other.
    ///
    /// # Errors
    ///
    /// What the system says; [`SocketInSimulation`](crate::net::SocketInSimulation) in a simulation.
    #[expect(clippy::missing_panics_doc, reason = "the second is there whenever the first is")]
    pub fn pair(runtime: &Handle) -> io::Result<(Self, Self)> {
        let mut other = None;
        let one = Socket::new(runtime, true, || {
            let (one, two) = mio::net::UnixStream::pair()?;
            other = Some(two);
            Ok(one)
        });
        let one = Self { socket: one? };
        let two = other.expect("made with the first");
        Ok((one, Self { socket: Socket::new(runtime, true, || Ok(two))? }))
    }

    /// Takes over a connection that was made otherwise. It does not block from now on.
    ///
    /// # Errors
    ///
    /// What the system says; [`SocketInSimulation`](crate::net::SocketInSimulation) in a simulation.
    pub fn from_std(runtime: &Handle, stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { socket: Socket::new(runtime, true, || Ok(mio::net::UnixStream::from_std(stream)))? })
    }
}

/// Where connections of a Unix domain socket come in. Dropping it leaves the file at its path behind.
#[derive(Debug)]
pub struct UnixListener {
    socket: Socket<mio::net::UnixListener>,
}

impl UnixListener {
    /// Listens at this path, where nothing may be yet.
    ///
    /// # Errors
    ///
    /// What the system says: in use, not permitted. [`SocketInSimulation`](crate::net::SocketInSimulation) in a simulation.
    pub fn bind(runtime: &Handle, path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { socket: Socket::new(runtime, true, || mio::net::UnixListener::bind(path))? })
    }

    /// The next connection.
    ///
    /// # Errors
    ///
    /// What the system says, such as that no descriptor is left; the listener stands, and the next call may succeed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        let accepted = self.socket.attempt(Direction::Read, |listener| listener.accept().map(Done::Full)).await;
        let (stream, _) = accepted?;
        Ok(UnixStream { socket: Socket::new(&self.socket.runtime(), true, || Ok(stream))? })
    }
}
