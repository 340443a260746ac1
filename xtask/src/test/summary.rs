//! What all checks came to; its last line is for machines.

use std::fmt;

use super::cargo_test::Outcome;

/// Counts and the names of what failed.
#[derive(Debug, Default)]
pub(super) struct Summary {
    passed: u32,
    failed: u32,
    ignored: u32,
    /// Tests alone, without the demo: none is a failure too.
    tests: u32,
    failures: Vec<String>,
}

impl Summary {
    /// Adds the tests of one `cargo test`.
    pub(super) fn add_tests(&mut self, what: &str, outcome: &Outcome) {
        self.passed += outcome.passed;
        self.failed += outcome.failed;
        self.ignored += outcome.ignored;
        self.tests += outcome.passed + outcome.failed;
        self.failures.extend(outcome.failures.iter().map(|name| format!("test: {name}")));
        if !outcome.is_success && outcome.failed == 0 {
            self.add_failure(format!("{what} did not get to its end (does it compile?)"));
        }
    }

    /// Adds the lab's story as one check.
    pub(super) fn add_demo(&mut self, is_success: bool) {
        self.add_check("the lab's story (cargo xtask run --demo)", is_success);
    }

    /// Adds a check that is not a test.
    pub(super) fn add_check(&mut self, what: &str, is_success: bool) {
        if is_success {
            self.passed += 1;
        } else {
            self.add_failure(what.to_string());
        }
    }

    /// Adds a check of another kernel, where the checks are the tests.
    pub(super) fn add_guest_check(&mut self, what: &str, is_success: bool) {
        self.tests += 1;
        self.add_check(what, is_success);
    }

    /// Adds a check that failed.
    pub(super) fn add_failure(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    /// Nothing failed, and something was tested at all.
    pub(super) fn is_success(&self) -> bool {
        self.failed == 0 && self.tests > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        if self.ignored > 0 {
            writeln!(f, "{} ignored by their own mark", self.ignored)?;
        }
        if self.tests == 0 {
            writeln!(f, "no test ran: that is a failure too")?;
        }
        writeln!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_the_counts() {
        let mut summary = Summary::default();
        let outcome = Outcome { passed: 3, is_success: true, ..Outcome::default() };
        summary.add_tests("cargo test", &outcome);
        summary.add_demo(true);
        assert_eq!(summary.to_string().lines().last(), Some("4 passed, 0 failed"));
        assert!(summary.is_success());
    }

    #[test]
    fn no_test_at_all_is_a_failure() {
        let mut summary = Summary::default();
        summary.add_demo(true);
        assert!(!summary.is_success());
    }

    #[test]
    fn tests_that_do_not_compile_are_a_failure() {
        let mut summary = Summary::default();
        summary.add_tests("cargo test", &Outcome { passed: 5, ..Outcome::default() });
        assert!(!summary.is_success());
        assert_eq!(summary.to_string().lines().last(), Some("5 passed, 1 failed"));
    }
}
