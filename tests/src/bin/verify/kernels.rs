//! Which kernel brought what the programs use. What is not in this list is an error where it is met, so the
//! list covers all that the objects really contain.

use std::fmt;

/// A kernel version: 5.11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kernel(pub(crate) u32, pub(crate) u32);

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Something that a kernel has or lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Feature {
    /// A helper, by the number of `enum bpf_func_id`.
    Helper(u32),
    /// A map type, by the number of `enum bpf_map_type`.
    MapType(u32),
    /// One bit of a map's flags.
    MapFlag(u32),
    /// Sections of global variables, which are maps of their own.
    GlobalData,
    /// A kind of instruction.
    Instructions(Instructions),
    /// A kind of program.
    Program(Kind),
    /// What user space asks for to load the programs at all.
    Capabilities,
}

/// Instructions beyond the first set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Instructions {
    /// Calls from one function of the program to another.
    FunctionCall,
    /// Calls of kernel functions by their BTF.
    KernelFunctionCall,
    /// Comparisons of 32-bit registers (instruction set v3).
    Jump32,
    /// Jumps backward.
    Loop,
    /// More than 4096 instructions.
    LongProgram,
    /// Atomic operations but addition without result.
    AtomicFetch,
    /// Signed division, sign extension, long jumps (instruction set v4).
    Version4,
}

/// Kinds of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// XDP.
    Xdp,
    /// XDP on packets of several buffers.
    XdpFragments,
    /// A classifier of the traffic control.
    Classifier,
}

/// A feature with its name and the first kernel that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Known {
    /// The first kernel.
    pub(crate) kernel: Kernel,
    /// As the kernel calls it.
    pub(crate) name: &'static str,
}

impl Known {
    /// Whether the loader does without it where the kernel lacks it (`lb_userspace::programs`): all that packets of
    /// several buffers need.
    pub(crate) fn is_dispensable(&self) -> bool {
        const SEVERAL_BUFFERS: [Feature; 2] = [Feature::Helper(188), Feature::Program(Kind::XdpFragments)];
        SEVERAL_BUFFERS.into_iter().any(|feature| known(feature) == Some(*self))
    }
}

/// Looks a feature up.
pub(crate) fn known(feature: Feature) -> Option<Known> {
    KNOWN
        .iter()
        .find(|(listed, ..)| *listed == feature)
        .map(|(_, name, kernel)| Known { kernel: *kernel, name })
}

/// From the kernel's history: `git describe --contains` of the commit that brought each.
const KNOWN: [(Feature, &str, Kernel); 61] = [
    (Feature::Helper(1), "bpf_map_lookup_elem", Kernel(3, 19)),
    (Feature::Helper(2), "bpf_map_update_elem", Kernel(3, 19)),
    (Feature::Helper(3), "bpf_map_delete_elem", Kernel(3, 19)),
    (Feature::Helper(5), "bpf_ktime_get_ns", Kernel(4, 1)),
    (Feature::Helper(6), "bpf_trace_printk", Kernel(4, 1)),
    (Feature::Helper(7), "bpf_get_prandom_u32", Kernel(4, 1)),
    (Feature::Helper(8), "bpf_get_smp_processor_id", Kernel(4, 1)),
    (Feature::Helper(9), "bpf_skb_store_bytes", Kernel(4, 1)),
    (Feature::Helper(11), "bpf_l4_csum_replace", Kernel(4, 1)),
    (Feature::Helper(12), "bpf_tail_call", Kernel(4, 2)),
    // Older in traffic control; XDP got it then.
    (Feature::Helper(23), "bpf_redirect", Kernel(4, 14)),
    (Feature::Helper(25), "bpf_perf_event_output", Kernel(4, 8)),
    (Feature::Helper(26), "bpf_skb_load_bytes", Kernel(4, 5)),
    (Feature::Helper(28), "bpf_csum_diff", Kernel(4, 6)),
    (Feature::Helper(39), "bpf_skb_pull_data", Kernel(4, 9)),
    (Feature::Helper(44), "bpf_xdp_adjust_head", Kernel(4, 10)),
    (Feature::Helper(50), "bpf_skb_adjust_room", Kernel(4, 13)),
    (Feature::Helper(51), "bpf_redirect_map", Kernel(4, 14)),
    (Feature::Helper(54), "bpf_xdp_adjust_meta", Kernel(4, 15)),
    // That it also lengthens a packet came with 5.8.
    (Feature::Helper(65), "bpf_xdp_adjust_tail", Kernel(4, 18)),
    (Feature::Helper(69), "bpf_fib_lookup", Kernel(4, 18)),
    (Feature::Helper(84), "bpf_sk_lookup_tcp", Kernel(4, 20)),
    (Feature::Helper(85), "bpf_sk_lookup_udp", Kernel(4, 20)),
    (Feature::Helper(86), "bpf_sk_release", Kernel(4, 20)),
    (Feature::Helper(99), "bpf_skc_lookup_tcp", Kernel(5, 2)),
    (Feature::Helper(100), "bpf_tcp_check_syncookie", Kernel(5, 2)),
    (Feature::Helper(125), "bpf_ktime_get_boot_ns", Kernel(5, 8)),
    (Feature::Helper(130), "bpf_ringbuf_output", Kernel(5, 8)),
    (Feature::Helper(131), "bpf_ringbuf_reserve", Kernel(5, 8)),
    (Feature::Helper(132), "bpf_ringbuf_submit", Kernel(5, 8)),
    (Feature::Helper(133), "bpf_ringbuf_discard", Kernel(5, 8)),
    (Feature::Helper(134), "bpf_ringbuf_query", Kernel(5, 8)),
    (Feature::Helper(160), "bpf_ktime_get_coarse_ns", Kernel(5, 11)),
    (Feature::Helper(163), "bpf_check_mtu", Kernel(5, 12)),
    (Feature::Helper(181), "bpf_loop", Kernel(5, 17)),
    (Feature::Helper(188), "bpf_xdp_get_buff_len", Kernel(5, 18)),
    (Feature::Helper(189), "bpf_xdp_load_bytes", Kernel(5, 18)),
    (Feature::Helper(190), "bpf_xdp_store_bytes", Kernel(5, 18)),
    (Feature::MapType(1), "BPF_MAP_TYPE_HASH", Kernel(3, 19)),
    (Feature::MapType(2), "BPF_MAP_TYPE_ARRAY", Kernel(3, 19)),
    (Feature::MapType(3), "BPF_MAP_TYPE_PROG_ARRAY", Kernel(4, 2)),
    (Feature::MapType(5), "BPF_MAP_TYPE_PERCPU_HASH", Kernel(4, 6)),
    (Feature::MapType(6), "BPF_MAP_TYPE_PERCPU_ARRAY", Kernel(4, 6)),
    (Feature::MapType(9), "BPF_MAP_TYPE_LRU_HASH", Kernel(4, 10)),
    (Feature::MapType(11), "BPF_MAP_TYPE_LPM_TRIE", Kernel(4, 11)),
    (Feature::MapType(14), "BPF_MAP_TYPE_DEVMAP", Kernel(4, 14)),
    (Feature::MapType(27), "BPF_MAP_TYPE_RINGBUF", Kernel(5, 8)),
    (Feature::MapFlag(1 << 0), "BPF_F_NO_PREALLOC", Kernel(4, 6)),
    (Feature::MapFlag(1 << 10), "BPF_F_MMAPABLE", Kernel(5, 5)),
    (Feature::GlobalData, "global data", Kernel(5, 2)),
    (Feature::Instructions(Instructions::FunctionCall), "calls between functions", Kernel(4, 16)),
    (Feature::Instructions(Instructions::KernelFunctionCall), "calls of kernel functions", Kernel(5, 13)),
    (Feature::Instructions(Instructions::Jump32), "32-bit comparisons", Kernel(5, 1)),
    (Feature::Instructions(Instructions::Loop), "loops", Kernel(5, 3)),
    (Feature::Instructions(Instructions::LongProgram), "more than 4096 instructions", Kernel(5, 2)),
    (Feature::Instructions(Instructions::AtomicFetch), "atomic operations with a result", Kernel(5, 12)),
    (Feature::Instructions(Instructions::Version4), "instruction set v4", Kernel(6, 6)),
    (Feature::Program(Kind::Xdp), "XDP", Kernel(4, 8)),
    (Feature::Program(Kind::XdpFragments), "XDP on packets of several buffers", Kernel(5, 18)),
    (Feature::Program(Kind::Classifier), "traffic control classifiers", Kernel(4, 1)),
    (Feature::Capabilities, "CAP_BPF and CAP_PERFMON", Kernel(5, 8)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_listed_twice() {
        for (at, (feature, name, _)) in KNOWN.iter().enumerate() {
            assert!(KNOWN[..at].iter().all(|(other, other_name, _)| other != feature && other_name != name));
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(Kernel(5, 11) > Kernel(5, 8));
        assert_eq!(known(Feature::Helper(160)).unwrap().kernel.to_string(), "5.11");
        assert_eq!(known(Feature::Helper(u32::MAX)), None);
    }
}
