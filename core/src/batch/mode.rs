//! Which needs order a batch, and how they follow from a solved root.

use crate::Lock;

words! {
    /// Which needs put the builds of a batch in order.
    #[derive(Default)]
    pub enum OrderMode: "order" {
        /// The requirements of a build, with their dependencies beyond the base root. A build may
        /// run beside the compiler that the same batch rebuilds, and be made with the older one.
        #[default]
        Requires = "requires",
        /// The base root counts too: members that rebuild its packages are built before all builds
        /// in it. As the packages of a base root need each other, they are one component in most
        /// distributions, and everything else waits for that component.
        Bootstrap = "bootstrap",
        /// A build begins as soon as its root can be solved, with the existing packages. Only a
        /// build whose root cannot be solved waits for others.
        Unordered = "none",
    }
}

/// The names in a solved root that other members may be needed for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed<'a> {
    /// Names of binary packages, and of requirements.
    pub names: Vec<&'a str>,
    /// Names of source packages.
    pub sources: Vec<&'a str>,
}

impl<'a> Needed<'a> {
    /// The packages and names of a lock that count, for a task with these build requirements.
    #[must_use]
    pub fn new(lock: &'a Lock, requires: &'a [String], mode: OrderMode) -> Self {
        let (base, beyond) = lock.layers.split_at(lock.layers.len().min(1));
        let base = lock.bootstrap.packages().iter().chain(base.iter().flat_map(|l| l.packages()));
        let beyond = beyond.iter().flat_map(|layer| layer.packages());
        let packages: Vec<_> = match mode {
            OrderMode::Requires => beyond.collect(),
            OrderMode::Bootstrap => base.clone().chain(beyond).collect(),
            OrderMode::Unordered => return Self::default(),
        };
        let mut needed = Self::default();
        for package in packages {
            needed.names.push(&package.nevra.name);
            needed.sources.push(&package.source);
        }
        let is_counted = |name: &&str| {
            mode == OrderMode::Bootstrap || base.clone().all(|p| p.nevra.name != *name)
        };
        needed.names.extend(requires.iter().filter_map(|text| name(text)).filter(is_counted));
        needed.sources.retain(|source| !source.is_empty());
        needed
    }
}

/// The name in a requirement; a rich requirement has none.
pub(super) fn name(requirement: &str) -> Option<&str> {
    requirement.split_whitespace().next().filter(|name| !name.starts_with('('))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{Layer, LockedPackage};
    use crate::{Arch, BuildOptions, Sha256};

    fn package(name: &str, source: &str) -> LockedPackage {
        LockedPackage {
            nevra: format!("{name}-1-1.noarch").parse().expect("a NEVRA"),
            digest: Sha256::compute(name.as_bytes()),
            size: 1,
            source: source.into(),
            origin: "base".into(),
            location: String::new(),
            base: String::new(),
            module: String::new(),
        }
    }

    #[test]
    fn the_base_root_counts_when_it_is_asked_for() {
        let lock = Lock {
            target: "t".into(),
            arch: Arch::X86_64,
            bootstrap: Layer::new(vec![package("rpm", "rpm")]),
            layers: vec![
                Layer::new(vec![package("gcc", "gcc")]),
                Layer::new(vec![package("foo-devel", "foo"), package("bar", "")]),
            ],
            options: BuildOptions::default(),
        };
        let requires = ["gcc", "foo-devel >= 1", "(a or b)", "new"].map(String::from);
        let sorted = |mode| {
            let Needed { mut names, mut sources } = Needed::new(&lock, &requires, mode);
            names.sort_unstable();
            sources.sort_unstable();
            (names, sources)
        };
        assert_eq!(
            sorted(OrderMode::Requires),
            (vec!["bar", "foo-devel", "foo-devel", "new"], vec!["foo"])
        );
        assert_eq!(
            sorted(OrderMode::Bootstrap),
            (
                vec!["bar", "foo-devel", "foo-devel", "gcc", "gcc", "new", "rpm"],
                vec!["foo", "gcc", "rpm"]
            )
        );
        assert_eq!(sorted(OrderMode::Unordered), (vec![], vec![]));
        assert_eq!("none".parse(), Ok(OrderMode::Unordered));
        assert_eq!(OrderMode::default().as_str(), "requires");
    }
}
