//! The maps of allow-lists and limits: how a change is published whole.
//!
//! An allow-list in the map is never changed. Another one is written beside it under another id, published by one
//! store, and the old one's prefixes go when no packet can be looking for them any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use aya::maps::MapData;
use aya::maps::lpm_trie::{Key, LpmTrie};
use lb_common::policy::{AllowListId, Allowance, AllowedKey, PolicyLine};
use lb_common::rate_limit::RateLimit;

use super::mapped::MappedArray;
use super::maps::grace_period;
use crate::model::{AllowedSources, Policy, Prefix};

/// The policies in force.
pub struct Policies {
    lines: MappedArray<PolicyLine>,
    allowed: LpmTrie<MapData, AllowedKey, Allowance>,
    /// Prefixes that there is room for, those of lists that are being replaced not counted.
    room: u32,
    lists: BTreeMap<Arc<AllowedSources>, AllowListId>,
    /// The ids that no new list gets: those that an earlier controller has left, and those given since.
    next: u32,
    taken: BTreeSet<AllowListId>,
    /// Lists of an earlier controller that are in nobody's way yet, and in nobody's use as soon as lines are written.
    strays: Vec<(AllowListId, AllowedSources)>,
    /// Lines of an earlier controller whose listeners were not seen yet.
    held: BTreeSet<u16>,
    written: BTreeMap<u16, Policy>,
}

impl Policies {
    pub(super) fn new(
        lines: MappedArray<PolicyLine>,
        allowed: LpmTrie<MapData, AllowedKey, Allowance>,
        room: u32,
    ) -> Policies {
        Policies {
            lines,
            allowed,
            room,
            lists: BTreeMap::new(),
            next: 1,
            taken: BTreeSet::new(),
            strays: Vec::new(),
            held: BTreeSet::new(),
            written: BTreeMap::new(),
        }
    }

    /// Takes over what an earlier controller has left: a policy that is equal to one of its is then not written, and
    /// what is no listener's is removed by [`Policies::remove_held`] and [`Policies::reclaim`].
    ///
    /// # Errors
    /// If the kernel refuses to tell the prefixes.
    pub(super) fn adopt(&mut self) -> anyhow::Result<()> {
        let mut lists: BTreeMap<AllowListId, AllowedSources> = BTreeMap::new();
        for entry in self.allowed.iter() {
            let (key, allowance) = entry.context("reading the prefixes of allow-lists")?;
            let (list, is_ipv4) = key.data().parts();
            if let Some(prefix) = prefix_of(key.data().address, is_ipv4, allowance.bits()) {
                lists.entry(list).or_default().0.insert(prefix, allowance.rule());
            }
        }
        let words = || self.lines.values().iter().map(|line| line.0[0].load());
        let named: BTreeSet<AllowListId> =
            words().flat_map(|word| [AllowListId(word as u32), AllowListId((word >> 32) as u32)]).collect();
        let is_held = |line: &PolicyLine| line.0.iter().any(|word| word.load() != 0);
        let lines = self.lines.values().iter().enumerate();
        self.held = lines.filter(|(_, line)| is_held(line)).map(|(counter, _)| counter as u16).collect();
        self.taken = lists.keys().copied().collect();
        for (id, sources) in lists {
            // One that is not named may be there in part only.
            match self.lists.get(&sources) {
                None if named.contains(&id) => drop(self.lists.insert(Arc::new(sources), id)),
                _ => self.strays.push((id, sources)),
            }
        }
        Ok(())
    }

    /// Removes the lines of an earlier controller that are no listener's with a policy.
    pub fn remove_held(&mut self) {
        for counter in std::mem::take(&mut self.held) {
            if let Some(line) = self.lines.values().get(usize::from(counter)) {
                line.0.iter().for_each(|word| word.store(0));
            }
        }
    }

    /// Sets what stands before the listener with this counter; packets see the old or the new allow-list. The memory
    /// of the old one is free after [`Policies::reclaim`].
    ///
    /// # Errors
    /// If there is no room for its prefixes; the old policy stays in force.
    pub fn set(&mut self, counter: u16, policy: &Policy) -> anyhow::Result<()> {
        let tcp = self.list(policy.tcp.as_ref())?;
        let udp = self.list(policy.udp.as_ref())?;
        let line =
            self.lines.values().get(usize::from(counter)).context("a listener's counter is too large")?;
        for (word, value) in line.0[1..].iter().zip(limits(policy)) {
            word.store(value);
        }
        line.0[0].store(u64::from(tcp.0) | u64::from(udp.0) << 32);
        self.held.remove(&counter);
        self.written.insert(counter, policy.clone());
        Ok(())
    }

    /// The listener with this counter has no policy any more; its flag must be gone.
    pub fn remove(&mut self, counter: u16) {
        if self.written.remove(&counter).is_some()
            && let Some(line) = self.lines.values().get(usize::from(counter))
        {
            line.0.iter().for_each(|word| word.store(0));
        }
    }

    /// Removes the allow-lists that no listener has any more, once no packet can be looking into them.
    ///
    /// # Errors
    /// If the kernel refuses; what is left is removed by the next call.
    pub fn reclaim(&mut self) -> anyhow::Result<()> {
        let used: BTreeSet<&Arc<AllowedSources>> =
            self.written.values().flat_map(|policy| [&policy.tcp, &policy.udp]).flatten().collect();
        let unused: Vec<Arc<AllowedSources>> =
            self.lists.keys().filter(|list| !used.contains(list)).cloned().collect();
        if unused.is_empty() && self.strays.is_empty() {
            return Ok(());
        }
        grace_period();
        while let Some((id, sources)) = self.strays.pop() {
            self.erase(id, sources.0.keys()).context("removing an earlier controller's allow-list")?;
        }
        for list in unused {
            let id = self.lists.remove(&list).expect("the list was just seen");
            self.erase(id, list.0.keys()).context("removing an old allow-list")?;
        }
        Ok(())
    }

    /// The id of an allow-list, written if it is new.
    fn list(&mut self, sources: Option<&Arc<AllowedSources>>) -> anyhow::Result<AllowListId> {
        let Some(sources) = sources else { return Ok(AllowListId::EVERYBODY) };
        if let Some(id) = self.lists.get(sources) {
            return Ok(*id);
        }
        let id = self.unused_id()?;
        if let Err(problem) = self.write(id, sources) {
            // What was written of it is in the way of the next try; what was not can't be removed.
            _ = self.erase(id, sources.0.keys());
            let (count, room) = (sources.0.len(), self.room);
            return Err(problem.context(format!(
                "writing an allow-list of {count} prefixes: the balancer was loaded for {room} in all"
            )));
        }
        self.lists.insert(Arc::clone(sources), id);
        Ok(id)
    }

    /// An id that no verdict of these programs can be of.
    fn unused_id(&mut self) -> anyhow::Result<AllowListId> {
        while self.taken.contains(&AllowListId(self.next)) {
            self.next += 1;
        }
        ensure!(self.next < AllowListId::LIMIT, "all ids of allow-lists were used: restart the controller");
        self.next += 1;
        Ok(AllowListId(self.next - 1))
    }

    fn write(&mut self, id: AllowListId, sources: &AllowedSources) -> anyhow::Result<()> {
        for (prefix, rule) in &sources.0 {
            let allowance = Allowance::new(*rule, prefix.bits());
            self.allowed.insert(&key(id, *prefix), allowance, 0).with_context(|| prefix.to_string())?;
        }
        Ok(())
    }

    fn erase<'a>(
        &mut self,
        id: AllowListId,
        prefixes: impl Iterator<Item = &'a Prefix>,
    ) -> anyhow::Result<()> {
        for prefix in prefixes {
            self.allowed.remove(&key(id, *prefix)).with_context(|| prefix.to_string())?;
        }
        Ok(())
    }
}

fn key(id: AllowListId, prefix: Prefix) -> Key<AllowedKey> {
    let is_ipv4 = prefix.address().is_ipv4();
    let key = AllowedKey::new(id, super::writer::address_key(prefix.address()), is_ipv4);
    Key::new(AllowedKey::length(prefix.bits(), is_ipv4), key)
}

/// The prefix of an entry.
fn prefix_of(address: [u32; 4], is_ipv4: bool, bits: u8) -> Option<Prefix> {
    let address = match (crate::reconcile::address(address), is_ipv4) {
        (IpAddr::V4(address), false) => IpAddr::V6(address.to_ipv6_mapped()),
        (address, _) => address,
    };
    Prefix::new(address, bits)
}

/// The words of a line behind the allow-lists.
fn limits(policy: &Policy) -> [u64; 7] {
    let word = |per_second: u32| RateLimit::new(per_second.into(), per_second.into()).word();
    let limits = policy.limits;
    let mut words = [limits.all.map_or(0, word), 0, 0, 0, 0, 0, 0];
    if let Some(source) = limits.per_source {
        words[1] = word(source.per_second);
        [_, words[2]] = mask(IpAddr::from([0xff; 4]), source.ipv4_bits);
        [words[3], words[4]] = mask(IpAddr::from([0xff; 16]), source.ipv6_bits);
    }
    words
}

/// The first `bits` of an address that is all ones, as the program has addresses.
fn mask(ones: IpAddr, bits: u8) -> [u64; 2] {
    let prefix = Prefix::around(ones, bits).expect("the model's prefixes are no longer than addresses");
    lb_common::policy::halves(super::writer::address_key(prefix.address()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NewFlowLimits, SourceLimit};

    #[test]
    fn masks_are_as_addresses_are_in_memory() {
        let per_source = SourceLimit { per_second: 10, ipv4_bits: 24, ipv6_bits: 72 };
        let limits = NewFlowLimits { all: Some(1000), per_source: Some(per_source) };
        let words = super::limits(&Policy { limits, ..Policy::default() });
        assert_eq!(words[0], RateLimit::new(1000, 1000).word());
        assert_eq!(words[1], RateLimit::new(10, 10).word());
        assert_eq!(words[2].to_ne_bytes(), [0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        assert_eq!(words[3].to_ne_bytes(), [0xff; 8]);
        assert_eq!(words[4].to_ne_bytes(), [0xff, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_prefix_is_read_as_it_was_written() {
        for (address, bits) in
            [("10.0.0.0", 8), ("0.0.0.0", 0), ("2001:db8::", 32), ("::", 0), ("::ffff:0:0", 96)]
        {
            let prefix = Prefix::new(address.parse().unwrap(), bits).unwrap();
            let key = key(AllowListId(7), prefix).data();
            assert_eq!(key.parts(), (AllowListId(7), prefix.address().is_ipv4()));
            assert_eq!(prefix_of(key.address, key.parts().1, bits), Some(prefix));
        }
    }

    #[test]
    fn no_limits_are_zeros() {
        assert_eq!(super::limits(&Policy::default()), [0; 7]);
    }
}
