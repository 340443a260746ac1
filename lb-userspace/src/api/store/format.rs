//! The version of what is kept, and the way from older ones to this one.

use anyhow::{Context, bail};

use super::entry::Entries;

/// This version's. A change of a record that an older Sluice would misread makes a new one, and a step in [`STEPS`].
pub(super) const FORMAT: u32 = 1;

/// What turns entries of one format into entries of the next: the first, those of format 1 into those of format 2.
type Step = fn(&mut Entries) -> anyhow::Result<()>;

const STEPS: [Step; FORMAT as usize - 1] = [];

/// Brings entries of an older format to this one.
///
/// # Errors
/// If they are of a newer format, or are not as that format has them.
pub(super) fn migrate(format: u32, entries: &mut Entries) -> anyhow::Result<()> {
    migrate_by(&STEPS, format, entries)
}

fn migrate_by(steps: &[Step], format: u32, entries: &mut Entries) -> anyhow::Result<()> {
    let newest = steps.len() + 1;
    let format = usize::try_from(format).unwrap_or(usize::MAX);
    if format > newest {
        bail!(
            "a newer Sluice wrote this state: its format is {format}, and this Sluice knows up to {newest}; run the \
             newer one again, or import an export that this one wrote"
        );
    }
    let first = format.checked_sub(1).context("format 0 of the state never was")?;
    for (step, format) in steps[first..].iter().zip(format..) {
        step(entries)
            .with_context(|| format!("bringing the state from format {format} to {}", format + 1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FAKE: [Step; 2] = [
        |entries| {
            entries.insert("second".to_owned(), json!(2));
            Ok(())
        },
        |entries| {
            entries.remove("second").context("nothing there")?;
            entries.insert("third".to_owned(), json!(3));
            Ok(())
        },
    ];

    #[test]
    fn older_formats_go_through_every_step_after_theirs() {
        for (format, expected) in [(1, vec!["third"]), (3, vec![])] {
            let mut entries = Entries::new();
            migrate_by(&FAKE, format, &mut entries).unwrap();
            assert_eq!(entries.keys().collect::<Vec<_>>(), expected);
        }
        let error = migrate_by(&FAKE, 2, &mut Entries::new()).unwrap_err();
        assert_eq!(error.to_string(), "bringing the state from format 2 to 3");
    }

    #[test]
    fn unknown_formats_are_refused() {
        let error = migrate(FORMAT + 1, &mut Entries::new()).unwrap_err().to_string();
        assert!(error.starts_with("a newer Sluice wrote this state"), "{error}");
        assert!(migrate(0, &mut Entries::new()).is_err());
    }
}
