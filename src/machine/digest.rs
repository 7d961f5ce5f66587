//! The digest chain: one 64-bit value over every (entry, reply) applied so far.
//!
//! Two replicas at the same applied index have the same value; the first entry or reply that differs makes all
//! later values differ. It finds mistakes, it does not withstand an adversary.

/// The value of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub u64);

/// 2^64 divided by the golden ratio, made odd: spreads every input bit over the high half.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl Digest {
    /// Adds a number. For a given value before, every number leads to another value after.
    #[inline]
    pub fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(MULTIPLIER).wrapping_add(1);
        self.0 = mixed ^ (mixed >> 29);
    }

    /// Adds bytes whose number is known from what was added before.
    #[inline]
    pub fn fixed(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// Adds a string, with its length.
    pub fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        self.fixed(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(add: impl Fn(&mut Digest)) -> u64 {
        let mut digest = Digest::default();
        add(&mut digest);
        digest.0
    }

    #[test]
    fn order_and_boundaries_count() {
        let of_words = |words: &[u64]| digest_of(|d| words.iter().for_each(|w| d.word(*w)));
        assert_ne!(of_words(&[1, 2]), of_words(&[2, 1]));
        assert_ne!(of_words(&[0]), of_words(&[0, 0]));
        let of_texts = |texts: &[&str]| digest_of(|d| texts.iter().for_each(|t| d.text(t)));
        assert_ne!(of_texts(&["ab", "c"]), of_texts(&["a", "bc"]));
        assert_ne!(of_texts(&["a"]), of_texts(&["a\0"]));
    }

    #[test]
    fn the_function_never_changes() {
        // Replicas of different builds compare their digests: a new function needs a new feature level.
        let value = digest_of(|d| {
            d.word(1);
            d.fixed(b"0123456789");
            d.text("topic");
        });
        // Computed by another program from the definition.
        assert_eq!(value, 16_637_772_821_895_033_549);
    }
}
