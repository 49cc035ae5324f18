//! Making one OpenPGP signature packet (RFC 9580, 5.2; version 4, RSA, SHA-256). Must not know
//! what the signed bytes are.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Fingerprint, KeyId, Mpi, SignatureBytes, Timestamp};
use sha2::Digest;
use sha2::digest::{DynDigest, InvalidBufferSize};

/// Why no signature could be made.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// RSA failed; AWS-LC does not say why.
    #[error("RSA signing failed")]
    Rsa,
    /// The packet could not be made.
    #[error("making the signature packet: {0}")]
    Packet(#[from] pgp::errors::Error),
}

/// The issuer, as the packet names it.
pub(crate) struct Issuer {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) key_id: KeyId,
}

/// Signs bytes. AWS-LC does the RSA: in a tenth of the time of OpenPGP's own implementation, where
/// the processor has AVX-512 IFMA, and in a fifth elsewhere.
pub(crate) fn sign(
    pair: &KeyPair,
    issuer: &Issuer,
    data: &[u8],
    created: SystemTime,
) -> Result<Signature, PacketError> {
    let config = config(issuer, created)?;
    let message = message(&config, data)?;
    let digest = sha2::Sha256::digest(&message);
    let mut raw = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut raw)
        .map_err(|_| PacketError::Rsa)?;
    let raw = SignatureBytes::Mpis(vec![Mpi::from_slice(&raw)]);
    Ok(Signature::from_config(config, [digest[0], digest[1]], raw)?)
}

fn config(issuer: &Issuer, created: SystemTime) -> Result<SignatureConfig, PacketError> {
    let seconds = created.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let created = Timestamp::from_secs(u32::try_from(seconds).unwrap_or(u32::MAX));
    let mut config =
        SignatureConfig::v4(SignatureType::Binary, PublicKeyAlgorithm::RSA, HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(created))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(issuer.fingerprint.clone()))?,
    ];
    // rpm of EL8 knows only this one; it is derived from the other, so it needs no protection.
    config.unhashed_subpackets =
        vec![Subpacket::regular(SubpacketData::IssuerKeyId(issuer.key_id))?];
    Ok(config)
}

/// Everything that the signature's digest covers: the data, the packet's own fields, a trailer.
fn message(config: &SignatureConfig, data: &[u8]) -> Result<Box<[u8]>, PacketError> {
    let mut recorder: Box<dyn DynDigest + Send> = Box::new(Recorder(data.to_vec()));
    let len = config.hash_signature_data(&mut recorder)?;
    recorder.update(&config.trailer(len)?);
    Ok(recorder.finalize())
}

/// A "digest" that keeps its input: `pgp` writes the fields of a packet to digests only, and AWS-LC
/// needs the message.
#[derive(Clone)]
struct Recorder(Vec<u8>);

impl DynDigest for Recorder {
    fn update(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    fn finalize_into(mut self, buffer: &mut [u8]) -> Result<(), InvalidBufferSize> {
        self.finalize_into_reset(buffer)
    }

    fn finalize_into_reset(&mut self, buffer: &mut [u8]) -> Result<(), InvalidBufferSize> {
        if buffer.len() != self.0.len() {
            return Err(InvalidBufferSize);
        }
        buffer.copy_from_slice(&self.0);
        self.0.clear();
        Ok(())
    }

    fn reset(&mut self) {
        self.0.clear();
    }

    fn output_size(&self) -> usize {
        self.0.len()
    }

    fn box_clone(&self) -> Box<dyn DynDigest> {
        Box::new(self.clone())
    }
}
