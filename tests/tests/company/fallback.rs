//! A node that can't carry the newest generation starts with the last one that it could.

use std::fs;

use anyhow::{Context, Result, ensure};
use axum::http::{HeaderMap, Method};
use lab::VIP4;
use lab::wait;
use lb_userspace::api::calendar::Timestamp;
use lb_userspace::api::domain::Engine;
use lb_userspace::api::domain::arn::Identity;
use lb_userspace::api::service::{Request, Service};
use lb_userspace::api::signature::Guard;
use lb_userspace::api::store::{Configuration, Etcd, Shared, open_configured};
use serde_json::Value;

use crate::alone;
use crate::world::{ONE_ZONE, PATIENCE, Plan, World};

/// One node, so that nobody else helps out.
const ONE_NODE: Plan = Plan { nodes: &["a"], ..ONE_ZONE };

#[test]
fn a_node_starts_with_the_last_generation_that_it_could_carry() {
    let Some(_alone) = alone() else { return };
    World::start(&ONE_NODE).unwrap().play(|world| {
        world.create()?;
        world.set_attribute("deregistration_delay.timeout_seconds", "0")?;
        let good = generation(world)?;
        until_kept(world, good)?;
        world.lab.nodes[0].stop_controller()?;
        // Made by one that knows of no data plane: an address with two ports, which no node can carry.
        let other = elsewhere(world)?;
        let twice =
            format!("&TargetGroupArn={}&Targets.member.1.Id={}", world.group, world.lab.targets[0].v4);
        ask(&other, &format!("RegisterTargets{twice}&Targets.member.1.Port=81"))?;
        let configuration = world.configuration(0);
        world.lab.start_controller(0, &configuration)?;
        let shared = world.lab.nodes[0].status()?.shared_state.context("it shares the state")?;
        ensure!(shared.generation > good && shared.generation_in_force == good, "{shared:?}");
        let why = shared.refused.context("it does not say why")?;
        ensure!(why.contains(&world.lab.targets[0].v4.to_string()), "{why}");
        world.until_announced(VIP4.into(), &[0])?;
        world.lab.get(VIP4.into())?;
        let events = world.lab.nodes[0].sluice(&["events"])?;
        ensure!(events.contains(&format!("started with generation {good}")), "{events}");
        // Once it fits, the newest is followed.
        ask(&other, &format!("DeregisterTargets{twice}&Targets.member.1.Port=81"))?;
        world.until("the newest generation", || {
            let shared = world.lab.nodes[0].status()?.shared_state.context("it shares the state")?;
            ensure!(shared.generation_in_force > good && shared.refused.is_none(), "{shared:?}");
            Ok(())
        })?;
        world.lab.get(VIP4.into()).map(drop)
    });
}

fn generation(world: &World) -> Result<u64> {
    let shared = world.lab.nodes[0].status()?.shared_state.context("it shares the state")?;
    ensure!(shared.generation == shared.generation_in_force, "{shared:?}");
    Ok(shared.generation)
}

/// Waits until a generation is on the node's disk: the thread that writes it tells nobody.
fn until_kept(world: &World, generation: u64) -> Result<()> {
    let kept = world.lab.lease.directory().join("state-lb1").join("last-good").join("acknowledged");
    wait::until("the last good generation on the disk", PATIENCE, || {
        let bytes = fs::read(&kept).with_context(|| kept.display().to_string())?;
        let told: [u8; 8] = bytes.get(..8).and_then(|bytes| bytes.try_into().ok()).context("too short")?;
        ensure!(u64::from_le_bytes(told) == generation, "{told:?}, not {generation}");
        Ok(())
    })
}

/// An API of another node of the same etcd, in this process.
fn elsewhere(world: &World) -> Result<Service> {
    let configuration = world.configuration(0);
    let inventory: lb_userspace::api::configuration::Configuration = parsed(&configuration)?;
    let lb_userspace::api::inventory::Source::File(inventory) = inventory.inventory else {
        anyhow::bail!("the inventory is not given")
    };
    let etcd = Etcd {
        endpoints: world.etcd.endpoints(),
        prefix: "/sluice/".to_owned(),
        tls: None,
        user: None,
        password_file: None,
    };
    let directory = world.lab.lease.directory().join("state-elsewhere");
    let kept = Configuration { directory, shared: Some(Shared { etcd }) };
    let store = world.lab.nodes[0].host.enter(|| open_configured(&kept))?;
    Ok(Service::new(Engine::kept_in(store, Identity::default(), inventory)?, Guard::Open))
}

fn parsed(configuration: &Value) -> Result<lb_userspace::api::configuration::Configuration> {
    lb_userspace::api::configuration::Configuration::parse(&configuration.to_string())
}

fn ask(service: &Service, action: &str) -> Result<()> {
    let request = Request {
        method: Method::POST,
        uri: "/".parse().context("a path")?,
        headers: HeaderMap::new(),
        body: format!("Version=2015-12-01&Action={action}").into_bytes(),
        connection: 0,
        peer: None,
    };
    let answer = service.answer(&request, Timestamp::now());
    ensure!(answer.status == 200, "{action}: {}", answer.body);
    Ok(())
}
