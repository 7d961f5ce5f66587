//! A file's name: the UTC time of its first record, `yyyyMMddHHmmssSSS`.

const MS_PER_DAY: i64 = 86_400_000;
/// The last millisecond of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_year(year: i64) -> i64 {
    365 + i64::from(is_leap(year))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A time that a name can tell: from 1970 to 9999.
pub(super) fn nameable(ms: i64) -> i64 {
    ms.clamp(0, LAST_MS)
}

/// The name of that millisecond since 1970, which is [`nameable`].
pub(super) fn name_of(ms: i64) -> String {
    let (mut days, time) = (ms / MS_PER_DAY, ms % MS_PER_DAY);
    let (mut year, mut month) = (1970, 1);
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    let (hour, minute, second, milli) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60, time % 1000);
    format!("{year:04}{month:02}{:02}{hour:02}{minute:02}{second:02}{milli:03}", days + 1)
}

/// The millisecond that a file is named by; `None` if it is none of ours.
pub(super) fn ms_of(name: &str) -> Option<i64> {
    if name.len() != 17 || !name.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize, len: usize| name[at..at + len].parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 2)?, part(6, 2)?);
    if year < 1970 {
        return None;
    }
    let years: i64 = (1970..year).map(days_of_year).sum();
    let months: i64 = (1..month).map(|month| days_of_month(year, month)).sum();
    let time = ((part(8, 2)? * 60 + part(10, 2)?) * 60 + part(12, 2)?) * 1000 + part(14, 3)?;
    let ms = (years + months + day - 1) * MS_PER_DAY + time;
    // Also refuses a 13th month, a 31st of February and an hour 24.
    (ms >= 0 && name_of(ms) == name).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_time_to_the_millisecond() {
        let cases = [
            (0, "19700101000000000"),
            (951_782_400_000, "20000229000000000"),
            (1_609_459_199_999, "20201231235959999"),
            (1_700_000_000_123, "20231114221320123"),
            (4_107_542_400_000, "21000301000000000"),
            (LAST_MS, "99991231235959999"),
        ];
        for (ms, name) in cases {
            assert_eq!((name_of(ms).as_str(), ms_of(name)), (name, Some(ms)));
        }
        assert_eq!((nameable(-5), nameable(i64::MAX)), (0, LAST_MS));
    }

    #[test]
    fn what_is_no_time_is_no_name() {
        for name in
            ["", "2023111422132012", "20230229000000000", "20231301000000000", "20230101240000000", "+0230101000000000"]
        {
            assert_eq!(ms_of(name), None, "{name}");
        }
        assert_eq!(ms_of("19691231235959999"), None);
        assert_eq!(ms_of("20231114221320123.tmp"), None);
    }
}
