//! How a host becomes a worker: one-time tokens, when they count, and when a certificate is
//! renewed.

use std::fmt;

use crate::Sha256;

/// How long a worker's certificate holds when nothing else is said, in seconds: 30 days.
pub const CERTIFICATE_SECONDS: u64 = 30 * 24 * 3600;

/// How long a token holds when nothing else is said, in seconds: an hour.
pub const TOKEN_SECONDS: u64 = 3600;

/// The longest that a token may hold, in seconds: a week.
pub const MAX_TOKEN_SECONDS: u64 = 7 * 24 * 3600;

const PREFIX: &str = "rpmfarm1";

/// A token that makes a host a worker, once. It names the farm's certificate authority, so that
/// the host needs nothing else to trust the coordinator.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    secret: [u8; 32],
    /// SHA-256 of the DER of the farm's CA certificate.
    pub authority: Sha256,
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an enrolment token (three parts with dots between)")]
pub struct NoToken;

impl Token {
    /// A token of 32 random bytes.
    #[must_use]
    pub const fn new(secret: [u8; 32], authority: Sha256) -> Self {
        Self { secret, authority }
    }

    /// What the coordinator keeps of it.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.secret)
    }
}

/// The token itself is not shown.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}.….{})", self.authority)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}", Sha256::from_bytes(self.secret).hex(), self.authority.hex())
    }
}

impl std::str::FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(secret), Some(authority), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoToken);
        };
        let secret: Sha256 = secret.parse().map_err(|_| NoToken)?;
        let authority = authority.parse().map_err(|_| NoToken)?;
        Ok(Self { secret: *secret.as_bytes(), authority })
    }
}

/// The use of a token: with which key, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// SHA-256 of the public key.
    pub key: Sha256,
    /// In microseconds since 1970.
    pub at_us: i64,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// A new certificate.
    First,
    /// The certificate that was given for it before: the answer got lost, the key is the same.
    Again,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It was used, with another key.
    #[error("the enrolment token was used already")]
    Used,
    /// Its time is over.
    #[error("the enrolment token has expired")]
    Expired,
}

/// Decides on a token that comes with a key at a time.
///
/// # Errors
/// When it was used or has expired.
pub fn redeem(
    expires_us: i64,
    used: Option<Use>,
    key: Sha256,
    now_us: i64,
) -> Result<Redeemed, TokenRefusal> {
    match used {
        Some(used) if used.key != key => Err(TokenRefusal::Used),
        _ if now_us >= expires_us => Err(TokenRefusal::Expired),
        Some(_) => Ok(Redeemed::Again),
        None => Ok(Redeemed::First),
    }
}

/// When a certificate is renewed: after two thirds of its time, so that a coordinator may be away
/// for days. In microseconds since 1970.
#[must_use]
pub const fn renewal_us(issued_us: i64, ends_us: i64) -> i64 {
    issued_us.saturating_add(ends_us.saturating_sub(issued_us) / 3 * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written_and_not_shown() {
        let token = Token::new([7; 32], Sha256::of(b"ca"));
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("0707"), "{token:?}");
        assert!(!text.contains(&token.digest().hex()));
        for bad in ["", "x", "rpmfarm1.aa.bb", &text[1..], &format!("{text}.x")] {
            assert_eq!(bad.parse::<Token>(), Err(NoToken), "{bad}");
        }
    }

    #[test]
    fn a_token_counts_once_and_for_a_time() {
        let (mine, other) = (Sha256::of(b"mine"), Sha256::of(b"other"));
        let used = Some(Use { key: mine, at_us: 5 });
        assert_eq!(redeem(10, None, mine, 9), Ok(Redeemed::First));
        assert_eq!(redeem(10, None, mine, 10), Err(TokenRefusal::Expired));
        assert_eq!(redeem(10, used, mine, 6), Ok(Redeemed::Again));
        assert_eq!(redeem(10, used, mine, 10), Err(TokenRefusal::Expired));
        assert_eq!(redeem(10, used, other, 6), Err(TokenRefusal::Used));
        assert_eq!(redeem(10, used, other, 11), Err(TokenRefusal::Used));
    }

    #[test]
    fn certificates_are_renewed_while_they_hold() {
        assert_eq!(renewal_us(0, 30), 20);
        assert_eq!(renewal_us(100, 100), 100);
    }
}
