//! Typed ext fields, a file per family of codes. Each struct has `decode(&Command)`, which borrows from the received
//! frame, `fields()` for writing straight into a frame, and `encode()`.
//!
//! Unknown fields are skipped (ACL and RPC fields: clients.md 3.14). A field of type `Option` may be missing.

pub mod consumer;
mod field;
pub mod kv;
pub mod offset;
pub mod pull;
pub mod query;
pub mod registration;
pub mod send;
pub mod topic;

pub(crate) use field::Field;

/// Why ext fields do not make a request or a response. On the wire it becomes code 1 with this text as its remark, as
/// at Apache.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    #[error("code {code} lacks the field {field}")]
    Missing { code: i32, field: &'static str },
    #[error("field {field} of code {code} is {value:?}, which is not {expected}")]
    Invalid {
        code: i32,
        field: &'static str,
        /// The beginning of what was received.
        value: String,
        expected: &'static str,
    },
}

impl HeaderError {
    /// Most characters of a bad value that an error repeats.
    const SHOWN: usize = 64;

    pub(crate) fn invalid(code: i32, field: &'static str, value: &[u8], expected: &'static str) -> Self {
        let value = String::from_utf8_lossy(value).chars().take(Self::SHOWN).collect();
        Self::Invalid { code, field, value, expected }
    }
}

/// Declares a struct of ext fields: `field: Type = "name on the wire"`.
macro_rules! header {
    (
        $(#[$doc:meta])*
        pub struct $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $key:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name $(<$life>)? {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// Reads the ext fields of `command`.
            ///
            /// # Errors
            /// When a required field is missing or a value is not of its type.
            pub fn decode(command: &$($life)? $crate::protocol::Command) -> Result<Self, $crate::protocol::header::HeaderError> {
                use $crate::protocol::header::{Field, HeaderError};
                $(let mut $field: Option<$type> = None;)*
                for (key, value) in command.ext.iter_bytes() {
                    $(if key == $key.as_bytes() {
                        let parsed = <$type as Field<'_>>::parse(value);
                        let parsed = parsed.map_err(|expected| HeaderError::invalid(command.code, $key, value, expected));
                        $field = Some(parsed?);
                        continue;
                    })*
                }
                Ok(Self {
                    $($field: $field
                        .or_else(<$type as Field<'_>>::absent)
                        .ok_or(HeaderError::Missing { code: command.code, field: $key })?,)*
                })
            }

            /// The fields that are set, in the order of their declaration.
            pub fn fields(&self) -> impl Iterator<Item = (&'static str, $crate::protocol::value::Value<'_>)> {
                use $crate::protocol::header::Field;
                [$(self.$field.value().map(|value| ($key, value)),)*].into_iter().flatten()
            }

            /// The fields that are set, as a list.
            pub fn encode(&self) -> $crate::protocol::ExtFields {
                self.fields().collect()
            }
        }
    };
}
use header;
