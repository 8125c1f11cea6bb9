//! Driver: a web page that counts its visits in the store, with hyper and a Redis client, and how to fetch it.
use colloquium::{Address, Context, ExitReason, Handle, SpawnError};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong on the way.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A connection to the store at this address. Its task runs on the tokio runtime.
///
/// # Errors
///
/// If nobody listens there.
pub async fn connect(store: SocketAddr) -> Result<MultiplexedConnection, Failure> {
    let client = redis::Client::open(format!("redis://{store}/"))?;
    Ok(client.get_multiplexed_async_connection().await?)
}

/// Starts a web server on this listener: a process that listens, and one for each connection, linked to it.
///
/// # Errors
///
/// [`SpawnError`].
pub fn start(runtime: &Handle, listener: TcpListener, store: MultiplexedConnection) -> Result<Address<()>, SpawnError> {
    runtime.build().label("web").spawn(async move |mut ctx: Context<()>| -> Result<(), ExitReason> {
        // So that a connection that ends is no reason to end; the other way round it is.
        ctx.trap_exits(|_| ());
        loop {
            let (stream, _) = listener.accept().await.map_err(ExitReason::error)?;
            let store = store.clone();
            let connection = ctx.spawn_link(async move |_: Context<()>| {
                let answer = service_fn(|request| page(request, store.clone()));
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
            });
            connection.map_err(ExitReason::error)?;
        }
    })
}

async fn page(
    request: Request<Incoming>,
    mut store: MultiplexedConnection,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/" {
        return Ok(text(StatusCode::NOT_FOUND, "no such page".to_owned()));
    }
    let counted: redis::RedisResult<i64> = store.incr("visits", 1).await;
    Ok(match counted {
        Ok(visits) => text(StatusCode::OK, format!("visit {visits}")),
        Err(error) => text(StatusCode::BAD_GATEWAY, error.to_string()),
    })
}

/// Fetches a page from a server, with hyper's client.
///
/// # Errors
///
/// If there is no server, or it does not keep to the protocol.
pub async fn fetch(server: SocketAddr, path: &str) -> Result<(StatusCode, String), Failure> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", server.to_string()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let (status, body) = (response.status(), response.into_body().collect().await?.to_bytes());
    Ok((status, String::from_utf8(body.to_vec())?))
}
