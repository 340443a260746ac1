//! How long a decision takes to be in force: a target's health changes, and all tables of its target group are computed
//! anew and published.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_common::hash::HashKey;
use lb_userspace::config;
use lb_userspace::data_plane::{Capacity, DataPlane, Writer};
use lb_userspace::health::{HealthState, HealthStatus, Reason};
use lb_userspace::model::{Desired, TargetKey};
use lb_userspace::reconcile::Reconciler;
use serde_json::{Value, json};

const TARGETS: u32 = 1000;
const CHANGES: usize = 41;
/// The largest median that is aimed at.
const AIM: Duration = Duration::from_millis(5);

/// Prints the table.
///
/// # Errors
/// If the kernel refuses a map, or a change publishes nothing.
pub(crate) fn report() -> Result<()> {
    println!(
        "\nFrom a changed target among {TARGETS} to the last store, median of {CHANGES} changes (slowest)"
    );
    println!("  {:<36} {:>16} {:>16}  aim", "", "median", "slowest");
    for tables in [1, 4] {
        let (mut times, slots) = publications(tables)?;
        times.sort_unstable();
        let median = times[times.len() / 2];
        let verdict = if median <= AIM { "met" } else { "missed" };
        println!(
            "  {:<36} {:>13.2} ms {:>13.2} ms  ≤ {}: {verdict}",
            format!("{tables} of {slots} slots"),
            milliseconds(median),
            milliseconds(times[times.len() - 1]),
            AIM.as_millis()
        );
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The times, and how many slots a table has.
fn publications(tables: u16) -> Result<(Vec<Duration>, usize)> {
    let capacity = Capacity::default();
    let mut plane = DataPlane::load(capacity, HashKey { k0: 1, k1: 2 })?;
    let mut reconciler = Reconciler::new(desired(tables)?, capacity, Instant::now())?;
    let keys: Vec<TargetKey> = reconciler.registry().iter().map(|(key, _)| key.clone()).collect();
    keys.iter().for_each(|key| reconciler.observe(key, HealthStatus::healthy(), Instant::now()));
    reconciler.settle(Instant::now());
    let mut writer = Writer::default();
    let contents = reconciler.contents();
    writer.write(&mut plane.maps, &contents, reconciler.leaving())?;
    let slots = contents.tables.values().next().context("a table")?.slots.len();
    let mut times = Vec::new();
    for change in 0..CHANGES {
        // One fails, then comes back, then the next.
        let key = &keys[change / 2 * 17 % keys.len()];
        let health = match change % 2 {
            0 => HealthStatus::because(HealthState::Unhealthy, Reason::Timeout),
            _ => HealthStatus::healthy(),
        };
        let begun = Instant::now();
        reconciler.observe(key, health, begun);
        reconciler.settle(begun);
        let written = writer.write(&mut plane.maps, &reconciler.contents(), reconciler.leaving())?;
        ensure!(
            written.tables == usize::from(tables),
            "{} tables of {tables} were published",
            written.tables
        );
        times.push(written.published_at.context("a table was published")?.duration_since(begun));
    }
    Ok((times, slots))
}

/// As many load balancers, which forward to one group by an action each.
fn desired(tables: u16) -> Result<Desired> {
    let targets: Vec<Value> = (0..TARGETS)
        .map(|number| json!({ "id": format!("10.1.{}.{}", number / 250, number % 250 + 1) }))
        .collect();
    let load_balancer = |number: u16| {
        let forward = json!([ { "target_group": "web", "weight": number } ]);
        let listeners = json!([ { "protocol": "TCP", "port": 80, "forward": forward } ]);
        json!({ "name": format!("web{number}"), "vips": [format!("10.200.1.{number}")], "listeners": listeners })
    };
    let text = json!({
        "node": { "name": "bench", "zone": "a", "interfaces": ["eth0"] },
        "load_balancers": (1..=tables).map(load_balancer).collect::<Vec<_>>(),
        "target_groups": [ { "name": "web", "protocol": "TCP", "port": 80, "targets": targets } ]
    });
    Ok(config::parse("bench.json", &text.to_string())?)
}
