//! Real clients and servers made for tokio, within processes: sockets, hyper, and a Redis client.

#[path = "../../../tests/bounded/mod.rs"]
mod bounded;
#[path = "../../../tests/workers/mod.rs"]
mod workers;

use bounded::{as_process, until, within};
use colloquium::{Address, Context, ExitReason, Runtime};
use hyper::StatusCode;
use redis::AsyncCommands;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use with_tokio::web::{connect, fetch};
use with_tokio::{store, web};
use workers::{LONG, SIZES, arrival};

/// Runs a test on runtimes of each size with a guest.
fn with_guest(body: impl AsyncFn(Runtime)) {
    for workers in SIZES {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let tokio = builder.worker_threads(2).enable_all().build().expect("threads for tokio");
        let builder = Runtime::builder().workers(workers).tokio_handle(tokio.handle().clone());
        let runtime = builder.build().expect("threads for the workers");
        runtime.block_on(within(body(runtime.clone())));
        runtime.block_on(within(runtime.shutdown(LONG))).into_result().expect("nobody is wedged");
        assert_eq!(runtime.runtime_info().processes, 0);
    }
}

/// A listener on some port, made by a process, since only those are in the context.
async fn listener(runtime: &Runtime) -> (TcpListener, SocketAddr) {
    let (give, given) = channel();
    as_process(runtime, async move |_: Context<()>| {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        give.send(listener).expect("the test waits");
    })
    .await;
    let listener = arrival(&given);
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Sends back whatever comes, a process for each connection.
async fn echo(runtime: &Runtime) -> (Address<()>, SocketAddr) {
    let (listener, address) = listener(runtime).await;
    let server = runtime.spawn(async move |mut ctx: Context<()>| -> std::io::Result<()> {
        loop {
            let (mut stream, _) = listener.accept().await?;
            let connection = ctx.spawn_link(async move |_: Context<()>| {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.map(drop)
            });
            connection.map_err(std::io::Error::other)?;
        }
    });
    (server.expect("room"), address)
}

#[test]
fn processes_talk_over_tokios_sockets() {
    with_guest(async |runtime| {
        let (_server, address) = echo(&runtime).await;
        let clients: Vec<Address<()>> = (0..50_u8)
            .map(|number| {
                let body = async move |_: Context<()>| -> std::io::Result<()> {
                    let mut stream = TcpStream::connect(address).await?;
                    for round in 0..10 {
                        stream.write_all(&[number, round]).await?;
                        let mut back = [0; 2];
                        stream.read_exact(&mut back).await?;
                        assert_eq!(back, [number, round]);
                    }
                    Ok(())
                };
                runtime.spawn(body).expect("room")
            })
            .collect();
        for client in clients {
            assert_eq!(client.ended().await, ExitReason::Normal);
        }
        // The server and nobody else: its connections have seen the end.
        until(|| runtime.runtime_info().processes == 1).await;
    });
}

/// To kill a process closes what it has open: the other side learns of it.
#[test]
fn the_sockets_of_a_killed_process_are_closed() {
    with_guest(async |runtime| {
        let (server, address) = echo(&runtime).await;
        let (tell, told) = channel();
        let client = runtime.spawn(async move |_: Context<()>| {
            let mut stream = TcpStream::connect(address).await.expect("somebody listens");
            stream.write_all(&[1]).await.expect("it is open");
            stream.read_u8().await.expect("it echoes");
            tell.send(None).expect("the test waits");
            let ended = stream.read(&mut [0; 8]).await;
            tell.send(Some(ended.map_err(|error| error.kind()))).expect("the test looks");
        });
        assert!(arrival(&told).is_none());
        server.kill();
        let seen = arrival(&told).expect("it saw something");
        assert!(matches!(seen, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{seen:?}");
        assert_eq!(client.expect("room").ended().await, ExitReason::Normal);
        as_process(&runtime, async move |_: Context<()>| assert!(TcpStream::connect(address).await.is_err())).await;
    });
}

#[test]
fn a_redis_client_works_in_processes() {
    with_guest(async |runtime| {
        let (listener, address) = listener(&runtime).await;
        store::start(&runtime, listener).expect("room");
        let clients: Vec<Address<()>> = (0..20)
            .map(|_| {
                let body = async move |_: Context<()>| {
                    let mut store = connect(address).await?;
                    for _ in 0..5 {
                        let _: i64 = store.incr("n", 1).await?;
                    }
                    Ok::<(), with_tokio::web::Failure>(())
                };
                runtime.spawn(body).expect("room")
            })
            .collect();
        for client in clients {
            assert_eq!(client.ended().await, ExitReason::Normal);
        }
        as_process(&runtime, async move |_: Context<()>| {
            let mut store = connect(address).await.expect("it listens");
            assert_eq!(store.get::<_, Option<i64>>("n").await.expect("it answers"), Some(100));
            assert_eq!(store.get::<_, Option<i64>>("none").await.expect("it answers"), None);
            let unknown: redis::RedisResult<()> = redis::cmd("BOGUS").query_async(&mut store).await;
            assert!(unknown.is_err());
        })
        .await;
    });
}

/// What no client of Redis says ends its own connection, and nothing else.
#[test]
fn a_client_that_speaks_something_else_is_hung_up_on() {
    with_guest(async |runtime| {
        let (listener, address) = listener(&runtime).await;
        store::start(&runtime, listener).expect("room");
        as_process(&runtime, async move |_: Context<()>| {
            for nonsense in
                ["GET / HTTP/1.1\r\n\r\n", "*99999\r\n", "*1\r\n$9999999999999999999\r\n", "*1\r\n$1\r\n\u{e9}"]
            {
                let mut stream = TcpStream::connect(address).await.expect("it listens");
                stream.write_all(nonsense.as_bytes()).await.expect("it is open");
                stream.shutdown().await.expect("it is open");
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                assert!(rest.is_empty(), "{nonsense:?}: {rest:?}");
            }
            let mut store = connect(address).await.expect("it listens");
            assert_eq!(store.incr::<_, _, i64>("n", 1).await.expect("it answers"), 1);
        })
        .await;
    });
}

#[test]
fn hyper_serves_and_fetches_in_processes() {
    with_guest(async |runtime| {
        let ((store_listener, store_at), (web_listener, web_at)) = (listener(&runtime).await, listener(&runtime).await);
        let store = store::start(&runtime, store_listener).expect("room");
        let (give, given) = channel();
        as_process(&runtime, async move |_: Context<()>| {
            give.send(connect(store_at).await.expect("it listens")).expect("the test waits");
        })
        .await;
        let web = web::start(&runtime, web_listener, arrival(&given)).expect("room");
        as_process(&runtime, async move |_: Context<()>| {
            for visit in 1..=5 {
                let page = fetch(web_at, "/").await.expect("it serves");
                assert_eq!(page, (StatusCode::OK, format!("visit {visit}")));
            }
            assert_eq!(fetch(web_at, "/none").await.expect("it serves").0, StatusCode::NOT_FOUND);
        })
        .await;
        store.kill();
        store.ended().await;
        until(|| runtime.processes().iter().all(|pid| label(&runtime, *pid) != "store connection")).await;
        as_process(&runtime, async move |_: Context<()>| {
            assert_eq!(fetch(web_at, "/").await.expect("it serves").0, StatusCode::BAD_GATEWAY);
        })
        .await;
        web.kill();
        web.ended().await;
        as_process(&runtime, async move |_: Context<()>| assert!(fetch(web_at, "/").await.is_err())).await;
    });
}

fn label(runtime: &Runtime, pid: colloquium::Pid) -> String {
    let label = runtime.info(pid).and_then(|info| info.label);
    label.map(|label| label.to_string()).unwrap_or_default()
}
