//! The rpm macros of a build: defaults of the worker, the target's, and the directories of
//! rpmbuild.
//!
//! Owns which of them can be overridden. It must not know the target file: the text of its macros
//! comes with the assignment.

use rpmfarm_core::task::TaskKind;

/// rpmbuild's top directory, in the cage.
pub(super) const TOPDIR: &str = "/builddir/build";

/// The build host in packages where neither the target nor its distribution sets one: the same
/// everywhere, so that packages do not depend on where they were built.
const BUILD_HOST: &str = "rpmfarm";

/// The times in a source package unless the target sets them: the same sources give the same bytes,
/// whenever and wherever the package is made. Binary packages have no such defaults: the macros of
/// the distribution apply.
const OF_SRPMS: &str =
    "%source_date_epoch_from_changelog 1\n%use_source_date_epoch_as_buildtime 1\n";

/// The text of the build user's `.rpmmacros`, which is read after the root's own files. In it the
/// last line of a name wins: the target's macros override the defaults, and the worker's
/// directories override all (a target file that defines them is refused).
#[must_use]
pub(super) fn text(target: &str, kind: TaskKind) -> String {
    let defaults = if kind == TaskKind::Srpm { OF_SRPMS } else { "" };
    format!(
        "%_buildhost {BUILD_HOST}\n\
         {defaults}\
         {}\n\
         %_topdir {TOPDIR}\n\
         %_rpmfilename %%{{NAME}}-%%{{VERSION}}-%%{{RELEASE}}.%%{{ARCH}}.rpm\n",
        target.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body that rpm takes: the last one.
    fn body<'t>(text: &'t str, name: &str) -> Option<&'t str> {
        text.lines().rev().find_map(|line| {
            let (found, body) = line.strip_prefix('%')?.split_once(' ')?;
            (found == name).then_some(body)
        })
    }

    #[test]
    fn the_targets_word_counts_but_for_where_rpmbuild_works() {
        let target = "%_buildhost elsewhere\n%use_source_date_epoch_as_buildtime 0\n%_topdir /x\n";
        for kind in [TaskKind::Srpm, TaskKind::Build] {
            let text = text(target, kind);
            assert_eq!(body(&text, "_buildhost"), Some("elsewhere"));
            assert_eq!(body(&text, "use_source_date_epoch_as_buildtime"), Some("0"));
            assert_eq!(body(&text, "_topdir"), Some(TOPDIR));
        }
    }

    #[test]
    fn without_a_word_of_the_target_times_of_binary_packages_are_the_distributions() {
        for (kind, expected) in [(TaskKind::Srpm, Some("1")), (TaskKind::Build, None)] {
            let text = text("%dist .el9\n", kind);
            assert_eq!(body(&text, "_buildhost"), Some(BUILD_HOST));
            assert_eq!(body(&text, "use_source_date_epoch_as_buildtime"), expected);
            assert_eq!(body(&text, "source_date_epoch_from_changelog"), expected);
            assert_eq!(body(&text, "clamp_mtime_to_source_date_epoch"), None);
            assert_eq!(body(&text, "build_mtime_policy"), None);
        }
    }
}
