//! The same files are unpacked that rpm installs, and nothing is written outside of the directory.

#![allow(clippy::unwrap_used)]

#[path = "support/forge.rs"]
mod forge;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use forge::File;
use proptest::prelude::*;
use rpm::IndexTag;
use rpmfarm_core::Sha256;
use rpmfarm_rpmfile::{Ownership, RpmError, UnpackSummary, check_contents, inspect, unpack};

/// Type and mode, time, size, link target and link count of everything below a directory.
fn tree(root: &Path) -> BTreeMap<String, (u32, i64, u64, String, u64)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let target = fs::read_link(&path).unwrap_or_default().to_string_lossy().into_owned();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let size = if meta.is_file() { meta.size() } else { 0 };
            let nlink = if meta.is_file() { meta.nlink() } else { 0 };
            found.insert(name, (meta.mode(), meta.mtime(), size, target, nlink));
            if meta.is_dir() {
                todo.push(path);
            }
        }
    }
    found
}

#[test]
fn equals_what_rpm_installs() {
    for compression in ["w19.zstdio", "w6.xzdio", "w6.lzdio", "w9.gzdio", "w9.bzdio", "w.ufdio"] {
        let built = support::build(compression);
        let (ours, theirs) = (built.dir.path().join("ours"), built.dir.path().join("theirs"));
        fs::create_dir(&ours).unwrap();
        let done = unpack(&built.binary, &ours, Ownership::Caller).unwrap();
        assert!(done.entries > 10 && done.skipped.is_empty());
        let mut install = Command::new("rpm");
        install.arg("--root").arg(&theirs).args(["-i", "--nodeps", "--define", "_dbpath /var/rpm"]);
        support::run(install.arg(&built.binary));
        let (mut ours_tree, mut theirs_tree) = (tree(&ours), tree(&theirs));
        theirs_tree.retain(|name, _| !name.starts_with("var"));
        // Not in the package: made on the way, with the time of the making.
        for made in ["usr", "usr/bin", "usr/share", "bin"] {
            ours_tree.remove(made).unwrap();
            theirs_tree.remove(made).unwrap();
        }
        // rpm does not set the time of a directory again after filling it.
        for tree in [&mut ours_tree, &mut theirs_tree] {
            tree.get_mut("usr/share/sample").unwrap().1 = 0;
        }
        assert_eq!(ours_tree, theirs_tree, "{compression}");
        for dir in ["usr", "bin"] {
            let mut diff = Command::new("diff");
            diff.args(["-r", "--no-dereference"]).arg(ours.join(dir)).arg(theirs.join(dir));
            support::run(&mut diff);
        }

        let sources = built.dir.path().join("sources");
        fs::create_dir(&sources).unwrap();
        unpack(&built.source, &sources, Ownership::Caller).unwrap();
        assert_eq!(fs::read_to_string(sources.join("sample.spec")).unwrap(), support::SPEC);
        assert_eq!(fs::read_to_string(sources.join("sample.txt")).unwrap(), "source\n");
        assert_eq!(fs::read_dir(&sources).unwrap().count(), 2);
    }
}

#[test]
fn sets_owner_and_keeps_setuid() {
    let built = support::build("w19.zstdio");
    let root = built.dir.path().join("root");
    fs::create_dir(&root).unwrap();
    unpack(&built.binary, &root, Ownership::Fixed { uid: 100_000, gid: 100_001 }).unwrap();
    for (name, _) in tree(&root) {
        let meta = fs::symlink_metadata(root.join(&name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (100_000, 100_001), "{name}");
    }
    assert_eq!(fs::metadata(root.join("usr/bin/sample")).unwrap().mode() & 0o7777, 0o4755);
}

#[test]
fn merges_into_a_root_with_links() {
    let built = support::build("w19.zstdio");
    let root = built.dir.path().join("root");
    fs::create_dir_all(root.join("usr/share")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/elsewhere", root.join("usr/share/sample")).unwrap();
    unpack(&built.binary, &root, Ownership::Caller).unwrap();
    assert_eq!(fs::read_to_string(root.join("usr/bin/merged")).unwrap(), "x\n");
    assert!(root.join("bin").is_symlink());
    assert!(root.join("elsewhere/data").exists(), "an absolute link is one below the root");
    assert!(!Path::new("/elsewhere").exists());
    // Once more: everything is replaced, nothing is written through.
    fs::remove_file(root.join("usr/bin/merged")).unwrap();
    let outside = built.dir.path().join("outside");
    fs::write(&outside, "kept").unwrap();
    symlink(&outside, root.join("usr/bin/merged")).unwrap();
    unpack(&built.binary, &root, Ownership::Caller).unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
    assert_eq!(fs::read_to_string(root.join("usr/bin/merged")).unwrap(), "x\n");
}

/// A directory to unpack into, with a file beside it that must stay as it is.
struct Cage {
    dir: tempfile::TempDir,
}

impl Cage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/file"), "kept").unwrap();
        Self { dir }
    }

    fn unpack(&self, files: &[File], payload: &[u8]) -> Result<UnpackSummary, RpmError> {
        let package = forge::package(self.dir.path(), files, payload, None);
        let result = unpack(&package, &self.dir.path().join("root"), Ownership::Caller);
        self.assert_kept();
        result
    }

    fn assert_kept(&self) {
        let outside = self.dir.path().join("outside");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept");
        assert_eq!(fs::metadata(outside.join("file")).unwrap().nlink(), 1);
        let beside: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(beside.len(), 3, "{beside:?}");
    }
}

#[test]
fn a_forged_package_is_otherwise_good() {
    let cage = Cage::new();
    let files = [
        (File::directory("/etc"), b"".as_slice()),
        (File::regular("/etc/file", b"hello"), b"hello"),
        (File { inode: 9, ..File::regular("/etc/a", b"linked") }, b""),
        (File { inode: 9, ..File::regular("/etc/b", b"linked") }, b"linked"),
        (File::symlink("/etc/link", "file"), b"file"),
        (File { mode: 0o020_666, ..File::regular("/etc/null", b"") }, b""),
    ];
    let header: Vec<File> = files.iter().map(|(file, _)| file.clone()).collect();
    let done = cage.unpack(&header, &forge::honest(&files)).unwrap();
    assert_eq!(done, UnpackSummary { entries: 5, bytes: 11, skipped: vec!["etc/null".into()] });
    let root = cage.dir.path().join("root");
    assert_eq!(fs::read_to_string(root.join("etc/a")).unwrap(), "linked");
    assert_eq!(fs::metadata(root.join("etc/b")).unwrap().nlink(), 2);
    let package = cage.dir.path().join("forged.rpm");
    inspect(&package).unwrap();
    check_contents(&package).unwrap();
}

/// rpm's own form for large files: entries without names.
#[test]
fn unpacks_stripped_archives() {
    let cage = Cage::new();
    let header = [
        File::directory("/etc"),
        File { inode: 9, ..File::regular("/etc/a", b"linked") },
        File { inode: 9, ..File::regular("/etc/b", b"linked") },
        File::symlink("/etc/link", "a"),
    ];
    let mut payload = Vec::new();
    for (index, content) in [(0, ""), (1, ""), (2, "linked\0\0"), (3, "a\0\0\0")] {
        payload.extend_from_slice(format!("07070X{index:08x}\0\0{content}").as_bytes());
    }
    cpio::newc::trailer(&mut payload).unwrap();
    cage.unpack(&header, &payload).unwrap();
    let root = cage.dir.path().join("root/etc");
    assert_eq!(fs::read_to_string(root.join("link")).unwrap(), "linked");
    assert_eq!(fs::metadata(root.join("a")).unwrap().nlink(), 2);

    payload[6..14].copy_from_slice(b"0000ffff");
    assert!(cage.unpack(&header, &payload).unwrap_err().to_string().contains("not in the header"));
}

#[test]
fn refuses_what_leads_out() {
    let evil = b"evil".as_slice();
    let cases: [(&str, Vec<File>, Vec<u8>); 10] = [
        (
            "`..` in the header",
            vec![File::regular("/../outside/new", evil)],
            forge::archive(&[("./../outside/new", 0o100_644, evil)]),
        ),
        (
            "`..` for a name in the header",
            vec![File::directory("/etc/..")],
            forge::archive(&[("./etc/..", 0o040_755, b"")]),
        ),
        (
            "a directory with `..` in the header",
            vec![File::regular("/usr/../../outside/new", evil)],
            forge::archive(&[("./usr/../../outside/new", 0o100_644, evil)]),
        ),
        (
            "`..` in the archive",
            vec![File::regular("/x", evil)],
            forge::archive(&[("./../outside/new", 0o100_644, evil)]),
        ),
        (
            "an absolute name",
            vec![File::regular("/x", evil)],
            forge::archive(&[("/etc/passwd-new", 0o100_644, evil)]),
        ),
        (
            "a name that is not listed",
            vec![File::regular("/x", evil)],
            forge::archive(&[("./y", 0o100_644, evil)]),
        ),
        (
            "the same name twice",
            vec![File::regular("/x", evil)],
            forge::archive(&[("./x", 0o100_644, evil), ("./x", 0o100_644, evil)]),
        ),
        (
            "a file that is missing",
            vec![File::regular("/x", evil), File::regular("/y", evil)],
            forge::archive(&[("./x", 0o100_644, evil)]),
        ),
        (
            "another size",
            vec![File::regular("/x", b"")],
            forge::archive(&[("./x", 0o100_644, evil)]),
        ),
        (
            "an empty part",
            vec![File::regular("/etc//x", evil)],
            forge::archive(&[("./etc//x", 0o100_644, evil)]),
        ),
    ];
    for (what, files, payload) in cases {
        let error = Cage::new().unpack(&files, &payload).unwrap_err();
        assert!(matches!(error, RpmError::Entry { .. }), "{what}: {error}");
    }
}

#[test]
fn links_do_not_lead_out() {
    for target in ["../outside", "../../outside", "/../outside"] {
        let cage = Cage::new();
        let files = [
            (File::symlink("/sub", target), target.as_bytes()),
            (File::regular("/sub/new", b"evil"), b"evil"),
            (File::regular("/sub/file", b"evil"), b"evil"),
        ];
        let header: Vec<File> = files.iter().map(|(file, _)| file.clone()).collect();
        // The link is resolved as in a chroot: the directory does not exist there.
        let error = cage.unpack(&header, &forge::honest(&files)).unwrap_err();
        assert!(matches!(error, RpmError::Entry { .. }), "{target}: {error}");
    }
    // By an absolute path that exists outside.
    let cage = Cage::new();
    let outside = cage.dir.path().join("outside");
    let target = outside.to_str().unwrap();
    let files = [
        (File::symlink("/sub", target), target.as_bytes()),
        (File::regular("/sub/file", b"evil"), b"evil"),
    ];
    let header: Vec<File> = files.iter().map(|(file, _)| file.clone()).collect();
    cage.unpack(&header, &forge::honest(&files)).unwrap();
    let below = cage.dir.path().join("root").join(target.trim_start_matches('/')).join("file");
    assert_eq!(fs::read_to_string(below).unwrap(), "evil");
}

#[test]
fn the_archive_has_what_the_header_says_of_each_file() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |file: File, content: &[u8]| {
        let payload = forge::honest(&[(file.clone(), content)]);
        let package = forge::package(dir.path(), &[file], &payload, None);
        inspect(&package).unwrap();
        check_contents(&package).unwrap_err().to_string()
    };
    let other = refused(File::regular("/etc/file", b"hello"), b"HELLO");
    assert!(other.contains("etc/file") && other.contains("in the archive, and"), "{other}");
    let none = File { digest: String::new(), ..File::regular("/etc/file", b"hello") };
    assert!(refused(none, b"hello").contains("and `` in the header"));
    let relative = refused(File::regular("etc/file", b"hello"), b"hello");
    assert!(relative.contains("is not an absolute path"), "{relative}");
}

#[test]
fn the_files_of_a_source_package_are_told_with_their_digests() {
    let built = support::build("w19.zstdio");
    let mut sources = check_contents(&built.source).unwrap().sources;
    sources.sort();
    let file =
        |name: &str, text: &str| (name.as_bytes().to_vec(), Sha256::compute(text.as_bytes()));
    assert_eq!(sources, [file("sample.spec", support::SPEC), file("sample.txt", "source\n")]);
    assert!(check_contents(&built.binary).unwrap().sources.is_empty());
}

#[test]
fn zeros_after_the_archive_have_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let roomy = File { size: 1 << 30, ..File::directory("/d") };
    let padded = |zeros: usize| {
        let mut archive = forge::archive(&[("./d", 0o040_755, b"")]);
        archive.resize(archive.len() + zeros, 0);
        let payload = zstd::encode_all(archive.as_slice(), 3).unwrap();
        let files = std::slice::from_ref(&roomy);
        check_contents(&forge::package(dir.path(), files, &payload, Some("zstd")))
    };
    padded(512).unwrap();
    let error = padded(1 << 20).unwrap_err();
    assert!(matches!(error, RpmError::Trailing { place: "the archive", .. }), "{error}");
}

/// A package with content that rpm would never read is refused: another archive after the first
/// one.
#[test]
fn nothing_follows_the_archive() {
    let files = [File::regular("/x", b"x")];
    let one = forge::archive(&[("./x", 0o100_644, b"x")]);
    let more = forge::archive(&[("./y", 0o100_644, b"y")]);
    let packed = |archive: &[u8]| zstd::encode_all(archive, 3).unwrap();
    for (payload, compressor) in [
        ([one.as_slice(), &more].concat(), None),
        (packed(&[one.as_slice(), &more].concat()), Some("zstd")),
        ([packed(&one), packed(&more)].concat(), Some("zstd")),
    ] {
        let cage = Cage::new();
        let package = forge::package(cage.dir.path(), &files, &payload, compressor);
        inspect(&package).unwrap();
        let error = check_contents(&package).unwrap_err();
        assert!(matches!(error, RpmError::Trailing { .. }), "{error}");
        let root = cage.dir.path().join("root");
        assert!(unpack(&package, &root, Ownership::Caller).is_err());
        assert!(!root.join("y").exists());
    }
}

#[test]
fn names_become_paths_and_lines_and_are_neither_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let good = ["forged", "1", "1", "noarch"];
    inspect(&forge::called(dir.path(), good, &[])).unwrap();
    for (part, bad) in [
        (0, ""),
        (0, "../forged"),
        (0, "a/b"),
        (0, "-rf"),
        (0, "a\nb"),
        (0, "a\u{1b}[2J"),
        (0, "a\u{202e}b"),
        (1, "1/2"),
        (1, "1\n"),
        (1, "1-2"),
        (2, "1 2"),
        (2, "../1"),
        (3, "no/arch"),
        (3, ".."),
    ] {
        let mut parts = good;
        parts[part] = bad;
        let error = inspect(&forge::called(dir.path(), parts, &[])).unwrap_err();
        assert!(matches!(error, RpmError::Tag { .. }), "{bad:?}: {error}");
        let text = error.to_string();
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}

/// Of two tags rpm may read the other one.
#[test]
fn a_tag_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let good = ["forged", "1", "1", "noarch"];
    inspect(&forge::called(dir.path(), good, &[(IndexTag::RPMTAG_BUILDHOST, "here")])).unwrap();
    let twice = forge::called(dir.path(), good, &[(IndexTag::RPMTAG_NAME, "other")]);
    for error in [inspect(&twice).unwrap_err(), check_contents(&twice).unwrap_err()] {
        assert_eq!(error.to_string(), "malformed main header: tag 1000 occurs twice");
    }
}

#[test]
fn bombs_end_at_what_the_header_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut bomb = forge::archive(&[("./x", 0o100_644, b"x")]);
    bomb.resize(bomb.len() + (64 << 20), 0);
    let bomb = zstd::encode_all(bomb.as_slice(), 3).unwrap();
    let package = forge::package(dir.path(), &[File::regular("/x", b"x")], &bomb, Some("zstd"));
    inspect(&package).unwrap();
    let error = check_contents(&package).unwrap_err();
    assert!(error.to_string().contains("larger than its header's files"), "{error}");
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    assert!(unpack(&package, &root, Ownership::Caller).is_err());
}

/// The worker makes a root of many packages on all of its cores.
#[test]
fn packages_share_a_root_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    symlink("usr/made/later", root.join("link")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (dir, root) = (dir.path(), &root);
            scope.spawn(move || {
                let dir = dir.join(thread.to_string());
                fs::create_dir(&dir).unwrap();
                for round in 0..20 {
                    let path = |top: &str| format!("/{top}/{round}/deep/down/{thread}");
                    let contents: Vec<(File, &[u8])> = ["usr/share", "link"]
                        .map(|top| (File::regular(&path(top), b"x"), b"x".as_slice()))
                        .into();
                    let header: Vec<File> = contents.iter().map(|(file, _)| file.clone()).collect();
                    let package = forge::package(&dir, &header, &forge::honest(&contents), None);
                    unpack(&package, root, Ownership::Caller).unwrap();
                }
            });
        }
    });
    for path in ["usr/share/19/deep/down/7", "usr/made/later/0/deep/down/0"] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), "x");
    }
}

#[test]
fn unknown_compressors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let package = forge::package(dir.path(), &[], b"", Some("brotli"));
    let error = check_contents(&package).unwrap_err();
    assert!(matches!(&error, RpmError::Compressor(name) if name == "brotli"), "{error}");
}

fn any_path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "..", ".", "", "outside", "file", "é"]);
    prop::collection::vec(part, 1..4).prop_map(|parts| format!("/{}", parts.join("/")))
}

fn any_file() -> impl Strategy<Value = (File, Vec<u8>)> {
    let target =
        prop::sample::select(vec!["a", "..", "../outside", "/", "../outside/file", "b/a", "."]);
    prop_oneof![
        any_path().prop_map(|path| (File::regular(&path, b"evil"), b"evil".to_vec())),
        (any_path(), 1_u32..3).prop_map(|(path, inode)| {
            (File { inode, ..File::regular(&path, b"evil") }, b"evil".to_vec())
        }),
        any_path().prop_map(|path| (File::directory(&path), Vec::new())),
        (any_path(), target)
            .prop_map(|(path, to)| (File::symlink(&path, to), to.as_bytes().to_vec())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// For all lists of files, in any order and through any links, nothing outside of the directory
    /// is touched.
    #[test]
    fn nothing_leads_out(files in prop::collection::vec(any_file(), 1..8)) {
        let cage = Cage::new();
        let header: Vec<File> = files.iter().map(|(file, _)| file.clone()).collect();
        let contents: Vec<(File, &[u8])> =
            files.iter().map(|(file, content)| (file.clone(), content.as_slice())).collect();
        let _ = cage.unpack(&header, &forge::honest(&contents));
    }

    /// Bytes of a payload, changed at will: an error or not, never a panic.
    #[test]
    fn no_payload_panics(changes in prop::collection::vec((0_usize..400, any::<u8>()), 1..6)) {
        let files = [
            (File::directory("/etc"), b"".as_slice()),
            (File::regular("/etc/file", b"hello"), b"hello"),
            (File::symlink("/etc/link", "file"), b"file"),
        ];
        let mut payload = forge::honest(&files);
        let len = payload.len();
        for (at, byte) in changes {
            payload[at % len] = byte;
        }
        let header: Vec<File> = files.iter().map(|(file, _)| file.clone()).collect();
        let _ = Cage::new().unpack(&header, &payload);
    }
}
