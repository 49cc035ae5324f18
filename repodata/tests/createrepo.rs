//! createrepo_c and dnf check the repodata: the content is the same as createrepo_c's, and dnf
//! finds the expected packages in it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{rpmbuild, run};
use quick_xml::events::Event;
use rpmfarm_core::Sha256;
use rpmfarm_repodata::{
    Compression, Document, Fragments, PackageFile, RepodataError, assemble, repomd,
};

const ODD_SPEC: &[u8] = include_bytes!("odd.spec");

/// Describes an RPM that lies in the root of its repository.
fn describe(rpm: &Path) -> (Sha256, Fragments) {
    let bytes = fs::read(rpm).unwrap();
    let digest = Sha256::compute(&bytes);
    let href = rpm.file_name().unwrap().to_str().unwrap().to_owned();
    let file = PackageFile { digest, size: bytes.len() as u64, href };
    (digest, Fragments::of_rpm(rpm, &file).unwrap())
}

/// Makes `repodata` for the RPMs of a directory, as a publisher would.
fn make_repodata(dir: &Path, rpms: &[PathBuf], compression: Compression) {
    let packages: BTreeMap<_, _> = rpms.iter().map(|rpm| describe(rpm)).collect();
    let order: Vec<_> = packages.keys().copied().collect();
    let repodata = dir.join("repodata");
    fs::create_dir_all(&repodata).unwrap();
    let assembled = assemble::<RepodataError>(&repodata, &order, compression, None, |digest| {
        Ok(packages[&digest].clone())
    })
    .unwrap();
    let records: Vec<_> = assembled.into_iter().map(|a| a.record).collect();
    fs::write(repodata.join("repomd.xml"), repomd::write(1, 1_700_000_000, &records)).unwrap();
}

/// An XML element with everything in it, in a form that does not depend on how it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    children: Vec<Element>,
}

/// The packages of a document by pkgid.
fn packages(path: &Path, compression: Compression) -> BTreeMap<String, Element> {
    let mut xml = String::new();
    let file = BufReader::new(File::open(path).unwrap());
    compression.open(file).unwrap().read_to_string(&mut xml).unwrap();
    let root = parse(&xml);
    let count: usize = root.attributes["packages"].parse().unwrap();
    assert_eq!(count, root.children.len(), "{}", path.display());
    root.children.into_iter().map(|package| (pkgid(&package), normalise(package))).collect()
}

fn pkgid(package: &Element) -> String {
    package.attributes.get("pkgid").cloned().unwrap_or_else(|| {
        package.children.iter().find(|c| c.name == "checksum").unwrap().text.clone()
    })
}

/// The time of the file is the build time here and the file's own time there.
fn normalise(mut package: Element) -> Element {
    for child in &mut package.children {
        if child.name == "time" {
            child.attributes.remove("file");
        }
    }
    package
}

fn parse(xml: &str) -> Element {
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut stack = vec![Element {
        name: String::new(),
        attributes: BTreeMap::new(),
        text: String::new(),
        children: Vec::new(),
    }];
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => stack.push(Element {
                name: start.name().as_ref().to_owned(),
                attributes: start
                    .attributes()
                    .map(|a| a.unwrap())
                    .map(|a| (a.key.as_ref().to_owned(), unescape(&a.value)))
                    .collect(),
                text: String::new(),
                children: Vec::new(),
            }),
            Event::Text(text) => stack.last_mut().unwrap().text.push_str(&text),
            Event::GeneralRef(entity) => {
                let entity = format!("&{};", &*entity);
                stack.last_mut().unwrap().text.push_str(&unescape(&entity));
            }
            Event::End(_) => {
                let mut done = stack.pop().unwrap();
                if !done.children.is_empty() {
                    done.text.clear();
                }
                stack.last_mut().unwrap().children.push(done);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    stack.pop().unwrap().children.pop().unwrap()
}

fn unescape(text: &str) -> String {
    quick_xml::escape::unescape(text).unwrap().into_owned()
}

fn document(dir: &Path, document: Document) -> PathBuf {
    let suffix = format!("-{}.xml.gz", document.as_str());
    fs::read_dir(dir.join("repodata"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().ends_with(&suffix))
        .unwrap_or_else(|| panic!("no {suffix}"))
}

/// A package whose texts and file names are in Latin-1, below directories in both encodings.
fn latin_spec() -> Vec<u8> {
    let text = "%global _invalid_encoding_terminates_build 0\n\
        Name: latin\nVersion: 1\nRelease: 1\nSummary: R\u{e9}sum\u{e9}\nLicense: MIT\nVendor: Caf\u{e9}\n\
        BuildArch: noarch\n%description\nna\u{ef}ve\n%install\ncd %{buildroot}\nmkdir -p usr/UTF8 usr/d\u{ed}r\n\
        touch usr/caf\u{e9} usr/UTF8/plain usr/d\u{ed}r/x\n%files\n/usr/*\n%changelog\n\
        * Mon Jan 01 2024 J\u{e9}r\u{f4}me <a@example.org> - 1-1\n- caf\u{e9}\n";
    let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let mut spec = Vec::new();
    let mut rest = latin.as_slice();
    while let Some(at) = rest.windows(4).position(|window| window == b"UTF8") {
        spec.extend_from_slice(&rest[..at]);
        spec.extend_from_slice("gr\u{fc}n".as_bytes());
        rest = &rest[at + 4..];
    }
    spec.extend_from_slice(rest);
    spec
}

#[test]
fn says_what_createrepo_c_says() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let mut rpms = rpmbuild(dir.path(), ODD_SPEC);
    assert_eq!(rpms.len(), 4);
    fs::create_dir(dir.path().join("latin")).unwrap();
    rpms.extend(rpmbuild(&dir.path().join("latin"), &latin_spec()));
    make_repodata(&ours, &rpms, Compression::Gzip);
    fs::create_dir(&theirs).unwrap();
    for rpm in &rpms {
        fs::copy(rpm, theirs.join(rpm.file_name().unwrap())).unwrap();
    }
    run(Command::new("createrepo_c").arg("--no-database").arg(&theirs));
    for kind in Document::ALL {
        let ours = packages(&document(&ours, kind), Compression::Gzip);
        let theirs = packages(&document(&theirs, kind), Compression::Gzip);
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (pkgid, package) in &theirs {
            assert_eq!(ours[pkgid], *package, "{kind:?}");
        }
    }
}

#[test]
fn dnf_reads_both_compressions() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let dir = tempfile::tempdir().unwrap();
        let rpms = rpmbuild(dir.path(), ODD_SPEC);
        make_repodata(dir.path(), &rpms, compression);
        let query = |arguments: &[&str]| {
            run(Command::new("dnf")
                .args(["--noplugins", "--disablerepo=*", "--quiet"])
                .arg(format!("--installroot={}", dir.path().join("root").display()))
                .arg(format!("--setopt=cachedir={}", dir.path().join("cache").display()))
                .arg(format!("--repofrompath=ours,file://{}", dir.path().display()))
                .args(["--enablerepo=ours", "repoquery"])
                .args(arguments))
        };
        assert!(query(&[]).contains("odd++-2:1.0~rc1^git3-1+x.noarch"));
        let requires = query(&["--requires", "odd++.noarch"]);
        assert!(requires.contains("(plain if (rich or other) else third)"), "{requires}");
        assert_eq!(query(&["--recommends", "odd++.noarch"]).trim(), "weak-recommended");
        let file = "/usr/share/odd dir/with space & <amp> 'q' ü";
        assert!(query(&["--list", "odd++.noarch"]).contains(file));
        assert!(query(&["--file", file]).contains("odd++"));
        assert!(query(&["--changelogs", "odd++.noarch"]).contains("- entry \"twelve\" & <more>"));
    }
}
