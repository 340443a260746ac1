//! Writing XML: elements and text, escaped; nothing else is needed.

/// An XML document in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xml(String);

impl Xml {
    /// An empty document.
    pub fn new() -> Xml {
        Xml::default()
    }

    /// An element with what `content` writes.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Xml)) {
        self.open(name);
        content(self);
        self.close(name);
    }

    /// An element in the API's namespace.
    pub fn root(&mut self, name: &str, content: impl FnOnce(&mut Xml)) {
        self.open(&format!("{name} xmlns=\"{}\"", super::NAMESPACE));
        content(self);
        self.close(name);
    }

    /// An element with text.
    pub fn leaf(&mut self, name: &str, text: &str) {
        self.element(name, |xml| xml.text(text));
    }

    /// Text. What XML 1.0 has no character for is replaced (U+FFFD).
    pub fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\r' => self.0.push_str("&#13;"),
                '\n' | '\t' => self.0.push(character),
                '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => self.0.push('\u{fffd}'),
                _ => self.0.push(character),
            }
        }
    }

    /// What another document has, as it is.
    pub fn append(&mut self, other: Xml) {
        self.0.push_str(&other.0);
    }

    /// The document's text.
    pub fn into_text(self) -> String {
        self.0
    }

    fn open(&mut self, name: &str) {
        self.0.extend(["<", name, ">"]);
    }

    fn close(&mut self, name: &str) {
        self.0.extend(["</", name, ">"]);
    }
}

/// A successful answer: the result that `content` writes, in its wrapper, with the request's id.
pub fn answer(operation: &str, request_id: &str, content: impl FnOnce(&mut Xml)) -> String {
    let mut xml = Xml::new();
    xml.root(&format!("{operation}Response"), |xml| {
        xml.element(&format!("{operation}Result"), content);
        xml.element("ResponseMetadata", |xml| xml.leaf("RequestId", request_id));
    });
    xml.into_text()
}

/// An error's document.
pub fn error(error: &super::ApiError, request_id: &str) -> String {
    let mut xml = Xml::new();
    xml.root("ErrorResponse", |xml| {
        xml.element("Error", |xml| {
            xml.leaf("Type", if error.code.status() < 500 { "Sender" } else { "Receiver" });
            xml.leaf("Code", error.code.wire());
            xml.leaf("Message", &error.message);
        });
        xml.leaf("RequestId", request_id);
    });
    xml.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::protocol::Code;

    #[test]
    fn text_is_escaped() {
        let mut xml = Xml::new();
        xml.leaf("Value", "<a href=\"x\">&\u{1}\r\n</a>");
        let expected = "<Value>&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd}&#13;\n&lt;/a&gt;</Value>";
        assert_eq!(xml.into_text(), expected);
    }

    #[test]
    fn an_answer_has_wrapper_and_request_id() {
        let text = answer("AddTags", "r-1", |_| {});
        let expected = "<AddTagsResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
                        <AddTagsResult></AddTagsResult><ResponseMetadata><RequestId>r-1</RequestId>\
                        </ResponseMetadata></AddTagsResponse>";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_error_tells_whose_fault_it_is() {
        let text = error(&Code::InternalFailure.because("x"), "r-1");
        assert!(
            text.contains("<Type>Receiver</Type><Code>InternalFailure</Code><Message>x</Message>"),
            "{text}"
        );
        assert!(error(&Code::InvalidTarget.because("x"), "r").contains("<Type>Sender</Type>"));
    }
}
