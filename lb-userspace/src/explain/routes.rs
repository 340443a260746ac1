//! `POST /explain` on the controller's socket.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::question::Packets;
use super::report::Explanation;

/// Packets, and where their explanations go; an error is for people.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub packets: Packets,
    /// Who waits for the answer.
    pub answer: oneshot::Sender<Result<Vec<Explanation>, String>>,
}

/// Asks the controller.
pub type Questions = mpsc::Sender<Question>;

/// How long the controller may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Of a question: 128 packets of 64 KiB in hexadecimal.
const MOST_BYTES: usize = 17 << 20;

/// The route.
pub fn routes(questions: Questions) -> Router {
    Router::new()
        .route("/explain", post(explain))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(questions)
}

async fn explain(
    State(questions): State<Questions>,
    Json(packets): Json<Packets>,
) -> Result<Json<Vec<Explanation>>, (StatusCode, String)> {
    let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the controller is stopping\n".to_owned());
    let answer = async {
        let (sender, receiver) = oneshot::channel();
        questions.send(Question { packets, answer: sender }).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?.map(Json).map_err(|why| (StatusCode::BAD_REQUEST, why + "\n"))
    };
    timeout(ANSWER, answer).await.unwrap_or_else(|_| {
        Err((StatusCode::SERVICE_UNAVAILABLE, format!("no answer within {} seconds\n", ANSWER.as_secs())))
    })
}
