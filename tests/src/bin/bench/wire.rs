//! End to end: packets that the kernel makes, over a wire into the balancer, and over a wire to where they are counted.
//!
//! ```text
//!   outside: flood ─► wire0 ═ wire0: balancer (or a program that only exchanges the MAC addresses) :node
//!            sieve ◄─ wire0 ◄─ XDP_TX ─┤
//!            sieve ◄─ wire1 ◄─ redirect┘
//! ```
//!
//! All of it runs on one processor, the making and the counting included, so the number that says something is the
//! ratio of the balancer's to the other's, taken round by round.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::programs::XdpMode;
use lab::flood::{Generator, interface_of};
use lab::link::{End, connect};
use lab::peer::Peer;
use lab::{Host, Lease};
use lb_common::TargetId;
use lb_common::bench::{Flood, LISTENER_PORT, SyntheticFlow};
use lb_common::encapsulation::{Ends, Tunnel};
use lb_userspace::data_plane::DataPlane;
use lb_userspace::next_hop::Interface;

use crate::measure::{Effort, median};
use crate::node;
use crate::scenario::Scenario;

/// The wire that packets come by, and the one that they are redirected to.
const WIRES: [&str; 2] = ["wire0", "wire1"];
const MTU: u16 = 1600;
const FLOWS: u64 = 1 << 16;

/// Where packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Transmit,
    Redirect,
}

/// Both ends of the wires.
struct Wires {
    outside: Host,
    node: Host,
    sieves: [Peer; 2],
    /// The node's ends.
    interfaces: [Interface; 2],
    generator: Generator,
    outside_mac: [u8; 6],
}

/// Prints the table.
///
/// # Errors
/// If the kernel refuses something, or packets do not arrive.
pub(crate) fn report(effort: Effort) -> Result<()> {
    println!(
        "\nOver a wire (veth; IPv4, TCP, 64 Ki flows), million packets a second on one core, making and counting included"
    );
    println!("  {:<36} {:>16} {:>16} {:>9}", "", "balancer", "only MACs", "ratio");
    let mut wires = Wires::new()?;
    for (name, way) in [("by XDP_TX", Way::Transmit), ("by redirect", Way::Redirect)] {
        let mut plane = wires.balancer(way)?;
        let (mut balancer, mut swap) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            swap.push(wires.swapped(way, effort.packets)?);
            balancer.push(wires.balanced(&mut plane, way, effort.packets)?);
        }
        let ratios = balancer.iter().zip(&swap).map(|(balancer, swap)| balancer / swap).collect();
        println!(
            "  {name:<36} {:>16.2} {:>16.2} {:>9.2}",
            median(balancer) / 1e6,
            median(swap) / 1e6,
            median(ratios)
        );
    }
    Ok(())
}

impl Wires {
    fn new() -> Result<Wires> {
        let lease = Lease::take()?;
        let (outside, node) = (Host::new(&lease, "outside")?, Host::new(&lease, "node")?);
        for interface in WIRES {
            connect(End { host: &outside, interface }, End { host: &node, interface }, MTU)?;
        }
        let sieve = |interface| Peer::attach_sieve(&outside, interface);
        let sieves = [sieve(WIRES[0])?, sieve(WIRES[1])?];
        let interfaces = [interface_of(&node, WIRES[0])?, interface_of(&node, WIRES[1])?];
        let cable = interface_of(&outside, WIRES[0])?;
        let mac = |interface: &Interface| interface.mac.context("a veth is Ethernet");
        let (outside_mac, node_mac) = (mac(&cable)?, mac(&interfaces[0])?);
        let vip = SyntheticFlow { number: 0, vip: 0 }.ipv4_vip().to_be_bytes();
        let order = Flood {
            redirect_to: interfaces[1].index,
            ..Flood::new(node_mac, outside_mac, vip, LISTENER_PORT, FLOWS)
        };
        let generator = Generator::new(order, cable.index)?;
        Ok(Wires { outside, node, sieves, interfaces, generator, outside_mac })
    }

    /// A balancer whose targets are behind the wire.
    fn balancer(&self, way: Way) -> Result<DataPlane> {
        let scenario = Scenario::wire(FLOWS);
        let plane = node::load(&scenario)?;
        let interface = &self.interfaces[way as usize];
        for id in 1..=scenario.all_targets() {
            let tunnel = Tunnel {
                interface: interface.index,
                source_mac: interface.mac.context("a veth is Ethernet")?,
                destination_mac: self.outside_mac,
                ends: Ends::V4(
                    Ipv4Addr::new(10, 202, 0, 1),
                    Ipv4Addr::new(10, 203, (id >> 8) as u8, id as u8),
                ),
                gue: false,
                mtu: MTU,
            };
            plane.maps.set_target(TargetId(id), &tunnel.target());
        }
        Ok(plane)
    }

    fn balanced(&mut self, plane: &mut DataPlane, way: Way, packets: u32) -> Result<f64> {
        let attachment = self.node.enter(|| plane.attach(&self.interfaces[0]))?;
        ensure!(
            attachment.mode() == "native",
            "the balancer is not native: {:?}",
            attachment.fallback_reason
        );
        let rate = self.rate(way, packets);
        self.node.enter(|| plane.detach(attachment))?;
        rate
    }

    fn swapped(&mut self, way: Way, packets: u32) -> Result<f64> {
        let name = if way == Way::Transmit { "swap" } else { "swap_redirect" };
        let program = self.generator.program(name)?;
        let attached = self.node.enter(|| program.attach(WIRES[0], XdpMode::Driver));
        let link = attached.with_context(|| format!("attaching the program `{name}`"))?;
        let rate = self.rate(way, packets);
        self.generator
            .program(name)?
            .detach(link)
            .with_context(|| format!("detaching the program `{name}`"))?;
        rate
    }

    /// Packets a second that arrive.
    fn rate(&mut self, way: Way, packets: u32) -> Result<f64> {
        let before = self.sieves[way as usize].sieved()?;
        let begun = Instant::now();
        let Wires { outside, generator, .. } = self;
        outside.enter(|| generator.send(packets))?;
        let (arrived, end) = self.last_arrival(way)?;
        let arrived = arrived - before;
        ensure!(
            arrived > u64::from(packets) / 2,
            "of {packets} packets {arrived} arrived: the wire is too slow for the measurement"
        );
        Ok(arrived as f64 / end.duration_since(begun).as_secs_f64())
    }

    /// When the sieve's count stops growing: a wire's queue may outlast the call that fills it.
    fn last_arrival(&self, way: Way) -> Result<(u64, Instant)> {
        let mut last = (self.sieves[way as usize].sieved()?, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(1));
            let count = self.sieves[way as usize].sieved()?;
            if count == last.0 {
                return Ok(last);
            }
            last = (count, Instant::now());
        }
    }
}
