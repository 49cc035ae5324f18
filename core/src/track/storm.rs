//! The storm guard: more builds at once than anybody meant are held until a person has looked.

/// How many builds may follow from pushes without a person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StormLimit {
    /// So many builds,
    pub builds: usize,
    /// within this time, in microseconds.
    pub window_us: i64,
}

/// Why builds are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} builds at once after {started} in the last {seconds} s, at most {limit} are started \
     without approval"
)]
pub struct Storm {
    /// Builds that would have been started.
    pub wanted: usize,
    /// Builds that were started within the window.
    pub started: usize,
    /// The limit.
    pub limit: usize,
    /// The window in seconds.
    pub seconds: i64,
}

/// Decides on builds that would start now. Either all of them may, or none: a mass rebuild of
/// which a part was built is worse than one that waits.
///
/// # Errors
/// [`Storm`] when they are too many.
pub const fn admit(limit: &StormLimit, started: usize, wanted: usize) -> Result<(), Storm> {
    if wanted == 0 || started.saturating_add(wanted) <= limit.builds {
        return Ok(());
    }
    Err(Storm { wanted, started, limit: limit.builds, seconds: limit.window_us / 1_000_000 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn at_once_and_within_a_time() {
        let limit = StormLimit { builds: 10, window_us: 60_000_000 };
        assert_eq!(admit(&limit, 0, 10), Ok(()));
        assert_eq!(admit(&limit, 9, 1), Ok(()));
        assert!(admit(&limit, 10, 1).is_err());
        let storm = admit(&limit, 3, 8).unwrap_err();
        assert_eq!(
            storm.to_string(),
            "8 builds at once after 3 in the last 60 s, at most 10 are started without approval"
        );
        assert_eq!(admit(&limit, 50, 0), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit(builds in 0usize..20, groups in prop::collection::vec(0usize..9, 0..9)) {
            let limit = StormLimit { builds, window_us: 1 };
            let mut started = 0;
            for wanted in groups {
                if admit(&limit, started, wanted).is_ok() {
                    started += wanted;
                }
                prop_assert!(started <= builds);
            }
        }
    }
}
