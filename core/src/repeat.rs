//! Repetitions: which builds are repeated, and what it means when two workers make different
//! packages.
//!
//! A worker that lies about what it has compiled is found out only by another worker that compiles
//! the same in the same root. Owns the choice and the comparison; it must not know how packages are
//! read.

use std::collections::{BTreeMap, HashMap};

use crate::noarch::{self, NoarchPackages, PackageContent};
use crate::owners::{Claim, ClaimKind};
use crate::{Arch, Nevra};

/// How many differences of one build are recorded; further ones are only counted.
const MAX_SHOWN: usize = 100;

/// Whether a task is repeated. `percent` is the target's share; `draw`, from 0 to 99, is drawn
/// after the first packages have arrived, so that their worker cannot know the result.
#[must_use]
pub const fn is_drawn(percent: u8, draw: u8) -> bool {
    draw < percent
}

/// Whether another worker could repeat a task of a worker: one that runs the architecture natively.
#[must_use]
pub fn has_other<'w>(
    workers: impl IntoIterator<Item = (&'w str, &'w [Arch], &'w [Arch])>,
    arch: Arch,
    maker: &str,
) -> bool {
    workers.into_iter().any(|(name, arches, emulated)| {
        name != maker && arches.contains(&arch) && !emulated.contains(&arch)
    })
}

/// The packages that a worker made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerPackages {
    pub worker: String,
    /// NEVRA → content, of the packages whose digests differ between the two; `None` for those that
    /// are equal.
    pub packages: HashMap<Nevra, Option<PackageContent>>,
}

/// The differences between two workers' packages, as claims: a person decides which worker to
/// trust.
#[must_use]
pub fn claims(first: &WorkerPackages, second: &WorkerPackages) -> Vec<Claim> {
    let mut found = Vec::new();
    let sides = [(first, second), (second, first)];
    for (has, lacks) in sides {
        let alone = has.packages.keys().filter(|nevra| !lacks.packages.contains_key(nevra));
        found.extend(alone.map(|nevra| {
            (nevra.clone(), format!("{nevra}: made by {}, not by {}", has.worker, lacks.worker))
        }));
    }
    for (nevra, content) in &first.packages {
        let Some(Some(other)) = second.packages.get(nevra) else { continue };
        let Some(one) = content else { continue };
        let made = |side: &WorkerPackages, content: &PackageContent| NoarchPackages {
            on: side.worker.clone(),
            packages: BTreeMap::from([(nevra.to_string(), content.clone())]),
        };
        let differences = noarch::differences(&[made(first, one), made(second, other)]);
        let differing =
            differences.iter().map(|one| (nevra.clone(), format!("{}: {}", one.what, one.how)));
        found.extend(differing);
    }
    found.sort_by(|(_, one), (_, other)| one.cmp(other));
    let more = found.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        let (nevra, _) = found[MAX_SHOWN].clone();
        found.truncate(MAX_SHOWN);
        found.push((nevra, format!("{more} more differences")));
    }
    let claim =
        |(package, what)| Claim { kind: ClaimKind::Repeat, what, package, owners: [].into() };
    found.into_iter().map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noarch::PackageFile;

    #[test]
    fn another_worker_that_runs_the_architecture_itself_could_repeat_it() {
        let (x86, arm) = (Arch::X86_64, Arch::Aarch64);
        let both = [x86, arm];
        let workers = [("a", &both[..], &both[1..]), ("b", &both[..1], &[][..])];
        assert!(has_other(workers, x86, "a") && has_other(workers, x86, "b"));
        assert!(!has_other(workers[..1].iter().copied(), x86, "a"), "it does not repeat itself");
        assert!(!has_other(workers, arm, "b"), "the other one emulates it");
    }

    fn nevra(name: &str) -> Nevra {
        format!("{name}-1-1.x86_64").parse().unwrap()
    }

    fn content(digest: &str) -> PackageContent {
        let file = PackageFile {
            mode: 0o100_755,
            owner: "root:root".into(),
            capabilities: String::new(),
            flags: 0,
            content: digest.into(),
            verify: None,
            device: None,
        };
        PackageContent {
            files: [("/usr/bin/tool".to_owned(), file)].into(),
            ..PackageContent::default()
        }
    }

    fn side(worker: &str, packages: &[(&str, Option<PackageContent>)]) -> WorkerPackages {
        let packages = packages.iter().map(|(name, content)| (nevra(name), content.clone()));
        WorkerPackages { worker: worker.into(), packages: packages.collect() }
    }

    #[test]
    fn the_share_of_the_target_is_drawn() {
        assert_eq!((0..100).filter(|draw| is_drawn(0, *draw)).count(), 0);
        assert_eq!((0..100).filter(|draw| is_drawn(7, *draw)).count(), 7);
        assert_eq!((0..100).filter(|draw| is_drawn(100, *draw)).count(), 100);
    }

    #[test]
    fn the_same_packages_claim_nothing() {
        let made = |worker| side(worker, &[("tool", None)]);
        assert_eq!(claims(&made("a"), &made("b")), []);
        // Built at other times, so that the files differ and what they hold does not.
        let made = |worker| side(worker, &[("tool", Some(content("1")))]);
        assert_eq!(claims(&made("a"), &made("b")), []);
    }

    #[test]
    fn a_file_that_differs_is_told_with_both_workers() {
        let one = side("a", &[("tool", Some(content("1")))]);
        let other = side("b", &[("tool", Some(content("2")))]);
        let found = claims(&one, &other);
        assert_eq!(found.len(), 1, "{found:?}");
        let text = found[0].to_string();
        for part in ["/usr/bin/tool", "tool-1-1.x86_64", "a", "b"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_package_that_one_of_them_made_alone_is_told() {
        let one = side("a", &[("tool", None), ("more", None)]);
        let other = side("b", &[("tool", None)]);
        let texts: Vec<String> = claims(&one, &other).iter().map(ToString::to_string).collect();
        let expected = "differs when it is repeated: more-1-1.x86_64: made by a, not by b";
        assert_eq!(texts, [expected]);
        assert_eq!(claims(&other, &one).len(), 1);
    }

    #[test]
    fn nobody_is_shown_thousands_of_differences() {
        let names: Vec<String> = (0..500).map(|number| format!("p{number:03}")).collect();
        let many: Vec<(&str, Option<PackageContent>)> =
            names.iter().map(|name| (name.as_str(), None)).collect();
        let found = claims(&side("a", &many), &side("b", &[]));
        assert_eq!(found.len(), MAX_SHOWN + 1);
        assert!(found[MAX_SHOWN].what.contains("400 more differences"), "{:?}", found[MAX_SHOWN]);
    }
}
