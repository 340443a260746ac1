//! `application/x-www-form-urlencoded`: bytes to pairs, with limits.

/// More parameters than the largest valid request has: 1,000 targets with four members each.
const MAX_PAIRS: usize = 8192;

/// Why a form is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A `%` without two hexadecimal digits after it.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Escape,
    /// A name or a value that is no text.
    #[error("a name or a value is not UTF-8")]
    NotUtf8,
    /// More pairs than any valid request has.
    #[error("there are more than {MAX_PAIRS} parameters")]
    TooMany,
}

/// The pairs of a form or a query string, in their order; a pair without `=` has an empty value.
pub fn parse(form: &[u8]) -> Result<Vec<(String, String)>, FormError> {
    let mut pairs = Vec::new();
    for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAX_PAIRS {
            return Err(FormError::TooMany);
        }
        let (name, value) = split_once(pair);
        pairs.push((text(name)?, text(value)?));
    }
    Ok(pairs)
}

fn split_once(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[]),
    }
}

fn text(encoded: &[u8]) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2).ok_or(FormError::Escape)?;
                rest = after;
                hex_digit(digits[0])? << 4 | hex_digit(digits[1])?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| FormError::NotUtf8)
}

fn hex_digit(digit: u8) -> Result<u8, FormError> {
    char::from(digit).to_digit(16).map(|value| value as u8).ok_or(FormError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(form: &str) -> Vec<(String, String)> {
        parse(form.as_bytes()).unwrap()
    }

    #[test]
    fn a_form_is_decoded() {
        let expected = [("Name", "a b"), ("Tags.member.1.Key", "ü=&"), ("Empty", ""), ("Bare", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs("Name=a+b&Tags.member.1.Key=%C3%BC%3d%26&&Empty=&Bare"), expected);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for (form, error) in [
            (&b"a=%"[..], FormError::Escape),
            (b"a=%4", FormError::Escape),
            (b"a=%zz", FormError::Escape),
            (b"a=%+1", FormError::Escape),
            (b"a=%ff", FormError::NotUtf8),
            (b"\xff=a", FormError::NotUtf8),
        ] {
            assert_eq!(parse(form), Err(error), "{form:?}");
        }
        assert_eq!(parse("a=1&".repeat(MAX_PAIRS + 1).as_bytes()), Err(FormError::TooMany));
    }

    #[test]
    fn no_truncation_panics() {
        let form = b"Action=Create&Tags.member.1.Key=%C3%BC+%3d";
        for end in 0..form.len() {
            let _ = parse(&form[..end]);
        }
    }
}
