//! Walking the JSON tree: a cursor knows its value, the value's path and where to report.
//!
//! Every reading method returns `None` after it has reported why, so that readers go on with the neighbours
//! and all problems of a file come out at once.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Problem;
use super::json::{Json, Quoted};
use super::nearest::nearest;

/// The problems found so far.
#[derive(Default)]
pub(super) struct Report(RefCell<Vec<Problem>>);

impl Report {
    /// The problems in the order in which they were found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// A place of the file.
pub(crate) struct At<'a> {
    found: Found<'a>,
    path: String,
    report: &'a Report,
}

#[derive(Clone, Copy)]
enum Found<'a> {
    Value(&'a Json),
    Missing,
    /// Missing, but an unknown field that was reported has nearly its name: one mistake is one problem.
    Misspelt,
}

impl<'a> At<'a> {
    /// The outermost value.
    pub(super) fn root(json: &'a Json, report: &'a Report) -> At<'a> {
        At { found: Found::Value(json), path: String::new(), report }
    }

    /// Where this is, like `load_balancers[0].listeners[1].port`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Reports that the value is wrong; always `None`, for the caller to return.
    pub(crate) fn refuse<T>(&self, message: impl Into<String>) -> Option<T> {
        match self.found {
            Found::Misspelt => None,
            Found::Value(_) | Found::Missing => self.refuse_at(&self.path, message),
        }
    }

    /// Reports a problem of another place.
    pub(crate) fn refuse_at<T>(&self, path: &str, message: impl Into<String>) -> Option<T> {
        self.report.0.borrow_mut().push(Problem { path: path.to_owned(), message: message.into() });
        None
    }

    /// Reports that the value is something else than `expected`.
    pub(crate) fn refuse_expecting<T>(&self, expected: &str) -> Option<T> {
        match self.found {
            Found::Value(found) => self.refuse(format!("expected {expected}, found {found}")),
            Found::Missing => self.refuse(format!("missing; expected {expected}")),
            Found::Misspelt => None,
        }
    }

    /// The string here; `expected` says which strings are right.
    pub(crate) fn text(&self, expected: &str) -> Option<&'a str> {
        match self.found {
            Found::Value(Json::Text(text)) => Some(text),
            _ => self.refuse_expecting(expected),
        }
    }

    /// Whether the string `text` is here; reports nothing.
    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(self.found, Found::Value(Json::Text(found)) if found == text)
    }

    /// The string here, if there is one; reports nothing.
    pub(crate) fn found_text(&self) -> Option<&'a str> {
        match self.found {
            Found::Value(Json::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The number here, whole or not, if there is one; reports nothing.
    pub(super) fn found_number(&self) -> Option<f64> {
        match self.found {
            Found::Value(Json::Whole(number)) => Some(*number as f64),
            Found::Value(Json::OtherNumber(number)) => number.parse().ok(),
            _ => None,
        }
    }

    /// The `true` or `false` here, if there is one; reports nothing.
    pub(super) fn found_flag(&self) -> Option<bool> {
        match self.found {
            Found::Value(Json::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// Whether a list is here; reports nothing.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.found, Found::Value(Json::List(_)))
    }

    /// Whether an object is here; reports nothing.
    pub(crate) fn is_object(&self) -> bool {
        matches!(self.found, Found::Value(Json::Object(_)))
    }

    /// The whole number here, if it is in `range`.
    pub(crate) fn number<N>(&self, range: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<u64> + PartialOrd + Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.number_expecting(range, &expected)
    }

    /// The whole number here, if it is in `range`; `expected` says what is right in other words.
    pub(crate) fn number_expecting<N>(&self, range: RangeInclusive<N>, expected: &str) -> Option<N>
    where
        N: TryFrom<u64> + PartialOrd,
    {
        let in_range = |number: u64| N::try_from(number).ok().filter(|number| range.contains(number));
        match self.found {
            Found::Value(Json::Whole(number)) => {
                in_range(*number).or_else(|| self.refuse_expecting(expected))
            }
            Found::Value(Json::Text(text)) if text.parse().ok().and_then(in_range).is_some() => self
                .refuse(format!("expected {expected}, found the string {}; remove the quotes", Quoted(text))),
            _ => self.refuse_expecting(expected),
        }
    }

    /// The whole number of seconds here, if it is in `range`.
    pub(crate) fn seconds(&self, range: RangeInclusive<u64>) -> Option<Duration> {
        let expected = format!("a whole number of seconds from {} to {}", range.start(), range.end());
        self.number_expecting(range, &expected).map(Duration::from_secs)
    }

    /// The `true` or `false` here.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.found {
            Found::Value(Json::Flag(flag)) => Some(*flag),
            _ => self.refuse_expecting("true or false"),
        }
    }

    /// The string here, or the number or truth value as it is written.
    pub(crate) fn plain(&self) -> Option<String> {
        match self.found {
            Found::Value(Json::Text(text)) => Some(text.clone()),
            Found::Value(Json::Whole(number)) => Some(number.to_string()),
            Found::Value(Json::Flag(flag)) => Some(flag.to_string()),
            _ => self.refuse_expecting("a string, a whole number, true or false"),
        }
    }

    /// The members of the object here, whose names can be any; one that is given twice is reported.
    pub(crate) fn members(&self, expected: &str) -> Option<Vec<(&'a str, At<'a>)>> {
        let Found::Value(Json::Object(members)) = self.found else {
            return self.refuse_expecting(expected);
        };
        let at = |(index, (name, json)): (usize, &'a (String, Json))| {
            let path = member_path(&self.path, name);
            if members[..index].iter().any(|(earlier, _)| earlier == name) {
                self.refuse_at::<()>(&path, "given twice; a name is given once");
            }
            (name.as_str(), At { found: Found::Value(json), path, report: self.report })
        };
        Some(members.iter().enumerate().map(at).collect())
    }

    /// What the string here means; `later` are strings that people will try, and that are not built yet.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)], later: &[&str]) -> Option<T> {
        let expected = alternatives(choices.iter().map(|(name, _)| *name));
        let text = self.text(&expected)?;
        if later.contains(&text) {
            return self.refuse(format!("{text:?} is not supported yet; use {expected}"));
        }
        let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, meaning)| *meaning);
        chosen.or_else(|| self.refuse_expecting(&expected))
    }

    /// The items of the list here; `expected` says what they are.
    pub(crate) fn items(&self, expected: &str) -> Option<Vec<At<'a>>> {
        let Found::Value(Json::List(items)) = self.found else {
            return self.refuse_expecting(expected);
        };
        let at = |(index, item)| At {
            found: Found::Value(item),
            path: format!("{}[{index}]", self.path),
            report: self.report,
        };
        Some(items.iter().enumerate().map(at).collect())
    }

    /// The object here, whose fields are `known`; any other field and a field given twice are reported.
    pub(crate) fn fields(&self, known: &'static [&'static str]) -> Option<Fields<'a>> {
        let Found::Value(Json::Object(members)) = self.found else {
            return self.refuse_expecting(&format!("an object with {}", known.join(", ")));
        };
        let misspelt = self.refuse_unknown_and_repeated(members, known);
        Some(Fields { members, misspelt, path: self.path.clone(), report: self.report })
    }

    /// Returns the known fields that unknown ones were probably meant to be.
    fn refuse_unknown_and_repeated(
        &self,
        members: &[(String, Json)],
        known: &'static [&'static str],
    ) -> Vec<&'static str> {
        let (mut seen, mut misspelt) = (Vec::new(), Vec::new());
        for (name, _) in members {
            let path = member_path(&self.path, name);
            let Some(field) = known.iter().find(|field| *field == name) else {
                misspelt.extend(self.refuse_unknown(&path, name, known));
                continue;
            };
            if seen.contains(field) {
                self.refuse_at::<()>(&path, "given twice; a field is given once");
            }
            seen.push(*field);
        }
        misspelt
    }

    fn refuse_unknown(&self, path: &str, name: &str, known: &[&'static str]) -> Option<&'static str> {
        let Some(meant) = nearest(name, known.iter().copied()) else {
            return self.refuse_at(path, format!("unknown field; the fields here are {}", known.join(", ")));
        };
        self.refuse_at::<()>(path, format!("unknown field; did you mean {meant:?}?"));
        Some(meant)
    }
}

/// The members of an object whose names are known to be right.
pub(crate) struct Fields<'a> {
    members: &'a [(String, Json)],
    misspelt: Vec<&'static str>,
    path: String,
    report: &'a Report,
}

impl<'a> Fields<'a> {
    /// The field `name`, there or not: a reading method reports a missing one.
    pub(crate) fn at(&self, name: &str) -> At<'a> {
        let found = match self.members.iter().find(|(member, _)| member == name) {
            Some((_, json)) => Found::Value(json),
            None if self.misspelt.contains(&name) => Found::Misspelt,
            None => Found::Missing,
        };
        At { found, path: member_path(&self.path, name), report: self.report }
    }

    /// The field `name`, or nothing if it was left out.
    pub(crate) fn optional(&self, name: &str) -> Option<At<'a>> {
        Some(self.at(name)).filter(|at| !matches!(at.found, Found::Missing))
    }
}

fn member_path(object: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match (object, !name.is_empty() && name.len() <= 64 && name.chars().all(plain)) {
        ("", true) => name.to_owned(),
        (_, true) => format!("{object}.{name}"),
        (_, false) => format!("{object}[{}]", Quoted(name)),
    }
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
fn alternatives<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("{name:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
