//! A record's properties string: `key \x01 value` joined by `\x02`, perhaps with a `\x02` at the end.

const NAME_VALUE_SEPARATOR: u8 = 1;
const PROPERTY_SEPARATOR: u8 = 2;

/// The value of `key` in a properties string. As RocketMQ reads it: a pair without a value is none, and of two
/// pairs with one key the last counts.
pub fn property<'a>(properties: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let key = key.as_bytes();
    let mut found = None;
    let mut rest = properties;
    while !rest.is_empty() {
        let end = find(rest, PROPERTY_SEPARATOR);
        let pair = &rest[..end];
        if pair.len() > key.len() + 1 && pair[key.len()] == NAME_VALUE_SEPARATOR && &pair[..key.len()] == key {
            found = Some(&pair[key.len() + 1..]);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    found
}

/// `tagsCode` of a properties string: Java's `String.hashCode` of the TAGS value, sign-extended; 0 without one.
pub fn tags_code(properties: &[u8]) -> i64 {
    property(properties, "TAGS").map_or(0, |tags| i64::from(java_hash_of(&[tags])))
}

/// Java's `String.hashCode`, over UTF-16 units.
pub fn java_hash(s: &str) -> i32 {
    java_hash_of(&[s.as_bytes()])
}

/// The hash of the string that `parts` make together. They should be UTF-8; what is not counts as U+FFFD, as in Java's
/// decoder.
pub fn java_hash_of(parts: &[&[u8]]) -> i32 {
    let hash = parts.iter().fold(0, |hash, part| if part.is_ascii() { add_ascii(hash, part) } else { add(hash, part) });
    hash.cast_signed()
}

fn step(hash: u32, unit: u16) -> u32 {
    hash.wrapping_mul(31).wrapping_add(u32::from(unit))
}

fn add(hash: u32, part: &[u8]) -> u32 {
    part.utf8_chunks().fold(hash, |hash, chunk| {
        let hash = chunk.valid().encode_utf16().fold(hash, step);
        if chunk.invalid().is_empty() { hash } else { step(hash, 0xFFFD) }
    })
}

/// Four characters a step: it runs over every key in `apply`, and each multiplication waits for the one before.
fn add_ascii(hash: u32, part: &[u8]) -> u32 {
    let (fours, rest) = part.as_chunks::<4>();
    let hash = fours.iter().fold(hash, |hash, four| {
        let four = four.iter().fold(0, |four, byte| four * 31 + u32::from(*byte));
        hash.wrapping_mul(31_u32.pow(4)).wrapping_add(four)
    });
    rest.iter().fold(hash, |hash, byte| step(hash, u16::from(*byte)))
}

/// Index of the first `byte`, or the length. Eight bytes a step: it runs over every record's properties in `apply`.
fn find(bytes: &[u8], byte: u8) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let pattern = LOW * u64::from(byte);
    let (chunks, tail) = bytes.as_chunks::<8>();
    for (i, chunk) in chunks.iter().enumerate() {
        let x = u64::from_le_bytes(*chunk) ^ pattern;
        // The lowest set high bit marks the first zero byte of x: borrows only spread upwards.
        let zeros = x.wrapping_sub(LOW) & !x & (LOW << 7);
        if zeros != 0 {
            return i * 8 + (zeros.trailing_zeros() / 8) as usize;
        }
    }
    let done = chunks.len() * 8;
    tail.iter().position(|&b| b == byte).map_or(bytes.len(), |i| done + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_byte_wherever_it_is() {
        for len in 0..40 {
            for at in 0..=len {
                let mut bytes = vec![3; len];
                bytes.iter_mut().skip(at).for_each(|b| *b = 2);
                assert_eq!(find(&bytes, 2), at, "len {len}");
            }
        }
        assert_eq!(find(&[0x82, 0x03, 0x01, 0, 0xFF, 0x80, 0x7F, 0x02], 2), 7);
    }

    #[test]
    fn a_property_is_found_by_its_whole_key() {
        let properties = b"MYTAGS\x01no\x02TAGS\x01TagA\x02TAGS2\x01no\x02EMPTY\x01\x02x";
        assert_eq!(property(properties, "TAGS"), Some(&b"TagA"[..]));
        assert_eq!(property(properties, "EMPTY"), None);
        assert_eq!(property(properties, "x"), None);
        assert_eq!(property(properties, ""), None);
        assert_eq!(property(b"", "TAGS"), None);
        assert_eq!(property(b"\x02\x02TAGS\x01a\x02", "TAGS"), Some(&b"a"[..]), "separators at both ends");
    }

    #[test]
    fn of_two_pairs_with_one_key_the_last_counts() {
        assert_eq!(property(b"k\x01a\x02k\x01b", "k"), Some(&b"b"[..]));
        assert_eq!(property(b"k\x01a\x02k\x01", "k"), Some(&b"a"[..]), "a pair without a value is none");
    }

    #[test]
    fn java_hash_is_that_of_java() {
        // Values from the JLS formula s[0]*31^(n-1) + …, computed by hand for the short ones.
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("a"), 97);
        assert_eq!(java_hash("Aa"), 2112);
        assert_eq!(java_hash("BB"), 2112);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("null"), 3_392_903);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN, "wraps");
        assert_eq!(java_hash_of(&[b"poly", b"", b"gene", b"lubricants"]), i32::MIN, "of parts");
        assert_eq!(java_hash("é"), 233);
        assert_eq!(java_hash("😀"), 0xD83D * 31 + 0xDE00, "two UTF-16 units");
    }

    #[test]
    fn ascii_hashes_as_any_text_does() {
        let text = [b'~'; 40].map(|b| b - 3);
        for len in 0..=40 {
            for hash in [0, 7, u32::MAX] {
                assert_eq!(add_ascii(hash, &text[..len]), add(hash, &text[..len]), "{len} bytes on {hash}");
            }
        }
    }

    #[test]
    fn tags_code_is_sign_extended_and_zero_without_tags() {
        assert_eq!(tags_code(b"TAGS\x01polygenelubricants"), i64::from(i32::MIN));
        assert_eq!(tags_code(b"KEYS\x01k"), 0);
        assert_eq!(tags_code(b"TAGS\x01"), 0);
        assert_eq!(tags_code(b"TAGS\x01\xFF"), 0xFFFD, "malformed UTF-8 hashes as Java's replacement");
    }
}
