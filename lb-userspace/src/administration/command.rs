//! The verbs of `sluice target`.

use anyhow::Result;
use serde::Serialize;

use super::routes::Done;
use crate::api::domain::administration::{Change, MAX_WEIGHT, Order};
use crate::inspect::{self, Asking};
use crate::status::client;

/// What to do with targets
#[derive(Debug, Clone, clap::Subcommand)]
#[allow(missing_docs, reason = "a flattened field has the help of its own fields")]
pub enum TargetVerb {
    /// List them
    Ls {
        /// Only those of this target group
        target_group: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show all that is known of one
    Show {
        /// Its target group's name
        target_group: String,
        /// Its address
        address: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give them no new flows; those that they have stay
    Drain {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give drained ones new flows again
    Enable {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give them a share of the new flows, relative to others, which have 1
    Weight {
        #[command(flatten)]
        named: Named,
        /// 0 to 1000, or `default`
        #[arg(value_parser = weight)]
        weight: Weight,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Targets of a group.
#[derive(Debug, Clone, clap::Args)]
pub struct Named {
    /// Their target group's name
    target_group: String,
    /// Their addresses, or their instances' ids
    #[arg(required = true, value_name = "ADDRESS")]
    targets: Vec<String>,
}

/// A weight, or that of targets of which nothing is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight(Option<u16>);

fn weight(text: &str) -> Result<Weight, String> {
    if text == "default" {
        return Ok(Weight(None));
    }
    let number = text.parse().ok().filter(|number| *number <= MAX_WEIGHT);
    number
        .map(|number| Weight(Some(number)))
        .ok_or_else(|| format!("a weight is 0 to {MAX_WEIGHT}, or `default`"))
}

/// `sluice target`.
///
/// # Errors
/// If no controller answers, it refuses the order, or there is no such target.
pub async fn targets(verb: TargetVerb) -> Result<()> {
    match verb {
        TargetVerb::Ls { target_group, asking } => inspect::targets(target_group, asking).await,
        TargetVerb::Show { target_group, address, asking } => {
            inspect::show_target(&target_group, &address, asking).await
        }
        TargetVerb::Drain { named, asking } => order(named, Change::Drain, asking).await,
        TargetVerb::Enable { named, asking } => order(named, Change::Enable, asking).await,
        TargetVerb::Weight { named, weight: Weight(weight), asking } => {
            order(named, Change::Weight(weight), asking).await
        }
    }
}

/// What came of an order, with the order.
#[derive(Serialize)]
struct Told<'o> {
    #[serde(flatten)]
    order: &'o Order,
    #[serde(flatten)]
    done: Done,
}

async fn order(named: Named, change: Change, asking: Asking) -> Result<()> {
    let order = Order { target_group: named.target_group, targets: named.targets, change };
    let socket = asking.runtime_directory.join(crate::STATUS_SOCKET);
    let done: Done = client::post(&socket, "/targets", &order).await?;
    asking.tell(&Told { order: &order, done }, |told| words(told.order, told.done))
}

fn words(order: &Order, done: Done) -> String {
    let what = match order.change {
        Change::Drain => "drained: no new flows, those that are there stay".to_owned(),
        Change::Enable => "enabled: new flows".to_owned(),
        Change::Weight(Some(weight)) => format!("weight {weight}"),
        Change::Weight(None) => "the weight that others have".to_owned(),
    };
    let already = if done.changed { "" } else { " (as before)" };
    let line = |target: &String| format!("{}/{target}: {what}{already}\n", order.target_group);
    order.targets.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_number_or_the_default() {
        assert_eq!(weight("default"), Ok(Weight(None)));
        assert_eq!(weight("0"), Ok(Weight(Some(0))));
        assert_eq!(weight("1000"), Ok(Weight(Some(1000))));
        for text in ["1001", "-1", "", "Default", "1.5", "70000"] {
            assert!(weight(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_came_of_it_is_told_for_each_target() {
        let targets = vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
        let order = Order { target_group: "web".to_owned(), targets, change: Change::Weight(Some(3)) };
        let told = words(&order, Done { changed: false });
        assert_eq!(told, "web/10.0.0.1: weight 3 (as before)\nweb/10.0.0.2: weight 3 (as before)\n");
        let json = serde_json::to_value(Told { order: &order, done: Done { changed: true } }).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "target_group": "web", "targets": ["10.0.0.1", "10.0.0.2"],
                "change": { "weight": 3 }, "changed": true })
        );
    }
}
