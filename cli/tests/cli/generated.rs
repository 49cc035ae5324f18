//! Completions, manual pages, help.

use crate::{home, rpmfarm, run};

#[test]
fn completions_know_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(rpmfarm("", home(None).path()).args(["completions", shell]));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        for word in ["target", "build", "watch", "doctor", "token-file"] {
            assert!(ran.stdout.contains(word), "{shell} lacks {word}");
        }
    }
}

#[test]
fn bash_reads_its_completions() {
    let script = run(rpmfarm("", home(None).path()).args(["completions", "bash"])).stdout;
    // In a file: the kernel takes no single argument above 128 KiB.
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("rpmfarm");
    std::fs::write(&file, script).expect("written");
    let status = std::process::Command::new("bash").arg("-n").arg(&file).status();
    assert!(status.expect("bash").success());
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let home = home(None);
    let dir = home.path().join("man");
    let ran = run(rpmfarm("", home.path()).arg("man").arg(&dir));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let page = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    assert!(page("rpmfarm.1").contains("Exit codes"), "{}", page("rpmfarm.1"));
    for name in ["build", "watch", "target-list", "repo-show", "doctor"] {
        assert!(page(&format!("rpmfarm-{name}.1")).contains("Examples"), "{name}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let ran = run(rpmfarm("", home(None).path()).args(["man", "/proc/nonexistent/man"]));
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("cannot write manual pages to /proc/nonexistent/man"),
        "{}",
        ran.stderr
    );
}

#[test]
fn help_documents_the_exit_codes() {
    let ran = run(rpmfarm("", home(None).path()).arg("--help"));
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("  130  interrupted while watching"), "{}", ran.stdout);
}
