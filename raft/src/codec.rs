//! The one place that names bincode: peer message headers, memberships and small state.
//!
//! `version u8 | bincode`, with a size limit. Entry bodies and records never pass through here.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of the encoding; a change that an older build cannot read raises it.
pub const VERSION: u8 = 1;
/// Largest encoded value, in bytes: far above any header, far below what could exhaust memory.
pub const LIMIT: usize = 8 * 1024 * 1024;

/// Why a value could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by a build with another encoding.
    #[error("encoded with version {0}, this build reads version {VERSION}")]
    Version(u8),
    /// No bytes at all.
    #[error("empty")]
    Empty,
    /// The bytes do not decode, or more than [`LIMIT`] would be needed.
    #[error("does not decode: {0}")]
    Bytes(String),
    /// The value does not encode.
    #[error("does not encode: {0}")]
    Value(String),
}

/// Encodes `value` behind a version byte.
///
/// # Errors
/// `Value` if the type does not encode, which is a bug.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = vec![VERSION];
    encode_into(value, &mut out)?;
    Ok(out)
}

fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, out, bincode::config::standard().with_limit::<LIMIT>())
        .map(|_| ())
        .map_err(|e| CodecError::Value(e.to_string()))
}

/// Decodes what [`encode`] wrote; trailing bytes are an error.
///
/// # Errors
/// See [`CodecError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (&version, rest) = bytes.split_first().ok_or(CodecError::Empty)?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, read) =
        bincode::serde::decode_from_slice(rest, config).map_err(|e| CodecError::Bytes(e.to_string()))?;
    if read != rest.len() {
        return Err(CodecError::Bytes(format!("{} bytes too many", rest.len() - read)));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_and_trailing_bytes_are_refused() {
        let mut bytes = encode(&(7u64, "x".to_owned())).unwrap();
        assert_eq!(decode::<(u64, String)>(&bytes).unwrap(), (7, "x".to_owned()));
        bytes.push(0);
        assert!(matches!(decode::<(u64, String)>(&bytes), Err(CodecError::Bytes(_))));
        bytes[0] = 9;
        assert!(matches!(decode::<(u64, String)>(&bytes), Err(CodecError::Version(9))));
        assert!(matches!(decode::<u64>(&[]), Err(CodecError::Empty)));
    }
}
