//! The flow log: `node.flow_log`, and `flow_log` of a load balancer.

use std::path::Path;

use super::cursor::At;
use crate::model::{BadPlace, FlowLogging, LogPlace, Sample};

const DEFAULT_SAMPLE: f64 = 0.01;
/// Bytes.
const DEFAULT_MAXIMUM: u64 = 1 << 30;
/// Bytes; less than this would be gone before anybody reads it.
const LEAST_MAXIMUM: u64 = 1 << 20;

/// How the node keeps flow logs.
pub(super) fn of_node(at: &At) -> Option<FlowLogging> {
    let fields = at.fields(&["directory", "sample", "maximum_bytes"])?;
    let directory = directory(&fields.at("directory"));
    let sample = fields.optional("sample").map_or(Sample::new(DEFAULT_SAMPLE), |at| sample(&at));
    let maximum_bytes = fields
        .optional("maximum_bytes")
        .map_or(Some(DEFAULT_MAXIMUM), |at| at.number(LEAST_MAXIMUM..=1 << 50));
    Some(FlowLogging { directory: directory?.into(), sample: sample?, maximum_bytes: maximum_bytes? })
}

fn directory<'a>(at: &At<'a>) -> Option<&'a Path> {
    const RULE: &str = "an absolute path such as \"/var/log/sluice/flows\"";
    let path = Path::new(at.text(RULE)?);
    let is_right =
        path.is_absolute() && path.parent().is_some() && !path.as_os_str().as_encoded_bytes().contains(&0);
    if is_right { Some(path) } else { at.refuse_expecting(RULE) }
}

fn sample(at: &At) -> Option<Sample> {
    let found = at.found_number().and_then(Sample::new);
    found.or_else(|| at.refuse_expecting("a share of all flows, from 0.000001 to 1"))
}

/// Whether a load balancer is in the log, and where; `node_has_log` says whether the node keeps one.
pub(super) fn of_load_balancer(at: &At, node_has_log: bool) -> Option<Option<LogPlace>> {
    let place = if at.is_object() { place(at).map(Some) } else { switch(at) };
    if matches!(place, Some(Some(_))) && !node_has_log {
        return at.refuse(
            "the node keeps no flow log; add \"flow_log\": { \"directory\": … } to the section \"node\"",
        );
    }
    place
}

fn switch(at: &At) -> Option<Option<LogPlace>> {
    match at.found_flag() {
        Some(true) => Some(Some(LogPlace::default())),
        Some(false) => Some(None),
        None => at.refuse_expecting("true, false, or an object with bucket, prefix"),
    }
}

fn place(at: &At) -> Option<LogPlace> {
    let fields = at.fields(&["bucket", "prefix"])?;
    let text = |name: &str, rule: BadPlace| {
        fields.optional(name).map_or(Some(""), |at| {
            let text = at.text(&rule.to_string())?;
            let is_right = match rule {
                BadPlace::Bucket => LogPlace::new(text, "").is_ok(),
                BadPlace::Prefix => LogPlace::new("", text).is_ok(),
            };
            if is_right && !text.is_empty() { Some(text) } else { at.refuse_expecting(&rule.to_string()) }
        })
    };
    let (bucket, prefix) = (text("bucket", BadPlace::Bucket), text("prefix", BadPlace::Prefix));
    LogPlace::new(bucket?, prefix?).ok()
}
