//! Which system calls a process may make from now on: those of a list, and of some of them not all.
//!
//! What is not in the list is answered with ENOSYS, as by a kernel that has no such call: libraries then do without
//! what is new. What is listed and yet refused gets EPERM. A call that is on the list whatever its arguments are costs
//! nothing (the kernel remembers that since Linux 5.11).

use std::collections::BTreeMap;

use anyhow::Context;
use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{self, Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    apply_filter,
};

/// What a process does with the system call `bpf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bpf {
    /// Nothing: it has no such call.
    Nothing,
    /// Reads and writes maps by their descriptors.
    Maps,
    /// Whatever its capabilities allow.
    Everything,
}

/// With whom a process opens sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sockets {
    /// With the kernel's routing alone, and processes of this host.
    Routing,
    /// The same, and with other hosts.
    Networks,
}

/// Filters the calls of this thread and of those that it starts from now on, for good.
///
/// # Errors
/// If the kernel has no such filters.
pub(super) fn apply(bpf: Bpf, sockets: Sockets) -> anyhow::Result<()> {
    // The second one would not be let pass by the first.
    for program in [refused(bpf, sockets)?, listed(bpf)?] {
        apply_filter(&program).context(
            "filtering system calls: the kernel needs CONFIG_SECCOMP_FILTER. With SLUICE_SYSTEM_CALL_FILTER=off in the \
             environment sluice starts without; SECURITY.md says what is not stopped then",
        )?;
    }
    Ok(())
}

fn listed(bpf: Bpf) -> anyhow::Result<BpfProgram> {
    let calls = [FILES, WAITING, SOCKETS, MEMORY, THREADS, PROCESS, OF_ARCHITECTURE].concat();
    let calls = calls.into_iter().chain((bpf != Bpf::Nothing).then_some(libc::SYS_bpf));
    let rules = calls.map(|call| (call, Vec::new())).collect();
    compile(rules, SeccompAction::Errno(libc::ENOSYS as u32), SeccompAction::Allow)
}

/// What of the listed calls is refused.
fn refused(bpf: Bpf, sockets: Sockets) -> anyhow::Result<BpfProgram> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    let mut refuse = |call, conditions: &[Argument]| -> anyhow::Result<()> {
        rules.entry(call).or_default().push(rule(conditions)?);
        Ok(())
    };
    if bpf == Bpf::Maps {
        refuse(libc::SYS_bpf, &COMMANDS_ON_MAPS.map(|command| Argument(0, Dword, Ne, command)))?;
    }
    if bpf != Bpf::Everything {
        // Loading raises the limit of locked memory on old kernels; everybody may ask for limits.
        refuse(libc::SYS_prlimit64, &[Argument(2, Qword, Ne, 0)])?;
    }
    let families: &[i32] = match sockets {
        Sockets::Routing => &[libc::AF_UNIX, libc::AF_NETLINK],
        Sockets::Networks => &[libc::AF_UNIX, libc::AF_NETLINK, libc::AF_INET, libc::AF_INET6],
    };
    let others = families.iter().map(|family| Argument(0, Dword, Ne, *family as u64));
    refuse(libc::SYS_socket, &others.collect::<Vec<_>>())?;
    let netlink = Argument(0, Dword, Eq, libc::AF_NETLINK as u64);
    let protocols = [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG]
        .map(|protocol| Argument(2, Dword, Ne, protocol as u64));
    refuse(libc::SYS_socket, &[&[netlink][..], &protocols].concat())?;
    // Threads, and no processes nor namespaces. (The call `clone3` can't be looked into and is not listed.)
    refuse(libc::SYS_clone, &[Argument(0, Qword, MaskedEq(libc::CLONE_THREAD as u64), 0)])?;
    // No code that was not in a file.
    let (write, execute) = (libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    refuse(libc::SYS_mmap, &[Argument(2, Qword, MaskedEq(write | execute), write | execute)])?;
    refuse(libc::SYS_mprotect, &[Argument(2, Qword, MaskedEq(execute), execute)])?;
    // Keys into the terminal that the controller was started from.
    refuse(libc::SYS_ioctl, &[Argument(1, Dword, Eq, libc::TIOCSTI)])?;
    refuse(libc::SYS_ioctl, &[Argument(1, Dword, Eq, libc::TIOCLINUX)])?;
    refuse(libc::SYS_prctl, &PRCTL.map(|option| Argument(0, Dword, Ne, option)))?;
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

/// What must hold of an argument: its number, how much of it counts, the comparison and the value.
#[derive(Clone)]
struct Argument(u8, SeccompCmpArgLen, SeccompCmpOp, u64);

/// All of the conditions.
fn rule(conditions: &[Argument]) -> anyhow::Result<SeccompRule> {
    let conditions = conditions.iter().cloned().map(|Argument(number, length, comparison, value)| {
        SeccompCondition::new(number, length, comparison, value)
    });
    let conditions = conditions.collect::<Result<_, _>>().context("a condition of the system call filter")?;
    SeccompRule::new(conditions).context("a rule of the system call filter")
}

fn compile(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    others: SeccompAction,
    matching: SeccompAction,
) -> anyhow::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)
        .context("there is no system call filter for this architecture")?;
    let filter = SeccompFilter::new(rules, others, matching, architecture);
    filter.and_then(BpfProgram::try_from).context("compiling the system call filter")
}

/// `BPF_MAP_LOOKUP_ELEM`, `_UPDATE_ELEM`, `_DELETE_ELEM`, `_GET_NEXT_KEY` and `BPF_OBJ_GET_INFO_BY_FD`, of linux/bpf.h.
const COMMANDS_ON_MAPS: [u64; 5] = [1, 2, 3, 4, 15];

/// Names of threads and of memory, which the standard library and glibc give; and what each filter begins with.
const PRCTL: [u64; 4] = [
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_SET_VMA as u64,
    libc::PR_SET_NO_NEW_PRIVS as u64,
];

const FILES: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_ioctl,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
];

const WAITING: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
];

const SOCKETS: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
    libc::SYS_socketpair,
];

const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munmap,
];

const THREADS: &[c_long] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    // How a process ends itself by a signal.
    libc::SYS_tgkill,
];

const PROCESS: &[c_long] = &[
    libc::SYS_capget,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// The older names of some calls, which other architectures never had.
#[cfg(target_arch = "x86_64")]
const OF_ARCHITECTURE: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getdents,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_ARCHITECTURE: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::process::Command;
    use std::thread;

    use aya::maps::MapData;
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, netlink, socket};
    use rustix::process::{getpid, test_kill_process};

    use super::*;

    /// A filter holds for a thread and those that it starts: `claims` is one's whole life.
    fn filtered(bpf: Bpf, sockets: Sockets, claims: impl FnOnce() + Send) {
        thread::scope(|scope| {
            let confined = scope.spawn(|| {
                apply(bpf, sockets).unwrap();
                claims();
            });
            confined.join().unwrap();
        });
    }

    #[test]
    fn a_filtered_process_executes_nothing_and_has_no_processes_of_its_own() {
        filtered(Bpf::Maps, Sockets::Networks, || {
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n"), "{status}");
            assert_eq!(Command::new("/bin/true").spawn().unwrap_err().kind(), ErrorKind::PermissionDenied);
            assert_eq!(test_kill_process(getpid()), Err(Errno::NOSYS));
            assert_eq!(
                rustix::mount::unmount("/nowhere", rustix::mount::UnmountFlags::empty()),
                Err(Errno::NOSYS)
            );
        });
    }

    #[test]
    fn a_filtered_process_goes_on_with_threads_files_and_sockets() {
        filtered(Bpf::Nothing, Sockets::Networks, || {
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
            fs::read_dir("/").unwrap().next().unwrap().unwrap();
            UdpSocket::bind("127.0.0.1:0").unwrap();
            UdpSocket::bind("[::1]:0").unwrap();
            netlink_socket(None).unwrap();
        });
    }

    #[test]
    fn other_sockets_than_those_of_its_job_are_refused() {
        filtered(Bpf::Maps, Sockets::Networks, || {
            assert_eq!(socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap_err(), Errno::PERM);
            assert_eq!(socket(AddressFamily::VSOCK, SocketType::STREAM, None).unwrap_err(), Errno::PERM);
            assert_eq!(netlink_socket(Some(netlink::NETFILTER)).unwrap_err(), Errno::PERM);
        });
        filtered(Bpf::Everything, Sockets::Routing, || {
            assert_eq!(UdpSocket::bind("127.0.0.1:0").unwrap_err().kind(), ErrorKind::PermissionDenied);
            netlink_socket(None).unwrap();
        });
    }

    /// None is the kernel's routing.
    fn netlink_socket(protocol: Option<rustix::net::Protocol>) -> Result<std::os::fd::OwnedFd, Errno> {
        socket(AddressFamily::NETLINK, SocketType::RAW, protocol)
    }

    #[test]
    fn maps_are_neither_made_nor_opened_where_they_are_only_written() {
        let make = || {
            let map = aya_obj::Map::new_from_params(2, 4, 8, 1, 0);
            MapData::create(map, "map", None).map(drop).map_err(|error| errno(&error))
        };
        let open = || MapData::from_pin("/nowhere").map(drop).map_err(|error| errno(&error));
        filtered(Bpf::Maps, Sockets::Networks, || {
            assert_eq!((make(), open()), (Err(Some(Errno::PERM)), Err(Some(Errno::PERM))));
        });
        filtered(Bpf::Nothing, Sockets::Networks, || {
            assert_eq!((make(), open()), (Err(Some(Errno::NOSYS)), Err(Some(Errno::NOSYS))));
        });
    }

    fn errno(error: &(dyn std::error::Error + 'static)) -> Option<Errno> {
        let mut causes = std::iter::successors(Some(error), |cause| cause.source());
        causes.find_map(|cause| cause.downcast_ref::<std::io::Error>().and_then(Errno::from_io_error))
    }

    #[test]
    fn no_memory_is_writable_and_executable() {
        filtered(Bpf::Nothing, Sockets::Networks, || {
            let refused = memmap2::MmapOptions::new().len(4096).map_anon().unwrap().make_exec().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        });
    }
}
