//! What is found of the balancer's own interfaces. One of them, `eth9`, has nothing at its other end.

use anyhow::Result;
use lab::Lab;
use lab::link::{End, connect};
use lab::offload::set_transmit_queues;

use crate::{PATIENCE, alone, expect_on_node, play};

#[test]
fn an_interface_that_is_down_gone_or_slower_is_named_and_one_made_again_is_taken() {
    let Some(_alone) = alone() else { return };
    let mut lab = Lab::builder().targets(1).build().unwrap();
    plug_in(&lab).unwrap();
    lab.nodes[0].interfaces.push("eth9".into());
    let configuration = lab.configuration();
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    play(lab, |lab| {
        expect_on_node(lab, &[])?;
        lab.nodes[0].host.ip("link set dev eth9 down")?;
        let mend = expect_on_node(lab, &["interface-down"])?.mend("interface-down")?;
        assert!(mend.starts_with("ip link set dev eth9 up"), "{mend}");
        lab.nodes[0].host.ip("link set dev eth9 up")?;
        expect_on_node(lab, &[])?;

        lab.nodes[0].host.ip("link delete dev eth9")?;
        expect_on_node(lab, &["interface-down"])?;
        plug_in(lab)?;
        expect_on_node(lab, &[])?;

        lab.nodes[0].stop_controller()?;
        // More than the other end can receive by: then veth refuses native XDP there.
        set_transmit_queues(&lab.router, "spare", 2)?;
        lab.start_controller(0, &configuration)?;
        expect_on_node(lab, &["xdp-generic"])?;
        lab.nodes[0].stop_controller()?;
        set_transmit_queues(&lab.router, "spare", 1)?;
        lab.start_controller(0, &configuration)?;
        expect_on_node(lab, &[]).map(drop)
    });
}

fn plug_in(lab: &Lab) -> Result<()> {
    let (node, router) = (&lab.nodes[0].host, &lab.router);
    connect(End { host: node, interface: "eth9" }, End { host: router, interface: "spare" }, 1500)
}
