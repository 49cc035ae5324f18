//! Whether a webhook is its forge's own. Takes the same time for every wrong signature.

use axum::http::HeaderMap;
use ring::{digest, hmac};
use rpmfarm_core::track::Forge;
use rpmfarm_core::track::hook::Proof;
use subtle::ConstantTimeEq as _;

/// What a webhook proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It knows one of the secrets.
    Genuine,
    /// It carries no proof.
    Missing,
    /// It carries a wrong one.
    Wrong,
}

/// Checks a webhook against the secrets of its forge.
pub(super) fn verify(
    forge: Forge,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[String],
) -> Verdict {
    match forge.proof() {
        Proof::Hmac { headers: names, prefix } => {
            let Some(given) = first(headers, names) else { return Verdict::Missing };
            let Some(tag) = given.strip_prefix(prefix).and_then(|hex| hex::decode(hex).ok()) else {
                return Verdict::Wrong;
            };
            // Each secret is tried, whichever fits: the time tells nothing.
            let fits = secrets.iter().fold(false, |fits, secret| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                fits | hmac::verify(&key, body, &tag).is_ok()
            });
            if fits { Verdict::Genuine } else { Verdict::Wrong }
        }
        Proof::Token { header } => {
            let Some(given) = first(headers, &[header]) else { return Verdict::Missing };
            // Digests have one length, so that not even the secret's length is told.
            let of = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
            let given = of(given);
            let fits = secrets.iter().fold(false, |fits, secret| {
                fits | bool::from(of(secret).as_ref().ct_eq(given.as_ref()))
            });
            if fits { Verdict::Genuine } else { Verdict::Wrong }
        }
    }
}

/// The first of these headers that is there.
pub(super) fn first<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| headers.get(*name)?.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn signatures() {
        // The example of GitHub's own documentation of webhooks.
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        let tag = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let secrets = ["another secret of the farm".to_owned(), secret.to_owned()];
        for (forge, header, prefix) in [
            (Forge::Github, "x-hub-signature-256", "sha256="),
            (Forge::Gitea, "x-gitea-signature", ""),
            (Forge::Gitea, "x-forgejo-signature", ""),
            (Forge::Pagure, "x-pagure-signature-256", ""),
        ] {
            let signed = headers(header, &format!("{prefix}{tag}"));
            assert_eq!(verify(forge, &signed, body, &secrets), Verdict::Genuine);
            assert_eq!(verify(forge, &signed, b"Hello, World?", &secrets), Verdict::Wrong);
            assert_eq!(verify(forge, &signed, body, &secrets[..1]), Verdict::Wrong);
            assert_eq!(verify(forge, &signed, body, &[]), Verdict::Wrong);
            assert_eq!(verify(forge, &HeaderMap::new(), body, &secrets), Verdict::Missing);
            for bad in ["", "sha256=", "sha1=00", &tag[..62], "zz"] {
                let bad = headers(header, bad);
                assert_eq!(verify(forge, &bad, body, &secrets), Verdict::Wrong);
            }
        }
        let token = headers("x-gitlab-token", secret);
        assert_eq!(verify(Forge::Gitlab, &token, body, &secrets), Verdict::Genuine);
        assert_eq!(verify(Forge::Gitlab, &token, body, &secrets[..1]), Verdict::Wrong);
        assert_eq!(verify(Forge::Gitlab, &HeaderMap::new(), body, &secrets), Verdict::Missing);
    }
}
