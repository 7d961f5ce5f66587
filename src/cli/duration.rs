//! Durations on the command line: `500ms`, `5s`, `2m`, `1h`.

use std::time::Duration;

/// Reads a whole number with a unit.
///
/// # Errors
/// Anything else, in words for the user.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let ms_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("must be a number and a unit, ms, s, m or h, e.g. 20s".to_owned()),
    };
    let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(ms_per_unit));
    ms.map(Duration::from_millis).ok_or_else(|| "must be a number and a unit, ms, s, m or h, e.g. 20s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, ms) in [("500ms", 500), ("5s", 5000), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "5d", "99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
