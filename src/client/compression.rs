//! Compressed bodies: zlib, as RocketMQ's producers write them.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// sysFlag of a compressed body.
const COMPRESSED: i32 = 1;

/// sysFlag bits that name the codec: 1 LZ4, 2 ZSTD, 3 zlib; 0 is zlib too, from clients before 5.0.
const CODEC: i32 = 0x700;

/// The codec bits of zlib.
const ZLIB: i32 = 0x300;

/// What a producer sets for a body it has compressed.
pub const SYS_FLAG_ZLIB: i32 = COMPRESSED | ZLIB;

/// RocketMQ's default level.
const LEVEL: u32 = 5;

/// Largest body we inflate. Producers refuse bodies over 4 MiB before they compress them; what inflates to more than
/// this comes from none, and would only eat memory.
pub const MAX_INFLATED: usize = 64 * 1024 * 1024;

/// Compresses a body; `None` if that makes it no smaller.
pub fn compress(body: &[u8]) -> Option<Bytes> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(LEVEL));
    // Writing to memory does not fail; if it did, the body would go out as it is.
    encoder.write_all(body).ok()?;
    let compressed = encoder.finish().ok()?;
    (compressed.len() < body.len()).then(|| compressed.into())
}

/// Why a compressed body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// LZ4 or ZSTD, which this client does not read.
    #[error("the codec of sysFlag {0:#x} is not supported, only zlib is")]
    Codec(i32),
    /// It inflates to more than [`MAX_INFLATED`].
    #[error("inflates to more than {MAX_INFLATED} bytes")]
    TooLarge,
    /// The bytes are no zlib stream.
    #[error("no zlib stream: {0}")]
    Corrupt(String),
}

/// The body a message was made with. `body` itself if sysFlag says that it is not compressed.
///
/// # Errors
/// It cannot be inflated.
pub fn inflate(body: Bytes, sys_flag: i32) -> Result<Bytes, InflateError> {
    if sys_flag & COMPRESSED == 0 {
        return Ok(body);
    }
    if !matches!(sys_flag & CODEC, 0 | ZLIB) {
        return Err(InflateError::Codec(sys_flag));
    }
    let mut inflated = Vec::with_capacity(body.len().saturating_mul(3).min(MAX_INFLATED));
    let mut decoder = ZlibDecoder::new(&body[..]).take(MAX_INFLATED as u64 + 1);
    decoder.read_to_end(&mut inflated).map_err(|error| InflateError::Corrupt(error.to_string()))?;
    if inflated.len() > MAX_INFLATED { Err(InflateError::TooLarge) } else { Ok(inflated.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_survives_compression() {
        let body = "quorum".repeat(1000);
        let compressed = compress(body.as_bytes()).expect("compressible");
        assert!(compressed.len() < 200, "{}", compressed.len());
        assert_eq!(inflate(compressed.clone(), SYS_FLAG_ZLIB), Ok(body.clone().into()));
        assert_eq!(inflate(compressed.clone(), COMPRESSED), Ok(body.into()), "no codec bits: clients before 5.0");
        assert_eq!(inflate(compressed.clone(), 0), Ok(compressed), "not compressed");
    }

    #[test]
    fn a_body_that_would_not_shrink_is_left_alone() {
        let mut random = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        })
        .take(5000)
        .collect();
        assert_eq!(compress(&noise), None);
    }

    #[test]
    fn what_cannot_be_inflated_is_an_error() {
        assert_eq!(inflate(Bytes::from_static(b"x"), 0x101), Err(InflateError::Codec(0x101)));
        assert!(matches!(inflate(Bytes::from_static(b"garbage"), SYS_FLAG_ZLIB), Err(InflateError::Corrupt(_))));
        let bomb = compress(&vec![0; MAX_INFLATED + 1]).expect("compressible");
        assert_eq!(inflate(bomb, SYS_FLAG_ZLIB), Err(InflateError::TooLarge));
    }
}
