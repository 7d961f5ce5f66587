//! How large a message may be (MessageStoreConfig.java: maxMessageSize; formats.md section 4).

/// Largest body, in bytes: 4 MiB.
pub const MAX_BODY: usize = 4 * 1024 * 1024;
/// Longest properties string, in bytes: its length field has 15 bits.
pub const MAX_PROPERTIES: usize = 32_767;

/// Why a message is refused; code 13 on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("the body has {len} bytes, more than maxMessageSize {limit}")]
    Body { len: usize, limit: usize },
    #[error("the properties have {len} bytes, more than {MAX_PROPERTIES}")]
    Properties { len: usize },
}

/// Checks the sizes of a message that is to be stored, both in bytes.
///
/// # Errors
/// When the body is over `max_body` ([`MAX_BODY`] by default) or the properties over [`MAX_PROPERTIES`].
pub fn check_size(body: usize, properties: usize, max_body: usize) -> Result<(), SizeError> {
    if body > max_body {
        return Err(SizeError::Body { len: body, limit: max_body });
    }
    if properties > MAX_PROPERTIES {
        return Err(SizeError::Properties { len: properties });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_message_passes_and_one_byte_more_does_not() {
        assert_eq!(check_size(MAX_BODY, MAX_PROPERTIES, MAX_BODY), Ok(()));
        assert_eq!(check_size(MAX_BODY + 1, 0, MAX_BODY), Err(SizeError::Body { len: 4_194_305, limit: 4_194_304 }));
        assert_eq!(check_size(0, 32_768, MAX_BODY), Err(SizeError::Properties { len: 32_768 }));
    }
}
