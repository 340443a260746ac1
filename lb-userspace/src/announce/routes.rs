//! `POST /announce` on the controller's socket, which is its owner's alone: what operators order.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// All VIPs are to go, for as long as it is not taken back.
    Drain {
        /// How long they are announced as draining before they are withdrawn; none is the configuration's time.
        after_seconds: Option<u64>,
        /// Whether it is to be obeyed although no other node announces a VIP.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// The opposite.
    Undrain,
    /// A zone's own VIPs are to go for a while.
    Shift {
        /// The zone.
        zone: String,
        /// For how long.
        for_seconds: u64,
        /// Whether it is to be obeyed although no other node announces a VIP.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// The opposite.
    Unshift {
        /// The zone.
        zone: String,
    },
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was done, in words.
    pub done: String,
}

/// An order, and where its answer goes; an error is for people.
#[derive(Debug)]
pub struct Ordered {
    /// What is ordered.
    pub order: Order,
    /// Who waits for the answer.
    pub answer: oneshot::Sender<Result<Answer, String>>,
}

/// Orders of the controller.
pub type Orders = mpsc::Sender<Ordered>;

/// Where orders are posted.
pub const PATH: &str = "/announce";

/// How long the controller may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The route.
pub fn routes(orders: Orders) -> Router {
    Router::new().route(PATH, post(order)).with_state(orders)
}

async fn order(
    State(orders): State<Orders>,
    Json(order): Json<Order>,
) -> Result<Json<Answer>, (StatusCode, String)> {
    let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the controller is stopping\n".to_owned());
    let answer = async {
        let (sender, receiver) = oneshot::channel();
        orders.send(Ordered { order, answer: sender }).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?.map(Json).map_err(|why| (StatusCode::CONFLICT, why + "\n"))
    };
    timeout(ANSWER, answer).await.unwrap_or_else(|_| {
        Err((StatusCode::SERVICE_UNAVAILABLE, format!("no answer within {} seconds\n", ANSWER.as_secs())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_without_force_is_what_older_controllers_take() {
        let order = Order::Drain { after_seconds: Some(3), force: false };
        assert_eq!(serde_json::to_string(&order).unwrap(), r#"{"order":"drain","after_seconds":3}"#);
        let told = r#"{"order":"shift","zone":"a","for_seconds":60,"force":true}"#;
        let order = Order::Shift { zone: "a".to_owned(), for_seconds: 60, force: true };
        assert_eq!(serde_json::from_str::<Order>(told).unwrap(), order);
        assert_eq!(serde_json::to_string(&order).unwrap(), told);
    }
}
