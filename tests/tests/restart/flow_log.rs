//! Flows that begin and end while no controller runs are in the log of the next one.

use anyhow::{Result, ensure};
use lab::{Lab, VIP4, flow_log, wait};
use serde_json::json;

use crate::{PATIENCE, alone};
use lab::pinned::Pinned;

#[test]
fn what_happened_while_no_controller_ran_is_told_by_the_next() {
    let Some(_alone) = alone() else { return };
    let mut pinned = Pinned::new(Lab::builder().targets(2).build().unwrap()).unwrap();
    pinned.lab.start_servers().unwrap();
    pinned.lab.start_agents().unwrap();
    pinned.play(|pinned| {
        let mut configuration = flow_log::configuration(&pinned.lab);
        configuration["load_balancers"][0]["flow_log"] = json!(true);
        pinned.start(&configuration)?;
        pinned.healthy()?;
        let mut expected = 0;
        for end in [Pinned::kill, Pinned::terminate] {
            get(pinned, 10)?;
            expect_flows(pinned, expected + 10)?;
            end(pinned)?;
            get(pinned, 10)?;
            pinned.start(&configuration)?;
            expected += 20;
            expect_flows(pinned, expected)?;
        }
        Ok(())
    });
}

fn get(pinned: &Pinned, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| pinned.lab.get(VIP4.into()).map(drop))
}

fn expect_flows(pinned: &Pinned, count: usize) -> Result<()> {
    wait::until("the flows' lines", PATIENCE, || {
        let flows = flow_log::flows(&flow_log::lines(&flow_log::directory(&pinned.lab))?)?;
        let whole = flows.values().filter(|flow| (flow.began, flow.ended) == (1, 1)).count();
        ensure!(whole == count && flows.len() == count, "{whole} of {} flows are whole", flows.len());
        Ok(())
    })
}
