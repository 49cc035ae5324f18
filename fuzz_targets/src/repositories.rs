//! External repositories: their pages, lists of mirrors and packages, and the requirements of
//! packages, as far as they reach the solver, which is written in C.

use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};
use rpmfarm_coordinator::resolve::repomd::Repomd;
use rpmfarm_coordinator::resolve::{href, metalink, mirrorlist};
use rpmfarm_core::Arch;
use rpmfarm_core::digest::DigestKind;
use rpmfarm_core::relation::{self, AttributeScanner};
use rpmfarm_signer::repomd;
use rpmfarm_solv::{Fragment, Pool, Repository, SolveRequest};
use url::Url;

use crate::one_line;

/// The page of an external repository.
pub fn fuzz_repomd(data: &[u8]) {
    match Repomd::parse(data) {
        Ok(page) => {
            for file in page.files() {
                assert!(href::check(&file.href).is_ok(), "{file:?}");
                let kind = file.checksum.kind;
                assert!(matches!(kind, DigestKind::Sha256 | DigestKind::Sha512), "{file:?}");
                assert_eq!(file.checksum.hex.len(), kind.digits());
            }
        }
        Err(error) => one_line(&error),
    }
}

/// The locations of a repository's packages.
pub fn fuzz_metalink(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let is_http = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    assert!(mirrorlist(text).iter().all(is_http));
    match metalink(text) {
        Ok((urls, pages)) => assert!(urls.iter().all(is_http) && !pages.is_empty()),
        Err(error) => one_line(&error),
    }
}

/// The location of a file in a repository: it stays below the repository.
pub fn fuzz_href(data: &[u8]) {
    const BASE: &str = "http://host/repo/";
    let text = String::from_utf8_lossy(data);
    let base: Url = BASE.parse().expect("it is a URL");
    match href::join(&base, &text) {
        Ok(url) => {
            assert!(url.as_str().starts_with(BASE), "{url}");
            assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
        }
        Err(error) => one_line(&error),
    }
}

/// The page of a repository that the signer is asked to sign.
pub fn fuzz_page(data: &[u8]) {
    match repomd::revision(data) {
        Ok(revision) => {
            assert!(i64::try_from(revision).is_ok());
            // The coordinator reads the same revision.
            if let Ok(page) = Repomd::parse(data) {
                assert_eq!(page.revision, Some(revision));
            }
        }
        Err(error) => one_line(&error),
    }
}

/// The limits of dependencies: the same for a single one and for those in metadata, however the
/// metadata are split.
pub fn fuzz_relation(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let xml = format!("<entry name=\"{text}\"/>");
    let looked_through = |size: usize| {
        let mut attributes = AttributeScanner::default();
        xml.as_bytes().chunks(size).for_each(|piece| attributes.feed(piece));
        attributes.finish()
    };
    let whole = looked_through(xml.len());
    assert_eq!(whole, looked_through(3));
    let alone = relation::check("requirement", &text);
    // Written this way, the attribute is exactly the text.
    if !text.contains(['"', '&', '\0']) {
        assert_eq!(whole.is_ok(), alone.is_ok());
    }
    if let Err(error) = alone {
        one_line(&error);
    }
}

/// A package as createrepo_c describes it in primary.xml and filelists.xml.
const FRAGMENT: (&str, &str) = (
    "<package type=\"rpm\"><name>hello</name><arch>x86_64</arch>\
     <version epoch=\"0\" ver=\"1\" rel=\"1\"/>\
     <checksum type=\"sha256\" pkgid=\"YES\">aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa</checksum>\
     <summary>s</summary><description/><packager/><url/><time file=\"1\" build=\"1\"/>\
     <size package=\"1\" installed=\"1\" archive=\"1\"/><location href=\"hello.rpm\"/>\
     <format><rpm:license>MIT</rpm:license><rpm:provides><rpm:entry name=\"hello\" flags=\"EQ\" \
     epoch=\"0\" ver=\"1\" rel=\"1\"/><rpm:entry name=\"pkgconfig(x)\"/></rpm:provides>\
     <file>/usr/bin/hello</file></format></package>",
    "<package pkgid=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" name=\"hello\" \
     arch=\"x86_64\"><version epoch=\"0\" ver=\"1\" rel=\"1\"/><file>/usr/share/hello</file></package>",
);

fn pool(primary: &str) -> (Pool, bool) {
    let mut pool = Pool::new(Arch::X86_64);
    let about = Repository { id: "lab".to_owned(), ..Repository::default() };
    pool.add_repository(about).expect("it is the first");
    let filelists = FRAGMENT.1.to_owned();
    let fragment = Fragment { primary: primary.to_owned(), filelists };
    let is_taken = pool.add_packages("lab", &[fragment]).is_ok();
    (pool, is_taken)
}

/// Arbitrary lines as requirements.
pub fn fuzz_requirement(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.lines().take(16).collect();
    let (mut pool, is_taken) = pool(FRAGMENT.0);
    assert!(is_taken);
    for line in &lines {
        let _ = pool.fulfilling("lab", line);
    }
    match pool.solve(&SolveRequest { install: lines, ..SolveRequest::default() }) {
        Ok(solution) => assert!(solution.packages.len() <= 1),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error:?}"),
    }
}

/// What passed the scan of metadata is within the bounds for a parser of XML, too. This one takes
/// names with quotation marks, which the solver's parser refuses.
fn check_values(text: &str) {
    let mut reader = Reader::from_str(text);
    loop {
        let start = match reader.read_event() {
            Ok(Event::Start(start) | Event::Empty(start)) => start,
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => continue,
        };
        let is_name = |name: &str| !name.contains(['"', '\'']);
        if !is_name(start.name().as_ref()) {
            return;
        }
        for attribute in start.attributes() {
            let Ok(attribute) = attribute else { return };
            if !is_name(attribute.key.as_ref()) {
                return;
            }
            let Ok(value) = attribute.normalized_value(XmlVersion::Implicit1_0) else { return };
            assert!(relation::check("value", &value).is_ok(), "{value}");
        }
    }
}

/// A repository's description of a package, after the limits were checked: the pool gets all or
/// nothing of it.
pub fn fuzz_primary(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut attributes = AttributeScanner::default();
    attributes.feed(data);
    if attributes.finish().is_err() {
        return;
    }
    check_values(text);
    let (mut pool, is_taken) = pool(text);
    assert_eq!(pool.is_empty(), !is_taken);
    let _ = pool.solve(&SolveRequest { install: vec!["hello"], ..SolveRequest::default() });
}
