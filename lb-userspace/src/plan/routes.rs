//! `POST /plan`, `POST /plan/current` and `POST /apply` on the socket that is its owner's alone.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::current;
use super::difference::Unnamed;
use super::planner::{Planner, Source, Stage};
use super::read::read;
use super::report::Plan;
use super::work::{Refused, Wish};
use crate::api::service::Service;
use crate::status::server::Peer;

/// A document that is to be looked at, or applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The name of its file, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Whether what it does not name is deleted.
    pub delete: bool,
    /// To apply it: the version of the plan that was looked at.
    pub version: Option<u64>,
}

/// The present state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// As the text of a document.
    pub text: String,
}

/// Why there is no answer, for people.
type Problem = (StatusCode, String);

/// The longest document, in bytes: as much as of a configuration file is read, with room for JSON's escapes.
const MOST_BYTES: usize = 80 << 20;

/// How long the controller may take to say what it knows.
const STAGE: Duration = Duration::from_secs(5);

/// The routes.
pub fn routes(planner: Planner) -> Router {
    Router::new()
        .route("/plan", post(plan))
        .route("/plan/current", post(tell_current))
        .route("/apply", post(apply))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(planner)
}

async fn plan(State(planner): State<Planner>, Json(ask): Json<Ask>) -> Result<Json<Plan>, Problem> {
    answer(planner, ask, None).await
}

async fn apply(
    State(planner): State<Planner>,
    Extension(peer): Extension<Peer>,
    Json(ask): Json<Ask>,
) -> Result<Json<Plan>, Problem> {
    if let Source::File { file, .. } = planner.source() {
        return Err(owned(file));
    }
    let Some(version) = ask.version else {
        return Err((StatusCode::BAD_REQUEST, "apply needs the version of a plan\n".to_owned()));
    };
    answer(planner, ask, Some((version, peer.user))).await
}

async fn tell_current(State(planner): State<Planner>) -> Result<Json<Current>, Problem> {
    let service = match planner.source() {
        Source::Api(service) => Arc::clone(service),
        Source::File { file, .. } => return Err(owned(file)),
    };
    let text = blocking(move || {
        let document = current(&service.state());
        serde_json::to_string_pretty(&document).expect("a document is data that JSON can hold") + "\n"
    });
    Ok(Json(Current { text: text.await? }))
}

/// Where a file owns the state, it is the document.
fn owned(file: &str) -> Problem {
    let why = format!(
        "the configuration file {file} owns the load balancers and target groups: `sluice plan NEW.json` says what \
         another file would move; then put it in the place of {file}, which is applied at once\n"
    );
    (StatusCode::CONFLICT, why)
}

async fn answer(planner: Planner, ask: Ask, apply: Option<(u64, u32)>) -> Result<Json<Plan>, Problem> {
    let stopping = || (StatusCode::SERVICE_UNAVAILABLE, "the controller did not answer\n".to_owned());
    let stage = timeout(STAGE, planner.stage()).await.map_err(|_| stopping())?.map_err(|_| stopping())?;
    let made = blocking(move || match (planner.source().clone(), stage) {
        (Source::Api(service), stage) => of_document(&planner, &service, ask, apply, stage),
        (Source::File { interfaces, .. }, Some(stage)) => {
            let made = Planner::of_file(&ask.file, &ask.text, &interfaces, &stage);
            made.map_err(|problem| (StatusCode::UNPROCESSABLE_ENTITY, format!("{problem:#}\n")))
        }
        (Source::File { .. }, None) => Err(stopping()),
    });
    made.await?.map(Json)
}

fn of_document(
    planner: &Planner,
    service: &Service,
    ask: Ask,
    apply: Option<(u64, u32)>,
    stage: Option<Stage>,
) -> Result<Plan, Problem> {
    let unnamed = if ask.delete { Unnamed::Goes } else { Unnamed::Stays };
    let document = read(&ask.file, &ask.text);
    let document = document.map_err(|problem| (StatusCode::UNPROCESSABLE_ENTITY, format!("{problem}\n")))?;
    let wish = Wish { document, file: ask.file, unnamed };
    planner.of_document(service, &wish, apply, stage).map_err(|problem| {
        let status = match &problem {
            Refused::Document(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refused::State(_) => StatusCode::CONFLICT,
        };
        (status, format!("{problem}\n"))
    })
}

/// Does what may wait for a disk or take its time on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let failed =
        |_| (StatusCode::INTERNAL_SERVER_ERROR, "the plan met with an error; see the log\n".to_owned());
    spawn_blocking(work).await.map_err(failed)
}
