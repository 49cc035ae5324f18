//! Real builds in real roots: what comes out, and that it is the same each time.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

mod common;

use std::fs;
use std::process::Command;

use common::{Bench, failure, spec};
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

fn digests(bench: &Bench) -> Vec<(String, Sha256)> {
    let files = fs::read_dir(bench.results()).unwrap().map(|entry| entry.unwrap());
    let mut digests: Vec<_> = files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, Sha256::of(&fs::read(file.path()).unwrap()))
        })
        .collect();
    digests.sort();
    digests
}

fn query(bench: &Bench, file: &str, format: &str) -> String {
    let path = bench.results().join(file);
    let output = Command::new("rpm").args(["-qp", "--qf", format]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_same_lock_gives_the_same_bytes() {
    let bench = Bench::new(&[]);
    let srpm = bench.srpm("hi", HELLO, &[("hi.c", HELLO_C)]);
    let first_srpm = fs::read(&srpm).unwrap();
    let again = bench.srpm("hi", HELLO, &[("hi.c", HELLO_C)]);
    assert_eq!(first_srpm, fs::read(again).unwrap(), "the source package differs");

    let report = bench.build(&srpm, &["--cpus", "1"]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", bench.log());
    let first = digests(&bench);
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
    let report = bench.build(&srpm, &["--cpus", "3", "--scratch", "plain"]);
    assert!(report["failure"].is_null(), "{report:#}");
    assert_eq!(digests(&bench), first, "other processors, another disk: other bytes");

    let hi = "hi-1.0-1.lab9.x86_64.rpm";
    assert_eq!(query(&bench, hi, "%{buildhost} %{buildtime}"), "rpmfarm 1704067200");
    let owners = query(&bench, hi, "[%{fileusername}:%{filegroupname} ]");
    assert!(owners.split_whitespace().all(|owner| owner == "root:root"), "{owners}");
}

#[test]
fn a_layer_is_on_top_of_the_base_and_rpm_knows_all_of_it() {
    let bench = Bench::new(&[&["autoconf"], &["zlib1g-dev"]]);
    let packages = bench.lock().layers.iter().map(|layer| layer.packages().len()).sum::<usize>();
    let script = format!(
        "rpm -q autoconf zlib1g-dev gcc\ntest $(rpm -qa | grep -v gpg-pubkey | wc -l) = {packages}\n\
         echo '#include <zlib.h>' > z.c && gcc -c z.c\nrpm -V autoconf"
    );
    let report = bench.build_spec("layers", &spec("layers", &script), &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", bench.log());
}

#[test]
fn a_spec_says_what_it_will_make() {
    let bench = Bench::new(&[]);
    bench.srpm("hi", HELLO, &[("hi.c", HELLO_C)]);
    let report = bench.last();
    let predicts: Vec<&str> =
        report["predicts"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(predicts.starts_with(&["hi", "hi-data"]), "{predicts:?}");
}

/// What differs by architecture in a spec: requirements, conflicts, names, lists.
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
    let bench = Bench::new(&[]);
    let srpm = bench.srpm("byarch", BY_ARCH, &[]);
    let report = bench.last();
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

    // The pass for `noarch` makes what no architecture makes, for the machine that it runs on.
    let report = bench.build(&srpm, &["--noarch"]);
    assert_eq!(report["files"].as_array().unwrap(), &["byarch-doc-1.0-1.lab9.noarch.rpm"]);
    let doc = bench.results().join("byarch-doc-1.0-1.lab9.noarch.rpm");
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
    let bench = Bench::new(&[]);
    let dynamic = spec("dynamic", "true").replace(
        "%build",
        "%generate_buildrequires\necho 'zlib1g-dev >= 1.2'\necho 'nobody-has-this'\n%build",
    );
    let report = bench.build_spec("dynamic", &dynamic, &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", bench.log());
    let requires: Vec<&str> =
        report["requires"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(requires, ["nobody-has-this", "zlib1g-dev >= 1.2"]);
}

#[test]
fn failures_say_whose_and_what() {
    let bench = Bench::new(&[]);
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
    ];
    for (spec, stage, message) in table {
        let report = bench.build_spec("fails", &spec, &[]);
        let (fault, at, said) = failure(&report);
        assert_eq!(
            (fault.as_str(), at.as_str()),
            ("package", stage),
            "{report:#}\n{}",
            bench.log()
        );
        assert!(said.contains(message), "{said}\n{}", bench.log());
        let excerpt = report["failure"]["excerpt"].as_array().unwrap();
        assert!((1..=10).contains(&excerpt.len()), "{report:#}");
    }
}

#[test]
fn scriptlets_of_requirements_fill_neither_log_nor_disk_and_are_named() {
    for (name, post, says) in [
        ("says-much", "yes", "wrote more than 64 MiB of log"),
        ("takes-much", "fallocate -l 2G /var/much; sleep 60", "took more than 1024 MiB of disk"),
        (
            "refuses",
            "true\n%pre\nexit 3",
            "the scriptlet %pre of refuses-1-1.noarch failed, exit status 3",
        ),
    ] {
        let bench = Bench::new(&[]);
        let srpm = bench.srpm("hi", HELLO, &[("hi.c", HELLO_C)]);
        bench.add_scriptlet(name, post);
        let (fault, stage, message) = failure(&bench.build(&srpm, &[]));
        assert_eq!(
            (fault.as_str(), stage.as_str()),
            ("worker", "transaction"),
            "{name}: {message}"
        );
        assert!(message.contains(says), "{name}: {message}");
        let roots = fs::read_dir(bench.data.join("roots")).unwrap();
        let left: Vec<_> = roots.map(|entry| entry.unwrap().file_name()).collect();
        let making = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("making-");
        assert!(!left.iter().any(making), "what was half made is gone: {left:?}");
    }
}
