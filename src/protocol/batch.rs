//! The body of SEND_BATCH_MESSAGE (320): messages back to back, each `total length i32 | magic i32 | body CRC i32 |
//! flag i32 | body length i32 | body | properties length i16 | properties`. Magic and CRC are 0 (captured) and not read.

use bytes::BufMut;

/// Bytes of a message without its body and properties.
const FIXED: usize = 22;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    pub flag: i32,
    pub body: &'a [u8],
    pub properties: &'a str,
}

/// Why a body is no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message {index} of the batch: {reason}")]
pub struct BatchError {
    /// Counted from 0.
    pub index: usize,
    pub reason: &'static str,
}

/// The messages of a batch's body. Ends after the first error.
pub fn messages(body: &[u8]) -> Messages<'_> {
    Messages { rest: body, index: 0 }
}

/// Iterator of [`messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<BatchMessage<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let index = self.index;
        self.index += 1;
        let message = take(&mut self.rest);
        if message.is_err() {
            self.rest = &[];
        }
        Some(message.map_err(|reason| BatchError { index, reason }))
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<BatchMessage<'a>, &'static str> {
    let total = length(rest, 0).ok_or("no length")?;
    if total < FIXED || total > rest.len() {
        return Err("its length does not fit the body");
    }
    let (message, next) = rest.split_at(total);
    let flag = message[12..].first_chunk().map(|bytes| i32::from_be_bytes(*bytes)).ok_or("no flag")?;
    let body_len = length(message, 16).ok_or("no body length")?;
    let body_end = 20usize.checked_add(body_len).filter(|end| end + 2 <= total).ok_or("its body does not fit")?;
    let properties_len =
        message[body_end..].first_chunk().map(|bytes| u16::from_be_bytes(*bytes)).ok_or("cut short")?;
    if body_end + 2 + usize::from(properties_len) != total {
        return Err("its properties do not end with it");
    }
    let properties = std::str::from_utf8(&message[body_end + 2..]).map_err(|_| "its properties are not UTF-8")?;
    *rest = next;
    Ok(BatchMessage { flag, body: &message[20..body_end], properties })
}

fn length(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk()?;
    usize::try_from(i32::from_be_bytes(*field)).ok()
}

/// Appends one message to a batch's body. The caller has checked the limits of `protocol::limits`.
pub fn append(message: &BatchMessage<'_>, out: &mut impl BufMut) {
    let total = FIXED + message.body.len() + message.properties.len();
    let (Ok(total), Ok(properties_len)) = (i32::try_from(total), i16::try_from(message.properties.len())) else {
        unreachable!("a message within the limits fits its length fields, this one has {total} bytes")
    };
    out.put_i32(total);
    out.put_i32(0);
    out.put_i32(0);
    out.put_i32(message.flag);
    out.put_u32(message.body.len() as u32);
    out.put_slice(message.body);
    out.put_i16(properties_len);
    out.put_slice(message.properties.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"\0\0\0\x19\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x02hi\0\x01P\
        \0\0\0\x16\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0";

    #[test]
    fn a_batch_reads_and_writes_the_bytes_of_the_layout() {
        let first = BatchMessage { flag: 7, body: b"hi", properties: "P" };
        let second = BatchMessage { flag: -1, body: b"", properties: "" };
        let read: Result<Vec<_>, _> = messages(TWO).collect();
        assert_eq!(read, Ok(vec![first, second]));
        let mut out = Vec::new();
        append(&first, &mut out);
        append(&second, &mut out);
        assert_eq!(out, TWO);
    }

    #[test]
    fn a_broken_message_ends_the_batch_with_an_error() {
        for (at, byte) in [(0, 0x80), (3, 0x15), (3, 0xFF), (19, 0x80), (16, 0xFF), (23, 9), (24, 0xFF)] {
            let mut bytes = TWO.to_vec();
            bytes[at] = byte;
            let read: Vec<_> = messages(&bytes).collect();
            assert!(read.last().is_some_and(Result::is_err), "byte {at}");
        }
        let cut: Vec<_> = messages(&TWO[..TWO.len() - 1]).collect();
        assert_eq!(cut[1], Err(BatchError { index: 1, reason: "its length does not fit the body" }));
        assert_eq!(messages(&[0; 3]).count(), 1);
    }
}
