//! QUIC, TCP_UDP and source affinity over real sockets: who answers whom, wherever the client's packets come from.
//!
//! The targets' UDP echo stands for a QUIC server: what matters is the shape of the datagrams.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::topology::CLIENT4;
use lab::{Lab, VIP4, alone, configuration, echo};
use serde_json::{Value, json};

/// How long a change may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long one datagram's echo may take, and how often it is sent.
const ECHO: Duration = Duration::from_secs(2);
const TRIES: usize = 5;

/// The client's addresses in these tests.
const CLIENTS: u8 = 12;

/// A running lab with one listener and one target group of this protocol on the port of the echo services.
fn lab(protocol: &str, change: impl FnOnce(&mut Value)) -> Lab {
    let mut lab = Lab::builder().targets(3).build().unwrap();
    let members: Vec<IpAddr> = lab.targets.iter().map(|target| target.v4.into()).collect();
    let mut group = configuration::target_group("echo", protocol, echo::PORT, &members);
    change(&mut group);
    let mut configuration = lab.configuration();
    configuration["target_groups"] = json!([group]);
    configuration["load_balancers"][0]["listeners"] =
        json!([ { "protocol": protocol, "port": echo::PORT, "forward": [ { "target_group": "echo" } ] } ]);
    for host in 3..CLIENTS + 2 {
        lab.client.ip(&format!("address add 10.201.0.{host}/24 dev eth0")).unwrap();
    }
    lab.start(&configuration).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    lab
}

/// The client's addresses: 10.201.0.2 and those behind it.
fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(CLIENT4.to_bits() + u32::from(number % CLIENTS))
}

/// The target that answers a datagram from a new socket.
fn ask(lab: &Lab, from: Ipv4Addr, datagram: &[u8]) -> Result<String> {
    lab.client.enter(|| {
        let socket = UdpSocket::bind((from, 0)).context("binding the client's socket")?;
        socket.connect((VIP4, echo::PORT)).context("connecting to the VIP")?;
        socket.set_read_timeout(Some(ECHO)).context("setting the time-out")?;
        let mut answer = [0; 2000];
        for _ in 0..TRIES {
            socket.send(datagram).context("sending")?;
            if let Ok(length) = socket.recv(&mut answer) {
                return name_in(&String::from_utf8_lossy(&answer[..length]));
            }
        }
        bail!("no answer to {from}")
    })
}

/// The target that greets a new TCP connection.
fn greeting(lab: &Lab) -> Result<String> {
    lab.client.enter(|| {
        let stream = TcpStream::connect_timeout(&SocketAddr::from((VIP4, echo::PORT)), ECHO)?;
        stream.set_read_timeout(Some(ECHO))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        name_in(&line)
    })
}

fn name_in(answer: &str) -> Result<String> {
    answer.split(' ').next().filter(|name| !name.is_empty()).map(str::to_owned).context("an empty greeting")
}

/// A QUIC packet with a short header whose connection id names the target with this number.
fn short_header(number: u64) -> Vec<u8> {
    [&[0x40, 0x0c][..], &server_id(number).to_be_bytes(), &[1, 2, 3, 4], &[0x5a; 30]].concat()
}

fn server_id(number: u64) -> u64 {
    0xabcd_0000_0000_0000 | number
}

fn number_targets(group: &mut Value) {
    for (number, target) in group["targets"].as_array_mut().unwrap().iter_mut().enumerate() {
        target["quic_server_id"] = format!("0x{:016x}", server_id(number as u64)).into();
    }
}

#[test]
fn a_quic_connection_stays_with_its_target_wherever_its_client_moves() {
    let Some(_alone) = alone() else { return };
    let lab = lab("QUIC", number_targets);
    move_about(&lab).map_err(|error| lab.with_evidence(error)).unwrap();
}

fn move_about(lab: &Lab) -> Result<()> {
    let everywhere = |number: u64, target: &str| {
        (0..3 * CLIENTS).try_for_each(|at| {
            let answered = ask(lab, client(at), &short_header(number))?;
            ensure!(answered == target, "{} is answered by {answered}, not {target}", client(at));
            Ok(())
        })
    };
    for (number, target) in (0..).zip(&lab.targets) {
        everywhere(number, &target.name)?;
    }
    let unknown: BTreeSet<String> =
        (0..3 * CLIENTS).map(|at| ask(lab, client(at), &short_header(99))).collect::<Result<_>>()?;
    ensure!(unknown.len() == lab.targets.len(), "packets that name nobody spread: {unknown:?}");

    // A draining target keeps what names it, and gets nothing else that is new.
    let gone = &lab.targets[0];
    let mut without: Value =
        serde_json::from_str(&std::fs::read_to_string(lab.nodes[0].configuration_file())?)?;
    configuration::remove_target(&mut without, gone.v4.into())?;
    lab.nodes[0].write_configuration(&without)?;
    lab.wait_for_target(0, gone.v4.into(), "draining", PATIENCE)?;
    everywhere(0, &gone.name)?;
    for at in 0..3 * CLIENTS {
        let initial = [&[0xc0, 0, 0, 0, 1, 8][..], &[at; 8], &[0, 0, 0x41, 0], &[0x5a; 1180]].concat();
        let answered = ask(lab, client(at), &initial)?;
        ensure!(answered != gone.name, "a new connection on a draining target");
    }
    Ok(())
}

#[test]
fn a_clients_connections_of_both_protocols_go_to_one_target() {
    let Some(_alone) = alone() else { return };
    let lab = lab("TCP_UDP", |group| group["stickiness"] = "source_ip".into());
    stick(&lab).map_err(|error| lab.with_evidence(error)).unwrap();
}

fn stick(lab: &Lab) -> Result<()> {
    let mut met = BTreeSet::new();
    for number in 0..CLIENTS {
        let first = ask(lab, client(number), b"hello")?;
        for _ in 0..5 {
            let again = ask(lab, client(number), b"hello")?;
            ensure!(again == first, "{} is answered by {first} and {again}", client(number));
        }
        met.insert(first);
    }
    ensure!(met.len() > 1, "all clients are on {met:?}");
    // The client's TCP connections have its first address.
    let expected = ask(lab, CLIENT4, b"hello")?;
    for _ in 0..10 {
        let greeted = greeting(lab)?;
        ensure!(greeted == expected, "TCP is answered by {greeted}, UDP by {expected}");
    }
    let report = lab.nodes[0].status()?;
    let listeners = &report.load_balancers["web"].listeners;
    ensure!(listeners.len() == 1 && listeners[0].protocol == "TCP_UDP", "{listeners:?}");
    let counted = listeners[0].packets;
    ensure!(counted > 100, "both protocols are counted by the listener: {counted}");
    Ok(())
}

#[test]
fn a_node_is_not_its_own_target() {
    let Some(_alone) = alone() else { return };
    let mut lab = Lab::builder().targets(1).build().unwrap();
    let good = lab.configuration();
    lab.start(&good).unwrap();
    lab.wait_for_all(0, "healthy", PATIENCE).unwrap();
    refuse_itself(&mut lab, &good).map_err(|error| lab.with_evidence(error)).unwrap();
}

fn refuse_itself(lab: &mut Lab, good: &Value) -> Result<()> {
    let own = lab.nodes[0].v4;
    let mut bad = good.clone();
    configuration::targets_of(&mut bad, 0)?.push(json!({ "id": own }));
    lab.nodes[0].write_configuration(&bad)?;
    let report = lab.wait_for(0, "the refusal", PATIENCE, |report| {
        report.configuration.rejected.as_ref().map(drop).context("the configuration is not refused")
    })?;
    let rejected = report.configuration.rejected.context("it was there a moment ago")?;
    ensure!(rejected.contains(&format!("the target web/{own} is an address of this node")), "{rejected}");
    ensure!(report.target_groups["web"].targets.len() == 1, "the running state stays");
    lab.nodes[0].stop_controller()?;
    lab.nodes[0].start_controller(&bad)?;
    lab::wait::until("the controller's end", PATIENCE, || {
        match lab.nodes[0].controller.as_mut().context("it was started")?.check_running() {
            Ok(()) => bail!("it runs with itself as a target"),
            Err(end) => Ok(format!("{end:#}")),
        }
    })
    .and_then(|end| {
        ensure!(end.contains(&format!("the target web/{own}")), "{end}");
        Ok(())
    })
}
