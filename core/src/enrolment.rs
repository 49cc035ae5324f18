//! How a host becomes a worker: one-time tokens, how long they are valid, and when a certificate is
//! renewed.

use std::fmt;

use crate::{Sha256, Timestamp};

/// How long a worker's certificate is valid by default, in seconds: 30 days.
pub const CERTIFICATE_SECONDS: u64 = 30 * 24 * 3600;

/// How long a token is valid by default, in seconds: an hour.
pub const TOKEN_SECONDS: u64 = 3600;

/// The longest validity of a token, in seconds: a week.
pub const MAX_TOKEN_SECONDS: u64 = 7 * 24 * 3600;

const PREFIX: &str = "rpmfarm1";

/// A token that makes a host a worker, once. It names the farm's certificate authority, so that
/// the host needs nothing else to trust the coordinator.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    secret: [u8; 32],
    /// SHA-256 of the DER of the farm's CA certificate.
    pub authority: Sha256,
}

/// A text that is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an enrolment token (three parts with dots between)")]
pub struct TokenError;

impl EnrolmentToken {
    /// A token of 32 random bytes.
    #[must_use]
    pub const fn new(secret: [u8; 32], authority: Sha256) -> Self {
        Self { secret, authority }
    }

    /// The digest of the token, which the coordinator stores instead of it.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::compute(&self.secret)
    }
}

/// The secret is not printed.
impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}.….{})", self.authority)
    }
}

impl fmt::Display for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}", Sha256::from_bytes(self.secret).hex(), self.authority.hex())
    }
}

impl std::str::FromStr for EnrolmentToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(secret), Some(authority), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError);
        };
        let secret: Sha256 = secret.parse().map_err(|_| TokenError)?;
        let authority = authority.parse().map_err(|_| TokenError)?;
        Ok(Self { secret: *secret.as_bytes(), authority })
    }
}

/// The use of a token: the key, and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUse {
    /// SHA-256 of the public key.
    pub key: Sha256,
    /// When it was used.
    pub at: Timestamp,
}

/// The result of a valid token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redemption {
    First,
    /// The certificate that was given for it before, to the same key: the answer got lost.
    Again,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedemptionError {
    /// It was used before, with another key.
    #[error("the enrolment token was used already")]
    Used,
    /// Its validity has ended.
    #[error("the enrolment token has expired")]
    Expired,
}

/// Decides on a token that comes with a key at a time.
///
/// # Errors
/// When it was used or has expired.
pub fn redeem(
    expires: Timestamp,
    used: Option<TokenUse>,
    key: Sha256,
    now: Timestamp,
) -> Result<Redemption, RedemptionError> {
    match used {
        Some(used) if used.key != key => Err(RedemptionError::Used),
        _ if now >= expires => Err(RedemptionError::Expired),
        Some(_) => Ok(Redemption::Again),
        None => Ok(Redemption::First),
    }
}

/// When a certificate is renewed: after two thirds of its validity, so that a coordinator may be
/// down for days.
#[must_use]
pub fn renewal(issued: Timestamp, ends: Timestamp) -> Timestamp {
    issued + ends.since(issued) / 3 * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written_and_not_shown() {
        let token = EnrolmentToken::new([7; 32], Sha256::compute(b"ca"));
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("0707"), "{token:?}");
        assert!(!text.contains(&token.digest().hex()));
        for bad in ["", "x", "rpmfarm1.aa.bb", &text[1..], &format!("{text}.x")] {
            assert_eq!(bad.parse::<EnrolmentToken>(), Err(TokenError), "{bad}");
        }
    }

    #[test]
    fn a_token_counts_once_and_for_a_time() {
        let (mine, other) = (Sha256::compute(b"mine"), Sha256::compute(b"other"));
        let at = Timestamp::from_us;
        let used = Some(TokenUse { key: mine, at: at(5) });
        assert_eq!(redeem(at(10), None, mine, at(9)), Ok(Redemption::First));
        assert_eq!(redeem(at(10), None, mine, at(10)), Err(RedemptionError::Expired));
        assert_eq!(redeem(at(10), used, mine, at(6)), Ok(Redemption::Again));
        assert_eq!(redeem(at(10), used, mine, at(10)), Err(RedemptionError::Expired));
        assert_eq!(redeem(at(10), used, other, at(6)), Err(RedemptionError::Used));
        assert_eq!(redeem(at(10), used, other, at(11)), Err(RedemptionError::Used));
    }

    #[test]
    fn certificates_are_renewed_while_they_hold() {
        let at = Timestamp::from_us;
        assert_eq!(renewal(at(0), at(30)), at(20));
        assert_eq!(renewal(at(100), at(100)), at(100));
    }
}
