//! Checks the signature or token of a webhook. Takes the same time for every wrong signature.

use axum::http::HeaderMap;
use ring::{digest, hmac};
use rpmfarm_core::track::Forge;
use rpmfarm_core::track::hook::HookProof;
use subtle::ConstantTimeEq as _;

/// The verdict on the signature or token of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureVerdict {
    /// The signature or token was made with one of the secrets.
    Genuine,
    /// There is neither a signature nor a token.
    Missing,
    /// The signature or token is wrong.
    Wrong,
}

/// A check in progress: the body goes through it piece by piece.
pub(super) struct SignatureCheck(CredentialForm);

enum CredentialForm {
    /// The token was right.
    Token,
    /// A signature, and for each secret the digest of the body so far, and of the JSON in it where
    /// that is sent as a form: GitHub signs the body, Gitea and Pagure the JSON.
    Tag { tag: Vec<u8>, body: Vec<hmac::Context>, payload: Vec<hmac::Context> },
}

impl SignatureCheck {
    /// Begins a check against the secrets of a forge. A verdict that follows from the headers alone
    /// is given now, before the body is read.
    ///
    /// # Errors
    /// The verdict, when the webhook is not genuine.
    pub(super) fn begin(
        forge: Forge,
        headers: &HeaderMap,
        secrets: &[String],
    ) -> Result<Self, SignatureVerdict> {
        match forge.proof() {
            HookProof::Hmac { headers: names, prefix } => {
                let given = first(headers, names).ok_or(SignatureVerdict::Missing)?;
                let tag = given.strip_prefix(prefix).and_then(|hex| hex::decode(hex).ok());
                let tag = tag.filter(|tag| tag.len() == digest::SHA256_OUTPUT_LEN);
                let tag = tag.ok_or(SignatureVerdict::Wrong)?;
                let context = |secret: &String| {
                    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                    hmac::Context::with_key(&key)
                };
                let body: Vec<_> = secrets.iter().map(context).collect();
                Ok(Self(CredentialForm::Tag { tag, payload: body.clone(), body }))
            }
            HookProof::Token { header } => {
                let given = first(headers, &[header]).ok_or(SignatureVerdict::Missing)?;
                // Digests have one length, so that not even the length of the secret is revealed.
                let of = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
                let given = of(given);
                let fits = secrets.iter().fold(false, |fits, secret| {
                    fits | bool::from(of(secret).as_ref().ct_eq(given.as_ref()))
                });
                if fits { Ok(Self(CredentialForm::Token)) } else { Err(SignatureVerdict::Wrong) }
            }
        }
    }

    /// Takes the next bytes of the body.
    pub(super) fn body(&mut self, bytes: &[u8]) {
        if let CredentialForm::Tag { body, .. } = &mut self.0 {
            body.iter_mut().for_each(|context| context.update(bytes));
        }
    }

    /// Takes the next bytes of the JSON in a form.
    pub(super) fn payload(&mut self, bytes: &[u8]) {
        if let CredentialForm::Tag { payload, .. } = &mut self.0 {
            payload.iter_mut().for_each(|context| context.update(bytes));
        }
    }

    /// The verdict, after the whole body.
    pub(super) fn end(self) -> SignatureVerdict {
        let CredentialForm::Tag { tag, body, payload } = self.0 else {
            return SignatureVerdict::Genuine;
        };
        // All secrets are compared, even after a match, so that the time reveals nothing.
        let fits = body
            .into_iter()
            .chain(payload)
            .fold(false, |fits, context| fits | bool::from(context.sign().as_ref().ct_eq(&tag)));
        if fits { SignatureVerdict::Genuine } else { SignatureVerdict::Wrong }
    }
}

/// The value of the first of these headers that exists.
pub(super) fn first<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| headers.get(*name)?.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(
        forge: Forge,
        headers: &HeaderMap,
        body: &[u8],
        secrets: &[String],
    ) -> SignatureVerdict {
        SignatureCheck::begin(forge, headers, secrets).map_or_else(
            |verdict| verdict,
            |mut check| {
                body.chunks(5).for_each(|piece| check.body(piece));
                check.end()
            },
        )
    }

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
            assert_eq!(verify(forge, &signed, body, &secrets), SignatureVerdict::Genuine);
            assert_eq!(verify(forge, &signed, b"Hello, World?", &secrets), SignatureVerdict::Wrong);
            assert_eq!(verify(forge, &signed, body, &secrets[..1]), SignatureVerdict::Wrong);
            assert_eq!(verify(forge, &signed, body, &[]), SignatureVerdict::Wrong);
            assert_eq!(verify(forge, &HeaderMap::new(), body, &secrets), SignatureVerdict::Missing);
            for bad in ["", "sha256=", "sha1=00", &tag[..62], "zz"] {
                let bad = headers(header, bad);
                assert_eq!(verify(forge, &bad, body, &secrets), SignatureVerdict::Wrong);
            }
        }
        // For a form, the signature may cover the content of its field.
        let signed = headers("x-gitea-signature", tag);
        let mut check = SignatureCheck::begin(Forge::Gitea, &signed, &secrets).unwrap();
        check.body(b"payload=Hello%2C+World%21");
        check.payload(body);
        assert_eq!(check.end(), SignatureVerdict::Genuine);
        let token = headers("x-gitlab-token", secret);
        assert_eq!(verify(Forge::Gitlab, &token, body, &secrets), SignatureVerdict::Genuine);
        assert_eq!(verify(Forge::Gitlab, &token, body, &secrets[..1]), SignatureVerdict::Wrong);
        assert_eq!(
            verify(Forge::Gitlab, &HeaderMap::new(), body, &secrets),
            SignatureVerdict::Missing
        );
    }
}
