//! One `repomd.xml.asc` with the signatures of two pages.
//!
//! A bucket replaces `repomd.xml` and its signature one after the other, and a publisher may die
//! between the two. A detached signature may have several signatures; gpg checks each, and dnf is
//! content when one is valid. So the signatures of the page that is shown and of the one that comes
//! stand together until the new page is there.

use pgp::armor::{self, BlockType};
use pgp::composed::{Deserializable as _, DetachedSignature};

/// As many signatures are kept beside the new ones: of pages that were begun and never shown.
const OTHERS: usize = 8;

/// Armored signatures of a new page, followed by those that are there.
///
/// # Errors
/// When one of the texts has no signature.
pub(super) fn joined(new: &str, there: &str) -> Result<String, pgp::errors::Error> {
    let mut all = signatures(new)?;
    let others = signatures(there)?;
    let others = others.into_iter().filter(|other| !all.contains(other)).take(OTHERS);
    let others: Vec<DetachedSignature> = others.collect();
    all.extend(others);
    let mut text = Vec::new();
    armor::write(&all, BlockType::Signature, &mut text, None, true)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn signatures(armored: &str) -> Result<Vec<DetachedSignature>, pgp::errors::Error> {
    let (signatures, _) = DetachedSignature::from_string_many(armored)?;
    signatures.collect()
}
