//! The rpm macros of a build: the target's, and those that make builds reproducible.

/// Where rpmbuild works, in the cage.
pub(super) const TOPDIR: &str = "/builddir/build";

/// Host name in the packages: the same everywhere, so that where a package was built does not
/// change it.
const BUILD_HOST: &str = "rpmfarm";

/// The text of the build user's `.rpmmacros`, which has the last word over the root's own files.
///
/// The reproducibility macros come last: a target does not take them back by accident.
/// `clamp_mtime_to_source_date_epoch` is the name up to rpm 4.19, `build_mtime_policy` from 4.20.
#[must_use]
pub(super) fn text(target: &str) -> String {
    format!(
        "{}\n\
         %_topdir {TOPDIR}\n\
         %_rpmfilename %%{{NAME}}-%%{{VERSION}}-%%{{RELEASE}}.%%{{ARCH}}.rpm\n\
         %_buildhost {BUILD_HOST}\n\
         %source_date_epoch_from_changelog 1\n\
         %use_source_date_epoch_as_buildtime 1\n\
         %clamp_mtime_to_source_date_epoch 1\n\
         %build_mtime_policy clamp_to_source_date_epoch\n",
        target.trim_end()
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_farms_macros_have_the_last_word() {
        let text = super::text("%dist .el9\n%_buildhost elsewhere\n");
        assert!(text.starts_with("%dist .el9\n"));
        let last = text.lines().rfind(|line| line.starts_with("%_buildhost"));
        assert_eq!(last, Some("%_buildhost rpmfarm"));
    }
}
