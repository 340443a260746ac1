//! `GET /events?after=N` on the controller's socket.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};

use super::journal::{Journal, Page};

/// The route.
pub fn routes(journal: Arc<Journal>) -> Router {
    Router::new().route("/events", get(events)).with_state(journal)
}

async fn events(State(journal): State<Arc<Journal>>, uri: Uri) -> Result<Json<Page>, (StatusCode, String)> {
    let after = after(uri.query().unwrap_or("")).ok_or_else(|| {
        (
            StatusCode::BAD_REQUEST,
            "GET /events takes ?after=N, the number of the last event seen\n".to_owned(),
        )
    })?;
    Ok(Json(journal.after(after)))
}

/// The number in a query; 0 without one, none if it is no number or something else is asked for.
fn after(query: &str) -> Option<u64> {
    match query {
        "" => Some(0),
        query => query.strip_prefix("after=")?.parse().ok().filter(|number| *number < u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn a_query_is_a_number_or_nothing() {
        for (query, number) in [
            ("", Some(0)),
            ("after=17", Some(17)),
            ("after=", None),
            ("after=-1", None),
            ("after=18446744073709551615", None),
            ("since=1", None),
            ("after=1&x=2", None),
        ] {
            assert_eq!(after(query), number, "{query}");
        }
    }
}
