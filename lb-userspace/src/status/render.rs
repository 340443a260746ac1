//! A report for people: what runs, where its packets go, and what is wrong, in at most 100 columns where names
//! and addresses allow.
//!
//! Numbers are rounded as said in `quantity`; texts that came from elsewhere (a target's answer, a file) lose
//! their control characters, so that they can't drive the reader's terminal.

mod nodes;
mod routers;

use std::fmt::Write;
use std::io::{IsTerminal, stdout};

use comfy_table::{CellAlignment, Table, presets};

pub use routers::render_routers;

use super::quantity::{bytes, count, duration, latency};
use super::report::{
    InterfaceReport, InventoryReport, ListenerReport, LoadBalancerReport, NextHopReport, OwnerReport,
    ReasonReport, Report, TargetGroupReport, TargetReport,
};

/// How a report is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Whether colours may be used.
    pub colour: Colour,
    /// Which reasons are listed.
    pub reasons: Reasons,
}

/// Whether colours may be used; the caller knows the terminal and `NO_COLOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// Text alone.
    #[default]
    Never,
    /// ANSI colours for headings and for what is not as it should be.
    Always,
}

impl Colour {
    /// Colours for people at a terminal who do not forbid them (`NO_COLOR`).
    pub fn of_standard_output() -> Colour {
        let is_forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stdout().is_terminal() && !is_forbidden { Colour::Always } else { Colour::Never }
    }
}

/// Which reasons are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reasons {
    /// Those that some packet had.
    #[default]
    Counted,
    /// Every one.
    All,
}

/// The report as text that ends with a line end.
pub fn render(report: &Report, style: Style) -> String {
    let mut page = Page { text: String::new(), colour: style.colour };
    header(&mut page, report);
    interfaces(&mut page, &report.interfaces);
    for (name, load_balancer) in &report.load_balancers {
        self::load_balancer(&mut page, name, load_balancer);
    }
    for (name, group) in &report.target_groups {
        target_group(&mut page, name, group);
    }
    routers::routers(&mut page, report);
    reasons(&mut page, &report.reasons, style.reasons);
    page.text
}

fn header(page: &mut Page, report: &Report) {
    let configuration = &report.configuration;
    page.line(
        Tone::Heading,
        &format!(
            "node {} · zone {} · sluice {} · up {}",
            report.node,
            report.zone,
            report.version,
            duration(report.uptime_seconds)
        ),
    );
    page.line(
        Tone::Plain,
        &format!("configuration {} · generation {}", configuration.file, configuration.generation),
    );
    if let OwnerReport::Api { url, changes, problems, inventory } = &configuration.owner {
        let owner = format!("state owned by the API at {url} · {} changes in force", count(*changes));
        page.line(Tone::Plain, &owner);
        problems.iter().for_each(|problem| page.line(Tone::Bad, &format!("API: {problem}")));
        if let Some(inventory) = inventory {
            inventory_lines(page, inventory);
        }
    }
    nodes::shared_state(page, report);
    page.line(Tone::Plain, &publications(report));
    if let Some(why) = &report.publications.failure {
        page.line(
            Tone::Bad,
            &format!("STALE: the maps are not as they should be, packets go by what was before: {why}"),
        );
    }
    if let Some(why) = &configuration.rejected {
        page.line(Tone::Bad, "REJECTED: the file's present content is not in force; an earlier one is:");
        for line in why.lines() {
            page.line(Tone::Bad, &format!("  {line}"));
        }
    }
}

fn inventory_lines(page: &mut Page, inventory: &InventoryReport) {
    let InventoryReport { endpoint, answered, problem, remarks } = inventory;
    page.line(Tone::Plain, &format!("inventory of {answered} from {endpoint}"));
    if let Some(why) = problem {
        page.line(Tone::Bad, &format!("NOT REFRESHED: {why}"));
    }
    for remark in remarks {
        page.line(Tone::Bad, &format!("  {remark}"));
    }
}

fn publications(report: &Report) -> String {
    let at = &report.publications;
    let mut line =
        format!("{} tables published · last write {}", count(at.tables), latency(at.last_write_seconds));
    if let (Some(last), Some(longest)) = (at.last_decision_seconds, at.max_decision_seconds) {
        let (last, longest) = (latency(last), latency(longest));
        _ = write!(line, " · from check to swapped table {last}, at most {longest}");
    }
    line
}

fn interfaces(page: &mut Page, interfaces: &[InterfaceReport]) {
    page.heading("interfaces");
    let rows = interfaces.iter().map(|at| Row {
        cells: vec![at.name.clone(), at.index.to_string(), at.mode.clone(), at.program_id.to_string()],
        tone: if at.mode == "native" { Tone::Plain } else { Tone::Warning },
        notes: at.fallback_reason.iter().map(|why| format!("not native: {why}")).collect(),
    });
    page.table(&[left("interface"), right("index"), left("mode"), right("program")], rows.collect());
}

fn load_balancer(page: &mut Page, name: &str, load_balancer: &LoadBalancerReport) {
    let vips: Vec<String> = load_balancer.vips.iter().map(ToString::to_string).collect();
    page.heading(&format!("load balancer {name} · {}", vips.join(" ")));
    let listeners = &load_balancer.listeners;
    let changing = listeners.iter().any(|listener| listener.changing_slots > 0);
    let exceptions = listeners.iter().any(|listener| listener.exception_slots > 0);
    let chained = listeners.iter().any(|listener| listener.chained_slots > 0);
    let deferred = listeners.iter().any(|listener| listener.deferred_slots > 0);
    let mut columns =
        vec![left("listener"), left("forward"), right("packets"), right("bytes"), right("slots")];
    columns.extend(changing.then_some(right("changing")));
    columns.extend(exceptions.then_some(right("exceptions")));
    columns.extend(chained.then_some(right("chained")));
    columns.extend(deferred.then_some(right("deferred")));
    columns.push(left("table"));
    let rows = listeners.iter().map(|listener| {
        let mut cells = vec![
            format!("{} {}", listener.protocol, listener.port),
            forward(listener),
            count(listener.packets),
            bytes(listener.bytes),
            count(listener.slots.into()),
        ];
        cells.extend(changing.then(|| count(listener.changing_slots.into())));
        cells.extend(exceptions.then(|| count(listener.exception_slots.into())));
        cells.extend(chained.then(|| count(listener.chained_slots.into())));
        cells.extend(deferred.then(|| count(listener.deferred_slots.into())));
        cells.push(listener.table_digest.clone());
        Row { cells, tone: Tone::Plain, notes: Vec::new() }
    });
    page.table(&columns, rows.collect());
}

/// Weights say something only where there are several target groups.
fn forward(listener: &ListenerReport) -> String {
    match listener.forward.as_slice() {
        [only] => only.target_group.clone(),
        several => {
            let named: Vec<String> =
                several.iter().map(|at| format!("{}:{}", at.target_group, at.weight)).collect();
            named.join(" ")
        }
    }
}

fn target_group(page: &mut Page, name: &str, group: &TargetGroupReport) {
    page.heading(&format!(
        "target group {name} · {} {} · {}",
        group.protocol, group.port, group.encapsulation
    ));
    if group.fail_open {
        page.line(Tone::Bad, "  FAIL OPEN: too few targets are healthy, so all are used");
    }
    if let Some(line) = kept_by(group) {
        page.line(Tone::Plain, &line);
    }
    let exceptions = group.targets.iter().any(|target| target.exception_flows > 0);
    let mut columns = vec![
        left("target"),
        left("zone"),
        right("weight"),
        left("state"),
        right("share"),
        left("next hop"),
        right("packets"),
        right("bytes"),
    ];
    columns.extend(exceptions.then_some(right("exceptions")));
    page.table(&columns, group.targets.iter().map(|target| target_row(target, exceptions)).collect());
}

/// Who keeps the group's flows, where there is a choice.
fn kept_by(group: &TargetGroupReport) -> Option<String> {
    if group.flows_kept_by == "targets" {
        return Some("  flows are kept by the targets' second chances".to_owned());
    }
    let has_agents = group.targets.iter().any(|target| target.agent.is_some());
    let why = group.no_second_chance.as_ref().filter(|_| has_agents)?;
    Some(format!("  flows are kept by the flow table: {why}"))
}

fn target_row(target: &TargetReport, exceptions: bool) -> Row {
    let (next_hop, problem) = match &target.next_hop {
        NextHopReport::Resolved { interface, mac, .. } => (format!("{interface} {mac}"), None),
        NextHopReport::Unresolved { problem } => ("none".to_owned(), Some(format!("no next hop: {problem}"))),
    };
    let mut cells = vec![
        target.id.to_string(),
        target.zone.clone(),
        target.weight.to_string(),
        target.state.clone(),
        format!("{:.1} %", target.share * 100.0),
        next_hop,
        count(target.packets),
        bytes(target.bytes),
    ];
    cells.extend(exceptions.then(|| count(target.exception_flows)));
    Row { cells, tone: target_tone(target), notes: health_note(target).into_iter().chain(problem).collect() }
}

fn target_tone(target: &TargetReport) -> Tone {
    match (target.state.as_str(), &target.next_hop) {
        ("unhealthy" | "unhealthy.draining" | "unavailable", _) => Tone::Bad,
        (_, NextHopReport::Unresolved { .. }) => Tone::Bad,
        ("healthy", _) => Tone::Good,
        _ => Tone::Warning,
    }
}

fn health_note(target: &TargetReport) -> Option<String> {
    match (&target.reason, &target.description) {
        (Some(reason), Some(description)) => Some(format!("{reason}: {description}")),
        (reason, description) => reason.clone().or_else(|| description.clone()),
    }
}

fn reasons(page: &mut Page, reasons: &[ReasonReport], which: Reasons) {
    page.heading("packets not forwarded");
    let shown: Vec<&ReasonReport> =
        reasons.iter().filter(|at| which == Reasons::All || at.packets > 0).collect();
    if shown.is_empty() {
        return page.line(Tone::Plain, "  none");
    }
    let rows = shown.into_iter().map(|at| Row {
        cells: vec![at.reason.clone(), at.verdict.clone(), count(at.packets)],
        tone: if at.verdict == "dropped" && at.packets > 0 { Tone::Warning } else { Tone::Plain },
        notes: vec![at.description.clone()],
    });
    page.table(&[left("reason"), left("verdict"), right("packets")], rows.collect());
}

/// The text so far.
struct Page {
    text: String,
    colour: Colour,
}

impl Page {
    fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.line(Tone::Heading, text);
    }

    fn line(&mut self, tone: Tone, text: &str) {
        let text = printable(text.trim_end());
        _ = match (self.colour, tone.ansi()) {
            (Colour::Always, Some(ansi)) => writeln!(self.text, "\x1b[{ansi}m{text}\x1b[0m"),
            _ => writeln!(self.text, "{text}"),
        };
    }

    /// A row is one line, so that it can be searched for and coloured as a whole; its notes follow it.
    fn table(&mut self, columns: &[(&str, CellAlignment)], rows: Vec<Row>) {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(columns.iter().map(|(name, _)| *name));
        for row in &rows {
            table.add_row(row.cells.iter().map(|cell| printable(cell)));
        }
        for (column, (_, alignment)) in table.column_iter_mut().zip(columns) {
            column.set_cell_alignment(*alignment);
            column.set_padding((0, 2));
        }
        let mut lines = table.lines();
        self.line(Tone::Heading, &format!("  {}", lines.next().unwrap_or_default()));
        for (line, row) in lines.zip(&rows) {
            self.line(row.tone, &format!("  {line}"));
            for note in &row.notes {
                self.line(row.tone, &format!("    {note}"));
            }
        }
    }
}

struct Row {
    cells: Vec<String>,
    tone: Tone,
    notes: Vec<String>,
}

#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
}

impl Tone {
    /// The parameters of the ANSI sequence that begins it.
    fn ansi(self) -> Option<&'static str> {
        match self {
            Tone::Plain => None,
            Tone::Heading => Some("1"),
            Tone::Good => Some("32"),
            Tone::Warning => Some("33"),
            Tone::Bad => Some("1;31"),
        }
    }
}

/// The text without control characters: it may have come from elsewhere, and must not drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

const fn left(name: &str) -> (&str, CellAlignment) {
    (name, CellAlignment::Left)
}

const fn right(name: &str) -> (&str, CellAlignment) {
    (name, CellAlignment::Right)
}

#[cfg(test)]
mod tests;
