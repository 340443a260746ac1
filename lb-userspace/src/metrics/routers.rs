//! Routers: the sessions in which they are told of VIPs, and operators' orders.

use std::fmt;

use super::Scrape;
use super::metric::{Metric, Samples, Value};
use crate::announce::report::{RoutersReport, SessionReport};

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "sluice_node_draining",
        help: "1 while an operator's order keeps all VIPs of the node from being announced, else 0; where VIPs are \
               announced",
        samples: |scrape, samples| single(scrape, samples, |routers| routers.drain.is_some().into()),
    },
    Metric {
        name: "sluice_zone_shift_ends_in_seconds",
        help: "Until the zone shift that is in force ends, 0 if none is; where VIPs are announced",
        samples: |scrape, samples| {
            single(scrape, samples, |routers| {
                routers.zone_shift.as_ref().map_or(0.0, |shift| shift.ends_in_seconds).into()
            })
        },
    },
    Metric {
        name: "sluice_bgp_session_up",
        help: "1 while the BGP session with the router is established, else 0",
        samples: |scrape, samples| {
            each(scrape, |peer, session| samples.labelled(&[peer], session.state == "Established"))
        },
    },
    Metric {
        name: "sluice_bgp_session_prefixes",
        help: "VIPs that the router was told, as usual (announced) or as a way of last resort (draining)",
        samples: |scrape, samples| {
            each(scrape, |peer, session| {
                let counts = [("announced", session.announced), ("draining", session.draining)];
                counts
                    .into_iter()
                    .try_for_each(|(state, count)| samples.labelled(&[peer, ("state", state)], count))
            })
        },
    },
    Metric {
        name: "sluice_bgp_sessions_established_total",
        help: "How often the BGP session with the router came up",
        samples: |scrape, samples| {
            each(scrape, |peer, session| samples.labelled(&[peer], session.established))
        },
    },
    Metric {
        name: "sluice_kernel_table_routes",
        help: "VIPs with a route in the kernel table that a routing daemon reads, as usual (announced), as a way of last \
               resort (draining), or an earlier controller's (held); and those that should have one and do not (failed)",
        samples: |scrape, samples| {
            let table = scrape.report.routers.as_ref().and_then(|routers| routers.table.as_ref());
            table.map_or(Ok(()), |table| {
                let failed = table.failed.len() as u64;
                let counts = [
                    ("announced", table.announced),
                    ("draining", table.draining),
                    ("held", table.held),
                    ("failed", failed),
                ];
                counts.into_iter().try_for_each(|(state, count)| samples.labelled(&[("state", state)], count))
            })
        },
    },
    Metric {
        name: "sluice_bfd_session_up",
        help: "1 while BFD says that the router is there, else 0; where it is configured",
        samples: |scrape, samples| {
            each(scrape, |peer, session| match &session.bfd {
                Some(bfd) => samples.labelled(&[peer], bfd.state == "Up"),
                None => Ok(()),
            })
        },
    },
];

fn single(scrape: &Scrape, samples: &mut Samples, value: fn(&RoutersReport) -> Value) -> fmt::Result {
    scrape.report.routers.as_ref().map_or(Ok(()), |routers| samples.single(value(routers)))
}

/// The sessions with the label that names their router.
fn each(
    scrape: &Scrape,
    mut sample: impl FnMut((&'static str, &str), &SessionReport) -> fmt::Result,
) -> fmt::Result {
    let sessions = scrape.report.routers.iter().flat_map(|routers| &routers.sessions);
    sessions.into_iter().try_for_each(|session| sample(("peer", &session.peer.to_string()), session))
}
