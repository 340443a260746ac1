//! A unit file's settings, as far as the tests need them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use lab::process::output_of;

/// The settings of a service.
pub(crate) struct Unit {
    /// `sluice.service`.
    pub(crate) name: String,
    settings: Vec<(String, String)>,
}

impl Unit {
    /// One of `packaging/systemd`.
    pub(crate) fn of(name: &str) -> Unit {
        let text = fs::read_to_string(crate::packaging("systemd").join(name)).unwrap();
        let settings =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Unit { name: name.to_owned(), settings }
    }

    /// All values of a setting, in the file's order.
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        let values = self.settings.iter().filter(|(name, _)| name == key);
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a setting.
    pub(crate) fn only(&self, key: &str) -> &str {
        let values = self.all(key);
        assert_eq!(values.len(), 1, "{}: {key}={values:?}", self.name);
        values[0]
    }

    /// The capabilities as `setpriv` names them: `bpf`.
    pub(crate) fn capabilities(&self, key: &str) -> Vec<String> {
        let words = self.only(key).split_whitespace();
        words.map(|word| word.strip_prefix("CAP_").expect("a capability's name").to_lowercase()).collect()
    }

    /// The system calls that the filter allows, its sets taken apart.
    pub(crate) fn system_calls(&self) -> BTreeSet<String> {
        let mut allowed = BTreeSet::new();
        for line in self.all("SystemCallFilter") {
            let (is_taken_away, words) = line.strip_prefix('~').map_or((false, line), |words| (true, words));
            for call in words.split_whitespace().flat_map(calls) {
                if is_taken_away {
                    allowed.remove(&call)
                } else {
                    allowed.insert(call)
                };
            }
        }
        allowed
    }
}

/// The calls of a set, and of the sets in it; a call is itself.
fn calls(word: &str) -> BTreeSet<String> {
    if !word.starts_with('@') {
        return BTreeSet::from([word.to_owned()]);
    }
    let listed =
        output_of(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", word])).unwrap();
    let members = listed.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim);
    members.filter(|member| !member.starts_with('#')).flat_map(calls).collect()
}
