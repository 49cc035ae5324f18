//! Points in time and spans between them, as facts have them.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since 1970-01-01 UTC, without leap seconds. Stored and sent as
/// this number. A time that is absent is an `Option`; tables and messages have 0 for it
/// ([`Timestamp::known`], [`Timestamp::or_zero`]).
///
/// ```
/// use std::time::Duration;
/// use rpmfarm_core::Timestamp;
///
/// let noon = Timestamp::from_us(1_750_075_200_000_000);
/// assert_eq!((noon + Duration::from_millis(1500)).to_string(), "2025-06-16T12:00:01.500000Z");
/// assert_eq!(noon.since(noon - Duration::from_secs(60)), Duration::from_secs(60));
/// ```
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// Seconds of a day.
const DAY: i64 = 86_400;

impl Timestamp {
    /// 1970-01-01, which stands for "not yet" in tables and messages.
    pub const ZERO: Self = Self(0);

    /// The last possible point: everything is due by then.
    pub const LAST: Self = Self(i64::MAX);

    /// The point so many microseconds after 1970-01-01 UTC.
    #[must_use]
    pub const fn from_us(us: i64) -> Self {
        Self(us)
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_us(self) -> i64 {
        self.0
    }

    /// The next point, a microsecond later: for events that are ordered by their time and came
    /// while the clock was set back.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The point, unless it is [`Timestamp::ZERO`].
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self != Self::ZERO).then_some(self)
    }

    /// The point, or [`Timestamp::ZERO`] when it is absent.
    #[must_use]
    pub fn or_zero(point: Option<Self>) -> Self {
        point.unwrap_or(Self::ZERO)
    }

    /// How much time has passed since an earlier point; zero when that one is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        span(self.0.saturating_sub(earlier.0))
    }
}

/// A point that a table or message has as microseconds since 1970-01-01 UTC.
impl From<i64> for Timestamp {
    fn from(us: i64) -> Self {
        Self(us)
    }
}

/// A span in microseconds, as tables and messages have it; saturates.
#[must_use]
pub fn span_us(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The span of so many microseconds, as tables and messages have it; zero for a negative number.
#[must_use]
pub fn span(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the last point.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(span_us(duration)))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, duration: Duration) {
        self.0 = self.0.saturating_add(span_us(duration));
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the first point.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(span_us(duration)))
    }
}

/// RFC 3339 in UTC; microseconds where they are not 0.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, us) = (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND));
        let (year, month, day) = civil(seconds.div_euclid(DAY));
        let of_day = seconds.rem_euclid(DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if us != 0 {
            write!(f, ".{us:06}")?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. The algorithm
/// is Howard Hinnant's `civil_from_days`: years begin in March, so that a leap day is a year's
/// last.
const fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    const DAYS_FROM_YEAR_0: i64 = 719_468;
    let days = days + DAYS_FROM_YEAR_0;
    let era = days.div_euclid(DAYS_OF_400_YEARS);
    let of_era = days.rem_euclid(DAYS_OF_400_YEARS);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_as_rfc_3339() {
        for (us, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_000_000, "2024-02-29T23:59:59Z"),
            (1_750_000_000_123_456, "2025-06-15T15:06:40.123456Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::from_us(us).to_string(), shown);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut last = civil(-800_000);
        for day in -799_999..800_000 {
            let (year, month, of_month) = civil(day);
            let follows = match last {
                (y, m, d) if (y, m) == (year, month) => of_month == d + 1,
                (y, 12, 31) => (year, month, of_month) == (y + 1, 1, 1),
                (y, m, 28..=31) => (year, month, of_month) == (y, m + 1, 1),
                _ => false,
            };
            assert!(follows, "{last:?} and then {year}-{month}-{of_month}");
            last = (year, month, of_month);
        }
        assert_eq!(civil(0), (1970, 1, 1));
    }

    #[test]
    fn arithmetic_ends_where_numbers_do() {
        let second = Duration::from_secs(1);
        let at = Timestamp::from_us(5);
        assert_eq!((at + second).as_us(), 1_000_005);
        assert_eq!((at + second - second).since(at), Duration::ZERO);
        assert_eq!(at.since(at + second), Duration::ZERO, "no time has passed");
        let (first, last) = (Timestamp::from_us(i64::MIN), Timestamp::from_us(i64::MAX));
        assert_eq!((last + second, first - second), (last, first));
        assert_eq!((at.next().as_us(), last.next(), last), (6, last, Timestamp::LAST));
        assert_eq!(last + Duration::MAX, last);
        assert_eq!(last.since(first), Duration::from_micros(i64::MAX.unsigned_abs()));
        assert!(!last.to_string().is_empty() && !first.to_string().is_empty());
        let mut later = at;
        later += second;
        assert_eq!(later, at + second);
    }

    #[test]
    fn a_span_is_a_number_of_microseconds_that_is_not_negative() {
        assert_eq!((span(1_500_000), span(-1)), (Duration::from_millis(1500), Duration::ZERO));
        assert_eq!(span_us(Duration::from_millis(1500)), 1_500_000);
        assert_eq!(span_us(Duration::MAX), i64::MAX);
    }

    #[test]
    fn it_is_a_number_in_json_and_0_is_not_yet() {
        let at = Timestamp::from_us(1_750_000_000_123_456);
        assert_eq!(serde_json::to_string(&at).unwrap(), "1750000000123456");
        assert_eq!(serde_json::from_str::<Timestamp>("1750000000123456").unwrap(), at);
        assert_eq!(at, Timestamp::from(1_750_000_000_123_456));
        assert_eq!((at.known(), Timestamp::ZERO.known()), (Some(at), None));
        for point in [Some(at), None] {
            assert_eq!(Timestamp::or_zero(point).known(), point);
        }
    }
}
