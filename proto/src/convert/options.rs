//! Options of single builds.

use rpmfarm_core::BuildOptions;
use rpmfarm_core::options::AddedRepository;

use crate::v1;

impl From<&BuildOptions> for v1::BuildOptions {
    fn from(options: &BuildOptions) -> Self {
        let define =
            |(name, body): &(String, String)| v1::Macro { name: name.clone(), body: body.clone() };
        let repository = |added: &AddedRepository| v1::AddedRepository {
            baseurl: added.baseurl.clone(),
            keys: added.keys.clone(),
            nogpgcheck: added.nogpgcheck,
        };
        Self {
            with: options.with.clone(),
            without: options.without.clone(),
            define: options.define.iter().map(define).collect(),
            nocheck: options.nocheck,
            additional_packages: options.additional_packages.clone(),
            repositories: options.repositories.iter().map(repository).collect(),
        }
    }
}

/// What they may hold is checked against the target, by [`BuildOptions::check`].
impl From<v1::BuildOptions> for BuildOptions {
    fn from(wire: v1::BuildOptions) -> Self {
        let repository = |added: v1::AddedRepository| AddedRepository {
            baseurl: added.baseurl,
            keys: added.keys,
            nogpgcheck: added.nogpgcheck,
        };
        Self {
            with: wire.with,
            without: wire.without,
            define: wire.define.into_iter().map(|define| (define.name, define.body)).collect(),
            nocheck: wire.nocheck,
            additional_packages: wire.additional_packages,
            repositories: wire.repositories.into_iter().map(repository).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_wire() {
        let options = BuildOptions {
            with: vec!["a".into()],
            without: vec!["b".into()],
            define: vec![("c".into(), "d".into())],
            nocheck: true,
            additional_packages: vec!["e".into()],
            repositories: vec![AddedRepository {
                baseurl: "f".into(),
                keys: vec!["g".into()],
                nogpgcheck: true,
            }],
        };
        assert_eq!(BuildOptions::from(v1::BuildOptions::from(&options)), options);
    }
}
