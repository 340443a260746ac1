//! The parameters of a request as a tree: `A.member.1.B=x` is the node `A`, its list `member`, the item 1, the
//! member `B` with the text `x`.

use std::collections::BTreeMap;

/// Deeper than any shape of the API is.
const MAX_DEPTH: usize = 12;

/// One place of the tree: its text, its children, or both (a shape takes what it needs and ignores the rest).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

/// Why parameters make no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The same parameter twice: which one was meant can't be told.
    #[error("the parameter {0} is given twice")]
    Twice(String),
    /// A name with more parts than any parameter has.
    #[error("the name of a parameter has more than {MAX_DEPTH} parts")]
    TooDeep,
}

impl Node {
    /// The tree of these parameters, in any order.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Node, TreeError> {
        let mut root = Node::default();
        for (name, value) in pairs {
            let mut node = &mut root;
            for (depth, part) in name.split('.').enumerate() {
                if depth == MAX_DEPTH {
                    return Err(TreeError::TooDeep);
                }
                node = node.children.entry(part.to_owned()).or_default();
            }
            if node.text.replace(value).is_some() {
                return Err(TreeError::Twice(name));
            }
        }
        Ok(root)
    }

    /// Its own text.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The member of that name.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.get(name)
    }

    /// All members with their names.
    pub fn children(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.children.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// The items of a list in the order of their numbers, which need not be without gaps. An empty text without
    /// items is the empty list; nothing at all is no list.
    pub fn items(&self) -> Option<Vec<&Node>> {
        let Some(members) = self.children.get("member") else {
            return (self.text.as_deref() == Some("")).then(Vec::new);
        };
        let numbered = |(number, node)| Some((str::parse::<u64>(number).ok()?, node));
        let mut items: Vec<(u64, &Node)> =
            members.children.iter().map(|(number, node)| numbered((number, node))).collect::<Option<_>>()?;
        items.sort_unstable_by_key(|(number, _)| *number);
        Some(items.into_iter().map(|(_, node)| node).collect())
    }

    /// The entries of a map, whose wire form is a list of `key` and `value`.
    pub fn entries(&self) -> Vec<(&Node, &Node)> {
        let items = self.children.get("entry").map(|entry| entry.children.values());
        items
            .into_iter()
            .flatten()
            .filter_map(|item| Some((item.child("key")?, item.child("value")?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pairs: &[(&str, &str)]) -> Result<Node, TreeError> {
        Node::from_pairs(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    fn texts(node: &Node) -> Option<Vec<&str>> {
        node.items().map(|items| items.into_iter().filter_map(Node::text).collect())
    }

    #[test]
    fn lists_are_ordered_by_number_and_may_have_gaps() {
        let root = tree(&[("L.member.10", "c"), ("L.member.2", "b"), ("L.member.1", "a")]).unwrap();
        assert_eq!(texts(root.child("L").unwrap()), Some(vec!["a", "b", "c"]));
    }

    #[test]
    fn an_empty_text_is_an_empty_list() {
        assert_eq!(texts(tree(&[("L", "")]).unwrap().child("L").unwrap()), Some(vec![]));
        assert_eq!(texts(tree(&[("L", "x")]).unwrap().child("L").unwrap()), None);
        assert_eq!(texts(tree(&[("L.member.x", "a")]).unwrap().child("L").unwrap()), None);
    }

    #[test]
    fn structures_nest() {
        let root = tree(&[("A.member.1.F.T.member.2.W", "10"), ("A.member.1.Type", "forward")]).unwrap();
        let action = root.child("A").unwrap().items().unwrap()[0];
        assert_eq!(action.child("Type").unwrap().text(), Some("forward"));
        let weights = action.child("F").unwrap().child("T").unwrap().items().unwrap();
        assert_eq!(weights[0].child("W").unwrap().text(), Some("10"));
    }

    #[test]
    fn a_parameter_is_given_once_and_no_name_is_endless() {
        assert_eq!(tree(&[("A", "1"), ("A", "1")]), Err(TreeError::Twice("A".into())));
        assert_eq!(tree(&[(&"a.".repeat(MAX_DEPTH), "")]), Err(TreeError::TooDeep));
    }
}
