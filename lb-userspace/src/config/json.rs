//! JSON text as a tree that keeps what `serde_json::Value` forgets (a member that is given twice), and syntax
//! errors with the line that they are in.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Characters of a bad line that are shown on each side of the error.
const EXCERPT_SIDE: usize = 60;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Flag(bool),
    /// A number without sign, fraction and exponent, below 2⁶⁴.
    Whole(u64),
    /// Any other number, as it is shown.
    OtherNumber(String),
    Text(String),
    List(Vec<Json>),
    /// Members in the order of the text; a name may come twice.
    Object(Vec<(String, Json)>),
}

/// Parses `text`; a byte order mark before it is ignored (RFC 8259 section 8.1).
pub(super) fn parse(text: &str) -> Result<Json, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| SyntaxError::new(&error, text))
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(u64::try_from(number).map_or_else(|_| Json::OtherNumber(number.to_string()), Json::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber(format!("{number:?}")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = entries.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

impl fmt::Display for Json {
    /// What was found, in a message: `the number 80`, `the string "80"`, `a list`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Flag(flag) => write!(f, "{flag}"),
            Json::Whole(number) => write!(f, "the number {number}"),
            Json::OtherNumber(number) => write!(f, "the number {number}"),
            Json::Text(text) => write!(f, "the string {}", Quoted(text)),
            Json::List(_) => f.write_str("a list"),
            Json::Object(_) => f.write_str("an object"),
        }
    }
}

/// A string of the file in a message: quoted, what can't be seen escaped, a long one cut.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(64) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
        }
    }
}

/// Text that is not JSON. Printed, it is the place, what is wrong, and the line with a mark under the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// The byte in the line, from 1; 0 is the end of the line before.
    pub column: usize,
    /// What is wrong, and what would be right where that can be told.
    pub message: String,
    /// The line, or the part of a long one that is around the error.
    excerpt: String,
    /// Characters of the excerpt that are before the error.
    mark: usize,
}

impl SyntaxError {
    fn new(error: &serde_json::Error, text: &str) -> SyntaxError {
        let (line, column) = (error.line(), error.column());
        let bad_line = text.split('\n').nth(line.saturating_sub(1)).unwrap_or("");
        let before = &bad_line[..bad_line.floor_char_boundary(column.saturating_sub(1))];
        let after = &bad_line[before.len()..];
        let shown_before = last_chars(before, EXCERPT_SIDE);
        let excerpt = shown_before.chars().chain(after.chars().take(EXCERPT_SIDE));
        SyntaxError {
            line,
            column,
            message: reason(error) + remedy(error, text, after),
            excerpt: excerpt.map(|c| if c.is_control() { ' ' } else { c }).collect(),
            mark: shown_before.chars().count(),
        }
    }
}

/// serde_json's reason without the place, which is shown in another form.
fn reason(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    whole.strip_suffix(&place).unwrap_or(&whole).to_owned()
}

/// What people mistake JSON for, told by what stands at the error.
fn remedy(error: &serde_json::Error, text: &str, after: &str) -> &'static str {
    if text.trim().is_empty() {
        return "; the file is empty, expected an object with \
                 \"node\", \"load_balancers\" and \"target_groups\"";
    }
    if error.is_eof() {
        return "; the file ends too early, a closing bracket or quote is missing";
    }
    match after.chars().next() {
        Some('/' | '#') => "; JSON has no comments",
        Some('\'') => "; strings stand in double quotes",
        Some('}' | ']') => "; is there a comma before this bracket that must go?",
        _ => "",
    }
}

fn last_chars(text: &str, count: usize) -> &str {
    let start = text.char_indices().rev().take(count).last().map_or(text.len(), |(at, _)| at);
    &text[start..]
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SyntaxError { line, column, message, excerpt, mark } = self;
        write!(f, "line {line}, column {column}: {message}\n    {excerpt}\n    {:mark$}^", "")
    }
}
