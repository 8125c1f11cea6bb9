//! Driver: what the service answers when things go wrong, over HTTP, with consumers that do what each test needs.
use super::*;
use colloquium::GroupBuilder;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};

/// What has not come by then will not come.
const LONG: Duration = Duration::from_secs(60);

type Resizers = DispatchConversation<Upload, Vec<u8>>;

/// One consumer of that kind, behind the service.
async fn served<F, Fut>(
    handler: F,
    settings: impl FnOnce(GroupBuilder<Upload, Vec<u8>>) -> GroupBuilder<Upload, Vec<u8>>,
) -> (Runtime, Resizers, SocketAddr)
where
    F: Fn(Delivery<Upload>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<u8>, Failure>> + Send + 'static,
{
    let runtime = Runtime::builder().workers(2).tokio().build().expect("threads for the workers");
    let group = ConsumerGroup::alike("resizers", 1, &ConsumerRegistration::function(handler));
    let resizers = settings(group).start(&runtime.root()).await.expect("it starts");
    let app = App { tree: runtime.root().tree().await.expect("it is there"), resizers: resizers.clone() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, router(app)).await });
    (runtime, resizers, address)
}

/// The status of an upload.
fn upload_to(address: SocketAddr) -> JoinHandle<u16> {
    spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(LONG)).expect("a bound");
        let request = "POST /upload/1 HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx";
        stream.write_all(request.as_bytes()).expect("it is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_it_is_unavailable_and_when_there_is_room_again_it_is_not() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let shut = Arc::clone(&gate);
    let handler = move |_: Delivery<Upload>| {
        let gate = Arc::clone(&shut);
        async move { Ok(gate.acquire().await.map(|_| Vec::new())?) }
    };
    let (_runtime, resizers, address) = served(handler, |group| group.waiting_room(0)).await;
    let first = upload_to(address);
    while resizers.group().snapshot().in_flight == 0 {
        yield_now().await;
    }
    assert_eq!(upload_to(address).await.expect("it is answered"), 503);
    gate.add_permits(1);
    assert_eq!(first.await.expect("it is answered"), 200);
    while resizers.group().snapshot().in_flight > 0 {
        yield_now().await;
    }
    assert_eq!(upload_to(address).await.expect("it is answered"), 200);
    assert_eq!(resizers.drain(LONG).await.left, 0);
    assert_eq!(upload_to(address).await.expect("it is answered"), 503, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_crashes_its_consumers_is_unprocessable() {
    let handler = async |_: Delivery<Upload>| -> Result<Vec<u8>, Failure> { panic!("as the test wants it") };
    let (_runtime, resizers, address) = served(handler, |group| group).await;
    assert_eq!(upload_to(address).await.expect("it is answered"), 422);
    let letter = &resizers.group().dead_letters()[0];
    assert_eq!((letter.kind, letter.attempts.len()), (Poisoned, 3));
}

/// It takes the ten seconds that the service has for an upload.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_takes_too_long_times_out() {
    let handler = async |upload: Delivery<Upload>| {
        upload.cancelled().await;
        Ok(Vec::new())
    };
    let (_runtime, resizers, address) = served(handler, |group| group).await;
    assert_eq!(upload_to(address).await.expect("it is answered"), 504);
    while resizers.group().snapshot().in_flight > 0 {
        yield_now().await;
    }
}
