//! The query protocol on the wire: forms in, XML out. Pure; it knows no operation and does no I/O.
//!
//! ```text
//!   Action=X&Tags.member.1.Key=a ──form──► pairs ──tree──► Node     answer ──xml──► <XResponse>…
//! ```

pub mod error;
pub mod form;
pub mod tree;
pub mod xml;

pub use error::{ApiError, Code};
pub use tree::Node;
pub use xml::Xml;

/// The version of the API that is spoken here; the classic one, 2012-06-01, is another API.
pub const VERSION: &str = "2015-12-01";

/// The namespace of every answer.
pub const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";
