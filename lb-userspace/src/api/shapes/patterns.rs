//! The patterns of the service model, each compiled at its first use.

use regex::Regex;

use super::shape::Pattern;

macro_rules! patterns {
    ($($name:ident $text:literal;)*) => {$(
        pub(super) static $name: Pattern =
            Pattern::new($text, || Regex::new($text).expect("a constant that a test compiles"));
    )*

        /// Every pattern.
        #[cfg(test)]
        static ALL: &[&Pattern] = &[$(&$name),*];
    };
}

patterns! {
    ATTRIBUTE_KEY r"^[a-zA-Z0-9._]+$";
    CUSTOMER_OWNED_IPV4_POOL r"^(ipv4pool-coip-)[a-zA-Z0-9]+$";
    FIXED_RESPONSE_ACTION_STATUS_CODE r"^(2|4|5)\d\d$";
    IPAM_POOL_ID r"^(ipam-pool-)[a-zA-Z0-9]+$";
    REDIRECT_ACTION_PROTOCOL r"^(HTTPS?|#\{protocol\})$";
    TAG r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for pattern in ALL {
            assert!(!pattern.matches("\u{1}"), "{}", pattern.text);
        }
    }

    #[test]
    fn tags_may_have_letters_of_any_language() {
        assert!(TAG.matches("Größe 名前/+-=._:@") && TAG.matches(""));
        assert!(!TAG.matches("a<b") && !TAG.matches("a\u{9}b"));
    }
}
