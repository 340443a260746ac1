//! A flood of TCP segments from addresses that nobody has: made in the kernel by live frames (`BPF_PROG_TEST_RUN`,
//! Linux 5.18), as fast as one processor can.
//!
//! Where it ends is the `sieve` at the far end of a wire ([`crate::peer`]): what the balancer has forwarded is counted
//! and dropped there, so that the flood meets the balancer and neither routers nor targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use aya::programs::{TestRun as _, TestRunAttrs, Xdp};
use aya::{Ebpf, TestRunOptions};
use etherparse::PacketBuilder;
use lb_common::bench::Flood as Order;
use lb_userspace::next_hop::{self, Interface};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::host::{Entrance, Host};
use crate::peer;
use crate::topology::{Lab, VIP4};

/// Packets that are made without a pause.
const RUN: u32 = 100_000;
/// Frames that are sent at once: what a driver polls.
const BATCH: u32 = 64;
/// Of a thread: all others go first.
const LEAST_PRIORITY: i32 = 19;

/// The program that makes packets.
pub struct Generator {
    ebpf: Ebpf,
    order: Array<MapData, Order>,
    frame: Vec<u8>,
    interface: u32,
}

impl Generator {
    /// Makes packets by `order`, for the interface with this index in the caller's network namespace; it has a native
    /// XDP program, as its other end has.
    ///
    /// # Errors
    /// If the program is not built, or the kernel refuses it.
    pub fn new(order: Order, interface: u32) -> Result<Generator> {
        let mut ebpf = peer::load_object("wire")?;
        program(&mut ebpf, "flood")?.load().context("loading the program `flood`")?;
        let map = ebpf.take_map("FLOOD").context("the object has no map FLOOD")?;
        let mut map: Array<_, Order> = Array::try_from(map)?;
        map.set(0, order, 0).context("telling the flood what it is made of")?;
        Ok(Generator { ebpf, order: map, frame: frame(order), interface })
    }

    /// Another program of the object, loaded: it sends back what comes.
    ///
    /// # Errors
    /// If there is none, or the kernel refuses it.
    pub fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = program(&mut self.ebpf, name)?;
        if program.fd().is_err() {
            program.load().with_context(|| format!("loading the program `{name}`"))?;
        }
        Ok(program)
    }

    /// Sends `packets` packets from inside the namespace that the interface is in.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn send(&mut self, packets: u32) -> Result<()> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, self.frame.len() as u32, 0, self.interface, 0, 0].map(u32::to_ne_bytes).concat();
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(&context),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        program(&mut self.ebpf, "flood")?.test_run(options).context("sending live frames")?;
        Ok(())
    }

    /// How many packets it has made.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn sent(&self) -> Result<u64> {
        Ok(self.order.get(&0, 0).context("reading how many packets were made")?.next)
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program `{name}`"))?;
    Ok(program.try_into()?)
}

/// What all packets have in common, with a short payload: 64 bytes as a switch counts them.
fn frame(order: Order) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv4([0; 4], order.vip.to_ne_bytes(), 63)
        .tcp(0, u16::from_be(order.port), 1, 1024)
        .write(&mut frame, &[0; 6])
        .expect("a short packet has room for its lengths");
    frame
}

/// A flood that goes on, on the first processor, until it is stopped.
#[derive(Debug)]
pub struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Duration>>>,
}

impl Flood {
    /// Floods a node of the lab with random SYNs and ACKs for the IPv4 VIP's `port`, from the router's end of the
    /// node's cable; ends by itself after `limit`, if there is one.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn start(lab: &Lab, node: usize, port: u16, limit: Option<Duration>) -> Result<Flood> {
        let node = &lab.nodes[node];
        let cable = interface_of(&lab.router, &node.name)?;
        let mac = |host, name| interface_of(host, name)?.mac.context("a veth and a bridge are Ethernet");
        let (to, from) = (mac(&node.host, "eth0")?, mac(&lab.router, "nodes")?);
        let order = Order { has_syns: 1, ..Order::new(to, from, VIP4.octets(), port, 1 << 32) };
        let generator = Generator::new(order, cable.index)?;
        let entrance = lab.router.entrance()?;
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let begun = Instant::now();
        let (is_over, count) = (over.clone(), sent.clone());
        let goes_on =
            move || !is_over.load(Ordering::Relaxed) && limit.is_none_or(|limit| begun.elapsed() < limit);
        let work = move || pour(generator, &entrance, goes_on, &count).map(|()| begun.elapsed());
        let thread = std::thread::Builder::new().name("flood".to_string()).spawn(work)?;
        Ok(Flood { over, sent, thread: Some(thread) })
    }

    /// How many packets were sent, as of some moments ago.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; how many packets were sent, and in what time.
    ///
    /// # Errors
    /// If the kernel refused to send them.
    pub fn stop(mut self) -> Result<(u64, Duration)> {
        let thread = self.end();
        let thread = thread.context("the flood is stopped once")?;
        let time = thread.join().expect("the flood's thread does not panic")?;
        Ok((self.sent.load(Ordering::Relaxed), time))
    }

    fn end(&mut self) -> Option<JoinHandle<Result<Duration>>> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        if let Some(thread) = self.end() {
            // Whoever drops it has a failure of his own to tell of.
            let _ = thread.join();
        }
    }
}

fn pour(
    mut generator: Generator,
    entrance: &Entrance,
    goes_on: impl Fn() -> bool,
    sent: &AtomicU64,
) -> Result<()> {
    entrance.move_this_thread_in();
    let mut processors = CpuSet::new();
    processors.set(0);
    sched_setaffinity(None, &processors).context("keeping the flood on one processor")?;
    // As fast as the balancer takes it: the kernel's thread that works through a wire's queue goes before it.
    rustix::process::nice(LEAST_PRIORITY).context("making the flood wait for others")?;
    while goes_on() {
        generator.send(RUN)?;
        sent.store(generator.sent()?, Ordering::Relaxed);
    }
    Ok(())
}

/// An interface of a host.
///
/// # Errors
/// If the host has no such interface.
pub fn interface_of(host: &Host, name: &str) -> Result<Interface> {
    host.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(next_hop::interface(name))
    })
}
