//! Ranges of seeds, as Rust writes them: `1..201` are two hundred, `1..=200` the same, `7..` never ends.

use std::str::FromStr;

/// Seeds from `next` to before `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds {
    next: u64,
    end: Option<u64>,
}

impl Seeds {
    /// How many there are; `None` if they never end.
    pub fn len(&self) -> Option<u64> {
        self.end.map(|end| end - self.next)
    }
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let seed = self.next;
        if self.end == Some(seed) {
            return None;
        }
        self.next = seed.wrapping_add(1);
        Some(seed)
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text:?} is no seed: {e}"));
        let Some((first, end)) = text.split_once("..") else {
            return Err("seeds are a range: 1..201, 1..=200 or 7..".to_owned());
        };
        let next = number(first)?;
        let end = match end.strip_prefix('=') {
            Some(last) => Some(number(last)?.checked_add(1).ok_or("the last seed is too large")?),
            None if end.is_empty() => None,
            None => Some(number(end)?),
        };
        if end.is_some_and(|end| end <= next) {
            return Err("the range is empty".to_owned());
        }
        Ok(Self { next, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_rust_means_by_it() {
        let seeds: Seeds = "3..6".parse().unwrap();
        assert_eq!(seeds.len(), Some(3));
        assert_eq!(seeds.collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!("3..=5".parse(), "3..6".parse::<Seeds>());
        let endless: Seeds = "7..".parse().unwrap();
        assert_eq!(endless.len(), None);
        assert_eq!(endless.take(2).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn what_is_no_range_is_told() {
        for (text, part) in [
            ("5", "seeds are a range"),
            ("5..5", "empty"),
            ("6..5", "empty"),
            ("a..5", "\"a\" is no seed"),
            ("..5", "\"\" is no seed"),
            ("1..-5", "\"-5\" is no seed"),
            ("1..=18446744073709551615", "too large"),
        ] {
            let told = text.parse::<Seeds>().unwrap_err();
            assert!(told.contains(part), "{text}: {told}");
        }
    }
}
