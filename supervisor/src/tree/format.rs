//! Pure: how lengths of time, times of day and numbers are written in a dump.

/// A length of time in six characters at most: `8ms`, `1.2s`, `14s`, `5m07s`, `9h12m`, `3d04h`.
#[must_use]
pub fn age(ms: u64) -> String {
    let (s, m, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match () {
        () if ms < 1000 => format!("{ms}ms"),
        () if s < 10 => format!("{}.{}s", s, ms % 1000 / 100),
        () if s < 100 => format!("{s}s"),
        () if m < 100 => format!("{m}m{:02}s", s % 60),
        () if h < 48 => format!("{h}h{:02}m", m % 60),
        () if d < 100 => format!("{d}d{:02}h", h % 24),
        () => format!("{d}d"),
    }
}

/// A length of time that somebody has set: `5s`, `1500ms`, `1m`.
pub(crate) fn period(ms: u64) -> String {
    match ms {
        _ if ms == 0 || !ms.is_multiple_of(1000) => format!("{ms}ms"),
        _ if !ms.is_multiple_of(60_000) => format!("{}s", ms / 1000),
        _ if !ms.is_multiple_of(3_600_000) => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

/// With a gap after each three digits.
#[must_use]
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A limit: `65 536`, `1M`.
pub(crate) fn limit(n: u64) -> String {
    match n {
        _ if n >= 1_000_000 && n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        _ => number(n),
    }
}

/// Milliseconds since 1970 as `2026-11-22T03:12:44Z`.
pub(crate) fn timestamp(ms: u64) -> String {
    let (year, month, day) = date(ms / 86_400_000);
    format!("{year:04}-{month:02}-{day:02}T{}Z", time_of_day(ms))
}

/// As `03:12:44`.
pub(crate) fn time_of_day(ms: u64) -> String {
    let s = ms / 1000;
    format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// The date of a day counted from the first of 1970, in the Gregorian calendar.
fn date(mut day: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // 400 years have 146 097 days.
    let mut year = 1970 + day / 146_097 * 400;
    day %= 146_097;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short_at_every_length() {
        let (s, m, h, d) = (1000, 60_000, 3_600_000, 86_400_000);
        let ages = [0, 8, 999, s, 1250, 9999, 14 * s, 99 * s, 100 * s, 307 * s, 9 * h + 12 * m, 3 * d + 4 * h, 400 * d];
        let texts = ages.map(age);
        let expected =
            ["0ms", "8ms", "999ms", "1.0s", "1.2s", "9.9s", "14s", "99s", "1m40s", "5m07s", "9h12m", "3d04h", "400d"];
        assert_eq!(texts, expected);
        let longest = (0..200_000_000_000).step_by(7_919_333).map(|ms| age(ms).len()).max();
        assert_eq!(longest, Some(6));
    }

    #[test]
    fn numbers_and_periods_read_well() {
        assert_eq!([0, 999, 1055, 65_536, 1_000_000].map(number), ["0", "999", "1 055", "65 536", "1 000 000"]);
        assert_eq!([1_048_576, 1_000_000, 16_000_000].map(limit), ["1 048 576", "1M", "16M"]);
        assert_eq!([0, 1500, 5000, 60_000, 90_000, 7_200_000].map(period), ["0ms", "1500ms", "5s", "1m", "90s", "2h"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        // By `date -u -d @…`.
        let known = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_583_020_800, "2020-03-01T00:00:00Z"),
            (1_795_317_164, "2026-11-22T03:12:44Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (13_601_088_000, "2401-01-01T00:00:00Z"),
        ];
        for (seconds, text) in known {
            assert_eq!(timestamp(seconds * 1000 + 999), text);
        }
    }
}
