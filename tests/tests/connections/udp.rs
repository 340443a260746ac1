//! What becomes of UDP flows when the table changes, by the target group's tracking policy.
//!
//! One load balancer a policy, each with a VIP of its own and the same three targets. A flow is a socket.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::topology::{CLIENT4, Lab};
use lab::{configuration, echo};
use lb_userspace::status::report::Report;
use serde_json::{Value, json};

/// The policies, which are also the names of target group and load balancer.
const POLICIES: [&str; 3] = ["changed", "always", "never"];

/// Flows of each policy that send all the time, and as many that are silent after their first datagram.
const FLOWS: usize = 150;

/// The shortest idle time-out that UDP may have.
const IDLE: Duration = Duration::from_secs(10);

/// How long one datagram's echo may take, and how often it is sent.
const ECHO: Duration = Duration::from_secs(2);
const TRIES: usize = 5;

/// How long a change may take to be in force.
const SETTLED: Duration = Duration::from_secs(40);

#[test]
fn udp_flows_follow_the_policy_of_their_target_group_when_the_table_changes() {
    let Some(_alone) = crate::alone() else { return };
    let vips: Vec<IpAddr> = (1..).map(vip).take(POLICIES.len()).collect();
    let mut lab = Lab::builder().targets(3).vips(&vips).build().unwrap();
    let configuration = configuration_of(&lab, 1);
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", SETTLED).unwrap();
    play(&lab).map_err(|error| lab.with_evidence(error)).unwrap();
}

fn play(lab: &Lab) -> Result<()> {
    let mut crowds = POLICIES.iter().zip(&lab.vips).map(|(policy, vip)| Crowd::open(lab, policy, *vip));
    let [mut changed, mut always, mut never] = [crowds.next(), crowds.next(), crowds.next()]
        .map(|crowd| crowd.context("a crowd a policy")?)
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .try_into()
        .ok()
        .context("three crowds")?;
    let first = lab.targets[0].name.clone();
    let change = Instant::now();
    weigh_first(lab, 0)?;

    never.ask_all(lab)?;
    ensure!(never.moved_from(&first) == never.count_at_first(&first), "never: a flow stayed on {first}");
    ensure!(never.moved_from_others(&first) * 20 < never.flows.len(), "never: others' flows moved, too");
    always.ask_active(lab)?;
    ensure!(always.moved() == 0, "always: {} flows moved", always.moved());
    keep_asking(lab, &mut changed, change + IDLE + Duration::from_secs(2))?;

    // The slots are no longer changing: what was silent since is taken for new.
    wait_until_learnt(lab)?;
    changed.ask_all(lab)?;
    let (active, silent) = changed.flows.split_at(FLOWS);
    ensure!(moved(active) == 0, "changed: {} flows moved that were never silent", moved(active));
    ensure!(on(silent, &first) == 0, "changed: a flow unknown after the idle time-out is on {first}");
    ensure!(on(active, &first) > 0, "no active flow is on {first}: nothing was tested");
    always.ask_all(lab)?;
    ensure!(always.moved() == 0, "always: {} flows moved that were silent", always.moved());

    weigh_first(lab, 1)?;
    never.ask_all(lab)?;
    ensure!(never.moved() == 0, "never: {} flows are not back on their first target", never.moved());
    Ok(())
}

/// Flows that are never silent are learnt while their slots are changing.
fn keep_asking(lab: &Lab, crowd: &mut Crowd, until: Instant) -> Result<()> {
    while Instant::now() < until {
        crowd.ask_active(lab)?;
        ensure!(crowd.moved() == 0, "changed: {} flows moved while the slots change", crowd.moved());
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// One socket.
struct Flow {
    socket: UdpSocket,
    /// Who answered first, and who last.
    first: String,
    last: String,
}

/// The flows of a policy: active ones first, then silent ones.
struct Crowd {
    policy: &'static str,
    flows: Vec<Flow>,
    sequence: u64,
}

impl Crowd {
    fn open(lab: &Lab, policy: &'static str, vip: IpAddr) -> Result<Crowd> {
        let mut crowd = Crowd { policy, flows: Vec::new(), sequence: 0 };
        lab.client.enter(|| {
            for _ in 0..2 * FLOWS {
                let socket = UdpSocket::bind((CLIENT4, 0)).context("binding a UDP socket")?;
                socket.set_read_timeout(Some(ECHO))?;
                socket.connect(SocketAddr::new(vip, echo::PORT))?;
                let first = ask(&socket, 0)?;
                crowd.flows.push(Flow { socket, last: first.clone(), first });
            }
            anyhow::Ok(())
        })?;
        let mut spread: BTreeMap<&str, usize> = BTreeMap::new();
        crowd.flows.iter().for_each(|flow| *spread.entry(&flow.first).or_default() += 1);
        ensure!(spread.len() == lab.targets.len(), "{policy}: only {spread:?} got flows");
        Ok(crowd)
    }

    fn ask_all(&mut self, lab: &Lab) -> Result<()> {
        self.ask_first(lab, 2 * FLOWS)
    }

    fn ask_active(&mut self, lab: &Lab) -> Result<()> {
        self.ask_first(lab, FLOWS)
    }

    fn ask_first(&mut self, lab: &Lab, count: usize) -> Result<()> {
        self.sequence += 1;
        let (sequence, flows) = (self.sequence, &mut self.flows[..count]);
        let asked = lab.client.enter(|| {
            flows.iter_mut().try_for_each(|flow| {
                flow.last = ask(&flow.socket, sequence)?;
                anyhow::Ok(())
            })
        });
        asked.with_context(|| format!("flows of the policy {}", self.policy))
    }

    fn moved(&self) -> usize {
        moved(&self.flows)
    }

    fn count_at_first(&self, target: &str) -> usize {
        self.flows.iter().filter(|flow| flow.first == target).count()
    }

    fn moved_from(&self, target: &str) -> usize {
        self.flows.iter().filter(|flow| flow.first == target && flow.last != target).count()
    }

    fn moved_from_others(&self, target: &str) -> usize {
        self.flows.iter().filter(|flow| flow.first != target && flow.last != flow.first).count()
    }
}

fn moved(flows: &[Flow]) -> usize {
    flows.iter().filter(|flow| flow.first != flow.last).count()
}

fn on(flows: &[Flow], target: &str) -> usize {
    flows.iter().filter(|flow| flow.last == target).count()
}

/// Sends a datagram until it is echoed; who echoed it.
fn ask(socket: &UdpSocket, sequence: u64) -> Result<String> {
    let own = socket.local_addr()?;
    let question = format!("{own} {sequence}");
    let mut buffer = [0; 1000];
    for _ in 0..TRIES {
        socket.send(question.as_bytes())?;
        while let Ok(length) = socket.recv(&mut buffer) {
            let answer = String::from_utf8_lossy(&buffer[..length]);
            let (greeting, echoed) = answer.split_once('\n').context("an answer without a greeting")?;
            let target = greeting.split(' ').next().unwrap_or_default();
            ensure!(format!("{greeting}\n") == echo::greeting(target, own), "{own} was greeted {greeting:?}");
            // The echo of an earlier try, which was late, says nothing of now.
            if echoed == question {
                return Ok(target.to_string());
            }
        }
    }
    bail!("no echo for {own} in {TRIES} tries")
}

/// Waits until no slot of the policy `changed` is changing.
fn wait_until_learnt(lab: &Lab) -> Result<()> {
    let learnt = |report: &Report| {
        let listener = report.load_balancers[POLICIES[0]].listeners.first().context("it has a listener")?;
        ensure!(listener.changing_slots == 0, "{} slots are still changing", listener.changing_slots);
        Ok(())
    };
    lab.wait_for(0, "no changing slot", SETTLED, learnt).map(drop)
}

/// Gives the first target another weight in all groups.
fn weigh_first(lab: &Lab, weight: u16) -> Result<()> {
    let generation = lab.nodes[0].status()?.configuration.generation;
    lab.nodes[0].write_configuration(&configuration_of(lab, weight))?;
    let applied = |report: &Report| {
        ensure!(report.configuration.generation > generation, "it is not applied yet");
        Ok(())
    };
    lab.wait_for(0, "the new weight", SETTLED, applied).map(drop)
}

fn configuration_of(lab: &Lab, weight_of_first: u16) -> Value {
    let addresses: Vec<IpAddr> = lab.targets.iter().map(|target| target.v4.into()).collect();
    let group = |policy: &&str| {
        let mut group = configuration::target_group(policy, "UDP", echo::PORT, &addresses);
        group["udp_tracking"] = (*policy).into();
        // `always` must remember those that are silent through the whole test.
        group["idle_timeout_seconds"] = if *policy == "always" { 300 } else { IDLE.as_secs() }.into();
        group["health_check"]["unhealthy_threshold"] = 5.into();
        group["targets"][0]["weight"] = weight_of_first.into();
        group
    };
    let load_balancer = |(policy, vip): (&&str, &IpAddr)| {
        let forward = json!([ { "target_group": policy } ]);
        let listener = json!({ "protocol": "UDP", "port": echo::PORT, "forward": forward });
        json!({ "name": policy, "vips": [vip], "listeners": [listener] })
    };
    json!({
        "node": { "name": "lb", "zone": "a", "interfaces": [] },
        "load_balancers": POLICIES.iter().zip(&lab.vips).map(load_balancer).collect::<Vec<_>>(),
        "target_groups": POLICIES.iter().map(group).collect::<Vec<_>>()
    })
}

fn vip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 200, 2, number).into()
}
