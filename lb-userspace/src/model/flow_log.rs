//! The flow log: what a node keeps of one, and which load balancers are in it.

use std::path::{Path, PathBuf};

use lb_common::flow_log::Share;

/// How a node keeps flow logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowLogging {
    /// Where they are: an absolute path.
    pub directory: PathBuf,
    /// The share of all flows that is told of.
    pub sample: Sample,
    /// Bytes of all logs together.
    pub maximum_bytes: u64,
}

/// A share of all flows, in millionths: 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample(u32);

impl Sample {
    /// The share, if it is at least a millionth and at most all.
    pub fn new(share: f64) -> Option<Sample> {
        let millionths = (share * 1e6).round();
        (1.0..=1e6).contains(&millionths).then_some(Sample(millionths as u32))
    }

    /// The share, more than 0 and at most 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1e6
    }

    /// As the balancer's programs compare it.
    pub fn threshold(self) -> Share {
        Share::new(self.share())
    }
}

/// Where a load balancer's log is, below the node's directory: `BUCKET/PREFIX/`, each of which may be left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPlace(PathBuf);

/// Why a name is none of a directory below another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// The bucket's.
    #[error("a directory's name: 1 to 63 letters, digits and any of -_.=+, not beginning with a dot")]
    Bucket,
    /// The prefix.
    #[error(
        "directories' names with a slash between them, each 1 to 255 letters, digits and any of -_.=+, not beginning \
         with a dot"
    )]
    Prefix,
}

impl LogPlace {
    /// The place; an empty bucket or prefix is none.
    ///
    /// # Errors
    /// If a part of it would lead elsewhere, or is no directory's name.
    pub fn new(bucket: &str, prefix: &str) -> Result<LogPlace, BadPlace> {
        let mut place = PathBuf::new();
        if !bucket.is_empty() {
            if bucket.len() > 63 || !is_name(bucket) {
                return Err(BadPlace::Bucket);
            }
            place.push(bucket);
        }
        if !prefix.is_empty() {
            if prefix.len() > 1024 || !prefix.split('/').all(is_name) {
                return Err(BadPlace::Prefix);
            }
            place.push(prefix);
        }
        Ok(LogPlace(place))
    }

    /// The directory of a load balancer's files, below the node's.
    pub fn of(&self, load_balancer: &str) -> PathBuf {
        self.0.join(load_balancer)
    }

    /// The directory, below the node's.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Whether this names a directory in the one at hand that people see.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=+".contains(&byte);
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_below_the_directory() {
        let place = |bucket, prefix| LogPlace::new(bucket, prefix).map(|place| place.of("web"));
        assert_eq!(place("", ""), Ok("web".into()));
        assert_eq!(place("my-logs", "2026/nlb_1"), Ok("my-logs/2026/nlb_1/web".into()));
        assert_eq!(place("", "year=2026"), Ok("year=2026/web".into()));
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for bucket in ["..", ".", "a/b", "/", ".hidden", "a b", "ä", "a\0", &"x".repeat(64)] {
            assert_eq!(LogPlace::new(bucket, ""), Err(BadPlace::Bucket), "{bucket}");
        }
        let long = ["x".repeat(256), vec!["xx"; 400].join("/")];
        let short = ["..", "a/../b", "/a", "a/", "a//b", "a/./b", "a\\b", "a\nb"];
        for prefix in short.into_iter().chain(long.iter().map(String::as_str)) {
            assert_eq!(LogPlace::new("b", prefix), Err(BadPlace::Prefix), "{prefix}");
        }
    }

    #[test]
    fn a_sample_is_more_than_nothing_and_at_most_all() {
        for share in [0.0, -0.5, 1.01, 1e-9, f64::NAN, f64::INFINITY] {
            assert_eq!(Sample::new(share), None, "{share}");
        }
        assert_eq!(Sample::new(0.01).unwrap().share(), 0.01);
        assert_eq!(Sample::new(1.0).unwrap().threshold(), Share::ALL);
    }
}
