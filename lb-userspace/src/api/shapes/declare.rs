//! One declaration a shape: it makes the type, the description that requests are checked by, the reading and the
//! writing.

use std::collections::BTreeMap;

use super::shape::Shape;
use crate::api::protocol::{Node, Xml};

/// A type with a shape of the API.
pub trait Model: Sized {
    /// Its description.
    fn shape() -> &'static Shape;

    /// Reads a node that its shape's check passed; of others it may be nothing.
    fn read(node: &Node) -> Option<Self>;

    /// Writes what is inside its element.
    fn write(&self, xml: &mut Xml);
}

/// A map of the API: texts by texts.
pub type Entries = BTreeMap<String, String>;

/// Texts, with constraints or without: `Path: at_least(1), at_most(1024);`.
macro_rules! texts {
    ($($name:ident $(: $($constraint:ident($($value:expr),*)),+)?;)*) => {$(
        #[doc = concat!("The text `", stringify!($name), "`.")]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub String);

        impl $crate::api::shapes::Model for $name {
            fn shape() -> &'static $crate::api::shapes::Shape {
                use $crate::api::shapes::{Kind, Shape};
                static SHAPE: Shape =
                    Shape::new(stringify!($name), Kind::Text)$($(.$constraint($($value),*))+)?;
                &SHAPE
            }

            fn read(node: &$crate::api::protocol::Node) -> Option<Self> {
                node.text().map(|text| $name(text.to_owned()))
            }

            fn write(&self, xml: &mut $crate::api::protocol::Xml) {
                xml.text(&self.0);
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<String>> From<T> for $name {
            fn from(text: T) -> Self {
                $name(text.into())
            }
        }
    )*};
}

/// Numbers and truth values: `Port(i32) Integer: at_least(1), at_most(65535);`.
macro_rules! scalars {
    ($($name:ident($type:ty) $kind:ident $(: $($constraint:ident($($value:expr),*)),+)?;)*) => {$(
        #[doc = concat!("The value `", stringify!($name), "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
        pub struct $name(pub $type);

        impl $crate::api::shapes::Model for $name {
            fn shape() -> &'static $crate::api::shapes::Shape {
                use $crate::api::shapes::{Kind, Shape};
                static SHAPE: Shape =
                    Shape::new(stringify!($name), Kind::$kind)$($(.$constraint($($value),*))+)?;
                &SHAPE
            }

            fn read(node: &$crate::api::protocol::Node) -> Option<Self> {
                node.text()?.parse().ok().map($name)
            }

            fn write(&self, xml: &mut $crate::api::protocol::Xml) {
                xml.text(&self.0.to_string());
            }
        }
    )*};
}

/// Times, which only answers have: `CreatedTime;`.
macro_rules! timestamps {
    ($($name:ident;)*) => {$(
        #[doc = concat!("The time `", stringify!($name), "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub $crate::api::calendar::Timestamp);

        impl $crate::api::shapes::Model for $name {
            fn shape() -> &'static $crate::api::shapes::Shape {
                use $crate::api::shapes::{Kind, Shape};
                static SHAPE: Shape = Shape::new(stringify!($name), Kind::Timestamp);
                &SHAPE
            }

            fn read(_: &$crate::api::protocol::Node) -> Option<Self> {
                None
            }

            fn write(&self, xml: &mut $crate::api::protocol::Xml) {
                xml.text(&self.0.to_string());
            }
        }
    )*};
}

/// Texts of a closed set: `OnOff { On "on", Off "off" }`.
macro_rules! enumerations {
    ($($name:ident { $($variant:ident $wire:literal,)* })*) => {$(
        #[doc = concat!("The enumeration `", stringify!($name), "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $wire, "`.")] $variant,)*
        }

        impl $name {
            /// The value as it is sent.
            pub const fn wire(self) -> &'static str {
                match self {
                    $($name::$variant => $wire,)*
                }
            }
        }

        impl $crate::api::shapes::Model for $name {
            fn shape() -> &'static $crate::api::shapes::Shape {
                use $crate::api::shapes::{Kind, Shape};
                static SHAPE: Shape = Shape::new(stringify!($name), Kind::Enumeration(&[$($wire),*]));
                &SHAPE
            }

            fn read(node: &$crate::api::protocol::Node) -> Option<Self> {
                match node.text()? {
                    $($wire => Some($name::$variant),)*
                    _ => None,
                }
            }

            fn write(&self, xml: &mut $crate::api::protocol::Xml) {
                xml.text(self.wire());
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.wire())
            }
        }
    )*};
}

/// Lists: `TagList of Tag: at_least(1);`.
macro_rules! lists {
    ($($name:ident of $item:ident $(: $($constraint:ident($($value:expr),*)),+)?;)*) => {$(
        #[doc = concat!("The list `", stringify!($name), "`.")]
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name(pub Vec<$item>);

        impl $crate::api::shapes::Model for $name {
            fn shape() -> &'static $crate::api::shapes::Shape {
                use $crate::api::shapes::{Kind, Shape};
                static SHAPE: Shape =
                    Shape::new(stringify!($name), Kind::List(<$item as $crate::api::shapes::Model>::shape))
                    $($(.$constraint($($value),*))+)?;
                &SHAPE
            }

            fn read(node: &$crate::api::protocol::Node) -> Option<Self> {
                node.items()?.into_iter().map($crate::api::shapes::Model::read).collect()
            }

            fn write(&self, xml: &mut $crate::api::protocol::Xml) {
                for item in &self.0 {
                    xml.element("member", |xml| item.write(xml));
                }
            }
        }

        impl std::ops::Deref for $name {
            type Target = [$item];

            fn deref(&self) -> &[$item] {
                &self.0
            }
        }

        impl FromIterator<$item> for $name {
            fn from_iter<I: IntoIterator<Item = $item>>(items: I) -> Self {
                $name(items.into_iter().collect())
            }
        }
    )*};
}

/// Maps: `Params of Name to Value;`. They are in requests only.
macro_rules! maps {
    ($($name:ident of $key:ident to $value:ident;)*) => {$(
        #[doc = concat!("The map `", stringify!($name), "`.")]
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $name(pub $crate::api::shapes::Entries);

        impl $crate::api::shapes::Model for $name {
            fn shape() -> &'static $crate::api::shapes::Shape {
                use $crate::api::shapes::{Kind, Model, Shape};
                static SHAPE: Shape = Shape::new(
                    stringify!($name),
                    Kind::Map { key: <$key as Model>::shape, value: <$value as Model>::shape },
                );
                &SHAPE
            }

            fn read(node: &$crate::api::protocol::Node) -> Option<Self> {
                let text = |node: &$crate::api::protocol::Node| node.text().map(str::to_owned);
                let entries = node.entries().into_iter();
                entries.map(|(key, value)| Some((text(key)?, text(value)?))).collect::<Option<_>>().map($name)
            }

            fn write(&self, xml: &mut $crate::api::protocol::Xml) {
                for (key, value) in &self.0 {
                    xml.element("entry", |xml| {
                        xml.leaf("key", key);
                        xml.leaf("value", value);
                    });
                }
            }
        }
    )*};
}

/// Structures: `Tag { key "Key" TagKey required, value "Value" TagValue, }`.
macro_rules! structures {
    ($($(#[$attribute:meta])* $name:ident {
        $($field:ident $wire:literal $type:ident $($required:ident)?,)*
    })*) => {$(
        #[doc = concat!("The structure `", stringify!($name), "`.")]
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                #[doc = concat!("The member `", $wire, "`.")]
                pub $field: structures!(@type $type $($required)?),
            )*
        }

        impl $crate::api::shapes::Model for $name {
            fn shape() -> &'static $crate::api::shapes::Shape {
                #[allow(unused_imports, reason = "a structure may have no members")]
                use $crate::api::shapes::{Kind, Member, Model, Shape};
                static SHAPE: Shape = Shape::new(stringify!($name), Kind::Structure(&[$(Member {
                    name: $wire,
                    required: structures!(@required $($required)?),
                    shape: <$type as Model>::shape,
                }),*]));
                &SHAPE
            }

            #[allow(unused_variables, reason = "a structure may have no members")]
            fn read(node: &$crate::api::protocol::Node) -> Option<Self> {
                Some($name { $($field: structures!(@read node $wire $($required)?),)* })
            }

            #[allow(unused_variables, reason = "a structure may have no members")]
            fn write(&self, xml: &mut $crate::api::protocol::Xml) {
                $(structures!(@write self xml $field $wire $($required)?);)*
            }
        }
    )*};
    (@type $type:ident required) => { $type };
    (@type $type:ident) => { Option<$type> };
    (@required required) => { true };
    (@required) => { false };
    (@read $node:ident $wire:literal required) => {
        $crate::api::shapes::Model::read($node.child($wire)?)?
    };
    (@read $node:ident $wire:literal) => {
        match $node.child($wire) {
            Some(child) => Some($crate::api::shapes::Model::read(child)?),
            None => None,
        }
    };
    (@write $self:ident $xml:ident $field:ident $wire:literal required) => {
        $xml.element($wire, |xml| $crate::api::shapes::Model::write(&$self.$field, xml))
    };
    (@write $self:ident $xml:ident $field:ident $wire:literal) => {
        if let Some(value) = &$self.$field {
            $xml.element($wire, |xml| $crate::api::shapes::Model::write(value, xml));
        }
    };
}

pub(crate) use {enumerations, lists, maps, scalars, structures, texts, timestamps};
