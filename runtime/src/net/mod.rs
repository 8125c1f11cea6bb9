//! Driver: sockets for processes: TCP and Unix streams and listeners.
//!
//! Made for transports: for what most programs need there are processes, messages, and the transports that stand on this. The
//! shape of this module may change with their needs.
//!
//! A socket is made with the [`Handle`](crate::Handle) of the runtime whose workers watch it: an idle one sleeps in the
//! system's poller, and busy ones look into it every 200 µs or so. It may be used wherever a future is polled, in a process, in
//! [`Handle::block_on`](crate::Handle::block_on) on a plain thread, or on another executor; a process's reads and writes count
//! in its budget. A process that is stuck holds no socket but its own up.
//!
//! All methods take `&self`. At a time one task may wait to read (or accept), and one to write; of two that wait in the same
//! direction the later takes the earlier one's place.
//!
//! A socket is closed when it is dropped; so are those of a process that ends, before anybody is told of its end. When the
//! runtime shuts down, what is awaited fails with [`NotConnected`](std::io::ErrorKind::NotConnected). In a simulation there
//! are no real sockets: making one fails with a [`SocketInSimulation`].
//!
//! ```
//! use colloquium_runtime::net::{TcpListener, TcpStream};
//! use colloquium_runtime::{Context, Runtime};
//!
//! let runtime = Runtime::new()?;
//! let listener = TcpListener::bind(&runtime, "127.0.0.1:0".parse()?)?;
//! let address = listener.local_addr()?;
//! runtime.spawn(async move |mut ctx: Context<()>| {
//!     while let Ok((stream, _)) = listener.accept().await {
//!         let echo = async move |_: Context<()>| {
//!             let mut buffer = [0; 1024];
//!             while let Ok(n @ 1..) = stream.read(&mut buffer).await {
//!                 if stream.write_all(&buffer[..n]).await.is_err() {
//!                     break;
//!                 }
//!             }
//!         };
//!         if ctx.spawn(echo).is_err() {
//!             break;
//!         }
//!     }
//! })?;
//! let answer = runtime.block_on(async {
//!     let stream = TcpStream::connect(&runtime, address).await?;
//!     stream.write_all(b"hello").await?;
//!     let mut answer = [0; 5];
//!     stream.read_exact(&mut answer).await?;
//!     std::io::Result::Ok(answer)
//! })?;
//! assert_eq!(&answer, b"hello");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
mod stream;
mod tcp;
#[cfg(unix)]
mod unix;

pub use crate::io::SocketInSimulation;
pub use tcp::{TcpListener, TcpStream};
#[cfg(unix)]
pub use unix::{UnixListener, UnixStream};
