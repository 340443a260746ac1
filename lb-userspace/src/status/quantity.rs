//! Numbers for people. Scripts take the exact ones from the JSON.

/// A count: exact with thousands separators below ten million (`9,999,999`), then with an SI prefix and three
/// significant digits (`12.3 M`).
pub(crate) fn count(number: u64) -> String {
    if number < 10_000_000 { grouped(number) } else { prefixed(number).trim_end().to_owned() }
}

/// A number of bytes in powers of 1000: `999 B`, `1.50 kB`, `12.3 GB`.
pub(crate) fn bytes(number: u64) -> String {
    format!("{}B", prefixed(number))
}

/// A length of time in its two biggest units: `3d 4h`, `2h 5m`, `5m 3s`, `12s`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days}d {}h", hours % 24),
        (_, 1.., _) => format!("{hours}h {}m", minutes % 60),
        (.., 1..) => format!("{minutes}m {}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

/// A short time: `0.35 ms`, `1.2 s`.
pub(crate) fn latency(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.2} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn prefixed(number: u64) -> String {
    let (mut scaled, mut prefix) = (number as f64, "");
    for next in ["k", "M", "G", "T", "P", "E"] {
        // What would be shown as 1000 belongs to the next prefix.
        if scaled < 999.5 {
            break;
        }
        (scaled, prefix) = (scaled / 1000.0, next);
    }
    let decimals = match scaled {
        _ if prefix.is_empty() => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$} {prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_until_they_are_long() {
        let shown = [0, 999, 1000, 1_234_567, 9_999_999, 10_000_000, 12_345_678_901].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567", "9,999,999", "10.0 M", "12.3 G"]);
    }

    #[test]
    fn bytes_have_three_significant_digits() {
        let shown = [0, 999, 1000, 9_994, 9_995, 99_949, 99_950, 999_499, 999_500, u64::MAX].map(bytes);
        assert_eq!(
            shown,
            [
                "0 B", "999 B", "1.00 kB", "9.99 kB", "10.0 kB", "99.9 kB", "100 kB", "999 kB", "1.00 MB",
                "18.4 EB"
            ]
        );
    }

    #[test]
    fn durations_have_two_units() {
        let shown = [0.9, 59.9, 60.0, 3723.0, 273_600.0, -1.0].map(duration);
        assert_eq!(shown, ["0s", "59s", "1m 0s", "1h 2m", "3d 4h", "0s"]);
        assert_eq!([0.000_35, 1.25].map(latency), ["0.35 ms", "1.2 s"]);
    }
}
