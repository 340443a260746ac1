//! One case of the table, and how it is run.

use lb_userspace::api::calendar::Timestamp;
use lb_userspace::api::protocol::Code;

use super::world::World;

/// Codes that no single request of this table can bring about: signatures have tests of their own, limits of the
/// connection too; the others need a failure of the server.
pub(crate) const NOT_HERE: [Code; 16] = [
    Code::AccessDenied,
    Code::MissingAuthenticationToken,
    Code::InvalidClientTokenId,
    Code::IncompleteSignature,
    Code::SignatureDoesNotMatch,
    Code::RequestExpired,
    Code::Throttling,
    Code::RequestEntityTooLarge,
    Code::RequestTimeout,
    Code::InternalFailure,
    Code::ServiceUnavailable,
    // Health is always known here: unchecked targets are `initial`.
    Code::HealthUnavailable,
    // No capacity is reserved at all.
    Code::CapacityUnitsLimitExceeded,
    // The quotas that these are about are the tests' of the domain.
    Code::TooManyUniqueTargetGroupsPerLoadBalancer,
    Code::TooManyTargetGroups,
    Code::TooManyListeners,
];

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The request's parameters, or its method and path where that matters: `GET /?Action=…`.
    pub(crate) request: String,
    /// The code of a refusal.
    pub(crate) code: Option<Code>,
    /// What the answer must have: of a refusal its message, of an answer a piece of its XML.
    pub(crate) has: String,
    /// Requests that come before and must succeed.
    pub(crate) after: Vec<String>,
}

/// A request that is answered.
pub(crate) fn ok(request: &str, has: &str) -> Case {
    Case { request: request.to_owned(), code: None, has: has.to_owned(), after: Vec::new() }
}

/// A request that is refused.
pub(crate) fn no(request: &str, code: Code, has: &str) -> Case {
    Case { code: Some(code), ..ok(request, has) }
}

impl Case {
    /// With a request before.
    pub(crate) fn after(mut self, request: &str) -> Case {
        self.after.push(request.to_owned());
        self
    }

    /// Runs it in a world of its own.
    pub(crate) fn run(&self) -> Result<(), String> {
        let mut world = World::new();
        for request in &self.after {
            let answer = world.ask(request);
            if answer.status != 200 {
                return Err(format!("{request}\n  which comes before, is refused: {}", answer.body));
            }
        }
        let before = world.service.state();
        let answer = world.ask(&self.request);
        let fail = |why: String| {
            Err(format!("{}\n  {why}; the answer was {} {}", self.request, answer.status, answer.body))
        };
        let has = escaped(&world.fill(&self.has));
        match self.code {
            None if answer.status != 200 => return fail("was refused".to_owned()),
            None => check_answer(&answer.body).or_else(fail)?,
            Some(code) => {
                let wanted = format!("<Code>{}</Code>", code.wire());
                let kind = if code.status() < 500 { "<Type>Sender</Type>" } else { "<Type>Receiver</Type>" };
                if answer.status != code.status()
                    || !answer.body.contains(&wanted)
                    || !answer.body.contains(kind)
                {
                    return fail(format!("should be refused with {} {wanted}", code.status()));
                }
                if world.service.state() != before {
                    return fail("was refused, but changed the state".to_owned());
                }
            }
        }
        let is_xml = has.starts_with('<');
        let place = if is_xml || self.code.is_none() {
            Some(answer.body.as_str())
        } else {
            between(&answer.body, "<Message>", "</Message>")
        };
        match place {
            Some(place) if place.contains(&has) => Ok(()),
            _ => fail(format!("lacks {has:?}")),
        }
    }
}

/// Messages are escaped on the wire; pieces of XML are not.
fn escaped(text: &str) -> String {
    if text.starts_with('<') { text.to_owned() } else { text.replace('&', "&amp;").replace('"', "&quot;") }
}

fn check_answer(body: &str) -> Result<(), String> {
    let name =
        between(body, "<", "Response xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">")
            .ok_or("has no response element")?;
    for piece in [format!("<{name}Result>"), "</ResponseMetadata>".to_owned(), format!("</{name}Response>")] {
        if !body.contains(&piece) {
            return Err(format!("lacks {piece}"));
        }
    }
    Ok(())
}

/// What stands between two texts.
pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// The time of all cases.
pub(crate) const NOW: Timestamp = Timestamp(1_795_000_000_000);
