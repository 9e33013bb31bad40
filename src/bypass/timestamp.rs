//! Moments, as the audit log writes them: RFC 3339 in UTC with microseconds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(i64);

/// A text is no moment.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "it must be a date (2026-12-01), or a date and a time with an offset (2026-12-01T08:00:00Z)"
)]
pub struct NoTimestamp;

const DAY: i64 = 86_400;
const MICROSECONDS: i64 = 1_000_000;

impl Timestamp {
    /// A number of microseconds since the epoch. The years 0 to 9999 can be written; what lies
    /// outside becomes the nearest of them.
    pub fn from_microseconds(microseconds: i64) -> Self {
        const FIRST: i64 = -719_528 * DAY * MICROSECONDS;
        const LAST: i64 = 2_932_897 * DAY * MICROSECONDS - 1;
        Self(microseconds.clamp(FIRST, LAST))
    }

    /// Microseconds since the epoch.
    pub fn microseconds(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(MICROSECONDS);
        let (year, month, day) = civil(seconds.div_euclid(DAY));
        let of_day = seconds.rem_euclid(DAY);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60,
            self.0.rem_euclid(MICROSECONDS)
        )
    }
}

/// The date of a day since the epoch, in the proleptic Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// The day since the epoch of a date that exists.
fn day_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let year_from_march = year - i64::from(month <= 2);
    let era = year_from_march.div_euclid(400);
    let year_of_era = year_from_march.rem_euclid(400);
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let found = era * 146_097 + of_era - 719_468;
    (civil(found) == (year, month, day)).then_some(found)
}

impl FromStr for Timestamp {
    type Err = NoTimestamp;

    fn from_str(text: &str) -> Result<Self, NoTimestamp> {
        let mut rest = text;
        let moment = moment(&mut rest).filter(|_| rest.is_empty());
        moment.map(Self::from_microseconds).ok_or(NoTimestamp)
    }
}

fn moment(rest: &mut &str) -> Option<i64> {
    let year = digits(rest, 4)?;
    literal(rest, '-')?;
    let month = digits(rest, 2)?;
    literal(rest, '-')?;
    let day = day_of(year, month, digits(rest, 2)?)?;
    if rest.is_empty() {
        return Some(day * DAY * MICROSECONDS);
    }
    literal(rest, 'T')
        .or_else(|| literal(rest, 't'))
        .or_else(|| literal(rest, ' '))?;
    let hour = digits(rest, 2).filter(|hour| *hour < 24)?;
    literal(rest, ':')?;
    let minute = digits(rest, 2).filter(|minute| *minute < 60)?;
    let second = match literal(rest, ':') {
        Some(()) => digits(rest, 2).filter(|second| *second < 60)?,
        None => 0,
    };
    let fraction = match literal(rest, '.') {
        Some(()) => fraction(rest)?,
        None => 0,
    };
    let offset = offset(rest)?;
    let seconds = day * DAY + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * MICROSECONDS + fraction)
}

/// Microseconds; further digits are cut.
fn fraction(rest: &mut &str) -> Option<i64> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (text, after) = rest.split_at_checked(length)?;
    if text.is_empty() {
        return None;
    }
    *rest = after;
    format!("{text:0<6}").get(..6)?.parse().ok()
}

/// Seconds east of Greenwich.
fn offset(rest: &mut &str) -> Option<i64> {
    if literal(rest, 'Z').or_else(|| literal(rest, 'z')).is_some() {
        return Some(0);
    }
    let sign = match literal(rest, '+') {
        Some(()) => 1,
        None => literal(rest, '-').map(|()| -1)?,
    };
    let hours = digits(rest, 2).filter(|hours| *hours < 24)?;
    literal(rest, ':')?;
    let minutes = digits(rest, 2).filter(|minutes| *minutes < 60)?;
    Some(sign * (hours * 3600 + minutes * 60))
}

fn digits(rest: &mut &str, count: usize) -> Option<i64> {
    let (text, after) = rest.split_at_checked(count)?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    *rest = after;
    text.parse().ok()
}

fn literal(rest: &mut &str, character: char) -> Option<()> {
    *rest = rest.strip_prefix(character)?;
    Some(())
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        for (text, written) in [
            ("1970-01-01", "1970-01-01T00:00:00.000000Z"),
            ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000000Z"),
            ("2026-12-01T08:00:00.5+02:00", "2026-12-01T06:00:00.500000Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2026-12-01 08:00-00:30", "2026-12-01T08:30:00.000000Z"),
            (
                "0000-03-01T00:00:00.1234567z",
                "0000-03-01T00:00:00.123456Z",
            ),
        ] {
            let read: Timestamp = text.parse().unwrap();
            assert_eq!(read.to_string(), written, "{text}");
        }
        let read: Timestamp = "2001-09-09T01:46:40Z".parse().unwrap();
        assert_eq!(read.microseconds(), 1_000_000_000_000_000);
    }

    #[test]
    fn what_is_no_moment_is_told() {
        for text in [
            "",
            "2026",
            "2026-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-12-01T08",
            "2026-12-01T08:00",
            "2026-12-01T24:00Z",
            "2026-12-01T08:60Z",
            "2026-12-01T08:00:00.Z",
            "2026-12-01T08:00:00Zx",
            "2026-12-01T08:00+0200",
            "+026-12-01",
            "ü026-12-01",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NoTimestamp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(microseconds: i64) {
            let moment = Timestamp::from_microseconds(microseconds);
            prop_assert_eq!(moment.to_string().parse(), Ok(moment));
            prop_assert_eq!(moment.to_string().len(), "2026-12-01T08:00:00.000000Z".len());
        }

        #[test]
        fn later_is_greater(first: i64, second: i64) {
            let (first, second) =
                (Timestamp::from_microseconds(first), Timestamp::from_microseconds(second));
            prop_assert_eq!(first.cmp(&second), first.to_string().cmp(&second.to_string()));
        }
    }
}
