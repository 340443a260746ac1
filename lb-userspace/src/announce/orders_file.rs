//! Where orders outlive the controller: a file in the state directory, replaced in one step.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tracing::error;

use super::orders::Orders;

/// The file's name.
const NAME: &str = "node-orders.json";

/// The file.
#[derive(Debug, Clone)]
pub struct OrdersFile(PathBuf);

impl OrdersFile {
    /// The one in `directory`, which need not be there.
    pub fn within(directory: &Path) -> OrdersFile {
        OrdersFile(directory.join(NAME))
    }

    /// What it holds; no orders if it is not there. One that can't be read is put aside, and logged: a node must start.
    pub fn load(&self) -> Orders {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Orders::default(),
            read => read,
        };
        let read = text.map_err(anyhow::Error::from).and_then(|text| Ok(serde_json::from_str(&text)?));
        read.unwrap_or_else(|problem| {
            let aside = self.0.with_extension("damaged");
            error!(
                "{}: orders of operators can't be read, so there are none (give them again): {problem:#}; the file is \
                 kept as {}",
                self.0.display(),
                aside.display()
            );
            // Where that is impossible, the next order replaces it.
            let _ = fs::rename(&self.0, aside);
            Orders::default()
        })
    }

    /// Replaces what it holds; it is on the disk then.
    ///
    /// # Errors
    /// When it can't be written; then it is as before.
    pub fn save(&self, orders: &Orders) -> Result<()> {
        let about = || format!("keeping the order in {}", self.0.display());
        let directory = self.0.parent().context("a file lies in a directory")?;
        fs::create_dir_all(directory).with_context(about)?;
        let half = self.0.with_extension("half");
        let mut file = File::create(&half).with_context(about)?;
        let text = serde_json::to_string_pretty(orders).context("writing orders as JSON")? + "\n";
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(about)?;
        fs::rename(&half, &self.0).with_context(about)?;
        File::open(directory).and_then(|directory| directory.sync_all()).with_context(about)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn orders_outlive_their_giver_and_a_damaged_file_stops_nobody() {
        let directory = std::env::temp_dir().join(format!("sluice-orders-{}", std::process::id()));
        let file = OrdersFile::within(&directory.join("state"));
        assert_eq!(file.load(), Orders::default());
        let mut orders = Orders::default();
        orders
            .drain(Duration::from_secs(30), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
            .unwrap();
        file.save(&orders).unwrap();
        assert_eq!(file.load(), orders);
        fs::write(&file.0, "{ \"drain\": tru").unwrap();
        assert_eq!(file.load(), Orders::default());
        assert!(file.0.with_extension("damaged").exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
