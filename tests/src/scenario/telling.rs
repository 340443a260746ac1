//! What a scenario tells while it is played: steps, numbers, and what was asserted.

use std::fmt::Display;
use std::time::Instant;

use anyhow::{Result, bail};

/// A story that is being told on standard output.
#[derive(Debug)]
pub struct Telling {
    name: &'static str,
    begun: Instant,
    numbers: Vec<(String, String)>,
    claims: Vec<(String, Result<()>)>,
}

impl Telling {
    /// Begins the story `name`.
    pub fn begin(name: &'static str) -> Telling {
        println!("scenario {name}");
        Telling { name, begun: Instant::now(), numbers: Vec::new(), claims: Vec::new() }
    }

    /// Something happened.
    pub fn step(&self, what: impl Display) {
        println!("{:7.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    /// Something was measured.
    pub fn number(&mut self, name: impl Display, value: impl Display) {
        self.numbers.push((name.to_string(), value.to_string()));
    }

    /// Something must hold, and does or not.
    pub fn claim(&mut self, what: impl Display, held: Result<()>) {
        self.claims.push((what.to_string(), held));
    }

    /// Prints numbers and claims; `played` is whether the story came to its end.
    ///
    /// # Errors
    /// If it did not, if a claim does not hold, or if there is none.
    pub fn end(mut self, played: Result<()>) -> Result<()> {
        self.number("duration", format!("{:.0} s", self.begun.elapsed().as_secs_f64()));
        let width = self.numbers.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        self.numbers.iter().for_each(|(name, value)| println!("  {name:width$}  {value}"));
        for (what, held) in &self.claims {
            match held {
                Ok(()) => println!("ok      {what}"),
                Err(error) => println!("FAILED  {what}\n{error:#}"),
            }
        }
        played?;
        let failed = self.claims.iter().filter(|(_, held)| held.is_err()).count();
        if failed > 0 || self.claims.is_empty() {
            bail!("{failed} of {} claims of the scenario {} do not hold", self.claims.len(), self.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_true_if_all_that_it_claims_holds() {
        let mut telling = Telling::begin("true");
        telling.claim("one is one", Ok(()));
        assert!(telling.end(Ok(())).is_ok());
        let mut telling = Telling::begin("false");
        telling.claim("one is one", Ok(()));
        telling.claim("one is two", Err(anyhow::anyhow!("it is one")));
        let error = telling.end(Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 claims of the scenario false do not hold");
    }

    #[test]
    fn a_story_that_claims_nothing_or_ends_early_is_not_true() {
        assert!(Telling::begin("empty").end(Ok(())).is_err());
        let mut telling = Telling::begin("short");
        telling.claim("one is one", Ok(()));
        assert!(telling.end(Err(anyhow::anyhow!("no lab"))).is_err());
    }
}
