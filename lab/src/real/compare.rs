//! Compares the packages of two builds, header by header.
//!
//! Owns what counts as a difference. Must not know how the packages were made, or which
//! differences are to be expected.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::header::Header;

/// Tags with time and place of a build, and signatures: they always differ.
const OF_THE_BUILD: [&str; 4] = ["Buildtime", "Buildhost", "Cookie", "Headeri18ntable"];

/// Tags that are computed from others or from the files, which are compared themselves.
const COMPUTED: [&str; 20] = [
    "Archivesize",
    "Dsaheader",
    "Filetriggerindex",
    "Headerimmutable",
    "Headersignatures",
    "Longarchivesize",
    "Longsigsize",
    "Payloaddigest",
    "Payloaddigestalt",
    "Payloadsize",
    "Payloadsizealt",
    "Reservedspace",
    "Rsaheader",
    "Sha1header",
    "Sha256header",
    "Siggpg",
    "Sigmd5",
    "Sigpgp",
    "Sigsize",
    // The digest of the source package, which contains its build time.
    "Sourcepkgid",
];

/// Tags with one value for each file, which are compared file by file.
const OF_FILES: [&str; 15] = [
    "Fileclass",
    "Filecolors",
    "Filedependsn",
    "Filedevices",
    "Filedigests",
    "Fileflags",
    "Filegroupname",
    "Filelangs",
    "Filelinktos",
    "Filemodes",
    "Filemtimes",
    "Filerdevs",
    "Filesizes",
    "Fileusername",
    "Fileverifyflags",
];

/// Numbers that refer to other lists of the same header: directories and classes of files,
/// positions in the list of dependencies, inodes.
const INDEXES: [&str; 8] = [
    "Basenames",
    "Dirindexes",
    "Dirnames",
    "Filedependsx",
    "Dependsdict",
    "Classdict",
    "Fileinodes",
    "Filesignaturelength",
];

/// The packages of one build: file name → header.
pub type Packages = BTreeMap<String, Header>;

/// One difference between two builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// File name of the package.
    pub package: String,
    /// The tag as `rpm --xml` names it; `Package` when the other build has no such package,
    /// `File` when the other package has no such file.
    pub tag: String,
    /// The file, of tags that have one value for each.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The value in the farm's package, cut short.
    pub farm: String,
    /// The value in the other package.
    pub plain: String,
    /// The reason of the difference, where a rule gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Difference {
    fn new(package: &str, tag: &str, path: &str, farm: &str, plain: &str) -> Self {
        Self {
            package: package.into(),
            tag: tag.into(),
            path: path.into(),
            farm: short(farm),
            plain: short(plain),
            reason: None,
        }
    }

    /// Package, tag and path, without the values.
    #[must_use]
    pub fn place(&self) -> (&str, &str, &str) {
        (&self.package, &self.tag, &self.path)
    }
}

/// All differences between the packages of the farm and those of the other build.
#[must_use]
pub fn compare(farm: &Packages, plain: &Packages) -> Vec<Difference> {
    let names: BTreeSet<&String> = farm.keys().chain(plain.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        match (farm.get(name), plain.get(name)) {
            (Some(farm), Some(plain)) => headers(name, farm, plain, &mut found),
            (Some(_), None) => found.push(Difference::new(name, "Package", "", "there", "missing")),
            _ => found.push(Difference::new(name, "Package", "", "missing", "there")),
        }
    }
    found
}

fn headers(package: &str, farm: &Header, plain: &Header, found: &mut Vec<Difference>) {
    let tags: BTreeSet<&str> = farm.tags().chain(plain.tags()).map(|(tag, _)| tag).collect();
    let passed = [&OF_THE_BUILD[..], &COMPUTED, &OF_FILES, &INDEXES].concat();
    for tag in tags.into_iter().filter(|tag| !passed.contains(tag)) {
        let (ours, others) = (farm.values(tag), plain.values(tag));
        if ours != others {
            let (ours, others) = apart(ours, others);
            found.push(Difference::new(package, tag, "", &ours, &others));
        }
    }
    files(package, farm, plain, found);
}

/// The values that only one of two lists has; the whole lists when only the order differs.
fn apart(ours: &[String], others: &[String]) -> (String, String) {
    let only = |from: &[String], without: &[String]| {
        let kept = from.iter().filter(|value| !without.contains(value));
        kept.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    match (only(ours, others), only(others, ours)) {
        (ours, others) if !ours.is_empty() || !others.is_empty() => (ours, others),
        _ => (ours.join(", "), others.join(", ")),
    }
}

fn files(package: &str, farm: &Header, plain: &Header, found: &mut Vec<Difference>) {
    let places = |header: &Header| -> BTreeMap<String, usize> {
        header.paths().into_iter().enumerate().map(|(at, path)| (path, at)).collect()
    };
    let (ours, others) = (places(farm), places(plain));
    let paths: BTreeSet<&String> = ours.keys().chain(others.keys()).collect();
    for path in paths {
        let (Some(&ours), Some(&others)) = (ours.get(path), others.get(path)) else {
            let there = |has: bool| if has { "there" } else { "missing" };
            let (ours, others) = (there(ours.contains_key(path)), there(others.contains_key(path)));
            found.push(Difference::new(package, "File", path, ours, others));
            continue;
        };
        for tag in OF_FILES {
            let value = |header: &Header, at: usize| {
                let value = header.values(tag).get(at).cloned().unwrap_or_default();
                // Classes are indexes into a list of the same header.
                let class = |index: usize| header.values("Classdict").get(index).cloned();
                let named = (tag == "Fileclass").then(|| value.parse().ok().and_then(class));
                named.flatten().unwrap_or(value)
            };
            let (farm, plain) = (value(farm, ours), value(plain, others));
            if farm != plain {
                found.push(Difference::new(package, tag, path, &farm, &plain));
            }
        }
    }
}

/// The longest value that is stored, in characters: a scriptlet can have thousands.
const LONGEST: usize = 200;

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(tags: &[(&str, &[&str])]) -> Header {
        let mut xml = String::new();
        for (tag, values) in tags {
            xml.push_str(&format!("<rpmTag name=\"{tag}\">\n"));
            values.iter().for_each(|value| xml.push_str(&format!("\t<string>{value}</string>\n")));
            xml.push_str("</rpmTag>\n");
        }
        Header::parse(&xml)
    }

    fn packages(tags: &[(&str, &[&str])]) -> Packages {
        BTreeMap::from([("a-1-1.x86_64.rpm".to_owned(), header(tags))])
    }

    fn places(found: &[Difference]) -> Vec<(&str, &str)> {
        found.iter().map(|one| (one.tag.as_str(), one.path.as_str())).collect()
    }

    #[test]
    fn when_and_where_are_no_difference() {
        let ours = packages(&[("Buildtime", &["1"]), ("Sigmd5", &["x"]), ("Name", &["a"])]);
        let others = packages(&[("Buildtime", &["2"]), ("Rsaheader", &["y"]), ("Name", &["a"])]);
        assert_eq!(compare(&ours, &others), []);
    }

    #[test]
    fn dependencies_and_scriptlets_are() {
        let ours = packages(&[("Requirename", &["a", "b"]), ("Postin", &["x"])]);
        let others = packages(&[("Requirename", &["a", "c"])]);
        let found = compare(&ours, &others);
        assert_eq!(places(&found), [("Postin", ""), ("Requirename", "")]);
        assert_eq!((found[1].farm.as_str(), found[1].plain.as_str()), ("b", "c"));
    }

    #[test]
    fn files_are_compared_by_path() {
        let ours = packages(&[
            ("Basenames", &["x", "y"]),
            ("Dirindexes", &["0", "0"]),
            ("Dirnames", &["/usr/"]),
            ("Filemodes", &["33188", "33188"]),
        ]);
        let others = packages(&[
            ("Basenames", &["y", "z"]),
            ("Dirindexes", &["0", "0"]),
            ("Dirnames", &["/usr/"]),
            ("Filemodes", &["33261", "33188"]),
        ]);
        let found = compare(&ours, &others);
        assert_eq!(
            places(&found),
            [("File", "/usr/x"), ("Filemodes", "/usr/y"), ("File", "/usr/z")]
        );
        assert_eq!((found[1].farm.as_str(), found[1].plain.as_str()), ("33188", "33261"));
    }

    #[test]
    fn a_package_that_one_lacks_is_said() {
        let found = compare(&packages(&[]), &Packages::new());
        assert_eq!(places(&found), [("Package", "")]);
        assert_eq!(found[0].plain, "missing");
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(short(&"ä".repeat(300)).chars().count(), LONGEST + 1);
    }
}
