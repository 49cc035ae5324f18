//! Acceptances: from the acceptor to the coordinator, and on to the signer.

use rpmfarm_core::statement::SignedAcceptance;

use super::{WireError, parse};
use crate::v1;

impl From<&SignedAcceptance> for v1::SignedAcceptance {
    fn from(acceptance: &SignedAcceptance) -> Self {
        let SignedAcceptance { text, signature } = acceptance;
        Self { text: text.clone(), signature: signature.to_string() }
    }
}

impl TryFrom<v1::SignedAcceptance> for SignedAcceptance {
    type Error = WireError;

    fn try_from(wire: v1::SignedAcceptance) -> Result<Self, WireError> {
        let signature = parse("signature of an acceptance", &wire.signature)?;
        Ok(Self { text: wire.text, signature })
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::statement::Hex;

    use super::*;

    #[test]
    fn an_acceptance_survives_the_wire() {
        let one = SignedAcceptance { text: "x\n".into(), signature: Hex([7; 64]) };
        let wire = v1::SignedAcceptance::from(&one);
        assert_eq!(SignedAcceptance::try_from(wire), Ok(one));
        assert!(SignedAcceptance::try_from(v1::SignedAcceptance::default()).is_err());
    }
}
