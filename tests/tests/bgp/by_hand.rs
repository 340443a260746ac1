//! A router that is played by hand, for what no daemon does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use lab::host::Host;
use lb_userspace::announce::bgp::message::{self, Capabilities, Open};
use lb_userspace::announce::bgp::speaker::PORT;
use lb_userspace::announce::bgp::{Families, Peer};

use crate::world::*;

/// A router that has one session and no patience to lose: it says that it lives, whatever the node does. When the
/// session has ended there is no other one.
struct Patient {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Patient {
    fn start(router: &Host) -> Result<Patient> {
        let entrance = router.entrance()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let until = is_over.clone();
        let thread = thread::spawn(move || {
            entrance.move_this_thread_in();
            let (stream, _) = TcpListener::bind((ROUTER4, PORT)).unwrap().accept().unwrap();
            // An error is the session's end, which the node's side tells.
            let _ = live(stream, &until);
        });
        Ok(Patient { is_over, thread: Some(thread) })
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn live(mut stream: TcpStream, is_over: &AtomicBool) -> std::io::Result<()> {
    stream.read_exact(&mut [0])?;
    let open = Open {
        autonomous_system: ROUTER_AS,
        hold_time: 3,
        router_id: ROUTER4,
        capabilities: Capabilities {
            families: Families { ipv4: true, ipv6: true },
            route_refresh: true,
            four_octet_as: true,
            extended_next_hop: false,
        },
    };
    stream.write_all(&message::open(&open))?;
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&message::keepalive())?;
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

#[test]
fn a_node_that_stood_still_looks_at_what_came_before_it_gives_a_router_up() {
    let Some(_alone) = lab::alone() else { return };
    let world = World::new(1).unwrap();
    let _router = Patient::start(&world.router).unwrap();
    let peer = Peer { hold_time: Duration::from_secs(3), ..over_ipv4(0) };
    let speaking = Speaking::start(&world.nodes[0], speaker(0, [peer]), announced(&[VIP4])).unwrap();
    let before = speaking.wait(ROUTER4, "a VIP told", |status| status.announced == 1).unwrap();
    speaking.stall(Duration::from_secs(4)).unwrap();
    speaking.want(announced(&[VIP4, VIP6]));
    let status = speaking.wait(ROUTER4, "two VIPs told", |status| status.announced == 2).unwrap();
    assert_eq!((status.since, status.counters.established), (before.since, 1), "{status:?}");
}
