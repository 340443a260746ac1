//! Load balancers and their listeners: traffic, tables, zones.

use std::collections::BTreeMap;
use std::fmt;

use super::metric::{Metric, Samples, Value};
use crate::status::report::{ListenerReport, LoadBalancerReport, Report};

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "sluice_vip_info",
        help: "The VIPs of load balancers",
        samples: |scrape, samples| {
            scrape.report.load_balancers.iter().try_for_each(|(name, load_balancer)| {
                let mut vips = load_balancer.vips.iter();
                vips.try_for_each(|vip| samples.info(&[("load_balancer", name), ("vip", &vip.to_string())]))
            })
        },
    },
    Metric {
        name: "sluice_load_balancer_zone_healthy",
        help: "1 if each listener of the load balancer has a healthy target in the zone, else 0; for zones with \
               targets",
        samples: zones,
    },
    Metric {
        name: "sluice_listener_packets_total",
        help: "Packets forwarded, by listener",
        samples: |scrape, samples| per_listener(&scrape.report, samples, |listener| listener.packets.into()),
    },
    Metric {
        name: "sluice_listener_bytes_total",
        help: "Bytes forwarded, from the inner IP header on, by listener",
        samples: |scrape, samples| per_listener(&scrape.report, samples, |listener| listener.bytes.into()),
    },
    Metric {
        name: "sluice_listener_slots",
        help: "Slots of the listener's table by state; exceptions means that some flows of the slot are elsewhere, \
               chained that packets name the slot's former owners",
        samples: slots,
    },
    Metric {
        name: "sluice_listener_deferred_slots",
        help: "Slots that keep their target although another is to have them, because too many had them lately",
        samples: |scrape, samples| {
            per_listener(&scrape.report, samples, |listener| listener.deferred_slots.into())
        },
    },
    Metric {
        name: "sluice_table_info",
        help: "Digest of the listener's table, equal on nodes with equal state",
        samples: |scrape, samples| {
            each(&scrape.report, |labels, listener| {
                let [name, protocol, port] = labels;
                samples.info(&[name, protocol, port, ("digest", &listener.table_digest)])
            })
        },
    },
];

fn slots(scrape: &super::Scrape, samples: &mut Samples) -> fmt::Result {
    each(&scrape.report, |[name, protocol, port], listener| {
        let (changing, exceptions) = (listener.changing_slots, listener.exception_slots);
        let chained = listener.chained_slots;
        let stable =
            listener.slots.saturating_sub(changing).saturating_sub(exceptions).saturating_sub(chained);
        let states =
            [("stable", stable), ("changing", changing), ("exceptions", exceptions), ("chained", chained)];
        states
            .into_iter()
            .try_for_each(|(state, slots)| samples.labelled(&[name, protocol, port, ("state", state)], slots))
    })
}

fn zones(scrape: &super::Scrape, samples: &mut Samples) -> fmt::Result {
    let report = &scrape.report;
    report.load_balancers.iter().try_for_each(|(name, load_balancer)| {
        zones_of(report, load_balancer).into_iter().try_for_each(|(zone, healthy)| {
            samples.labelled(&[("load_balancer", name), ("zone", zone)], healthy)
        })
    })
}

/// The zones of a load balancer's targets, and whether each listener has a healthy one there.
fn zones_of<'r>(report: &'r Report, load_balancer: &LoadBalancerReport) -> BTreeMap<&'r str, bool> {
    let healthy_in = |listener: &ListenerReport| {
        let mut zones: BTreeMap<&'r str, bool> = BTreeMap::new();
        let groups = listener.forward.iter().filter_map(|part| report.target_groups.get(&part.target_group));
        for target in groups.flat_map(|group| &group.targets) {
            *zones.entry(target.zone.as_str()).or_default() |= target.state == "healthy";
        }
        zones
    };
    let of_listeners: Vec<_> = load_balancer.listeners.iter().map(healthy_in).collect();
    let names = of_listeners.iter().flat_map(|zones| zones.keys().copied());
    let all_healthy =
        |zone: &str| of_listeners.iter().all(|zones| zones.get(zone).is_some_and(|healthy| *healthy));
    names.map(|zone| (zone, all_healthy(zone))).collect()
}

fn per_listener(report: &Report, samples: &mut Samples, value: fn(&ListenerReport) -> Value) -> fmt::Result {
    each(report, |labels, listener| samples.labelled(&labels, value(listener)))
}

/// The listeners with the labels that name them.
fn each<'r>(
    report: &'r Report,
    mut write: impl FnMut([(&'static str, &'r str); 3], &'r ListenerReport) -> fmt::Result,
) -> fmt::Result {
    report.load_balancers.iter().try_for_each(|(name, load_balancer)| {
        load_balancer.listeners.iter().try_for_each(|listener| {
            let labels = [
                ("load_balancer", name.as_str()),
                ("protocol", &listener.protocol),
                ("port", &listener.port),
            ];
            write(labels, listener)
        })
    })
}
