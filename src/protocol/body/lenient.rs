//! Deserializers for what real clients send instead of the documented types (clients.md 3.6).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// `null` reads as a missing field does.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A 64-bit number, also as text; `null` and "" are 0.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Number;

    impl Visitor<'_> for Number {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a 64-bit number or text of one")
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<i64, E> {
            Ok(value)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<i64, E> {
            i64::try_from(value).map_err(|_| E::custom(format_args!("{value} does not fit 64 bits")))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
            if text.is_empty() {
                return Ok(0);
            }
            text.parse().map_err(|_| E::custom(format_args!("{text:?} is no 64-bit number")))
        }

        fn visit_unit<E: Error>(self) -> Result<i64, E> {
            Ok(0)
        }
    }

    deserializer.deserialize_any(Number)
}

/// Declares an enum of Java: written as its name, read as name, ordinal, or text of the ordinal (the C++ client sends
/// ordinals). `null` reads as the default.
macro_rules! java_enum {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All values by Java's ordinal.
            const BY_ORDINAL: &'static [(Self, &'static str)] = &[$((Self::$variant, $text),)*];

            /// Java's name of the value.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::protocol::body::lenient::java_enum_value(deserializer, stringify!($name), Self::BY_ORDINAL)
            }
        }
    };
}
pub(super) use java_enum;

/// The reading half of [`java_enum`].
pub(super) fn java_enum_value<'de, D, T>(
    deserializer: D,
    name: &'static str,
    by_ordinal: &'static [(T, &'static str)],
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Copy + Default,
{
    struct EnumVisitor<T: 'static> {
        name: &'static str,
        by_ordinal: &'static [(T, &'static str)],
    }

    impl<T: Copy + Default> Visitor<'_> for EnumVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a name or an ordinal of {}", self.name)
        }

        fn visit_u64<E: Error>(self, ordinal: u64) -> Result<T, E> {
            let found = usize::try_from(ordinal).ok().and_then(|at| self.by_ordinal.get(at));
            found
                .map(|(value, _)| *value)
                .ok_or_else(|| E::custom(format_args!("{} has no ordinal {ordinal}", self.name)))
        }

        fn visit_i64<E: Error>(self, ordinal: i64) -> Result<T, E> {
            self.visit_u64(ordinal.cast_unsigned())
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            if let Some((value, _)) = self.by_ordinal.iter().find(|(_, known)| *known == text) {
                return Ok(*value);
            }
            match text.parse() {
                Ok(ordinal) => self.visit_u64(ordinal),
                Err(_) => Err(E::custom(format_args!("{} has no value {text:?}", self.name))),
            }
        }

        fn visit_unit<E: Error>(self) -> Result<T, E> {
            Ok(T::default())
        }
    }

    deserializer.deserialize_any(EnumVisitor { name, by_ordinal })
}
