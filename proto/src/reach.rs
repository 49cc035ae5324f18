//! Why a coordinator could not be reached over the network, in words that lead to the remedy.
//!
//! Owns what the last words of a broken connection mean; they come from the operating system, from
//! rustls and from HTTP/2. Who connects, and how, is the caller's.

/// The remedy for a connection that failed or broke, where its last reason gives one;
/// `None` where it does not. `server` is the address that was called.
#[must_use]
pub fn remedy(server: &str, reason: &str) -> Option<String> {
    let secure = server.starts_with("https://");
    let reason = reason.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if secure && says(&["invalidcontenttype", "wrong version number", "corrupt message"]) {
        return Some(format!(
            "no TLS is spoken there: call the port of --listen-tls, or, on the coordinator's own \
             host, {}",
            server.replacen("https://", "http://", 1)
        ));
    }
    if says(&["unknownissuer", "unknown issuer", "self-signed", "badsignature", "unknown ca"]) {
        return Some(
            "its certificate is not of an authority that is trusted here: take DATA/tls/ca.pem \
             from the farm's coordinator (rpmfarm: --ca-file; a worker: enrol it again)"
                .to_owned(),
        );
    }
    if says(&["notvalidforname", "not valid for name", "not valid for any names"]) {
        return Some(
            "its certificate is for other names: call it by one of them, or start the coordinator \
             with --tls-name and this name"
                .to_owned(),
        );
    }
    if says(&["expired", "notvalidyet", "not valid yet"]) {
        return Some(
            "compare the clocks of both hosts; a coordinator renews its own certificate while it \
             runs"
                .to_owned(),
        );
    }
    if says(&["certificaterequired", "certificate required"]) {
        return Some("only workers with certificates may connect there".to_owned());
    }
    if says(&["failed to lookup", "name or service not known", "dns error", "no such host"]) {
        return Some("no host has that name: correct the address".to_owned());
    }
    if says(&["connection refused"]) {
        return Some("is it running? (rpmfarm-coordinator --help)".to_owned());
    }
    if says(&["timed out", "deadline has elapsed", "no route to host", "unreachable"]) {
        return Some("check the address, and the firewalls in between".to_owned());
    }
    None
}

/// The remedy when something else than an rpmfarm answered a call without TLS: the first bytes
/// that it sent tell what it is.
#[must_use]
pub fn remedy_of_plain(server: &str, sent: &[u8]) -> Option<String> {
    // An alert or a handshake of TLS, of any version.
    if matches!(sent, [0x15 | 0x16, 0x03, ..]) {
        let secure = server.replacen("http://", "https://", 1);
        return Some(format!("TLS is spoken there: call {secure}"));
    }
    if sent.starts_with(b"SSH-") || sent.starts_with(b"220 ") {
        return Some("another service answers there: correct the port".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_leads_to_its_remedy() {
        for (server, reason, says) in [
            (
                "https://farm:7878",
                "received corrupt message of type InvalidContentType",
                "http://farm:7878",
            ),
            ("https://farm:7879", "invalid peer certificate: UnknownIssuer", "ca.pem"),
            (
                "https://farm:7879",
                "invalid peer certificate: certificate not valid for name \"farm\"; certificate \
                 is only valid for DnsName(\"other\")",
                "--tls-name",
            ),
            ("https://farm:7879", "invalid peer certificate: Expired", "clocks"),
            ("http://farm:7878", "connection refused", "running"),
            (
                "http://farn:7878",
                "failed to lookup address information: Name or service not known",
                "correct the address",
            ),
            ("http://192.0.2.1:7878", "deadline has elapsed", "firewalls"),
        ] {
            let text = remedy(server, reason);
            assert!(text.as_ref().is_some_and(|text| text.contains(says)), "{reason}: {text:?}");
        }
        assert_eq!(remedy("http://farm:7878", "broken pipe"), None);
    }

    #[test]
    fn what_answers_tells_what_it_is() {
        let tls = remedy_of_plain("http://farm:7879", &[0x15, 3, 3, 0, 2, 2, 50]);
        assert_eq!(tls.as_deref(), Some("TLS is spoken there: call https://farm:7879"));
        assert!(remedy_of_plain("http://farm:22", b"SSH-2.0-OpenSSH_9.2").is_some());
        assert_eq!(remedy_of_plain("http://farm:1", b"HTTP/1.1 400"), None);
    }
}
