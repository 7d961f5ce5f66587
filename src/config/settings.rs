//! Declares a table of settings: each one's field, key, flag, default, allowed values and help in one place.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// RocketMQ's spelling, or one in its manner.
    pub name: &'static str,
    /// Other spellings that RocketMQ takes.
    pub aliases: &'static [&'static str],
    /// The flag for it, without dashes.
    pub flag: &'static str,
    /// The default as it would stand in a file; empty if it is worked out from other settings.
    pub default: &'static str,
    /// Whether the flag may stand alone and then means `true`.
    pub switch: bool,
    /// What it is for: unit, limits, origin.
    pub help: &'static str,
}

/// A struct whose fields are settings.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $key:literal $(| $alias:literal)*, $flag:literal, $default:literal, $rule:expr;
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl $name {
            /// Every setting, in the order of declaration.
            pub const KEYS: &'static [$crate::config::Key] = &[
                $( $crate::config::Key {
                    name: $key,
                    aliases: &[$($alias),*],
                    flag: $flag,
                    default: $default,
                    switch: $crate::config::rule::is_switch::<$type, _>(&$rule),
                    help: concat!($($doc),+),
                } ),+
            ];

            /// Reads every setting; `None` if one of them is wrong, and `source` then holds why.
            fn read(source: &mut $crate::config::source::Source) -> Option<Self> {
                // All are read before the first is looked at, so that every problem is told at once.
                $( let $field = source.read($key, &$rule); )+
                Some(Self { $( $field: $field? ),+ })
            }

            /// Key and value of every setting, as a file would have them.
            pub fn entries(&self) -> Vec<(&'static str, String)> {
                use $crate::config::rule::Rule as _;
                vec![ $( ($key, $rule.render(&self.$field)) ),+ ]
            }
        }
    };
}

pub(super) use settings;
