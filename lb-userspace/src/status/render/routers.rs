//! What routers are told: the VIPs, operators' orders, and the sessions.

use super::{Page, Row, Style, Tone, left, right};
use crate::announce::report::{RoutersReport, SessionReport, TableReport};
use crate::status::quantity::{count, duration};
use crate::status::report::{AnnouncementReport, Report};

/// The part of a report that is about routers, as text that ends with a line end.
pub fn render_routers(report: &Report, style: Style) -> String {
    let mut page = Page { text: String::new(), colour: style.colour };
    page.line(Tone::Heading, &format!("node {} · zone {}", report.node, report.zone));
    if report.routers.is_none() {
        page.line(Tone::Plain, "nothing is announced: the configuration has no section \"announce\"");
    }
    routers(&mut page, report);
    page.text
}

/// The same on a page of a report; nothing where nobody tells routers.
pub(super) fn routers(page: &mut Page, report: &Report) {
    let Some(routers) = &report.routers else { return };
    page.heading(&format!("VIPs · routers are told by {}", routers.by.replace('_', " ")));
    orders(page, routers);
    let rows = report.announcements.iter().map(vip_row).collect();
    page.table(&[left("VIP"), left("state"), right("since")], rows);
    if !routers.sessions.is_empty() {
        page.heading("BGP sessions");
        let columns = [
            left("router"),
            left("state"),
            right("since"),
            right("announced"),
            right("draining"),
            left("BFD"),
        ];
        page.table(&columns, routers.sessions.iter().map(session_row).collect());
    }
    if let Some(table) = &routers.table {
        kernel_table(page, table);
    }
}

fn kernel_table(page: &mut Page, table: &TableReport) {
    let TableReport { announced, draining, held, repaired, .. } = table;
    let mut line = format!("  routes: {announced} announced, {draining} draining");
    for (number, what) in
        [(held, "of an earlier controller"), (repaired, "put right after others had changed them")]
    {
        if *number > 0 {
            line += &format!(", {} {what}", count(*number));
        }
    }
    page.line(Tone::Plain, &line);
    for problem in &table.failed {
        page.line(Tone::Bad, &format!("  no route: {problem}"));
    }
}

fn orders(page: &mut Page, routers: &RoutersReport) {
    if let Some(problem) = &routers.problem {
        page.line(Tone::Bad, &format!("  routers can't be told: {problem}"));
    }
    if let Some(drain) = &routers.drain {
        let since = duration(drain.since_seconds);
        page.line(
            Tone::Warning,
            &format!("  the node drains since {since}; {}", ahead(drain.withdraw_in_seconds)),
        );
    }
    if let Some(shift) = &routers.zone_shift {
        let (zone, end) = (&shift.zone, duration(shift.ends_in_seconds));
        let text =
            format!("  zone {zone} is shifted away, ends in {end}; {}", ahead(shift.withdraw_in_seconds));
        page.line(Tone::Warning, &text);
    }
}

fn ahead(withdraw_in_seconds: f64) -> String {
    if withdraw_in_seconds > 0.0 {
        format!("VIPs are withdrawn in {}", duration(withdraw_in_seconds.ceil()))
    } else {
        "VIPs are withdrawn".to_owned()
    }
}

fn vip_row(at: &AnnouncementReport) -> Row {
    let tone = match (at.state.as_str(), &at.reason) {
        ("announced", None) => Tone::Good,
        ("other_zone", _) => Tone::Plain,
        ("withdrawn", _) => Tone::Bad,
        _ => Tone::Warning,
    };
    let cells = vec![at.vip.to_string(), at.state.replace('_', " "), duration(at.since_seconds)];
    Row { cells, tone, notes: at.reason.iter().cloned().collect() }
}

fn session_row(session: &SessionReport) -> Row {
    let is_up = session.state == "Established";
    let bfd = session.bfd.as_ref();
    let is_watched = bfd.is_none_or(|bfd| bfd.state == "Up");
    let cells = vec![
        session.peer.to_string(),
        session.state.clone(),
        duration(session.since_seconds),
        count(session.announced),
        count(session.draining),
        bfd.map_or("-".to_owned(), |bfd| bfd.state.clone()),
    ];
    let tone = match (is_up, is_watched && session.withheld.is_none()) {
        (true, true) => Tone::Good,
        (true, false) => Tone::Warning,
        (false, _) => Tone::Bad,
    };
    let error = session.last_error.as_ref().filter(|_| !is_up).map(|why| format!("last error: {why}"));
    let withheld = session.withheld.as_ref().map(|why| format!("not told: {why}"));
    let silence = bfd.filter(|_| !is_watched).and_then(|bfd| bfd.last_down.as_ref());
    let silence = silence.map(|why| format!("BFD: {why}"));
    Row { cells, tone, notes: error.into_iter().chain(withheld).chain(silence).collect() }
}
