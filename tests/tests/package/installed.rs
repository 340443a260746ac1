//! The package, installed and removed on a copy of this machine that vanishes, and its units under a systemd of their
//! own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lab::process::{binary, output_of};

use crate::copy::{self, Init};
use crate::scratch::Scratch;

/// The time that all files of the package get.
const EPOCH: &str = "1700000000";

/// Makes the package of the binary that is being tested, with `cargo xtask package`.
pub(crate) fn package(scratch: &Scratch, output: &str) -> PathBuf {
    let mut command = Command::new(binary("xtask").unwrap());
    command.args(["package", "--quick", "--binary"]).arg(binary("sluice").unwrap());
    command.arg("--output").arg(scratch.path().join(output)).env("SOURCE_DATE_EPOCH", EPOCH);
    PathBuf::from(output_of(&mut command).unwrap())
}

#[test]
fn the_same_sources_make_the_same_package_which_lintian_takes() {
    let scratch = Scratch::new("made");
    let (first, second) = (package(&scratch, "first"), package(&scratch, "second"));
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "two packages differ");
    let contents = output_of(Command::new("dpkg-deb").arg("--contents").arg(&first)).unwrap();
    for line in contents.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], "root/root", "{line}");
        let expected = match words.last().unwrap() {
            directory if directory.ends_with('/') => "drwxr-xr-x",
            &"./usr/bin/sluice" => "-rwxr-xr-x",
            &"./etc/sluice/sluice.json" => "-rw-r-----",
            _ => "-rw-r--r--",
        };
        assert_eq!(words[0], expected, "{line}");
    }
    let lintian =
        Command::new("lintian").args(["--fail-on=error", "--allow-root"]).arg(&first).output().unwrap();
    assert!(lintian.status.success(), "{}", String::from_utf8_lossy(&lintian.stdout));
}

/// Runs in the copy; prints what it finds, and ends at the first failure.
const INSTALLED: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
dpkg --path-include='/usr/share/*' --install /package.deb
test "$(stat -c '%U:%G %a' /usr/bin/sluice /etc/sluice/sluice.json /etc/sluice | tr '\n' ' ')" = \
    'root:root 755 root:sluice 640 root:root 755 '
sluice --version
sluice check /etc/sluice/sluice.json
systemd-analyze verify --man=no /lib/systemd/system/sluice.service /lib/systemd/system/sluice-agent.service
for page in /usr/share/man/man1/sluice*.1.gz; do
    gzip -dc $page > /page.1
    test -z "$(man --warnings --encoding=utf8 --local-file /page.1 2>&1 > /page.txt)"
    grep -q NAME /page.txt
    basename $page >> /pages
done
for command in $(sluice help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on && $1 != "help" { print $1 }'); do
    grep -x "sluice-$command.1.gz" /pages > /dev/null
done
test $(wc -l < /pages) -gt 40
bash -n /usr/share/bash-completion/completions/sluice
grep -q '^#compdef sluice' /usr/share/zsh/vendor-completions/_sluice
grep -q '^complete -c sluice ' /usr/share/fish/vendor_completions.d/sluice.fish
if command -v zsh; then zsh -n /usr/share/zsh/vendor-completions/_sluice; fi
if command -v fish; then fish --no-execute /usr/share/fish/vendor_completions.d/sluice.fish; fi
cd /usr/share/doc/sluice/examples
for file in agent.json bird.conf frr.conf grafana/sluice.json inventory.json \
    prometheus/sluice.rules.yml prometheus/sluice.rules.test.yml; do
    test -s $file
done
sluice check sluice.json
cd /
getent passwd sluice sluice-agent | cut -d: -f1,7
test "$(stat -c '%U %a' /run/sluice)" = 'sluice 700'
setpriv --reuid=sluice --regid=sluice --clear-groups sluice check /etc/sluice/sluice.json
if setpriv --reuid=sluice-agent --regid=sluice-agent --clear-groups cat /etc/sluice/sluice.json; then exit 1; fi
test ! -e /etc/systemd/system/multi-user.target.wants/sluice.service
test -z "$(dpkg --verify sluice)"
mkdir -p /var/lib/sluice && echo state > /var/lib/sluice/state
echo '{ "changed": "by the administrator" }' > /etc/sluice/sluice.json
touch /etc/sluice/agent.json /etc/sluice/hash.key /etc/sluice/credentials.json
dpkg --remove sluice
test ! -e /usr/bin/sluice && test ! -e /lib/systemd/system/sluice.service
test -e /etc/sluice/sluice.json && test -e /etc/sluice/hash.key && test -e /var/lib/sluice/state
dpkg --purge sluice
test "$(ls -A /etc/sluice)" = credentials.json
test ! -e /var/lib/sluice && test ! -e /run/sluice
rm /etc/sluice/credentials.json
dpkg --install /package.deb
touch /etc/sluice/agent.json
dpkg --purge sluice
test ! -e /etc/sluice
echo the story has ended
"#;

#[test]
fn the_package_is_installed_starts_nothing_and_leaves_state_until_it_is_purged() {
    if !lab::require_root() {
        return;
    }
    let scratch = Scratch::new("installed");
    let package = package(&scratch, "package");
    let told = copy::tell(&scratch, &package, Init::Shell, INSTALLED).unwrap();
    assert!(told.contains(&format!("sluice {}", env!("CARGO_PKG_VERSION"))), "{told}");
    assert!(told.contains("sluice:/usr/sbin/nologin\nsluice-agent:/usr/sbin/nologin"), "{told}");
    assert!(told.ends_with("the story has ended\n"), "{told}");
}

/// The units at work; systemd is the first process.
const BOOTED: &str = r#"
set -ex
before=$(cat /proc/sys/net/ipv4/conf/all/arp_announce)
rights() {
    pid=$(systemctl show --property MainPID --value $1.service)
    holds $pid $1 $2
    test "$(nsenter --target $pid --mount ls -A /sys/fs/bpf)" = $1
}
holds() {
    test "$(id -un $(awk '/^Uid:/ { print $2 }' /proc/$1/status))" = $2
    caps="$3 000000c000001000 0000000000000000 "
    test "$(awk '/^Cap(Eff|Bnd|Amb):/ { print $2 }' /proc/$1/status | tr '\n' ' ')" = "$caps"
    test "$(awk '/^(NoNewPrivs|Seccomp):/ { print $2 }' /proc/$1/status | tr '\n' ' ')" = '1 2 '
}
systemctl start sluice.service || { systemctl status --no-pager --full sluice.service; exit 1; }
rights sluice 0000000000000000
helper=$(grep -l "^PPid:[[:space:]]*$pid$" /proc/[0-9]*/status | cut -d/ -f3)
holds $helper sluice 000000c000001000
sluice status
ip link show dev eth0 | grep -q prog/xdp
systemctl reload sluice.service
systemctl restart sluice.service
systemctl is-active sluice.service
systemctl stop sluice.service
ip link show dev eth0 | grep -q prog/xdp
sluice detach
if ip link show dev eth0 | grep prog/xdp; then exit 1; fi
echo '{ "interfaces": ["eth0"], "nodes": ["10.0.0.2"], "vips": ["10.200.1.1"] }' > /etc/sluice/agent.json
systemctl start sluice-agent.service || { systemctl status --no-pager --full sluice-agent.service; exit 1; }
rights sluice-agent 000000c000001000
test "$(cat /proc/sys/net/ipv4/conf/all/arp_announce)" = 2
ip address show dev lo | grep 10.200.1.1
link=$(stat -c %i /sys/fs/bpf/sluice-agent/pins/native-eth0)
systemctl restart sluice-agent.service
systemctl is-active sluice-agent.service
test "$(stat -c %i /sys/fs/bpf/sluice-agent/pins/native-eth0)" = $link
systemctl stop sluice-agent.service
if ip address show dev lo | grep 10.200.1.1; then exit 1; fi
test "$(cat /proc/sys/net/ipv4/conf/all/arp_announce)" = $before
echo the story has ended
"#;

#[test]
fn systemd_runs_both_units_and_they_have_the_rights_that_they_name() {
    if !lab::require_root() {
        return;
    }
    let scratch = Scratch::new("booted");
    let package = package(&scratch, "package");
    let told = copy::tell(&scratch, &package, Init::Systemd, BOOTED).unwrap();
    assert!(told.ends_with("the story has ended\n"), "{told}");
}
