//! Checks a request against its shape, and says everything that is wrong in one message.

use std::fmt::Write;

use super::Model;
use super::shape::{Kind, Shape};
use crate::api::protocol::{ApiError, Code, Node};

/// Violations that are told in full; of more only the number is.
const SHOWN: usize = 20;

/// Reads a request that its shape allows.
///
/// # Errors
/// `ValidationError` with every violation.
pub fn read<T: Model>(parameters: &Node) -> Result<T, ApiError> {
    let mut violations = Violations::default();
    violations.check(T::shape(), Some(parameters), true, &mut String::new());
    if !violations.0.is_empty() {
        return Err(violations.into_error());
    }
    T::read(parameters).ok_or_else(|| {
        Code::InternalFailure.because(format!("a {} passed its check but can't be read", T::shape().name))
    })
}

/// One message, as clients know it from the service.
pub fn violation(value: Option<&str>, path: &str, constraint: &str) -> ApiError {
    let mut violations = Violations::default();
    violations.add(value, path, constraint);
    violations.into_error()
}

#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, value: Option<&str>, path: &str, constraint: &str) {
        let value = value.map_or("null".to_owned(), |value| format!("'{value}'"));
        self.0.push(format!(
            "Value {value} at '{path}' failed to satisfy constraint: Member must {constraint}"
        ));
    }

    fn into_error(self) -> ApiError {
        let number = self.0.len();
        let plural = if number == 1 { "error" } else { "errors" };
        let shown = self.0.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
        Code::ValidationError.because(format!("{number} validation {plural} detected: {shown}"))
    }

    fn check(&mut self, shape: &Shape, node: Option<&Node>, required: bool, path: &mut String) {
        let Some(node) = node else {
            if required {
                self.add(None, path, "not be null");
            }
            return;
        };
        match &shape.kind {
            Kind::Structure(members) => {
                for member in *members {
                    let child = node.child(member.name);
                    self.under(path, &lower_camel(member.name), |this, path| {
                        this.check((member.shape)(), child, member.required, path);
                    });
                }
            }
            Kind::List(item) => self.check_list(shape, item(), node, path),
            Kind::Map { key, value } => {
                for (name, text) in node.entries() {
                    self.check(key(), Some(name), true, path);
                    self.check(value(), Some(text), true, path);
                }
            }
            _ => match node.text() {
                Some(text) => self.check_scalar(shape, text, path),
                None => self.add(None, path, "not be null"),
            },
        }
    }

    fn check_list(&mut self, shape: &Shape, item: &Shape, node: &Node, path: &mut String) {
        let Some(items) = node.items() else {
            return self.add(node.text(), path, "be a list: its items are numbered, .member.1 and so on");
        };
        let shown = || format!("[{} items]", items.len());
        self.check_bounds(shape, items.len() as i64, &shown(), path, "length");
        for (at, node) in items.iter().enumerate() {
            self.under(path, &format!("{}.member", at + 1), |this, path| {
                this.check(item, Some(node), true, path);
            });
        }
    }

    fn check_scalar(&mut self, shape: &Shape, text: &str, path: &str) {
        match &shape.kind {
            Kind::Enumeration(values) if !values.contains(&text) => {
                self.add(Some(text), path, &format!("satisfy enum value set: [{}]", values.join(", ")));
            }
            Kind::Boolean if !matches!(text, "true" | "false") => {
                self.add(Some(text), path, "be true or false");
            }
            Kind::Integer => match text.parse::<i32>() {
                Ok(number) => self.check_bounds(shape, number.into(), text, path, "value"),
                Err(_) => self.add(Some(text), path, "be an integer of 32 bits"),
            },
            Kind::Long => match text.parse::<i64>() {
                Ok(number) => self.check_bounds(shape, number, text, path, "value"),
                Err(_) => self.add(Some(text), path, "be an integer of 64 bits"),
            },
            Kind::Text => {
                self.check_bounds(shape, text.chars().count() as i64, text, path, "length");
                if let Some(pattern) = shape.pattern.filter(|pattern| !pattern.matches(text)) {
                    let constraint = format!("satisfy regular expression pattern: {}", pattern.text);
                    self.add(Some(text), path, &constraint);
                }
            }
            _ => {}
        }
    }

    fn check_bounds(&mut self, shape: &Shape, number: i64, text: &str, path: &str, what: &str) {
        if let Some(min) = shape.min.filter(|min| number < *min) {
            self.add(Some(text), path, &format!("have {what} greater than or equal to {min}"));
        }
        if let Some(max) = shape.max.filter(|max| number > *max) {
            self.add(Some(text), path, &format!("have {what} less than or equal to {max}"));
        }
    }

    fn under(&mut self, path: &mut String, part: &str, check: impl FnOnce(&mut Self, &mut String)) {
        let end = path.len();
        let dot = if path.is_empty() { "" } else { "." };
        write!(path, "{dot}{part}").expect("a string takes any text");
        check(self, path);
        path.truncate(end);
    }
}

/// `LoadBalancerArn` as messages name it: `loadBalancerArn`.
fn lower_camel(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shapes::{CreateLoadBalancerInput, DescribeLoadBalancersInput, RegisterTargetsInput};

    fn parameters(form: &str) -> Node {
        Node::from_pairs(crate::api::protocol::form::parse(form.as_bytes()).unwrap()).unwrap()
    }

    fn refused<T: Model + std::fmt::Debug>(form: &str) -> String {
        let error = read::<T>(&parameters(form)).unwrap_err();
        assert_eq!(error.code, Code::ValidationError);
        error.message
    }

    #[test]
    fn several_violations_are_one_message() {
        assert_eq!(
            refused::<CreateLoadBalancerInput>("Type=classic&Tags.member.1.Key="),
            "3 validation errors detected: Value null at 'name' failed to satisfy constraint: Member must not be \
             null; Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater \
             than or equal to 1; Value 'classic' at 'type' failed to satisfy constraint: Member must satisfy enum \
             value set: [application, network, gateway]"
        );
    }

    #[test]
    fn numbers_have_ranges() {
        for (size, constraint) in [
            ("0", "have value greater than or equal to 1"),
            ("401", "have value less than or equal to 400"),
            ("x", "be an integer of 32 bits"),
            ("99999999999", "be an integer of 32 bits"),
        ] {
            let message = refused::<DescribeLoadBalancersInput>(&format!("PageSize={size}"));
            assert!(
                message
                    .ends_with(&format!("'pageSize' failed to satisfy constraint: Member must {constraint}"))
            );
        }
    }

    #[test]
    fn lists_of_structures_are_read() {
        let form =
            "TargetGroupArn=x&Targets.member.3.Id=b&Targets.member.1.Id=a&Targets.member.1.Port=80&Other=1";
        let input: RegisterTargetsInput = read(&parameters(form)).unwrap();
        let ids: Vec<_> =
            input.targets.iter().map(|target| (&*target.id, target.port.map(|p| p.0))).collect();
        assert_eq!(ids, [("a", Some(80)), ("b", None)]);
        assert!(refused::<RegisterTargetsInput>("TargetGroupArn=x&Targets=a").contains("be a list"));
    }

    #[test]
    fn a_long_list_of_violations_is_cut() {
        let items: String = (1..=300).map(|at| format!("&Targets.member.{at}.Port=0")).collect();
        let message = refused::<RegisterTargetsInput>(&format!("TargetGroupArn=x{items}"));
        assert!(message.starts_with("600 validation errors detected: "), "{message}");
        assert_eq!(message.matches("failed to satisfy").count(), SHOWN);
    }
}
