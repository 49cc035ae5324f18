//! Trees that git itself never makes, from an attacker who has the git server, and specs that must
//! be read within bounds. Entries that are not sources are ignored, and each imported file has a
//! plain name.

use std::time::{Duration, Instant};

use rpmfarm_core::Fault;
use rpmfarm_core::name::check_file;

use crate::Scene;

const FILE: &str = "100644";
const LINK: &str = "120000";
const FOLDER: &str = "40000";

/// Mode, name and id of an entry.
type Entry<'a> = (&'a str, &'a [u8], &'a str);

/// Puts a tree into the repository as it is, sorted or not.
fn tree(scene: &Scene, entries: &[Entry<'_>]) -> String {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(&[mode.as_bytes(), b" ", name, b"\0"].concat());
        bytes.extend_from_slice(&hex::decode(id).unwrap());
    }
    scene.upstream.object("tree", &bytes)
}

/// Makes the commit of a package with a spec, these entries at its root, and these among its
/// sources.
fn plant(scene: &Scene, root: &[Entry<'_>], sources: &[Entry<'_>]) {
    let spec = scene.upstream.object("blob", b"Name: hello\n");
    let specs = tree(scene, &[(FILE, b"hello.spec", &spec)]);
    let sources = tree(scene, sources);
    let own = [(FOLDER, &b"SOURCES"[..], &*sources), (FOLDER, &b"SPECS"[..], &*specs)];
    let root = tree(scene, &[root, &own].concat());
    scene.upstream.plant(&root);
}

#[tokio::test]
async fn folders_and_names_that_lead_out_are_passed_over() {
    let scene = Scene::new().await;
    let blob = scene.upstream.object("blob", b"x");
    let inner = tree(&scene, &[(FILE, b"inner", &blob), (FILE, b"..", &blob)]);
    let good = [(FILE, &b"a.patch"[..], &*blob)];
    for (mode, name, id) in [
        (FOLDER, &b".."[..], &inner),
        (FOLDER, b".", &inner),
        (FOLDER, b".git", &inner),
        (FILE, b"a/../../x", &blob),
        (FILE, b"../x", &blob),
        (FILE, b"/etc/passwd", &blob),
        (FILE, b"SPECS/../../x.spec", &blob),
    ] {
        plant(&scene, &[(mode, name, id)], &good);
        let imported = scene.import(None).await;
        let shown = String::from_utf8_lossy(name);
        let imported = imported.unwrap_or_else(|error| panic!("{shown}: {error}"));
        let names: Vec<&str> = imported.bundle.sources.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["a.patch"], "{shown}");
        assert_eq!(scene.text(&imported, "hello.spec"), "Name: hello\n", "{shown}");
    }
}

#[tokio::test]
async fn sources_that_would_lead_out_are_refused_in_one_line() {
    let scene = Scene::new().await;
    let blob = scene.upstream.object("blob", b"x");
    let link = |to: &str| scene.upstream.object("blob", to.as_bytes());
    let (out, host) = (link("../../../../etc/passwd"), link("/etc/passwd"));
    let (to_a, to_b) = (link("a"), link("b"));
    let long = vec![b'a'; 5000];
    for (entries, says) in [
        (&[(FILE, &b"--eval=x"[..], &*blob)] as &[Entry<'_>], "not a plain file name"),
        (&[(FILE, b"-rf", &blob)], "not a plain file name"),
        (&[(FILE, b"..", &blob)], "not a plain file name"),
        (&[(FILE, b"a\nb", &blob)], "not a plain file name"),
        (&[(FILE, b"c\x1b[2J", &blob)], "not a plain file name"),
        (&[(FILE, &long, &blob)], "not a plain file name"),
        (&[(FILE, b"caf\xe9", &blob)], "is not UTF-8"),
        (&[(LINK, b"a", &out)], "leads out of the repository"),
        (&[(LINK, b"a", &host)], "leads out of the repository"),
        (&[(LINK, b"a", &to_b), (LINK, b"b", &to_a)], "not a file of the repository"),
        (&[(FILE, b"hello.spec", &blob)], "hello.spec exists twice"),
    ] {
        plant(&scene, &[], entries);
        let (fault, message) = scene.refusal(None).await;
        assert_eq!(fault, Fault::Package, "{message}");
        assert!(message.contains(says), "{says}: {message}");
        assert!(!message.contains(char::is_control) && message.len() < 1000, "{message:?}");
    }
    plant(&scene, &[], &[(FILE, b"a.patch", &blob)]);
    scene.import(None).await.unwrap();
}

/// An entry that occurs twice, or below a folder that leads out, counts as one file with a plain
/// name or not at all.
#[tokio::test]
async fn what_is_taken_of_an_odd_tree_has_plain_names() {
    let scene = Scene::new().await;
    let (blob, other) =
        (scene.upstream.object("blob", b"x"), scene.upstream.object("blob", b"another"));
    let inner = tree(&scene, &[(FILE, b"inner", &blob)]);
    for (entries, taken) in [
        (
            &[(FILE, &b"a"[..], &*blob), (FILE, b"a", &other), (FILE, b"A", &blob)]
                as &[Entry<'_>],
            &["A", "a"][..],
        ),
        (&[(FOLDER, b"..", &inner)], &["inner"]),
        (&[(FILE, b"../../x", &blob)], &["x"]),
        (&[(FILE, b"sub/..", &blob)], &[]),
    ] {
        plant(&scene, &[], entries);
        let imported = scene.import(None).await.unwrap();
        let names: Vec<&str> = imported.bundle.sources.iter().map(|file| &*file.name).collect();
        assert_eq!(names, taken);
        assert!(names.iter().all(|name| check_file(name).is_ok()), "{names:?}");
    }
}

/// A tree of some objects that has millions of files, and one of hundreds of folders in each other.
#[tokio::test]
async fn trees_without_an_end_take_a_moment() {
    let scene = Scene::new().await;
    let blob = scene.upstream.object("blob", b"x");
    let leaf = tree(&scene, &[(FILE, b"f", &blob)]);
    let (mut wide, mut deep) = (leaf.clone(), leaf);
    for _ in 0..14 {
        let entries = [&b"a"[..], b"b", b"c"].map(|name| (FOLDER, name, &*wide));
        wide = tree(&scene, &entries);
    }
    for _ in 0..300 {
        deep = tree(&scene, &[(FOLDER, b"d", &deep)]);
    }
    for folder in [&wide, &deep] {
        plant(&scene, &[(FOLDER, b"tests", folder)], &[]);
        let begun = Instant::now();
        let imported = scene.import(None).await.unwrap();
        assert!(imported.bundle.sources.is_empty());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    // Where sources lie, they would be sources.
    plant(&scene, &[], &[(FOLDER, b"sub", &wide)]);
    let (fault, message) = scene.refusal(None).await;
    assert_eq!(fault, Fault::Package);
    assert!(message.contains("files in the tree, at most"), "{message}");
}

/// The importer reads specs, and runs nothing of them.
#[tokio::test]
async fn specs_that_nest_without_an_end_are_read_in_time() {
    let scene = Scene::new().await;
    let head = "Name: hello\nVersion: 1\nRelease: 1\n";
    let released = "Name: hello\nRelease: %autorelease\n";
    let (opened, closed) = ("%{!?a:".repeat(100_000), "}".repeat(100_000));
    for spec in [
        format!("{released}Version: 1{opened}{closed}\n%changelog\n%autochangelog\n"),
        format!("{released}Version: 1{opened}\n%changelog\n%autochangelog\n"),
        format!("{head}{}\n", "%{?a:".repeat(300_000)),
        format!("{head}{}\n", "%if 1\n".repeat(300_000)),
        format!("{head}%if {}1\n", "(".repeat(200_000)),
        format!("{head}%global a {}\n", "%{expand:".repeat(100_000)),
    ] {
        scene.upstream.commit(&[("hello.spec", &spec)]);
        let begun = Instant::now();
        let imported = scene.import(None).await;
        let taken = begun.elapsed();
        let kind = &spec[..60];
        // The release of some specs cannot be determined.
        if let Err(error) = imported {
            assert_eq!(error.fault(), Fault::Package, "{kind}: {error}");
        }
        assert!(taken < Duration::from_secs(30), "{kind}: {taken:?}");
    }
    scene.upstream.commit(&[("hello.spec", head)]);
    scene.import(None).await.unwrap();
}
