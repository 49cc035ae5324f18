//! The shell scripts that run in the cage, in a login shell as in mock: `/etc/profile` is read.
//! Values are passed to the scripts as arguments, never as part of their text.

use rpmfarm_core::Arch;

use super::python;

/// Time marks around rpmbuild, in the build directory: seconds since the machine's start.
pub(super) const TIMES: &str = "rpmbuild.times";
/// The file with the names of the packages that the spec makes, in the build directory.
pub(super) const PREDICTS: &str = "predicts";
/// The file with the names that the spec says these packages provide and obsolete, in the build
/// directory.
pub(super) const PROVIDES: &str = "provides";
/// The file with what the spec says with other rpm targets, in the build directory, in the form
/// that [`rpmfarm_core::terms::parse`] reads.
pub(super) const TERMS: &str = "terms";
/// The file with the spec's requirements on the build's architecture, in the build directory; only
/// of a build that found one missing.
pub(super) const REQUIRES: &str = "requires";

/// Builds read from /dev/null, as mock's do, and this shell does not count: mock's becomes
/// rpmbuild. Reading `/proc/uptime` with a builtin is a clock that costs no process.
const MARK: &str = "exec < /dev/null\nSHLVL=0\nmark() { read -r up rest < /proc/uptime && echo \"$up\" >> rpmbuild.times; }\n";

/// `$1` architecture, `$2` spec file, after them the other architectures that are asked for.
///
/// Facts about the worker must not get into the source package (rpm 4.18 and later put the whole
/// spec with its macros expanded into the header). So rpm and every program of a macro see one
/// processor: by [`srpm_environment`], and for those who ask the kernel by the affinity. And a spec
/// without a changelog, which has no time of its own, gets that of its sources.
///
/// An SRPM lists what its spec says on the architecture on which it was made. What it says on
/// others is rpm's answer with `--target`: that changes `%ifarch`, `%{_isa}` and `%{_arch}`, by the
/// macros of the platform that rpm has for every architecture. Packages without `%files` are not
/// made; an rpm that cannot leave them out (before 4.15) names them too. What the spec itself
/// prints while it is read again is shown only when rpm cannot read it.
const SRPM: &str = "\
cd /builddir/build || exit 1
while read -r key value; do
  [ \"$key\" = Cpus_allowed_list: ] || continue
  taskset -cp \"${value%%[-,]*}\" $$
done < /proc/self/status > /dev/null 2>&1
mark
rpmbuild -bs --nodeps --target \"$1\" \"SPECS/$2\" || exit
if [ \"$(rpm -qp --nosignature --qf '%{CHANGELOGTIME}' SRPMS/*.rpm)\" = '(none)' ]; then
  rm SRPMS/*.rpm
  SOURCE_DATE_EPOCH=315532800 rpmbuild -bs --nodeps --target \"$1\" \"SPECS/$2\" || exit
fi
mark
own=$1
spec=SPECS/$2
shift 2
makes() {
  rpmspec -q --builtrpms --target \"$1\" --qf \"$2\" \"$spec\" 2> said ||
    rpmspec -q --target \"$1\" --qf \"$2\" \"$spec\" 2> said
}
makes \"$own\" '%{name}\\n' > predicts || { cat said >&2; exit 1; }
makes \"$own\" '[%{PROVIDENAME}\\n][%{OBSOLETENAME}\\n]' > provides
case \" $(rpm -qp --nosignature --nodigest --qf '[%{EXCLUSIVEARCH} ]' SRPMS/*.src.rpm) \" in
  *' noarch '*) set -- \"$@\" noarch ;;
esac
for target; do
  [ -e \"/usr/lib/rpm/platform/$target-linux/macros\" ] || {
    echo \"rpmfarm: the rpm of this root has no macros of the platform $target-linux: what the spec\" \
      \"requires on $target is found out there, while it is built\" >&2
    continue
  }
  echo \"target $target\"
  rpmspec -q --srpm --target \"$target\" --qf '[requires %{REQUIRENEVRS}\\n]\\
[conflicts %{CONFLICTNEVRS}\\n][exclusive %{EXCLUSIVEARCH}\\n][excluded %{EXCLUDEARCH}\\n]\\
[builds %{BUILDARCHS}\\n]' \"$spec\" 2> said &&
    makes \"$target\" 'makes %{name}\\n[provides %{PROVIDENAME}\\n][provides %{OBSOLETENAME}\\n]' &&
    echo end || {
    echo \"rpmfarm: rpm cannot read the spec for $target:\" >&2
    cat said >&2
  }
done > terms
exit 0
";

/// `$1` rpm's target, `$2` SRPM, then options of rpmbuild. Cleaning up is left to the worker, which
/// throws everything away.
/// An SRPM lists what its spec requires on the architecture on which it was made; rpmbuild ends
/// with status 11 when it requires more on this one.
const BUILD: &str = "\
cd /builddir/build || exit 1
mark
rpm -i --nodeps --nosignature --nodigest \"/builddir/input/$2\" || exit
arch=$1
shift 2
spec=$(echo SPECS/*.spec)
options
rpmbuild -bb --noclean --target \"$arch\" \"$@\" \"$spec\"
status=$?
mark
if [ $status = 11 ]; then
  rpmspec -q --buildrequires --target \"$arch\" \"$spec\" > requires
fi
exit $status
";

/// The processors that the cage of a source package build shows, beside its architecture
/// nothing of which may depend on the worker. `nproc` reads the second.
pub(super) fn srpm_environment() -> Vec<(String, String)> {
    ["RPM_BUILD_NCPUS", "OMP_NUM_THREADS"].map(|name| (name.to_owned(), "1".to_owned())).to_vec()
}

/// The command that makes an SRPM, and asks what its spec says on other architectures.
pub(super) fn srpm(arch: Arch, spec: &str, others: &[Arch]) -> Vec<String> {
    let mut command = shell(SRPM, arch.as_str(), spec);
    command.extend(others.iter().filter(|other| **other != arch).map(ToString::to_string));
    command
}

/// The command that builds one with a target of rpm, with or without its tests.
pub(super) fn build(target: &str, srpm: &str, nocheck: bool) -> Vec<String> {
    let mut command = shell(&BUILD.replacen("options\n", python::OPTIONS, 1), target, srpm);
    command.extend(nocheck.then(|| "--nocheck".to_owned()));
    command
}

fn shell(script: &str, target: &str, file: &str) -> Vec<String> {
    let script = format!("{MARK}{script}");
    let login = ["/bin/bash", "--login", "-c", &script, "rpmfarm", target, file];
    login.map(str::to_owned).to_vec()
}

/// Milliseconds between the first and the last mark. The build can change the file, so the number
/// is used for statistics only.
pub(super) fn elapsed_ms(times: &str) -> u64 {
    let marks: Vec<f64> = times.lines().filter_map(|line| line.trim().parse().ok()).collect();
    match (marks.first(), marks.last()) {
        // A float becomes the nearest integer that there is.
        (Some(first), Some(last)) => ((last - first).max(0.0) * 1000.0).round() as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_the_marks_say() {
        assert_eq!(elapsed_ms("10.50\n12.75\n"), 2250);
        assert_eq!(elapsed_ms("10.50\n"), 0);
        assert_eq!(elapsed_ms("nonsense\nnan\n-inf\n"), 0);
        assert_eq!(elapsed_ms(""), 0);
    }
}
