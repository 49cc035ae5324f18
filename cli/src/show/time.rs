//! Times and durations for people. All are microseconds, as on the wire.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const MS: i64 = 1_000;
const SECOND: i64 = 1_000 * MS;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The clock of this host.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

/// A duration by its two largest units: `420 ms`, `1.2 s`, `2 min 3 s`, `3 h 4 min`.
pub(crate) fn duration(us: i64) -> String {
    match us.max(0) {
        us if us < SECOND => format!("{} ms", us / MS),
        us if us < 10 * SECOND => format!("{}.{} s", us / SECOND, us % SECOND / (100 * MS)),
        us if us < MINUTE => format!("{} s", us / SECOND),
        us if us < HOUR => pair(us / MINUTE, "min", us % MINUTE / SECOND, "s"),
        us if us < DAY => pair(us / HOUR, "h", us % HOUR / MINUTE, "min"),
        us => pair(us / DAY, "d", us % DAY / HOUR, "h"),
    }
}

fn pair(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        return format!("{large} {large_unit}");
    }
    format!("{large} {large_unit} {small} {small_unit}")
}

/// How long ago something was; a time that is a little in the future because of the clocks counts
/// as now.
pub(crate) fn ago(us: i64, now: i64) -> String {
    let passed = now - us;
    if passed < SECOND {
        return "just now".into();
    }
    // Fractions of seconds no longer matter.
    format!(
        "{} ago",
        duration(if passed < MINUTE { passed / SECOND * SECOND } else { passed })
            .replace(".0 s", " s")
    )
}

/// A point in time in the zone of this host, to the second.
pub(crate) fn point(us: i64) -> String {
    let Ok(timestamp) = Timestamp::from_microsecond(us) else {
        return "at no time".into();
    };
    timestamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// The time of day of a point in time in the zone of this host, to the second.
pub(crate) fn clock(us: i64) -> String {
    let Ok(timestamp) = Timestamp::from_microsecond(us) else {
        return "at no time".into();
    };
    timestamp.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// A point in time for scripts: RFC 3339 in UTC. `None` for 0, which stands for an absent time.
pub(crate) fn rfc3339(us: i64) -> Option<String> {
    if us == 0 {
        return None;
    }
    Timestamp::from_microsecond(us).ok().map(|timestamp| timestamp.to_string())
}

/// A point in time as a person writes it: a date, which is its beginning in UTC, or RFC 3339.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_microsecond());
    }
    let date: jiff::civil::Date =
        text.parse().map_err(|_| "expected a date as 2026-12-31, or RFC 3339".to_owned())?;
    let zoned = date.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [
            (-5, "0 ms"),
            (420 * MS, "420 ms"),
            (1_250 * MS, "1.2 s"),
            (59 * SECOND, "59 s"),
            (2 * MINUTE + 3 * SECOND, "2 min 3 s"),
            (5 * MINUTE, "5 min"),
            (3 * HOUR + 4 * MINUTE + 5 * SECOND, "3 h 4 min"),
            (50 * HOUR, "2 d 2 h"),
        ];
        for (us, text) in cases {
            assert_eq!(duration(us), text);
        }
    }

    #[test]
    fn ago_is_never_in_the_future() {
        assert_eq!(ago(10 * SECOND, 0), "just now");
        assert_eq!(ago(0, 2 * SECOND + 400 * MS), "2 s ago");
        assert_eq!(ago(0, 123 * SECOND), "2 min 3 s ago");
    }

    #[test]
    fn points_for_scripts() {
        assert_eq!(rfc3339(0), None);
        assert_eq!(rfc3339(1_500_000).as_deref(), Some("1970-01-01T00:00:01.5Z"));
    }

    #[test]
    fn dates_and_times_are_read() {
        assert_eq!(parse("1970-01-02"), Ok(DAY));
        assert_eq!(parse("1970-01-01T00:00:01.5Z"), Ok(1_500_000));
        for bad in ["", "tomorrow", "2026-13-01", "12"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
