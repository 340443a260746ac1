//! The picture as lines of text with a tone each, for a terminal of any size, and how a terminal draws them.

use ratatui::Frame;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};

use super::controls::Controls;
use super::rates::{Pair, Rate};
use super::rows::{self, ListenerRow, TargetRow};
use crate::inspect::columns::{Column, lines};
use crate::status::quantity::{bytes, count, duration};
use crate::status::render::printable;

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
}

/// The room for the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Characters; none is without an end.
    pub(super) width: Option<usize>,
    /// Lines; none is without an end.
    pub(super) height: Option<usize>,
}

/// A line of the picture.
pub(super) type Toned = (Tone, String);

const KEYS: &str = "q quit · s sort · r reverse · / filter · Esc no filter · ↑↓ scroll · p pause";

/// The whole picture; `problem` is why there is no newer report.
pub(super) fn picture(pair: &Pair, controls: &Controls, problem: Option<&str>, room: Room) -> Vec<Toned> {
    let mut picture = head(pair, problem);
    let listeners = listener_lines(&rows::listeners(pair, &controls.choice), room.width);
    let targets = target_lines(&rows::targets(pair, &controls.choice), room.width);
    match room.height {
        None => {
            picture.extend(listeners);
            picture.push((Tone::Plain, String::new()));
            picture.extend(targets);
        }
        Some(height) => {
            // The keys have the last line.
            let rest = height.saturating_sub(picture.len() + 1);
            let third = listeners.len().min((rest / 3).max(2));
            picture.extend(cut(listeners, third, 0));
            let rest = height.saturating_sub(picture.len() + 1);
            picture.extend(cut(targets, rest, controls.scrolled));
            picture.resize(height.saturating_sub(1), (Tone::Plain, String::new()));
            picture.push((Tone::Heading, foot(controls)));
        }
    }
    if let Some(width) = room.width {
        picture.iter_mut().for_each(|(_, line)| *line = shortened_at_end(line, width));
    }
    picture
}

/// The heading of a table and as many of its rows as `most` lines hold, without the first `scrolled` ones; the last line
/// says how many are not shown.
fn cut(table: Vec<Toned>, most: usize, scrolled: usize) -> Vec<Toned> {
    if table.len() <= most || most == 0 {
        return table.into_iter().take(most).collect();
    }
    let (rows, shown) = (table.len() - 1, most.saturating_sub(2));
    let above = scrolled.min(rows - shown);
    let mut lines: Vec<Toned> = Vec::with_capacity(most);
    let mut table = table.into_iter();
    lines.extend(table.next());
    lines.extend(table.skip(above).take(shown));
    if most > 1 {
        let below = rows - shown - above;
        lines.push((Tone::Plain, format!("… {above} more above, {below} below")));
    }
    lines
}

fn head(pair: &Pair, problem: Option<&str>) -> Vec<Toned> {
    let report = &pair.now;
    let mut head = vec![
        (
            Tone::Heading,
            format!(
                "sluice top · node {} · zone {} · up {} · {} tables published",
                printable(&report.node),
                printable(&report.zone),
                duration(report.uptime_seconds),
                count(report.publications.tables)
            ),
        ),
        (Tone::Plain, traffic(pair)),
    ];
    let dropped = pair.dropped();
    if !dropped.is_empty() {
        let words = dropped.iter().map(|(reason, rate)| format!("{reason} {}/s", number(*rate)));
        head.push((Tone::Warning, format!("dropped: {}", words.collect::<Vec<_>>().join(", "))));
    }
    let open = report.target_groups.iter().filter(|(_, group)| group.fail_open);
    let open: Vec<&str> = open.map(|(name, _)| name.as_str()).collect();
    if !open.is_empty() {
        let words = format!("FAIL OPEN, too few targets are healthy: {}", open.join(" "));
        head.push((Tone::Bad, printable(&words)));
    }
    if report.configuration.rejected.is_some() {
        head.push((Tone::Bad, "the configuration file was REJECTED: see `sluice status`".to_owned()));
    }
    if report.publications.failure.is_some() {
        head.push((Tone::Bad, "the maps are STALE: see `sluice status`".to_owned()));
    }
    if let Some(problem) = problem {
        head.push((Tone::Bad, format!("no newer report: {}", printable(problem))));
    }
    head
}

fn traffic(pair: &Pair) -> String {
    let listeners = pair
        .now
        .load_balancers
        .iter()
        .flat_map(|(name, balancer)| balancer.listeners.iter().map(move |listener| (name, listener)));
    let rates = listeners.filter_map(|(name, listener)| pair.listener(name, listener));
    let all =
        rates.reduce(|sum, one| Rate { packets: sum.packets + one.packets, bytes: sum.bytes + one.bytes });
    let targets = pair.now.target_groups.values().flat_map(|group| &group.targets);
    let (healthy, known) = targets.fold((0, 0), |(healthy, known), target| {
        (healthy + usize::from(target.state == "healthy"), known + 1)
    });
    format!("forwarded {} packets/s, {}/s · {healthy} of {known} targets healthy", packets(all), volume(all))
}

fn listener_lines(rows: &[ListenerRow], width: Option<usize>) -> Vec<Toned> {
    const COLUMNS: [Column; 6] = [
        Column::text("listener"),
        Column::text("forward"),
        Column::number("slots"),
        Column::number("moving"),
        Column::number("packets/s"),
        Column::number("bytes/s"),
    ];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                row.forward.clone(),
                count(row.slots.into()),
                count(row.moving.into()),
                packets(row.rate),
                volume(row.rate),
            ]
        })
        .collect();
    let tones = rows.iter().map(|row| if row.moving > 0 { Tone::Warning } else { Tone::Plain });
    std::iter::once(Tone::Heading).chain(tones).zip(lines(&COLUMNS, &cells, width)).collect()
}

fn target_lines(rows: &[TargetRow], width: Option<usize>) -> Vec<Toned> {
    const COLUMNS: [Column; 8] = [
        Column::text("target"),
        Column::text("zone"),
        Column::number("weight"),
        Column::word("state"),
        Column::number("share"),
        Column::number("slots"),
        Column::number("packets/s"),
        Column::number("bytes/s"),
    ];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                row.zone.clone(),
                row.weight.to_string(),
                if row.is_cut_off { format!("{} cut off", row.state) } else { row.state.clone() },
                format!("{:.1} %", row.share * 100.0),
                count(row.slots.into()),
                packets(row.rate),
                volume(row.rate),
            ]
        })
        .collect();
    std::iter::once(Tone::Heading).chain(rows.iter().map(tone)).zip(lines(&COLUMNS, &cells, width)).collect()
}

fn tone(row: &TargetRow) -> Tone {
    match row.state.as_str() {
        "unhealthy" | "unhealthy.draining" | "unavailable" => Tone::Bad,
        _ if row.is_cut_off => Tone::Bad,
        "healthy" => Tone::Good,
        _ => Tone::Warning,
    }
}

fn packets(rate: Option<Rate>) -> String {
    rate.map_or("-".to_owned(), |rate| number(rate.packets))
}

fn volume(rate: Option<Rate>) -> String {
    rate.map_or("-".to_owned(), |rate| bytes(rate.bytes.round() as u64))
}

/// What is less than one a second, and is, is not shown as nothing.
fn number(rate: f64) -> String {
    if rate > 0.0 && rate < 1.0 { "<1".to_owned() } else { count(rate.round() as u64) }
}

fn foot(controls: &Controls) -> String {
    let choice = &controls.choice;
    if controls.is_typing {
        return format!("filter: {}▏ (Enter keeps it, Esc drops it)", choice.filter);
    }
    let arrow = if choice.is_reversed { "↑" } else { "↓" };
    let paused = if controls.is_paused { "PAUSED · " } else { "" };
    let filter =
        if choice.filter.is_empty() { String::new() } else { format!("only {:?} · ", choice.filter) };
    format!("{paused}{filter}by {}{arrow} · {KEYS}", choice.sort.word())
}

fn shortened_at_end(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Draws the picture.
pub(super) fn draw(frame: &mut Frame, picture: &[Toned]) {
    let lines = picture.iter().map(|(tone, line)| Line::styled(line.clone(), style(*tone)));
    frame.render_widget(Text::from_iter(lines), frame.area());
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Heading => Style::new().add_modifier(Modifier::BOLD),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Warning => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}
