//! Which builds of a source package are in a target's solver pools.
//!
//! A pool has the present packages and not the history: of each source the build with the newest
//! version and the last build, builds that are not published or given up yet, and builds that a
//! channel shows. An older package that an open batch has locked stays as well; that is recorded
//! for single packages, and not decided here.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Arch, BuildId, Evr};

/// A build of a source package whose packages were accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolBuild {
    pub build: BuildId,
    /// The version of its source package.
    pub evr: Evr,
    /// The architectures that it was limited to; empty for all of its target.
    pub arches: BTreeSet<Arch>,
    /// Whether it has not ended: it may be published yet.
    pub is_open: bool,
    /// Whether some of its packages were withdrawn. It hides no other build, which may have them.
    pub is_partial: bool,
    /// The channels that it was published to.
    pub channels: BTreeSet<String>,
}

impl PoolBuild {
    /// The order of builds by their versions; of two builds with the same version, the later one
    /// counts as newer.
    const fn version(&self) -> (&Evr, BuildId) {
        (&self.evr, self.build)
    }

    /// Whether it is one for an architecture; `None` stands for those that no build was limited to.
    fn is_for(&self, arch: Option<Arch>) -> bool {
        self.arches.is_empty() || arch.is_some_and(|arch| self.arches.contains(&arch))
    }
}

/// The builds of one source package that stay in the pools.
///
/// For each architecture these are the build with the newest version and the last one: a rebuild
/// with a lower version does not hide the higher one, and is there itself. A build that is needed
/// for one architecture stays for all, since its packages may require each other.
#[must_use]
pub fn staying(builds: &[PoolBuild]) -> BTreeSet<BuildId> {
    let limits = builds.iter().flat_map(|build| &build.arches).copied();
    let arches: BTreeSet<Option<Arch>> = limits.map(Some).chain([None]).collect();
    let mut staying: BTreeSet<BuildId> =
        builds.iter().filter(|build| build.is_open).map(|build| build.build).collect();
    for arch in arches {
        let of_arch = || builds.iter().filter(move |build| build.is_for(arch));
        let whole = || of_arch().filter(|build| !build.is_partial);
        let newest = whole().max_by(|a, b| a.version().cmp(&b.version()));
        let last = whole().map(|build| build.build).max();
        let is_hidden = |build: &&PoolBuild| {
            newest.is_some_and(|newest| build.version() < newest.version())
                && last.is_some_and(|last| build.build < last)
        };
        staying.extend(of_arch().filter(|build| !is_hidden(build)).map(|build| build.build));
    }
    staying.extend(shown(builds));
    staying
}

/// The builds that a channel shows: those with the newest version of all that it was given.
fn shown(builds: &[PoolBuild]) -> BTreeSet<BuildId> {
    let mut newest = BTreeMap::<&str, &Evr>::new();
    for build in builds {
        for channel in &build.channels {
            let evr = newest.entry(channel).or_insert(&build.evr);
            *evr = (*evr).max(&build.evr);
        }
    }
    let is_shown = |build: &&PoolBuild| {
        build.channels.iter().any(|channel| newest[channel.as_str()] <= &build.evr)
    };
    builds.iter().filter(is_shown).map(|build| build.build).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build(number: i64, version: u32, arches: &[Arch]) -> PoolBuild {
        PoolBuild {
            build: BuildId(number),
            evr: Evr::new(0, version.to_string(), "1"),
            arches: arches.iter().copied().collect(),
            is_open: false,
            is_partial: false,
            channels: BTreeSet::new(),
        }
    }

    fn numbers(builds: &[PoolBuild]) -> Vec<i64> {
        staying(builds).into_iter().map(|build| build.0).collect()
    }

    #[test]
    fn a_lower_version_does_not_hide_the_higher_one() {
        let all = [build(1, 1, &[]), build(2, 3, &[]), build(3, 2, &[]), build(4, 1, &[])];
        assert_eq!(numbers(&all), [2, 4]);
        assert_eq!(numbers(&all[..2]), [2]);
        assert!(numbers(&[]).is_empty());
    }

    #[test]
    fn a_build_for_one_architecture_hides_none_of_another() {
        let arm = build(2, 2, &[Arch::Aarch64]);
        assert_eq!(numbers(&[build(1, 1, &[]), arm.clone()]), [1, 2]);
        assert_eq!(numbers(&[build(1, 1, &[]), arm, build(3, 3, &[])]), [3]);
    }

    #[test]
    fn what_is_open_or_shown_stays() {
        let mut all = [build(1, 1, &[]), build(2, 2, &[]), build(3, 3, &[]), build(4, 4, &[])];
        all[0].channels.insert("testing".into());
        all[1].channels.insert("testing".into());
        assert_eq!(numbers(&all), [2, 4], "the newest that is published, and the newest");
        all[2].is_open = true;
        assert_eq!(numbers(&all), [2, 3, 4]);
        all[0].channels.insert("stable".into());
        assert_eq!(numbers(&all), [1, 2, 3, 4], "another channel shows the first one");
    }

    #[test]
    fn a_build_that_lost_packages_hides_none() {
        let mut all = [build(1, 1, &[]), build(2, 2, &[]), build(3, 3, &[])];
        all[2].is_partial = true;
        assert_eq!(numbers(&all), [2, 3]);
        all[1].is_partial = true;
        assert_eq!(numbers(&all), [1, 2, 3]);
        all[2].is_partial = false;
        assert_eq!(numbers(&all), [3]);
    }

    fn any_build() -> impl Strategy<Value = PoolBuild> {
        let arches = prop::collection::btree_set(prop::sample::select(Arch::ALL.to_vec()), 0..3);
        (0..4_u32, arches)
            .prop_map(|(version, arches)| PoolBuild { arches, ..build(0, version, &[]) })
    }

    /// Builds in the order of their numbers, none of them open or published.
    fn any_builds() -> impl Strategy<Value = Vec<PoolBuild>> {
        prop::collection::vec(any_build(), 0..9).prop_map(|mut all| {
            for (number, build) in (1..).zip(&mut all) {
                build.build = BuildId(number);
            }
            all
        })
    }

    fn kept(builds: &[PoolBuild]) -> Vec<PoolBuild> {
        let staying = staying(builds);
        builds.iter().filter(|build| staying.contains(&build.build)).cloned().collect()
    }

    proptest! {
        #[test]
        fn the_newest_of_each_architecture_and_the_last_stay(all in any_builds()) {
            let kept = kept(&all);
            for arch in Arch::ALL.map(Some).into_iter().chain([None]) {
                let newest = |builds: &[PoolBuild]| {
                    let of_arch = builds.iter().filter(|build| build.is_for(arch));
                    of_arch.map(|build| build.evr.clone()).max()
                };
                let last = |builds: &[PoolBuild]| {
                    let of_arch = builds.iter().filter(|build| build.is_for(arch));
                    of_arch.map(|build| build.build).max()
                };
                prop_assert_eq!(newest(&all), newest(&kept));
                prop_assert_eq!(last(&all), last(&kept));
            }
            let whole = kept.iter().filter(|build| !build.is_partial).count();
            prop_assert!(whole <= 2 * (Arch::ALL.len() + 1));
        }

        #[test]
        fn what_is_decided_build_by_build_is_what_the_history_says(
            all in any_builds(), from in 0..9_usize,
        ) {
            // Builds are accepted in any order.
            let mut order = all.clone();
            order.rotate_left(if all.is_empty() { 0 } else { from % all.len() });
            let mut pool = Vec::new();
            for build in order {
                pool.push(build);
                pool = kept(&pool);
            }
            prop_assert_eq!(staying(&pool), staying(&all));
            prop_assert_eq!(pool.len(), staying(&pool).len(), "nothing more is left");
        }

        #[test]
        fn what_is_held_only_adds(
            all in any_builds(), held in 0..9_usize, shown in any::<bool>(),
        ) {
            let mut with = all.clone();
            if let Some(build) = with.get_mut(held) {
                build.is_open = !shown;
                build.channels.extend(shown.then(|| "testing".to_owned()));
                let held = build.build;
                prop_assert!(staying(&with).contains(&held));
            }
            prop_assert!(staying(&with).is_superset(&staying(&all)));
        }
    }
}
