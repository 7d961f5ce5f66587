//! The body of SEND_BATCH_MESSAGE (code 320): messages as the client encodes them, one after the other.
//!
//! ```text
//! totalSize i32 | magic i32 | bodyCRC i32 | flag i32 | bodyLen i32 + body | propertiesLen i16 + properties
//! ```
//! Clients write 0 as magic and bodyCRC; both are ignored, as RocketMQ does.

use super::{MAX_PROPERTIES, get_u16, get_u32};

/// Bytes of a message of a batch without body and properties.
pub const SUB_FIXED_LEN: usize = 22;
const SUB_BODY: usize = 20;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubMessage<'a> {
    /// The application's own flag.
    pub flag: i32,
    /// The body, as it was proposed.
    pub body: &'a [u8],
    /// `key \x01 value` joined by `\x02`.
    pub properties: &'a [u8],
}

/// Why a batch body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad batch: message {number}, at byte {at}: {what}")]
pub struct BadBatch {
    /// Which message, counted from 0.
    pub number: usize,
    /// Where it starts in the body.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// The messages of a batch body, in order. Ends after the first that cannot be read.
pub fn sub_messages(body: &[u8]) -> SubMessages<'_> {
    SubMessages { body, at: 0, number: 0 }
}

/// Iterator over the messages of a batch body; see [`sub_messages`].
#[derive(Clone, Debug)]
pub struct SubMessages<'a> {
    body: &'a [u8],
    at: usize,
    number: usize,
}

impl<'a> Iterator for SubMessages<'a> {
    type Item = Result<SubMessage<'a>, BadBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.body[self.at..];
        if rest.is_empty() {
            return None;
        }
        let (at, number) = (self.at, self.number);
        match parse(rest) {
            Ok((message, len)) => {
                self.at += len;
                self.number += 1;
                Some(Ok(message))
            }
            Err(what) => {
                self.at = self.body.len();
                Some(Err(BadBatch { number, at, what }))
            }
        }
    }
}

impl std::iter::FusedIterator for SubMessages<'_> {}

fn parse(bytes: &[u8]) -> Result<(SubMessage<'_>, usize), &'static str> {
    if bytes.len() < SUB_FIXED_LEN {
        return Err("shorter than an empty message");
    }
    let len = get_u32(bytes, 0) as usize;
    if !(SUB_FIXED_LEN..=bytes.len()).contains(&len) {
        return Err("total size is outside the batch");
    }
    let body_len = get_u32(bytes, 16) as usize;
    if body_len > len - SUB_FIXED_LEN {
        return Err("body is longer than the message");
    }
    let properties_at = SUB_BODY + body_len + 2;
    let properties_len = usize::from(get_u16(bytes, SUB_BODY + body_len));
    if properties_len > MAX_PROPERTIES || properties_at + properties_len != len {
        return Err("lengths do not add up to the total size");
    }
    let message = SubMessage {
        flag: get_u32(bytes, 12).cast_signed(),
        body: &bytes[SUB_BODY..SUB_BODY + body_len],
        properties: &bytes[properties_at..len],
    };
    Ok((message, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(flag: i32, body: &[u8], properties: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((SUB_FIXED_LEN + body.len() + properties.len()).to_be_bytes().split_at(4).1);
        out.extend([0; 8]);
        out.extend(flag.to_be_bytes());
        out.extend((body.len() as u32).to_be_bytes());
        out.extend(body);
        out.extend((properties.len() as u16).to_be_bytes());
        out.extend(properties);
        out
    }

    #[test]
    fn a_batch_is_read_message_by_message() {
        let mut body = encoded(7, b"one", b"TAGS\x01a");
        body.extend(encoded(-1, b"", b""));
        let read: Result<Vec<_>, _> = sub_messages(&body).collect();
        assert_eq!(
            read,
            Ok(vec![
                SubMessage { flag: 7, body: b"one", properties: b"TAGS\x01a" },
                SubMessage { flag: -1, body: b"", properties: b"" },
            ])
        );
        assert_eq!(sub_messages(b"").count(), 0);
    }

    #[test]
    fn a_bad_message_ends_the_batch_and_is_named() {
        let good = encoded(0, b"one", b"k\x01v");
        for cut in 1..good.len() {
            let mut body = good.clone();
            body.extend(&good[..cut]);
            let mut messages = sub_messages(&body);
            assert!(messages.next().is_some_and(|m| m.is_ok()));
            let bad = messages.next().and_then(Result::err);
            assert_eq!(bad.map(|b| (b.number, b.at)), Some((1, good.len())), "cut {cut}");
            assert_eq!(messages.next(), None);
        }
        let mut lying = good.clone();
        lying[19] += 1; // bodyLen
        assert!(sub_messages(&lying).next().is_some_and(|m| m.is_err()));
        let mut negative = good.clone();
        negative[16] = 0x80;
        assert!(sub_messages(&negative).next().is_some_and(|m| m.is_err()));
    }
}
