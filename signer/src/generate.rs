//! Making a new key: RSA 4096, OpenPGP version 4, signed with SHA-256, without passphrase and
//! expiry.

use pgp::composed::{ArmorOptions, KeyType, SecretKeyParamsBuilder};
use pgp::crypto::hash::HashAlgorithm;
use rand::rngs::OsRng;

const BITS: u32 = 4096;

/// A new armored secret key for this user id. Takes seconds.
///
/// # Errors
/// When the user id is not one, or the key could not be made.
pub fn new_key(uid: &str) -> anyhow::Result<String> {
    let plain = |c: char| !c.is_control();
    anyhow::ensure!(
        !uid.is_empty() && uid.len() <= 200 && uid.chars().all(plain),
        "`{}` is not a user id (as `Example Linux <security@example.com>`)",
        rpmfarm_core::name::shown(uid)
    );
    let mut params = SecretKeyParamsBuilder::default();
    params
        .key_type(KeyType::Rsa(BITS))
        .can_certify(true)
        .can_sign(true)
        .primary_user_id(uid.to_owned())
        .preferred_hash_algorithms(
            [HashAlgorithm::Sha256, HashAlgorithm::Sha512].as_slice().into(),
        );
    let secret = params.build()?.generate(OsRng)?;
    Ok(secret.to_armored_string(ArmorOptions::default())?)
}
