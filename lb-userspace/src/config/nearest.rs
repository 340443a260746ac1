//! The known name that a wrong one was probably meant to be.

/// The one of `known` that is most like `wanted`, if one is like it at all. Case does not count.
///
/// Two measures, because names go wrong in two ways: Jaro-Winkler finds the field of which only the beginning
/// was written (`interval`), Damerau-Levenshtein the slip in a short name (`wbe`).
pub(crate) fn nearest<'k>(wanted: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let wanted: String = wanted.chars().take(64).collect::<String>().to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let beginning = strsim::jaro_winkler(&wanted, &name);
        let slips = strsim::normalized_damerau_levenshtein(&wanted, &name);
        (beginning >= 0.8 || slips >= 0.6).then_some(beginning.max(slips))
    };
    let alike = known.into_iter().filter_map(|name| Some((likeness(name)?, name)));
    alike.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_beginnings_and_case_are_understood() {
        let known = ["id", "weight", "zone", "interval_seconds", "health_check", "web"];
        for (wanted, meant) in [
            ("wieght", Some("weight")),
            ("Zone", Some("zone")),
            ("interval", Some("interval_seconds")),
            ("healthCheck", Some("health_check")),
            ("wbe", Some("web")),
            ("address", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, known), meant, "{wanted}");
        }
    }
}
