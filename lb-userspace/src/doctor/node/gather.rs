//! Looks at the node and sends the probes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::plan::{self, Planned};
use super::{Facts, Outcome, Probed};
use crate::config;
use crate::doctor::kernel;
use crate::doctor::probe::{self, Answer, Probe, Transport};
use crate::next_hop::{self, Resolutions, Unresolved};
use crate::status::client;
use crate::status::report::Report;

/// Whether packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probing {
    /// Probes go through the tunnels.
    Send,
    /// The doctor only looks.
    Omit,
}

/// A direct connection takes longer only where packets are lost.
const DIRECT: Duration = Duration::from_secs(2);
/// A neighbour that is being resolved answers, or not, within three seconds.
const PENDING: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(1), Duration::from_secs(1)];

/// All that can be seen of the node whose controller serves on `socket` and has just said `before`; counters are
/// looked at for so long at least.
///
/// # Errors
/// If the controller answers no more, or the kernel doesn't.
pub async fn gather(
    before: Report,
    socket: &Path,
    watch: Duration,
    probing: Probing,
) -> anyhow::Result<Facts> {
    let second_look = Instant::now() + watch;
    let (interfaces, addresses) = kernel::links().await?;
    let mut facts = Facts {
        desired: desired(&before),
        interfaces,
        addresses,
        ways: ways(&before).await?,
        report: before.clone(),
        unprobed: None,
        probed: Vec::new(),
        direct: Default::default(),
        other_sources: Default::default(),
        full: Default::default(),
        drops: Vec::new(),
    };
    match probing {
        Probing::Omit => facts.unprobed = Some("--no-probe was given".to_owned()),
        Probing::Send => {
            if let Err(error) = send(&mut facts).await {
                facts.unprobed = Some(format!("{error:#}"));
            }
        }
    }
    sleep_until(second_look).await;
    facts.report = client::fetch(socket).await?;
    facts.drops = drops(&before, &facts.report);
    Ok(facts)
}

/// What the file says, while the controller goes by it.
fn desired(report: &Report) -> Option<crate::model::Desired> {
    let is_in_force = report.configuration.rejected.is_none();
    is_in_force.then(|| config::load(Path::new(&report.configuration.file)).ok()).flatten()
}

async fn ways(report: &Report) -> anyhow::Result<Resolutions> {
    let targets: BTreeSet<IpAddr> =
        report.target_groups.values().flat_map(|group| group.targets.iter().map(|at| at.id)).collect();
    let mut ways = next_hop::look(&targets).await?;
    for pause in PENDING {
        let is_pending = |way: &next_hop::Resolution| matches!(way, Err(Unresolved::NeighbourPending { .. }));
        if !ways.values().any(is_pending) {
            break;
        }
        sleep(pause).await;
        ways = next_hop::look(&targets).await?;
    }
    Ok(ways)
}

async fn send(facts: &mut Facts) -> anyhow::Result<()> {
    let planned = plan::plan(facts);
    let probes: Vec<Probe> = planned.iter().flat_map(Planned::probes).collect();
    let mut answers = probe::exchange(probes).await?.into_iter();
    let ready: Vec<(Option<Probe>, Probed)> = planned
        .into_iter()
        .map(|planned| (planned.probe.clone().ok(), planned.conclude(&mut answers)))
        .collect();
    facts.probed = ready.iter().map(|(_, probed)| probed.clone()).collect();
    ask_the_silent(facts, &ready).await?;
    send_full(facts, &ready).await
}

/// Of a target that answers nothing in the tunnel: does it answer directly, or from another source?
async fn ask_the_silent(facts: &mut Facts, ready: &[(Option<Probe>, Probed)]) -> anyhow::Result<()> {
    let mut elsewhere = Vec::new();
    let mut connections = tokio::task::JoinSet::new();
    for (probe, probed) in ready {
        let key = (probed.target_group.clone(), probed.target);
        let has_answered = |other: &Probed| {
            (&other.target_group, other.target) == (&key.0, key.1) && !other.outcome.is_silent()
        };
        if facts.direct.contains_key(&key) || facts.probed.iter().any(has_answered) {
            continue;
        }
        let Some(probe) = probe else { continue };
        let service = crate::doctor::probe::Service { transport: Transport::Tcp, ..probe.service };
        let others = plan::from_elsewhere(facts, Probe { service, ..*probe });
        elsewhere.extend(others.into_iter().map(|probe| (key.clone(), probe)));
        let to = SocketAddr::new(probed.target, probed.service.port);
        facts.direct.insert(key.clone(), None);
        connections.spawn(async move { (key, connect(to).await) });
    }
    while let Some(connected) = connections.join_next().await {
        if let Ok((key, problem)) = connected {
            facts.direct.insert(key, problem);
        }
    }
    let probes: Vec<Probe> = elsewhere.iter().map(|(_, probe)| *probe).collect();
    for ((key, probe), answer) in elsewhere.into_iter().zip(probe::exchange(probes).await?) {
        if matches!(answer, Answer::Served | Answer::Refused) {
            facts.other_sources.insert(key, probe.source);
        }
    }
    Ok(())
}

/// Why there is no direct connection; a refusal is an answer as well.
async fn connect(to: SocketAddr) -> Option<String> {
    match timeout(DIRECT, TcpStream::connect(to)).await {
        Err(_) => Some(format!("{to} does not answer within {} s", DIRECT.as_secs())),
        Ok(Err(error)) if error.kind() != std::io::ErrorKind::ConnectionRefused => {
            Some(format!("{to}: {error}"))
        }
        Ok(_) => None,
    }
}

async fn send_full(facts: &mut Facts, ready: &[(Option<Probe>, Probed)]) -> anyhow::Result<()> {
    let mut planned = Vec::new();
    for (probe, probed) in ready {
        let key = (probed.target_group.clone(), probed.target);
        let is_fit = probed.outcome == Outcome::Answered(Answer::Served)
            && probed.service.transport == Transport::Tcp
            && !planned.iter().any(|(known, _)| *known == key);
        let Some(Ok(way)) = facts.ways.get(&probed.target).filter(|_| is_fit) else { continue };
        planned.extend(probe.and_then(|probe| plan::full(way, probe)).map(|probe| (key, probe)));
    }
    let probes: Vec<Probe> = planned.iter().map(|(_, probe)| *probe).collect();
    for ((key, probe), answer) in planned.into_iter().zip(probe::exchange(probes).await?) {
        facts.full.insert(key, (probe.length.unwrap_or_default(), answer));
    }
    Ok(())
}

fn drops(before: &Report, after: &Report) -> Vec<(String, String, u64)> {
    let count = |name: &str| before.reasons.iter().find(|at| at.reason == name).map_or(0, |at| at.packets);
    let dropped = after.reasons.iter().filter(|at| at.verdict == "dropped");
    let rise = dropped
        .map(|at| (at.reason.clone(), at.description.clone(), at.packets.saturating_sub(count(&at.reason))));
    rise.filter(|(.., packets)| *packets > 0).collect()
}
