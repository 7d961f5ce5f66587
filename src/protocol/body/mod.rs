//! Typed bodies: JSON as Apache's servers and all kinds of clients write it. Missing and unknown fields are tolerated.

pub mod cluster;
pub mod consumer;
pub mod fastjson;
pub mod heartbeat;
mod lenient;
pub mod registration;
pub mod route;
pub mod subscription;
pub mod table;
pub mod topic;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a body does not parse. On the wire it becomes code 1 with this text as its remark.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BodyError {
    #[error("body is no {what}: {reason}")]
    Malformed { what: &'static str, reason: String },
    #[error("body has CRC {actual}, its header says {expected}")]
    WrongCrc { actual: i32, expected: i32 },
    #[error("body inflates to more than {limit} bytes")]
    TooLarge { limit: usize },
}

/// The name of a body type without its path.
fn name_of<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

/// Reads a JSON body, with quoted map keys or with fastjson's bare ones.
///
/// # Errors
/// When it is not JSON, or a field is of another type than `T`'s.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let standard = match serde_json::from_slice(body) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // Bare keys are rare, so the plain parser goes first.
    let fastjson = fastjson::quote_keys(body).map(|quoted| serde_json::from_slice(&quoted));
    match fastjson {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(BodyError::Malformed { what: name_of::<T>(), reason: error.to_string() }),
        None => Err(BodyError::Malformed { what: name_of::<T>(), reason: standard.to_string() }),
    }
}

/// Writes a JSON body with all map keys quoted.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes.into(),
        Err(error) => unreachable!("{} has only text and number keys: {error}", name_of::<T>()),
    }
}

/// Writes a JSON body as fastjson does: integer map keys stand bare.
pub fn encode_fastjson<T: Serialize>(value: &T) -> Bytes {
    fastjson::to_vec(value).into()
}
