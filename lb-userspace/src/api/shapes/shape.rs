//! What a shape is: the description that requests are checked by, and that is compared with the service model.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// A named shape of the API. Functions stand for shapes, so that shapes can be nested in constants.
#[derive(Debug)]
pub struct Shape {
    /// Its name in the service model.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The least value, length or count.
    pub min: Option<i64>,
    /// The greatest value, length or count.
    pub max: Option<i64>,
    /// What all of a text must be like.
    pub pattern: Option<&'static Pattern>,
}

/// What a shape holds.
#[derive(Debug)]
pub enum Kind {
    /// Characters.
    Text,
    /// One of these texts.
    Enumeration(&'static [&'static str]),
    /// A number of 32 bits.
    Integer,
    /// A number of 64 bits.
    Long,
    /// A number with a fraction; in answers only.
    Double,
    /// `true` or `false`.
    Boolean,
    /// A time; in answers only.
    Timestamp,
    /// Items of one shape.
    List(fn() -> &'static Shape),
    /// Texts by texts.
    Map {
        /// The keys' shape.
        key: fn() -> &'static Shape,
        /// The values' shape.
        value: fn() -> &'static Shape,
    },
    /// Named members.
    Structure(&'static [Member]),
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// Its name on the wire.
    pub name: &'static str,
    /// Whether a request must have it.
    pub required: bool,
    /// What it holds.
    pub shape: fn() -> &'static Shape,
}

impl Shape {
    /// A shape without constraints.
    pub const fn new(name: &'static str, kind: Kind) -> Shape {
        Shape { name, kind, min: None, max: None, pattern: None }
    }

    /// With a least value, length or count.
    pub const fn at_least(mut self, min: i64) -> Shape {
        self.min = Some(min);
        self
    }

    /// With a greatest value, length or count.
    pub const fn at_most(mut self, max: i64) -> Shape {
        self.max = Some(max);
        self
    }

    /// With a pattern.
    pub const fn like(mut self, pattern: &'static Pattern) -> Shape {
        self.pattern = Some(pattern);
        self
    }
}

/// A regular expression of the service model.
pub struct Pattern {
    /// As the model writes it, and as messages quote it.
    pub text: &'static str,
    regex: LazyLock<Regex>,
}

impl Pattern {
    /// `text` and what compiles it.
    pub const fn new(text: &'static str, compile: fn() -> Regex) -> Pattern {
        Pattern { text, regex: LazyLock::new(compile) }
    }

    /// Whether `text` is like it.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}
