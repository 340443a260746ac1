//! `POST /targets` on the controller's socket, which is its owner's alone.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::api::calendar::Timestamp;
use crate::api::domain::administration::{Change, Order};
use crate::api::service::Service;
use crate::status::server::Peer;

/// Who could carry out an order.
#[derive(Clone)]
pub enum Owner {
    /// Nobody: this file owns the targets.
    File(String),
    /// The API.
    Api(Arc<Service>),
}

/// What came of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Whether anything is other than before.
    pub changed: bool,
}

/// The route.
pub fn routes(owner: Owner) -> Router {
    Router::new().route("/targets", post(order)).with_state(owner)
}

async fn order(
    State(owner): State<Owner>,
    Extension(peer): Extension<Peer>,
    Json(order): Json<Order>,
) -> Result<Json<Done>, (StatusCode, String)> {
    let service = match owner {
        Owner::File(file) => return Err((StatusCode::CONFLICT, in_the_file(&file, &order))),
        Owner::Api(service) => service,
    };
    // It waits for the disk, or for other nodes.
    let done = spawn_blocking(move || service.administer(&order, peer.user, Timestamp::now())).await;
    match done {
        Ok(Ok(changed)) => Ok(Json(Done { changed })),
        Ok(Err(refusal)) => Err((StatusCode::BAD_REQUEST, format!("{}\n", refusal.message))),
        Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "the order met with an error here\n".to_owned())),
    }
}

/// What to do instead.
fn in_the_file(file: &str, order: &Order) -> String {
    let wanted = match order.change {
        Change::Drain => "set \"weight\": 0".to_owned(),
        Change::Enable => "set \"weight\" to what it was, or leave it out".to_owned(),
        Change::Weight(Some(weight)) => format!("set \"weight\": {weight}"),
        Change::Weight(None) => "leave \"weight\" out".to_owned(),
    };
    format!(
        "the file {file} owns the targets; {wanted} there, in target_groups (\"name\": {:?}), targets (\"id\": {}); \
         it is applied at once\n",
        order.target_group,
        order.targets.iter().map(|target| format!("{target:?}")).collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_file_is_the_owner_the_field_is_named() {
        let order = Order {
            target_group: "web".to_owned(),
            targets: vec!["10.0.0.3".to_owned()],
            change: Change::Drain,
        };
        assert_eq!(
            in_the_file("/etc/sluice/sluice.json", &order),
            "the file /etc/sluice/sluice.json owns the targets; set \"weight\": 0 there, in target_groups (\"name\": \
             \"web\"), targets (\"id\": \"10.0.0.3\"); it is applied at once\n"
        );
    }
}
