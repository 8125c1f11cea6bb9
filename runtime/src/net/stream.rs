//! Driver: what TCP and Unix streams have in common: reading and writing.
use crate::io::readiness::Direction;
use crate::io::socket::{Done, Socket};
use mio::event::Source;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::task::{Context, Poll};

/// Whether a transfer of less than was asked for says that the next would block. True where the poller tells of edges; elsewhere
/// the poller is armed again by the attempt that would block.
const SHORT_IS_LAST: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
));

fn done(transferred: usize, asked: usize) -> Done<usize> {
    // Nothing at all is the end of what can be read, which stays.
    if SHORT_IS_LAST && 0 < transferred && transferred < asked {
        Done::Short(transferred)
    } else {
        Done::Full(transferred)
    }
}

pub(super) fn read_once<S>(mut stream: &S, buffer: &mut [u8]) -> io::Result<Done<usize>>
where
    for<'a> &'a S: Read,
{
    let asked = buffer.len();
    stream.read(buffer).map(|read| done(read, asked))
}

pub(super) fn write_once<S>(mut stream: &S, bytes: &[u8]) -> io::Result<Done<usize>>
where
    for<'a> &'a S: Write,
{
    stream.write(bytes).map(|written| done(written, bytes.len()))
}

pub(super) fn poll_read_vectored<S>(
    socket: &Socket<S>,
    cx: &Context<'_>,
    buffers: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>>
where
    S: Source,
    for<'a> &'a S: Read,
{
    let asked = buffers.iter().map(|buffer| buffer.len()).sum();
    socket.poll_try(Direction::Read, cx, |mut stream| stream.read_vectored(buffers).map(|read| done(read, asked)))
}

pub(super) fn poll_write_vectored<S>(
    socket: &Socket<S>,
    cx: &Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>>
where
    S: Source,
    for<'a> &'a S: Write,
{
    let asked = slices.iter().map(|slice| slice.len()).sum();
    socket.poll_try(Direction::Write, cx, |mut stream| stream.write_vectored(slices).map(|wrote| done(wrote, asked)))
}

/// A half that is closed already is closed.
pub(super) fn closed(shutdown: io::Result<()>) -> Poll<io::Result<()>> {
    Poll::Ready(match shutdown {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    })
}

/// Reads and writes, by methods of its own and by the traits of `futures-io`.
macro_rules! stream {
    ($name:ident) => {
        impl $name {
            /// Reads what is there, at most as much as the buffer holds, and waits if there is nothing. 0 is the end: the peer
            /// has closed its half (or the buffer is empty).
            ///
            /// # Errors
            ///
            /// What the system says, such as a reset by the peer.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future loses nothing: bytes are taken only when it is ready.
            pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                if buffer.is_empty() {
                    return Ok(0);
                }
                self.socket.attempt(Direction::Read, |stream| read_once(stream, buffer)).await
            }

            /// Reads until the buffer is full.
            ///
            /// # Errors
            ///
            /// As [`read`](Self::read), and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the peer has closed its half
            /// before.
            ///
            /// # Cancel safety
            ///
            /// None: what has been read stands in the buffer, and how much that is nobody knows.
            pub async fn read_exact(&self, buffer: &mut [u8]) -> io::Result<()> {
                let mut filled = 0;
                while filled < buffer.len() {
                    match self.read(&mut buffer[filled..]).await? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        read => filled += read,
                    }
                }
                Ok(())
            }

            /// Writes as much as the system takes at once, and waits if that is nothing; how much.
            ///
            /// # Errors
            ///
            /// What the system says, such as a reset by the peer.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future before it is ready has written nothing.
            pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
                self.socket.attempt(Direction::Write, |stream| write_once(stream, bytes)).await
            }

            /// Writes all of it.
            ///
            /// # Errors
            ///
            /// As [`write`](Self::write).
            ///
            /// # Cancel safety
            ///
            /// None: some of it may have been written, and how much nobody knows.
            pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
                while !bytes.is_empty() {
                    match self.write(bytes).await? {
                        0 => return Err(io::ErrorKind::WriteZero.into()),
                        written => bytes = &bytes[written..],
                    }
                }
                Ok(())
            }

            /// Closes a half, or both. What was written before still goes out.
            ///
            /// # Errors
            ///
            /// What the system says; [`NotConnected`](io::ErrorKind::NotConnected) if the connection is gone.
            pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.socket.get().shutdown(how)
            }

            /// The error that the system has noted for the socket, once.
            ///
            /// # Errors
            ///
            /// What the system says.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.socket.get().take_error()
            }

            /// The runtime whose workers watch the socket.
            #[must_use]
            pub fn runtime(&self) -> Handle {
                self.socket.runtime()
            }
        }

        impl AsyncRead for &$name {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
                if buffer.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                self.socket.poll_try(Direction::Read, cx, |stream| read_once(stream, buffer))
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                poll_read_vectored(&self.socket, cx, buffers)
            }
        }

        impl AsyncWrite for &$name {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                self.socket.poll_try(Direction::Write, cx, |stream| write_once(stream, bytes))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                poll_write_vectored(&self.socket, cx, slices)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                closed(self.shutdown(Shutdown::Write))
            }
        }

        impl AsyncRead for $name {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self).poll_read(cx, buffer)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self).poll_read_vectored(cx, buffers)
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self).poll_write_vectored(cx, slices)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut &*self).poll_flush(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut &*self).poll_close(cx)
            }
        }
    };
}
pub(super) use stream;
