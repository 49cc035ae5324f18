//! The targets that are shipped, and macro files as the real rpm reads them.

use std::path::Path;
use std::process::Command;

use rpmfarm_core::Arch;
use rpmfarm_core::target::Target;

fn shipped() -> Vec<(String, Target)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/targets");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(dir).expect("deploy/targets is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("readable");
            let target = Target::parse(&file, &text).unwrap_or_else(|error| panic!("{error}"));
            targets.push((file, target));
        }
    }
    targets
}

#[test]
fn shipped_targets_are_good() {
    let targets = shipped();
    for name in ["almalinux-9", "almalinux-10", "centos-stream-9", "centos-stream-10"] {
        let (_, target) = targets
            .iter()
            .find(|(file, _)| *file == format!("{name}.toml"))
            .unwrap_or_else(|| panic!("{name}.toml is missing"));
        assert_eq!(target.arches, Arch::ALL, "{name}");
        assert!(target.repositories.iter().all(|r| r.gpgcheck), "{name}");
        assert!(target.git_url("bash").ends_with("/bash.git"), "{name}");
    }
    for (file, target) in &targets {
        assert_eq!(*file, format!("{}.toml", target.name));
    }
}

/// Evaluates an expression with rpm and the macro file of a target.
fn eval(target: &Target, expression: &str) -> String {
    let dir = std::env::temp_dir().join(format!("rpmfarm-macros-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join(format!("{}.macros", target.name));
    std::fs::write(&file, target.macro_file("hello")).expect("writes");
    let output = Command::new("rpm")
        .args(["--load", file.to_str().expect("UTF-8"), "--eval", expression])
        .output()
        .expect("rpm is installed");
    std::fs::remove_dir_all(&dir).expect("removes");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").trim_end_matches('\n').to_owned()
}

#[test]
fn rpm_reads_back_what_was_meant() {
    let mut target = shipped().remove(0).1;
    target.vendor = "100% \\o/ Ltd.".into();
    for (name, body) in [
        ("lab_lines", "first \\\n  second\n\nfourth"),
        ("lab_braces", "{ a; } || { b; }"),
        ("lab_nested", "%{?nothing:x}%{expand:y{z}}"),
        ("lab_empty", ""),
        ("lab_options(n:)", "%{-n*}/%{1}"),
        ("lab_backslash", "s/\\n/\\\\/"),
    ] {
        target.macros.insert(name.into(), body.into());
    }
    let target = Target::parse("t.toml", &toml::to_string(&target).expect("writes")).expect("good");
    for (expression, expected) in [
        ("%dist", target.dist.as_str()),
        ("%vendor", "100% \\o/ Ltd."),
        ("%_buildhost", "rpmfarm"),
        ("%lab_lines", "first \\\n  second\n\nfourth"),
        ("%lab_braces", "{ a; } || { b; }"),
        ("%lab_nested", "y{z}"),
        ("[%lab_empty]", "[]"),
        ("%lab_options -n one two", "one/two"),
        ("%lab_backslash", "s/\\n/\\\\/"),
    ] {
        assert_eq!(eval(&target, expression), expected, "{expression}");
    }
}
