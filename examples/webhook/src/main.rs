//! Driver: a web service that hands each upload to supervised consumers, and shows its supervision tree.
//!
//! `cargo run -p webhook --features http -- [ADDRESS]`, then, from elsewhere:
//!
//! ```console
//! $ curl --data-binary @photo.pgm http://localhost:8080/upload/7 > small.pgm
//! $ curl http://localhost:8080/tree
//! $ curl http://localhost:8080/tree.json
//! ```
//!
//! An upload is an image in the PGM format (`P5`). One user's uploads are handled one after the other. The first line on
//! standard output is the address; ctrl-c stops the program in order.
#![forbid(unsafe_code)]

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use colloquium::prelude::*;
use colloquium::tree::{Look, Tree};
use tokio::net::TcpListener;
use webhook::pgm::resize;

#[cfg(test)]
mod tests;

struct Upload {
    user: u64,
    image: Bytes,
}

struct Resizer {
    width: usize,
}

impl Consumer for Resizer {
    type Message = Upload;
    type Output = Vec<u8>;

    async fn handle(&mut self, upload: Delivery<Upload>) -> Result<Vec<u8>, Failure> {
        let width = self.width;
        upload.run_blocking(move |u| resize(&u.image, width)).await?.or_discard()
    }
}

#[derive(Clone)]
struct App {
    tree: Tree,
    resizers: DispatchConversation<Upload, Vec<u8>>,
}

async fn upload(State(app): State<App>, Path(user): Path<u64>, image: Bytes) -> Result<Vec<u8>, StatusCode> {
    match app.resizers.dispatch(Upload { user, image }).deadline(10 * SECOND).await {
        Ok(outcome) => Ok(outcome.into_output()),
        Err(e) => Err(match e.kind() {
            Overloaded | NoConsumerAvailable | Closed => StatusCode::SERVICE_UNAVAILABLE,
            DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Discarded | Poisoned => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }),
    }
}

async fn tree(State(app): State<App>) -> String {
    app.tree.look(&Look::new()).to_string()
}

async fn tree_json(State(app): State<App>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], app.tree.look(&Look::new()).json())
}

fn router(app: App) -> Router {
    let router = Router::new().route("/upload/{user}", post(upload));
    router.route("/tree", get(tree)).route("/tree.json", get(tree_json)).with_state(app)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let runtime = Runtime::builder().tokio().build()?;
    let resizers = ConsumerGroup::of("resizers", 8, async || anyhow::Ok(Resizer { width: 512 }))
        .keyed_by(|u: &Upload| u.user)
        .waiting_room(256)
        .max_wait(2 * SECOND)
        .start(&runtime.root())
        .await?;
    let app = App { tree: runtime.root().tree().await?, resizers: resizers.clone() };
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router(app)).with_graceful_shutdown(ctrl_c()).await?;
    resizers.drain(20 * SECOND).await;
    Ok(runtime.shutdown(5 * SECOND).await.into_result().map(drop)?)
}

async fn ctrl_c() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("ctrl-c cannot be listened to: {error}");
        std::future::pending::<()>().await;
    }
}
