//! The uploads of an attempt: the announced files, limited in number and total size.

use crate::Sha256;

/// Files that one attempt may announce. The largest packages have some hundred subpackages.
pub const MAX_FILES: usize = 4096;

/// A file of an attempt as it was announced: digest and size in bytes.
pub type AnnouncedFile = (Sha256, u64);

/// The meaning of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnouncementOutcome {
    /// The file was not announced before.
    New,
    Known,
}

/// Why a file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The sum would exceed the target's limit of results.
    #[error(
        "the attempt's results would have {sum} bytes, at most {limit} are accepted (results_mib of the target)"
    )]
    TooLarge {
        /// All announced files with this one, in bytes.
        sum: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Another size than before.
    #[error("the file was announced with {before} bytes, now with {now}")]
    Size {
        /// The first size in bytes.
        before: u64,
        /// The size in bytes that is announced now.
        now: u64,
    },
    #[error("the attempt announced {MAX_FILES} files already; no more are accepted")]
    TooMany,
}

/// Decides on an announcement, after those `before`; their sum may reach `limit` bytes.
///
/// # Errors
/// When the file is one too many, makes the sum too large, or has another size than before.
pub fn announce(
    before: &[AnnouncedFile],
    digest: Sha256,
    size: u64,
    limit: u64,
) -> Result<AnnouncementOutcome, AnnounceError> {
    if let Some((_, known)) = before.iter().find(|(known, _)| *known == digest) {
        if *known != size {
            return Err(AnnounceError::Size { before: *known, now: size });
        }
        return Ok(AnnouncementOutcome::Known);
    }
    if before.len() >= MAX_FILES {
        return Err(AnnounceError::TooMany);
    }
    let sum = before.iter().fold(size, |sum, (_, size)| sum.saturating_add(*size));
    if sum > limit {
        return Err(AnnounceError::TooLarge { sum, limit });
    }
    Ok(AnnouncementOutcome::New)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_sum_are_bounded() {
        let digest = |n: usize| Sha256::compute(&n.to_be_bytes());
        let before = [(digest(1), 6)];
        assert_eq!(announce(&before, digest(2), 4, 10), Ok(AnnouncementOutcome::New));
        assert_eq!(announce(&before, digest(1), 6, 0), Ok(AnnouncementOutcome::Known));
        assert_eq!(
            announce(&before, digest(2), 5, 10),
            Err(AnnounceError::TooLarge { sum: 11, limit: 10 })
        );
        assert!(matches!(
            announce(&before, digest(2), u64::MAX, 10),
            Err(AnnounceError::TooLarge { .. })
        ));
        assert_eq!(
            announce(&before, digest(1), 7, 10),
            Err(AnnounceError::Size { before: 6, now: 7 })
        );
        let many: Vec<_> = (0..MAX_FILES).map(|n| (digest(n), 0)).collect();
        assert_eq!(announce(&many, digest(MAX_FILES), 0, 10), Err(AnnounceError::TooMany));
        assert_eq!(announce(&many, digest(0), 0, 10), Ok(AnnouncementOutcome::Known));
    }
}
