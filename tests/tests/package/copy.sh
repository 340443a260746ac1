# Makes a copy of this machine that vanishes, and runs a story in it: an overlay over its root, whose changes are in
# memory. Called in new namespaces for mounts, networks, processes and control groups.
#
#   copy.sh DIRECTORY PACKAGE STORY [boot]
#
# With `boot` the copy's first process is systemd, which runs the story and nothing else that this machine has, and what
# the story says goes to DIRECTORY.out.
set -e
mount --make-rprivate /
touch "$1.out"
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cp "$2" root/package.deb
cp "$3" root/story
touch root/out
mount --bind "$1.out" root/out
cd root

# The kernel's settings are this machine's, but for those of the network, which are the namespace's own.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t bpf -o mode=0700 bpf sys/fs/bpf
mount -t tmpfs -o mode=0755 tmpfs dev
for device in 'null c 1 3' 'zero c 1 5' 'full c 1 7' 'random c 1 8' 'urandom c 1 9' 'tty c 5 0'; do
    mknod -m 666 dev/$device
done
mkdir dev/shm dev/pts dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p old
pivot_root . old
cd /
umount -l /old
if [ "$4" != boot ]; then
    sh /story > /out 2>&1
    exit
fi

mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
ip link add eth0 type veth peer name eth1
ip link set eth0 up
ip link set eth1 up
ip address add 10.0.0.1/24 dev eth0
dpkg --install /package.deb > /out 2>&1
mkdir -p /run/systemd/system
for target in network-online network sysinit basic; do
    printf '[Unit]\nDefaultDependencies=no\n' > /etc/systemd/system/$target.target
done
printf '[Unit]\nDefaultDependencies=no\nWants=story.service\n' > /run/systemd/system/story.target
cat > /run/systemd/system/story.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh /story
ExecStopPost=/bin/systemctl exit --force
StandardOutput=append:/out
StandardError=inherit
END
export container=sluice
exec /lib/systemd/systemd --system --unit=story.target --show-status=no --log-target=null
