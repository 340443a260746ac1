//! What the configuration file permits.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::announce::By;
use crate::announce::kernel_table::{self, Change};
use crate::config;

/// What the file says, and of routing tables what it has said since the helper started: routes of a former
/// configuration still have to be removed.
#[derive(Debug, Clone)]
pub(super) struct Permitted(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    file: PathBuf,
    /// The command line's interfaces, in the place of the file's, if there are any.
    interfaces: Vec<String>,
    tables: Vec<kernel_table::Configuration>,
}

impl Permitted {
    pub(super) fn new(file: PathBuf, interfaces: Vec<String>) -> Permitted {
        let mut state = State { file, interfaces, tables: Vec::new() };
        // Whoever needs what it says tries again.
        let _ = state.read();
        Permitted(Arc::new(Mutex::new(state)))
    }

    /// Whether the balancer may be put on an interface; why not.
    pub(super) fn attach(&self, interface: &str) -> Result<(), String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let interfaces = state.read()?;
        if interfaces.iter().any(|name| name == interface) {
            return Ok(());
        }
        Err(format!("{interface:?} is no interface of the configuration, which are {interfaces:?}"))
    }

    /// Whether a route may be written or removed; why not.
    pub(super) fn change(&self, change: &Change) -> Result<(), String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_of_a_table(change) {
            return Ok(());
        }
        state.read()?;
        if state.is_of_a_table(change) {
            return Ok(());
        }
        Err(format!("{change:?} is no VIP's route in the routing table of the configuration"))
    }
}

impl State {
    /// Reads the file, and returns its interfaces.
    fn read(&mut self) -> Result<Vec<String>, String> {
        let content = config::load_content(&self.file).map_err(|error| error.to_string())?;
        if let Some(By::KernelTable(table)) = content.announce.map(|announce| announce.by)
            && table.validate().is_ok()
            && !self.tables.contains(&table)
        {
            self.tables.push(table);
        }
        let of_file = content.desired.node.interfaces;
        Ok(if self.interfaces.is_empty() { of_file } else { self.interfaces.clone() })
    }

    fn is_of_a_table(&self, change: &Change) -> bool {
        self.tables.iter().any(|table| change.is_of(table))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FILE: &str = r#"{ "node": { "name": "n", "zone": "z", "interfaces": ["eth0"] }, "load_balancers": [],
        "target_groups": [], "announce": { "kernel_table": { "table": 100 } } }"#;

    fn route(table: u32) -> Change {
        let json = format!(
            r#"{{ "create": {{ "place": {{ "table": {table}, "destination": "10.0.0.1", "length": 32, "tos": 0,
               "metric": 100 }}, "protocol": 214, "kind": 6 }} }}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn what_the_file_names_is_permitted_and_follows_it() {
        let file = std::env::temp_dir().join(format!("sluice-permitted-{}", std::process::id()));
        fs::write(&file, FILE).unwrap();
        let permitted = Permitted::new(file.clone(), Vec::new());
        permitted.attach("eth0").unwrap();
        assert!(permitted.attach("eth1").unwrap_err().contains("eth1"));
        permitted.change(&route(100)).unwrap();
        permitted.change(&route(101)).unwrap_err();
        fs::write(&file, FILE.replace("eth0", "eth1").replace("100", "101")).unwrap();
        permitted.attach("eth1").unwrap();
        permitted.attach("eth0").unwrap_err();
        permitted.change(&route(101)).unwrap();
        // Those of the former configuration have to go.
        permitted.change(&route(100)).unwrap();
        permitted.change(&route(254)).unwrap_err();
        let narrowed = Permitted::new(file.clone(), vec!["eth7".to_owned()]);
        assert_eq!((narrowed.attach("eth7"), narrowed.attach("eth1").is_err()), (Ok(()), true));
        fs::remove_file(&file).unwrap();
        permitted.attach("eth1").unwrap_err();
    }
}
