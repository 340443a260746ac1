//! What stays and what goes when a unit at work is ended, killed, removed or upgraded: stories under a systemd of their
//! own, in which a node announces a VIP by a kernel table.

use crate::copy::{self, Init};
use crate::installed::package;
use crate::scratch::Scratch;

/// The node, a target beside it, and what the stories ask. Nobody serves at the target: where all fail, all are used.
const WORLD: &str = r#"
set -ex
fails() { if "$@"; then exit 1; fi; }
soon() { for turn in $(seq 600); do if "$@"; then return; fi; sleep 0.1; done; exit 1; }
has_program() { ip link show dev eth0 | grep -q prog/xdp; }
is_announced() { ip route show table 214 | grep -q 'blackhole 10.200.1.1 '; }
process() { systemctl show --property MainPID --value $1.service; }
is_replaced() { systemctl is-active $1.service && test "$(process $1)" != $2; }
answers() { sluice status > /dev/null; }
has_ended() { test "$(systemctl show --property ActiveState --value $1.service)" = inactive; }
is_gone() { has_ended $1 && ! has_program; }
ip netns add target
ip link set eth1 netns target
ip -netns target address add 10.0.0.2/24 dev eth1
ip -netns target link set eth1 up
ip -netns target route add 10.200.1.1 via 10.0.0.1
cat > /etc/sluice/sluice.json <<END
{ "node": { "name": "node1", "zone": "a", "interfaces": ["eth0"] },
  "metrics_address": "127.0.0.1:9100",
  "announce": { "kernel_table": {} },
  "load_balancers": [ { "name": "dns", "vips": ["10.200.1.1"],
    "listeners": [ { "protocol": "UDP", "port": 53, "forward": [ { "target_group": "dns" } ] } ] } ],
  "target_groups": [ { "name": "dns", "protocol": "UDP", "port": 53, "targets": [ { "id": "10.0.0.2" } ],
    "health_check": { "protocol": "TCP", "interval_seconds": 1, "timeout_seconds": 1 } } ] }
END
test "$(stat -c '%U:%G %a' /etc/sluice/sluice.json)" = 'root:sluice 640'
systemctl start sluice.service || { systemctl status --no-pager --full sluice.service; exit 1; }
soon is_announced
has_program
"#;

/// Ends them by their own commands and by signals. What has ended stays so: three seconds are three times what systemd
/// waits to start one again.
const ENDED: &str = r#"
before=$(process sluice)
kill -KILL $before
soon is_replaced sluice $before
before=$(process sluice)
kill -KILL $(grep -l "^PPid:[[:space:]]*$before$" /proc/[0-9]*/status | cut -d/ -f3)
soon is_replaced sluice $before
has_program
mkdir /run/systemd/system/sluice.service.d
printf '[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n' > /run/systemd/system/sluice.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart sluice.service
before=$(process sluice)
kill -STOP $before
soon is_replaced sluice $before
rm -r /run/systemd/system/sluice.service.d
systemctl daemon-reload

sluice stop
soon has_ended sluice
sleep 3
has_ended sluice
test "$(systemctl show --property Result --value sluice.service)" = success
has_program
is_announced

systemctl start sluice.service
sluice stop --withdraw
soon is_gone sluice
sleep 3
is_gone sluice
fails is_announced
test -z "$(ls -A /sys/fs/bpf/sluice)"

cat > /etc/sluice/agent.json <<END
{ "interfaces": ["eth0"], "nodes": ["10.0.0.2"], "vips": ["10.200.1.1"] }
END
systemctl start sluice-agent.service
before=$(process sluice-agent)
kill -KILL $before
soon is_replaced sluice-agent $before
has_program
kill -TERM $(process sluice-agent)
soon is_gone sluice-agent
sleep 3
is_gone sluice-agent
echo the story has ended
"#;

#[test]
fn who_ends_a_unit_has_it_ended_and_what_ends_otherwise_comes_back() {
    tell("ended", ENDED);
}

/// Removes the package, then once more from under a configuration that can't be read.
const REMOVED: &str = r#"
dpkg --remove sluice
fails is_announced
fails has_program
test ! -e /sys/fs/bpf/sluice
fails systemctl is-active sluice.service

dpkg --install /package.deb
systemctl start sluice.service
soon is_announced
echo '{' > /etc/sluice/sluice.json
dpkg --remove sluice
fails is_announced
fails has_program
test ! -e /sys/fs/bpf/sluice
echo the story has ended
"#;

#[test]
fn a_removed_package_leaves_no_route_that_leads_to_nobody() {
    tell("removed", REMOVED);
}

/// Sends datagrams through the node while the package is installed once more over it. Each is counted: by the same maps,
/// whatever program and controller come.
const UPGRADED: &str = r#"
links() { stat -c '%n %i' /sys/fs/bpf/sluice/native-*; }
counted() {
    curl --silent http://127.0.0.1:9100/metrics | grep '^sluice_listener_packets_total{' | awk '{ print $2 }'
}
all_are_counted() { test "$(counted)" = $(wc -l < /sent); }
before=$(process sluice)
links > /links
# Numbers of datagrams that were sent, and of looks that saw no program.
touch /sent /without
(
    set +x
    until test -e /end; do
        nsenter --net=/run/netns/target bash -c 'echo > /dev/udp/10.200.1.1/53' && echo >> /sent
        has_program || echo >> /without
    done
) &
soon test -s /sent
chmod 600 /etc/sluice/sluice.json
chown sluice /etc/sluice/sluice.json
dpkg --install /package.deb
test "$(stat -c '%U:%G %a' /etc/sluice/sluice.json)" = 'sluice:sluice 600'
soon is_replaced sluice $before
soon is_announced
soon answers
touch /end
wait
test $(wc -l < /sent) -gt 20
test ! -s /without
links | cmp - /links
soon all_are_counted
echo the story has ended
"#;

#[test]
fn an_upgrade_beneath_a_stream_leaves_the_programs_at_work_and_loses_no_packet() {
    tell("upgraded", UPGRADED);
}

/// Tells a story of the world that has to come to its end.
fn tell(name: &str, story: &str) {
    if !lab::require_root() {
        return;
    }
    let scratch = Scratch::new(name);
    let package = package(&scratch, "package");
    let told = copy::tell(&scratch, &package, Init::Systemd, &[WORLD, story].concat()).unwrap();
    assert!(told.ends_with("the story has ended\n"), "{told}");
}
