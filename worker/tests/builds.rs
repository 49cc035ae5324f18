//! Real builds in real roots: their results, which are the same each time.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::{Scene, failure, spec};
use rpmfarm_core::Sha256;
use rpmfarm_core::terms::AllTerms;

const HELLO: &str = r#"Name: hi
Epoch: 1
Version: 1.0
Release: 1%{?dist}
Summary: Says hi
License: MIT
Source0: hi.c
BuildRequires: gcc
%description
Says hi.
%package data
Summary: Data
BuildArch: noarch
%description data
Data.
%prep
%setup -q -T -c
cp %{SOURCE0} .
%build
gcc %{optflags} -o hi hi.c
%install
install -D hi %{buildroot}%{_bindir}/hi
mkdir -p %{buildroot}/usr/share/hi
for i in a b c d e; do date > %{buildroot}/usr/share/hi/$i; touch %{buildroot}/usr/share/hi/$i; done
date -d @0 > %{buildroot}/usr/share/hi/a
for i in b c d e; do cp %{buildroot}/usr/share/hi/a %{buildroot}/usr/share/hi/$i; done
%check
./hi | grep hi
%files
%{_bindir}/hi
%files data
/usr/share/hi
%changelog
* Mon Jan 01 2024 Lab <lab@example.org> - 1:1.0-1
- First
"#;
const HELLO_C: &str = "#include <stdio.h>\nint main(void) { puts(\"hi\"); return 0; }\n";

fn digests(scene: &Scene) -> Vec<(String, Sha256)> {
    let files = fs::read_dir(scene.results()).unwrap().map(|entry| entry.unwrap());
    let mut digests: Vec<_> = files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, Sha256::compute(&fs::read(file.path()).unwrap()))
        })
        .collect();
    digests.sort();
    digests
}

fn query(scene: &Scene, file: &str, format: &str) -> String {
    let path = scene.results().join(file);
    let output = Command::new("rpm").args(["-qp", "--qf", format]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_same_lock_gives_the_same_bytes() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("hi", HELLO, &[("hi.c", HELLO_C)]);
    let first_srpm = fs::read(&srpm).unwrap();
    let again = scene.srpm("hi", HELLO, &[("hi.c", HELLO_C)]);
    assert_eq!(first_srpm, fs::read(again).unwrap(), "the source package differs");

    let report = scene.build(&srpm, &["--cpus", "1"]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    let first = digests(&scene);
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "hi-1.0-1.lab9.x86_64.rpm",
            "hi-data-1.0-1.lab9.noarch.rpm",
            "hi-debuginfo-1.0-1.lab9.x86_64.rpm",
            "hi-debugsource-1.0-1.lab9.x86_64.rpm",
        ]
    );
    let report = scene.build(&srpm, &["--cpus", "3", "--scratch", "plain"]);
    assert!(report["failure"].is_null(), "{report:#}");
    assert_eq!(digests(&scene), first, "other processors, another disk: other bytes");

    let hi = "hi-1.0-1.lab9.x86_64.rpm";
    assert_eq!(query(&scene, hi, "%{buildhost} %{buildtime}"), "rpmfarm 1704067200");
    let owners = query(&scene, hi, "[%{fileusername}:%{filegroupname} ]");
    assert!(owners.split_whitespace().all(|owner| owner == "root:root"), "{owners}");
}

/// The files of a source package according to rpm: mode and name.
fn modes(srpm: &std::path::Path) -> Vec<String> {
    let format = "[%{FILEMODES:perms} %{FILENAMES}\n]";
    let output = Command::new("rpm").args(["-qp", "--qf", format]).arg(srpm).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_source_keeps_its_mode_and_is_run_by_its_name() {
    let scene = Scene::new(&[]);
    let spec = spec("execsrc", "%{SOURCE0} > words\ngrep -x one words\ntest ! -x %{SOURCE1}\n")
        .replace("BuildArch: noarch\n", "BuildArch: noarch\nSource0: run\nSource1: text\n");
    let beside = scene.dir.path().join("execsrc.sources");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("run"), "").unwrap();
    fs::set_permissions(beside.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    let sources = [("run", "#!/bin/sh\necho one\n"), ("text", "echo\n")];
    let srpm = scene.srpm("execsrc", &spec, &sources);
    let expected = ["-rw-r--r-- execsrc.spec", "-rwxr-xr-x run", "-rw-r--r-- text"];
    assert_eq!(modes(&srpm), expected);
    let report = scene.build(&srpm, &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
}

#[test]
fn a_source_package_does_not_depend_on_who_makes_it_or_when() {
    let scene = Scene::new(&[]);
    let asking = spec("asks", "make %{?_smp_mflags}; echo %{_smp_build_ncpus} %{getncpus}")
        .replace("A test.\n", "On %(nproc) processors of %(hostname): %{_smp_mflags}\n");
    let undated = asking.split("%changelog").next().unwrap().to_owned();
    for (name, spec) in [("dated", asking.as_str()), ("undated", &undated)] {
        let made =
            |options: &[&str]| fs::read(scene.srpm_with("asks", spec, &[], options)).unwrap();
        let first = made(&["--cpus", "1"]);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert!(made(&["--cpus", "3", "--scratch", "plain"]) == first, "{name}");
    }
}

/// A module that is written and compiled during the build, and one that is compiled only.
const MODULE: &str = r#"Name: module
Version: 1
Release: 1%{?dist}
Summary: Compiled modules
License: MIT
BuildArch: noarch
BuildRequires: python3
%description
Compiled modules.
%install
d=%{buildroot}/usr/lib/python3/module
mkdir -p $d
echo 'x = 1' > $d/new.py
echo 'x = 1' > $d/old.py
touch -d 2020-01-01 $d/old.py
python3 -m compileall --invalidation-mode timestamp -s %{buildroot} -p / $d
%files
/usr/lib/python3/module
%changelog
* Mon Jan 01 2024 Lab <lab@example.org> - 1-1
- First
"#;

#[test]
fn times_in_packages_are_what_the_target_or_its_distribution_says() {
    let mut scene = Scene::new(&[&["python3"]]);
    let dated = 1_704_067_200;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let built = |scene: &Scene| {
        let report = scene.build_spec("module", MODULE, &[]);
        assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
        let package = "module-1-1.lab9.noarch.rpm";
        let format = "%{buildhost} %{buildtime}\n[%{FILENAMES} %{FILEMTIMES}\n]";
        let text = query(scene, package, format);
        let (first, files) = text.split_once('\n').unwrap();
        let times: std::collections::BTreeMap<String, u64> = files
            .lines()
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, time)| (name.to_owned(), time.parse().unwrap()))
            .collect();
        // The values that Python compares when it imports: the time of the source and the recorded
        // time.
        let out = tempfile::tempdir().unwrap();
        let unpack =
            format!("rpm2cpio {} | cpio -idm --quiet", scene.results().join(package).display());
        let unpacked = Command::new("sh").args(["-c", &unpack]).current_dir(out.path()).status();
        assert!(unpacked.unwrap().success());
        let modules = out.path().join("usr/lib/python3/module");
        for name in ["new", "old"] {
            let compiled = fs::read_dir(modules.join("__pycache__"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name))
                .unwrap();
            let bytes = fs::read(compiled).unwrap();
            let recorded = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
            let source = times[&format!("/usr/lib/python3/module/{name}.py")];
            assert_eq!(u64::from(recorded), source, "{name}.py is newer than what was compiled");
        }
        let (host, time) = first.split_once(' ').unwrap();
        let new = times["/usr/lib/python3/module/new.py"];
        (host.to_owned(), time.parse::<u64>().unwrap(), new)
    };

    let (host, time, new) = built(&scene);
    assert_eq!((host.as_str(), time, new), ("rpmfarm", dated, dated), "the target clamps");
    scene.macros = "%dist .lab9\n%_buildhost elsewhere\n".to_owned();
    let (host, time, new) = built(&scene);
    assert_eq!(host, "elsewhere");
    assert!(time >= now && new >= now, "nobody asks for other times: {time} {new}");
    scene.macros = "%dist .lab9\n%build_mtime_policy clamp_to_source_date_epoch\n\
                    %clamp_mtime_to_source_date_epoch 0\n%source_date_epoch_from_changelog 0\n"
        .to_owned();
    let (_, time, new) = built(&scene);
    assert!(time >= now && new >= now, "there is no date to clamp to: {time} {new}");
}

#[test]
fn a_layer_is_on_top_of_the_base_and_rpm_knows_all_of_it() {
    let scene = Scene::new(&[&["autoconf"], &["zlib1g-dev"]]);
    let packages = scene.lock().layers.iter().map(|layer| layer.packages().len()).sum::<usize>();
    let script = format!(
        "rpm -q autoconf zlib1g-dev gcc\ntest $(rpm -qa | grep -v gpg-pubkey | wc -l) = {packages}\n\
         echo '#include <zlib.h>' > z.c && gcc -c z.c\nrpm -V autoconf"
    );
    let report = scene.build_spec("layers", &spec("layers", &script), &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
}

#[test]
fn a_spec_says_what_it_will_make() {
    let scene = Scene::new(&[]);
    scene.srpm("hi", HELLO, &[("hi.c", HELLO_C)]);
    let report = scene.last();
    let predicts: Vec<&str> =
        report["predicts"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(predicts.starts_with(&["hi", "hi-data"]), "{predicts:?}");
}

/// Parts of a spec that depend on the architecture: requirements, conflicts, names, lists.
const BY_ARCH: &str = "\
Name: byarch
Version: 1.0
Release: 1%{?dist}
Summary: x
License: x
ExclusiveArch: noarch x86_64 aarch64
%global debug_package %{nil}
BuildRequires: gcc%{?_isa}
%ifarch x86_64
BuildRequires: make >= 3
BuildConflicts: nobody-has-this
%endif
%ifarch ppc64le
ExcludeArch: ppc64le
%endif
%description
x
%ifarch noarch
%package doc
Summary: x
BuildRequires: bash
%description doc
x
%files doc
/usr/share/byarch
%else
%package %{_arch}
Summary: x
%description %{_arch}
x
%files %{_arch}
%files
%{_libdir}/byarch
%endif
%package empty
Summary: made nowhere
%description empty
x
%build
echo %{_host} > host
%install
%ifarch noarch
install -D host %{buildroot}/usr/share/byarch/host
%else
install -D host %{buildroot}%{_libdir}/byarch/host
%endif
";

#[test]
fn a_spec_is_read_on_the_terms_of_each_architecture() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("byarch", BY_ARCH, &[]);
    let report = scene.last();
    assert_eq!(report["predicts"].as_array().unwrap(), &["byarch", "byarch-x86_64"], "{report:#}");
    let terms: AllTerms = serde_json::from_value(report["terms"].clone()).unwrap();
    assert_eq!(terms.keys().collect::<Vec<_>>(), ["aarch64", "noarch", "ppc64le"]);
    let arm = &terms["aarch64"];
    assert_eq!(arm.requires, ["gcc(aarch-64)"], "neither x86_64's `make` nor its gcc");
    assert_eq!(arm.conflicts, [""; 0]);
    assert_eq!(arm.predicts, ["byarch", "byarch-aarch64"]);
    assert_eq!(arm.exclusive, ["noarch", "x86_64", "aarch64"]);
    assert_eq!((arm.excluded.len(), &*terms["ppc64le"].excluded), (0, &["ppc64le".to_owned()][..]));
    assert_eq!(terms["noarch"].requires, ["bash", "gcc"]);
    assert_eq!(terms["noarch"].predicts, ["byarch-doc"]);

    // The pass for `noarch` makes packages that no architecture makes, on any machine.
    let report = scene.build(&srpm, &["--noarch"]);
    assert_eq!(report["files"].as_array().unwrap(), &["byarch-doc-1.0-1.lab9.noarch.rpm"]);
    let doc = scene.results().join("byarch-doc-1.0-1.lab9.noarch.rpm");
    let host = Command::new("sh")
        .args(["-c", "rpm2cpio \"$1\" | cpio -i --to-stdout --quiet", "sh"])
        .arg(doc)
        .output()
        .unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    assert!(host.starts_with("x86_64-"), "{host}");
}

#[test]
fn generated_requirements_are_reported() {
    let scene = Scene::new(&[]);
    let dynamic = spec("dynamic", "true").replace(
        "%build",
        "%generate_buildrequires\necho 'zlib1g-dev >= 1.2'\necho 'nobody-has-this'\n%build",
    );
    let report = scene.build_spec("dynamic", &dynamic, &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    let requires: Vec<&str> =
        report["requires"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(requires, ["nobody-has-this", "zlib1g-dev >= 1.2"]);
}

#[test]
fn failures_say_whose_and_what() {
    let scene = Scene::new(&[]);
    let build = |script: &str| spec("fails", script);
    let table = [
        (
            build("true").replace("%prep", "%prep\ncat missing.patch"),
            "prep",
            "%prep failed: cat: missing.patch: No such file or directory",
        ),
        (build("echo 'int main() { return x; }' > a.c\ngcc a.c"), "build", "%build failed: a.c:1:"),
        (
            build("true").replace("%files", "%check\necho FAIL: t1; exit 1\n%files"),
            "check",
            "%check failed: FAIL: t1",
        ),
        (
            build("true").replace("%files\n", "%files\n/usr/bin/absent\n"),
            "files",
            "packaging failed: error: File not found:",
        ),
        (
            build("true")
                .replace("%files\n/usr", "touch %{buildroot}/usr/share/fails/x\n%files\n%dir /usr"),
            "files",
            "packaging failed: error: Installed (but unpackaged) file(s) found:",
        ),
        (build("exec 3<>/dev/tcp/192.0.2.1/80"), "build", "Network is unreachable"),
        (build("(cd /; false)"), "build", "%build failed at `false` (which printed nothing)"),
        (build("test 2 = 1 || exit 7"), "build", "%build failed at `test 2 = 1` (exit status 7)"),
        (
            build("printf 'all:\\n\\tsh -c \"exit 5\"\\n' > Makefile\nmake -s all"),
            "build",
            "[Makefile:2: all] Error 5 (at `make -s all`)",
        ),
        (build("sh -c 'kill -SEGV $$'; true"), "build", "Segmentation fault"),
    ];
    for (spec, stage, message) in table {
        let report = scene.build_spec("fails", &spec, &[]);
        let (fault, at, cause) = failure(&report);
        assert_eq!(
            (fault.as_str(), at.as_str()),
            ("package", stage),
            "{report:#}\n{}",
            scene.log()
        );
        assert!(cause.contains(message), "{cause}\n{}", scene.log());
        let excerpt = report["failure"]["excerpt"].as_array().unwrap();
        assert!((1..=10).contains(&excerpt.len()), "{report:#}");
    }
}

#[test]
fn scriptlets_of_requirements_fill_neither_log_nor_disk_and_are_named() {
    for (name, post, says) in [
        ("says-much", "yes", "wrote more than 64 MiB of log"),
        ("takes-much", "fallocate -l 2G /var/much; sleep 60", "more than 1024 MiB of disk"),
        (
            "refuses",
            "true\n%pre\nexit 3",
            "the scriptlet %pre of refuses-1-1.noarch failed, exit status 3",
        ),
    ] {
        let scene = Scene::new(&[]);
        let srpm = scene.srpm("hi", HELLO, &[("hi.c", HELLO_C)]);
        scene.add_scriptlet(name, post);
        let (fault, stage, message) = failure(&scene.build(&srpm, &[]));
        assert_eq!(
            (fault.as_str(), stage.as_str()),
            ("worker", "transaction"),
            "{name}: {message}"
        );
        assert!(message.contains(says), "{name}: {message}");
        let roots = fs::read_dir(scene.data.join("roots")).unwrap();
        let left: Vec<_> = roots.map(|entry| entry.unwrap().file_name()).collect();
        let making = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("making-");
        assert!(!left.iter().any(making), "what was half made is gone: {left:?}");
    }
}
