use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::controls::{Controls, Flow};
use super::rates::Pair;
use super::rows::{self, Choice, Sort};
use super::screen::{Room, draw, picture};
use crate::status::report::Report;
use crate::status::sample;

const SCREEN: Room = Room { width: Some(80), height: Some(24) };

/// Two seconds later: 2,000 packets of 1,000 bytes for the listener, 1,500 of them for the first target, 6 dropped.
fn later(mut report: Report) -> Report {
    report.uptime_seconds += 2.0;
    let listener = &mut report.load_balancers.get_mut("web").unwrap().listeners[0];
    listener.packets += 2000;
    listener.bytes += 2_000_000;
    let target = &mut report.target_groups.get_mut("web").unwrap().targets[0];
    target.packets += 1500;
    target.bytes += 1_500_000;
    report.reasons.iter_mut().find(|at| at.reason == "no_next_hop").unwrap().packets += 6;
    report
}

fn pair() -> Pair {
    Pair::first(sample::report()).next(later(sample::report()), Duration::from_secs(2))
}

fn screen(pair: &Pair, controls: &Controls, room: Room) -> Vec<String> {
    let (width, height) = (room.width.unwrap() as u16, room.height.unwrap() as u16);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, &picture(pair, controls, None, room))).unwrap();
    let cells = terminal.backend().buffer().content();
    let line = |row: &[ratatui::buffer::Cell]| {
        row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()
    };
    cells.chunks(width.into()).map(line).collect()
}

fn press(controls: &mut Controls, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(controls.key(KeyEvent::new(*key, KeyModifiers::NONE)), Flow::Goes);
    }
}

fn names(choice: &Choice) -> Vec<String> {
    rows::targets(&pair(), choice).into_iter().map(|row| row.name).collect()
}

#[test]
fn the_picture_on_80_by_24() {
    let lines = screen(&pair(), &Controls::default(), SCREEN);
    let expected = [
        "sluice top · node lb1 · zone a · up 2h 5m · 12 tables published",
        "forwarded 1,000 packets/s, 1.00 MB/s · 2 of 3 targets healthy",
        "dropped: no_next_hop 3/s",
        "listener     forward  slots  moving  packets/s  bytes/s",
        "web 80/tcp   web      4,099      12      1,000  1.00 MB",
        "web any/udp  web      4,099       0          0      0 B",
        "target        zone  weight  state             share  slots  packets/s  bytes/s",
        "web/10.0.0.1  a          1  healthy          66.7 %  2,733        750   750 kB",
        "web/10.0.0.2  a          1  unhealthy         0.0 %      0          0      0 B",
        "web/fd00::3   b          1  healthy cut off  33.3 %  1,366          0      0 B",
    ];
    assert_eq!(lines[..expected.len()], expected, "{}", lines.join("\n"));
    assert_eq!(lines[23], "by name↓ · q quit · s sort · r reverse · / filter · Esc no filter · ↑↓ scroll ·…");
}

#[test]
fn every_size_of_terminal_has_its_picture() {
    let mut report = sample::report();
    let group = report.target_groups.get_mut("web").unwrap();
    let target = group.targets[0].clone();
    let many = (0..300).map(|at| crate::status::report::TargetReport {
        id: std::net::IpAddr::from([10, 0, (at / 256) as u8, (at % 256) as u8]),
        ..target.clone()
    });
    group.targets = many.collect();
    let pair = Pair::first(report);
    for (width, height) in [(1, 1), (2, 3), (10, 5), (80, 24), (200, 400)] {
        let room = Room { width: Some(width), height: Some(height) };
        assert_eq!(screen(&pair, &Controls::default(), room).len(), height, "{width}×{height}");
    }
}

#[test]
fn rates_are_of_the_time_between() {
    let fresh = Pair::first(sample::report());
    assert_eq!(rows::targets(&fresh, &Choice::default())[0].rate, None, "one report has no rate");
    assert!(fresh.dropped().is_empty());
    let rate = rows::targets(&pair(), &Choice::default())[0].rate.unwrap();
    assert_eq!((rate.packets, rate.bytes), (750.0, 750_000.0));
    assert_eq!(pair().dropped(), [("no_next_hop", 3.0)]);
    let mut anew = sample::report();
    anew.uptime_seconds = 1.0;
    let restarted = pair().next(anew, Duration::from_secs(1));
    assert_eq!(rows::targets(&restarted, &Choice::default())[0].rate, None, "counters may have begun anew");
}

#[test]
fn rows_are_sorted_and_filtered() {
    let choice = |sort, is_reversed, filter: &str| Choice { sort, is_reversed, filter: filter.to_owned() };
    let [one, two, three] = ["web/10.0.0.1", "web/10.0.0.2", "web/fd00::3"];
    assert_eq!(names(&choice(Sort::Name, false, "")), [one, two, three]);
    assert_eq!(names(&choice(Sort::Name, true, "")), [three, two, one]);
    assert_eq!(names(&choice(Sort::Packets, false, ""))[0], one);
    assert_eq!(names(&choice(Sort::Slots, false, "")), [one, three, two]);
    assert_eq!(names(&choice(Sort::Slots, true, "")), [two, three, one]);
    assert_eq!(names(&choice(Sort::State, false, "")), [three, two, one], "what needs a look is first");
    assert_eq!(names(&choice(Sort::Name, false, "UNHEALTHY")), [two]);
    assert_eq!(names(&choice(Sort::Name, false, "fd00")), [three]);
    assert!(names(&choice(Sort::Name, false, "nothing")).is_empty());
}

#[test]
fn keys_choose() {
    let mut controls = Controls::default();
    press(&mut controls, &[KeyCode::Char('s'), KeyCode::Char('r'), KeyCode::Down, KeyCode::Char('p')]);
    assert_eq!((controls.choice.sort, controls.choice.is_reversed), (Sort::Packets, true));
    assert_eq!((controls.scrolled, controls.is_paused), (1, true));
    press(&mut controls, &[KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Char('x'), KeyCode::Backspace]);
    assert_eq!((controls.choice.filter.as_str(), controls.is_typing, controls.scrolled), ("q", true, 0));
    press(&mut controls, &[KeyCode::Enter]);
    assert_eq!((controls.choice.filter.as_str(), controls.is_typing), ("q", false));
    press(&mut controls, &[KeyCode::Esc]);
    assert_eq!(controls.choice.filter, "");
    assert_eq!(controls.key(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)), Flow::Ends);
    controls.is_typing = true;
    assert_eq!(controls.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Flow::Ends);
}

#[test]
fn text_for_pipes_has_every_row_whole() {
    let room = Room { width: None, height: None };
    let text = picture(&pair(), &Controls::default(), Some("gone\x1b[2J"), room);
    assert!(text.iter().any(|(_, line)| line.starts_with("web/fd00::3")), "{text:?}");
    assert!(text.iter().all(|(_, line)| !line.contains('\x1b')), "{text:?}");
}
