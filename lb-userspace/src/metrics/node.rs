//! The node: what runs, where it is attached, what is in force, what was not forwarded.

use super::Scrape;
use super::metric::Metric;
use crate::status::report::{MemberReport, RoomReport, SharedStateReport};

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "sluice_build_info",
        help: "The version of the running controller",
        samples: |scrape, samples| samples.info(&[("version", &scrape.report.version)]),
    },
    Metric {
        name: "sluice_node_info",
        help: "The node's name and zone",
        samples: |scrape, samples| {
            samples.info(&[("node", &scrape.report.node), ("zone", &scrape.report.zone)])
        },
    },
    Metric {
        name: "sluice_hash_key_info",
        help: "Fingerprint of the key by which the node places flows; nodes with the same VIPs need the same key",
        samples: |scrape, samples| samples.info(&[("fingerprint", &scrape.report.hash_key)]),
    },
    Metric {
        name: "sluice_uptime_seconds",
        help: "Seconds since the controller started",
        samples: |scrape, samples| samples.single(scrape.report.uptime_seconds),
    },
    Metric {
        name: "sluice_configuration_generation",
        help: "How many contents of the configuration file were applied since the start",
        samples: |scrape, samples| samples.single(scrape.report.configuration.generation),
    },
    Metric {
        name: "sluice_configuration_rejected",
        help: "1 while the configuration file's present content is invalid and an earlier one is in force, else 0",
        samples: |scrape, samples| samples.single(scrape.report.configuration.rejected.is_some()),
    },
    Metric {
        name: "sluice_state_generation",
        help: "Generation of the newest state that nodes share and that this one knows of",
        samples: |scrape, samples| match &scrape.report.shared_state {
            Some(state) => samples.single(state.generation),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_state_generation_in_force",
        help: "Generation of the shared state that the node's tables are made from",
        samples: |scrape, samples| match &scrape.report.shared_state {
            Some(state) => samples.single(state.generation_in_force),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_state_store_reachable",
        help: "1 while the store of the shared state answers, 0 while the node goes on with what it knows",
        samples: |scrape, samples| match &scrape.report.shared_state {
            Some(state) => samples.single(state.store_reachable),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_member_present",
        help: "1 while the node that shares the state is there, 0 after its lease has ended, as this one sees it",
        samples: |scrape, samples| {
            members(scrape).try_for_each(|at| samples.labelled(&[("member", &at.name)], at.state != "gone"))
        },
    },
    Metric {
        name: "sluice_member_generation",
        help: "Generation of the shared state that the node's tables are made from, as it tells the others",
        samples: |scrape, samples| {
            members(scrape).try_for_each(|at| samples.labelled(&[("member", &at.name)], at.generation))
        },
    },
    Metric {
        name: "sluice_member_tables_differ",
        help: "1 while the node has another hash key than this one, or other tables for long, though both follow one \
               generation, else 0",
        samples: |scrape, samples| {
            members(scrape).try_for_each(|at| samples.labelled(&[("member", &at.name)], at.tables_differ))
        },
    },
    Metric {
        name: "sluice_members_age_seconds",
        help: "How long ago the records of the other nodes were read",
        samples: |scrape, samples| match shared(scrape).and_then(|state| state.members_age_seconds) {
            Some(seconds) => samples.single(seconds),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_capacity_held",
        help: "How many entries the node's maps have, by what they are; on nodes that share their state",
        samples: |scrape, samples| {
            own_room(scrape).try_for_each(|at| samples.labelled(&[("what", &at.what)], at.held))
        },
    },
    Metric {
        name: "sluice_capacity_room",
        help: "How many entries the node's maps have room for, by what they are; on nodes that share their state",
        samples: |scrape, samples| {
            own_room(scrape).try_for_each(|at| samples.labelled(&[("what", &at.what)], at.room))
        },
    },
    Metric {
        name: "sluice_interface_info",
        help: "The interfaces with the balancer, and the XDP mode: native, or generic (slower)",
        samples: |scrape, samples| {
            scrape
                .report
                .interfaces
                .iter()
                .try_for_each(|at| samples.info(&[("interface", &at.name), ("mode", &at.mode)]))
        },
    },
    Metric {
        name: "sluice_vip_announced",
        help: "1 while routers are told to send the VIP's packets to this node, 0 while the VIP is withdrawn; where \
               VIPs are announced",
        samples: |scrape, samples| {
            let announcements = scrape.report.announcements.iter();
            let own = announcements.filter(|at| at.state != "other_zone");
            own.into_iter().try_for_each(|at| samples.labelled(&[("vip", &at.vip.to_string())], at.announced))
        },
    },
    Metric {
        name: "sluice_unforwarded_packets_total",
        help: "Packets that were not forwarded, by reason, and what became of them: passed (to this host), \
               dropped or answered",
        samples: |scrape, samples| {
            scrape.report.reasons.iter().try_for_each(|at| {
                samples.labelled(&[("reason", &at.reason), ("verdict", &at.verdict)], at.packets)
            })
        },
    },
    Metric {
        name: "sluice_flow_log_lines_total",
        help: "Lines of flows that were written into flow logs; on nodes that keep some",
        samples: |scrape, samples| match &scrape.report.flow_log {
            Some(log) => samples.single(log.lines),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_flow_log_lost_records_total",
        help: "Records of flows that are in no log because more came than it took",
        samples: |scrape, samples| match &scrape.report.flow_log {
            Some(log) => samples.single(log.lost_records),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_flow_log_lost_lines_total",
        help: "Lines of flows that could not be written",
        samples: |scrape, samples| match &scrape.report.flow_log {
            Some(log) => samples.single(log.lost_lines),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_flow_log_failing",
        help: "1 while the flow log's files can't be written, else 0",
        samples: |scrape, samples| match &scrape.report.flow_log {
            Some(log) => samples.single(log.failing),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_tables_published_total",
        help: "Tables published since the start",
        samples: |scrape, samples| samples.single(scrape.report.publications.tables),
    },
    Metric {
        name: "sluice_maps_stale",
        help: "1 while the last change could not be written to the maps and packets go by what was before, else 0",
        samples: |scrape, samples| samples.single(scrape.report.publications.failure.is_some()),
    },
    Metric {
        name: "sluice_last_write_seconds",
        help: "How long the last write of a difference into the maps took",
        samples: |scrape, samples| samples.single(scrape.report.publications.last_write_seconds),
    },
    Metric {
        name: "sluice_health_decision_duration_seconds",
        help: "From the end of each health check that decided to the swapped table",
        samples: |scrape, samples| samples.single_durations(&scrape.report.publications.decisions),
    },
    Metric {
        name: "sluice_last_health_decision_seconds",
        help: "From the end of the health check that decided to the swapped table, for the last change of health",
        samples: |scrape, samples| match scrape.report.publications.last_decision_seconds {
            Some(seconds) => samples.single(seconds),
            None => Ok(()),
        },
    },
    Metric {
        name: "sluice_max_health_decision_seconds",
        help: "The longest time from the end of a health check that decided to the swapped table, since the start",
        samples: |scrape, samples| match scrape.report.publications.max_decision_seconds {
            Some(seconds) => samples.single(seconds),
            None => Ok(()),
        },
    },
];

fn shared(scrape: &Scrape) -> Option<&SharedStateReport> {
    scrape.report.shared_state.as_ref()
}

fn members(scrape: &Scrape) -> impl Iterator<Item = &MemberReport> {
    shared(scrape).into_iter().flat_map(|state| &state.members)
}

fn own_room(scrape: &Scrape) -> impl Iterator<Item = &RoomReport> {
    members(scrape).filter(|at| at.state == "this").flat_map(|at| &at.room)
}
