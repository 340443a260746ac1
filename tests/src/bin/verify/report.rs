//! The table that people read, and whether all is within its budget.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use lb_common::maps::Programs;
use lb_userspace::controller::{OLDEST_KERNEL, OLDEST_KERNEL_THAT_CAPTURES};

use super::kernels::{Kernel, Known};
use super::measurement::Measurement;

/// Instructions that the verifier may process for one program: a tenth of the kernel's limit, so that another
/// kernel's verifier, which prunes less, still gets to its end.
const BUDGET: u32 = 100_000;

/// Bytes of stack that a chain of functions may use (`MAX_BPF_STACK`).
const STACK: u32 = 512;

/// What came of all objects.
#[derive(Debug, Default)]
pub(crate) struct Report {
    programs: Vec<Measurement>,
    failures: Vec<String>,
}

impl Report {
    /// Adds an object's programs, with what is over its budget.
    pub(crate) fn add(&mut self, programs: Vec<Measurement>) {
        for program in programs {
            self.failures.extend(complaints(&program));
            self.programs.push(program);
        }
    }

    /// Adds an object that could not be loaded.
    pub(crate) fn add_failure(&mut self, what: String) {
        self.failures.push(what);
    }

    /// Whether everything was loaded within its budget.
    pub(crate) fn is_success(&self) -> bool {
        self.failures.is_empty() && !self.programs.is_empty()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header([
            "program",
            "features",
            "processed",
            "budget",
            "instructions",
            "translated",
            "machine code",
            "stack",
            "oldest kernel",
        ]);
        for column in 2..8 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.add_rows(self.programs.iter().map(row));
        table
    }

    /// Each feature with the programs that need it, the youngest kernel first.
    fn needs(&self) -> Vec<(Known, BTreeSet<String>)> {
        let mut needs: BTreeMap<Known, BTreeSet<String>> = BTreeMap::new();
        for program in &self.programs {
            for known in &program.needs {
                needs.entry(*known).or_default().insert(self.name_for(program, known));
            }
        }
        needs.into_iter().rev().collect()
    }

    /// The program's name, with the features if it is they that make it need this.
    fn name_for(&self, program: &Measurement, known: &Known) -> String {
        let is_always = self
            .programs
            .iter()
            .filter(|other| other.program == program.program)
            .all(|other| other.needs.contains(known));
        if is_always {
            program.program.clone()
        } else {
            format!("{} ({})", program.program, program.features)
        }
    }
}

fn row(program: &Measurement) -> [String; 9] {
    let share = |processed: u32| format!("{:.1} %", f64::from(processed) / f64::from(BUDGET) * 100.0);
    [
        program.program.clone(),
        program.features.clone(),
        program.processed.map_or("unknown".to_owned(), |processed| processed.to_string()),
        program.processed.map_or(String::new(), share),
        program.instructions.to_string(),
        program.translated.to_string(),
        format!("{} B", program.machine_code),
        format!("{} B", program.stack),
        oldest(program).map_or(String::new(), |known| format!("{} ({})", known.kernel, known.name)),
    ]
}

/// The youngest of all that a program can't do without decides.
fn oldest(program: &Measurement) -> Option<&Known> {
    program.needs.iter().rfind(|known| !known.is_dispensable())
}

fn complaints(program: &Measurement) -> Vec<String> {
    let mut complaints = Vec::new();
    let name = format!("{} ({})", program.program, program.features);
    if program.processed.is_some_and(|processed| processed > BUDGET) {
        complaints.push(format!("{name}: the verifier processed more than {BUDGET} instructions"));
    }
    if program.stack > STACK {
        complaints.push(format!("{name}: its functions use {} of {STACK} bytes of stack", program.stack));
    }
    let (claimed, command) = claim(&program.program);
    if let Some(known) = oldest(program).filter(|known| known.kernel > claimed) {
        complaints.push(format!(
            "{name} needs Linux {} for {}, but `sluice {command}` promises to work on {claimed}",
            known.kernel, known.name
        ));
    }
    complaints
}

/// The oldest kernel that a program is promised for, and by which command.
fn claim(program: &str) -> (Kernel, &'static str) {
    if program.starts_with(Programs::Capture.entry()) {
        let (major, minor) = OLDEST_KERNEL_THAT_CAPTURES;
        return (Kernel(major, minor), "capture");
    }
    (Kernel(OLDEST_KERNEL.0, OLDEST_KERNEL.1), "run")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        writeln!(f, "Linux {release}; the budget is {BUDGET} instructions processed by the verifier\n")?;
        writeln!(f, "{}\n", self.table())?;
        writeln!(f, "what the programs use, by the first kernel that has it:")?;
        for (known, programs) in self.needs() {
            let programs: Vec<String> = programs.into_iter().collect();
            writeln!(f, "  {:<5} {:<34} {}", known.kernel.to_string(), known.name, programs.join(", "))?;
        }
        let run = self.programs.iter().filter(|program| claim(&program.program).1 == "run");
        if let Some(oldest) = run.filter_map(oldest).max() {
            writeln!(
                f,
                "\nthe oldest kernel for all of them but those that capture: {}, for {}",
                oldest.kernel, oldest.name
            )?;
        }
        self.failures.iter().try_for_each(|failure| writeln!(f, "failed: {failure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(processed: u32, stack: u32, kernel: Kernel) -> Measurement {
        Measurement {
            program: "balancer".to_owned(),
            features: "default".to_owned(),
            processed: Some(processed),
            instructions: 1,
            translated: 1,
            machine_code: 1,
            stack,
            needs: [Known { kernel: Kernel(4, 8), name: "XDP" }, Known { kernel, name: "something" }].into(),
        }
    }

    #[test]
    fn a_program_within_its_budget_passes() {
        let mut report = Report::default();
        report.add(vec![measured(BUDGET, STACK, Kernel(5, 8))]);
        assert!(report.is_success(), "{report}");
        assert!(
            report
                .to_string()
                .contains("the oldest kernel for all of them but those that capture: 5.8, for something")
        );
    }

    #[test]
    fn each_excess_is_a_failure() {
        for program in [
            measured(BUDGET + 1, STACK, Kernel(5, 8)),
            measured(BUDGET, STACK + 1, Kernel(5, 8)),
            measured(BUDGET, STACK, Kernel(OLDEST_KERNEL.0, OLDEST_KERNEL.1 + 1)),
        ] {
            let mut report = Report::default();
            report.add(vec![program]);
            assert!(!report.is_success() && report.to_string().contains("\nfailed: balancer (default)"));
        }
    }

    #[test]
    fn what_the_loader_does_without_is_no_failure() {
        let mut report = Report::default();
        let known = super::super::kernels::known(super::super::kernels::Feature::Helper(188)).unwrap();
        let mut program = measured(BUDGET, STACK, Kernel(5, 8));
        program.needs.insert(known);
        report.add(vec![program]);
        assert!(report.is_success(), "{report}");
    }

    #[test]
    fn no_program_at_all_is_a_failure() {
        assert!(!Report::default().is_success());
    }
}
