//! The target definition of a lab that is served.
//!
//! Owns how `deploy/targets/lab.toml` is fitted to the addresses of a running server.

use std::io;
use std::path::Path;

use rpmfarm_core::target::{KeySource, PrivateHosts, TargetError, Template};
use rpmfarm_core::{Arch, Target};
use serde::de::IntoDeserializer as _;
use serde::{Deserialize as _, de};
use url::Url;

/// The target of a lab at its usual port.
pub(crate) const TEXT: &str = include_str!("../../deploy/targets/lab.toml");

/// Where all servers of [`TEXT`] listen.
pub(crate) const ADDRESS: &str = "127.0.0.1:8170";

/// Why a target cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compiled-in target is invalid, which a test rules out.
    #[error("the lab's target is wrong")]
    Target(#[from] TargetError),
    /// An address cannot be read.
    #[error("`{address}` is not the address of a lab: http://HOST:PORT is expected")]
    Address {
        /// The address as given.
        address: String,
    },
    /// It cannot be printed as TOML.
    #[error("cannot print the target")]
    Print(#[from] toml::ser::Error),
    /// `core` cannot read the list of hosts.
    #[error("cannot make the list of hosts")]
    Hosts(#[from] de::value::Error),
    /// The file cannot be written.
    #[error("cannot write the target")]
    Io(#[from] io::Error),
}

/// The addresses and keys of a lab.
#[derive(Debug, Clone)]
pub struct Places<'a> {
    /// The architectures of its distributions.
    pub arches: &'a [Arch],
    /// The address of the distributions: `http://HOST:PORT/distro`.
    pub distro: &'a str,
    /// The server with `/git` and `/lookaside`: `http://HOST:PORT`.
    pub distgit: &'a str,
    /// The armoured public key of the distribution.
    pub key: &'a str,
}

/// The lab's target with these addresses.
///
/// # Errors
/// When an address is not valid.
pub fn at(places: &Places<'_>) -> Result<Target, Error> {
    let mut target = Target::parse("lab.toml", TEXT)?;
    let distro = places.distro.trim_end_matches('/');
    let distgit = places.distgit.trim_end_matches('/');
    places.arches.clone_into(&mut target.arches);
    target.private_hosts = hosts(&[distro, distgit])?;
    target.upstream.url = Template::from(format!("{distgit}/git/rpms/{{name}}.git").as_str());
    if let Some(modifications) = &mut target.modifications {
        let url = format!("{distgit}/git/autopatch/{{name}}.git");
        modifications.url = Template::from(url.as_str());
    }
    target.upstream.lookaside = [
        format!("{distgit}/lookaside/rpms/{{name}}/{{file}}/{{hashtype}}/{{hash}}/{{file}}"),
        format!("{distgit}/lookaside/{{hash}}"),
    ]
    .iter()
    .map(|url| Template::from(url.as_str()))
    .collect();
    for repository in &mut target.repositories {
        repository.baseurl = format!("{distro}/{{arch}}/repo/").as_str().into();
        repository.keys = vec![KeySource::Armored(places.key.to_owned())];
    }
    Ok(target)
}

/// Writes the target's file.
///
/// # Errors
/// When an address is not valid, or the file cannot be written.
pub fn write(places: &Places<'_>, out: &Path) -> Result<(), Error> {
    Ok(std::fs::write(out, toml::to_string_pretty(&at(places)?)?)?)
}

/// `HOST:PORT` of each address, which are on the host's own network.
fn hosts(addresses: &[&str]) -> Result<PrivateHosts, Error> {
    let mut hosts: Vec<String> = addresses
        .iter()
        .map(|address| {
            let url = Url::parse(address).ok();
            let parts =
                url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
            let (host, port) =
                parts.ok_or_else(|| Error::Address { address: (*address).to_owned() })?;
            Ok(format!("{host}:{port}"))
        })
        .collect::<Result<_, Error>>()?;
    hosts.dedup();
    let deserializer = hosts.into_deserializer();
    Ok(PrivateHosts::deserialize::<de::value::SeqDeserializer<_, de::value::Error>>(deserializer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_target_is_read_again() {
        let places = Places {
            arches: &[Arch::X86_64, Arch::Aarch64],
            distro: "http://127.0.0.1:4711/distro/",
            distgit: "http://127.0.0.1:4712",
            key: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n",
        };
        let target = at(&places).unwrap();
        let text = toml::to_string_pretty(&target).unwrap();
        assert_eq!(Target::parse("lab.toml", &text).unwrap(), target);
        assert_eq!(target.git_url("hello"), "http://127.0.0.1:4712/git/rpms/hello.git");
        assert_eq!(
            target.repositories[0].urls(Arch::Aarch64)[0],
            "http://127.0.0.1:4711/distro/aarch64/repo/"
        );
        assert!(target.private_hosts.allow("127.0.0.1", 4711));
        assert!(!target.private_hosts.allow("127.0.0.1", 80));
    }

    #[test]
    fn an_address_must_be_one() {
        assert!(hosts(&["127.0.0.1:80"]).is_err());
    }
}
