//! Driver: TCP.
use crate::io::readiness::Direction;
use crate::io::socket::{Done, Socket};
use crate::net::stream::{closed, poll_read_vectored, poll_write_vectored, read_once, stream, write_once};
use crate::runtime::Handle;
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A TCP connection.
///
/// # Examples
///
/// See [the module](crate::net).
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket<mio::net::TcpStream>,
}

stream!(TcpStream);

impl TcpStream {
    /// Connects. Names are not looked up, since the system does that in a call that blocks.
    ///
    /// # Errors
    ///
    /// What the system says: refused, unreachable, no descriptor left. [`SocketInSimulation`](crate::net::SocketInSimulation)
    /// in a simulation.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was begun.
    pub async fn connect(runtime: &Handle, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(runtime, false, || mio::net::TcpStream::connect(to))?;
        let is_connected = |stream: &mio::net::TcpStream| {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            match stream.peer_addr() {
                Ok(_) => Ok(Done::Full(())),
                // It may be told of before it is connected.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error),
            }
        };
        socket.attempt(Direction::Write, is_connected).await?;
        Ok(Self { socket })
    }

    /// Takes over a connection that was made otherwise. It does not block from now on.
    ///
    /// # Errors
    ///
    /// What the system says; [`SocketInSimulation`](crate::net::SocketInSimulation) in a simulation.
    pub fn from_std(runtime: &Handle, stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { socket: Socket::new(runtime, true, || Ok(mio::net::TcpStream::from_std(stream)))? })
    }

    /// As [`read`](Self::read), and leaves what it has seen to be read.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.attempt(Direction::Read, |stream| stream.peek(buffer).map(Done::Full)).await
    }

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().peer_addr()
    }

    /// The own address.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// Whether small writes are sent at once (true) or gathered while one is under way (false, which is the system's default).
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.get().set_nodelay(nodelay)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.get().nodelay()
    }
}

/// Where TCP connections come in.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket<mio::net::TcpListener>,
}

impl TcpListener {
    /// Listens; on a free port of the system's choice if the port is 0.
    ///
    /// # Errors
    ///
    /// What the system says: in use, not permitted. [`SocketInSimulation`](crate::net::SocketInSimulation) in a simulation.
    pub fn bind(runtime: &Handle, at: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: Socket::new(runtime, true, || mio::net::TcpListener::bind(at))? })
    }

    /// Takes over a listener that was made otherwise. It does not block from now on.
    ///
    /// # Errors
    ///
    /// What the system says; [`SocketInSimulation`](crate::net::SocketInSimulation) in a simulation.
    pub fn from_std(runtime: &Handle, listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { socket: Socket::new(runtime, true, || Ok(mio::net::TcpListener::from_std(listener)))? })
    }

    /// The next connection, and whose it is.
    ///
    /// # Errors
    ///
    /// What the system says, such as that no descriptor is left; the listener stands, and the next call may succeed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.socket.attempt(Direction::Read, |listener| listener.accept().map(Done::Full)).await;
        let (stream, peer) = accepted?;
        Ok((TcpStream { socket: Socket::new(&self.socket.runtime(), true, || Ok(stream))? }, peer))
    }

    /// The address it listens at.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }
}
