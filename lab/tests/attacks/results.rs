//! What a build puts where its packages are looked for.

use crate::{Attack, NOTHING, PATIENCE, Scene};

/// Name and what `%install` does beside its work. rpmbuild writes its packages afterwards.
const WAYS: &[(&str, &str)] = &[
    ("empty-result", ": > $results/a-1-1.noarch.rpm"),
    ("host-link", "ln -s /proc/1/root/etc/shadow $results/a-1-1.noarch.rpm"),
    ("relative-link", "ln -s ../../../../../../etc/passwd $results/a-1-1.noarch.rpm"),
    ("directory", "mkdir $results/a-1-1.noarch.rpm"),
    ("fifo", "mkfifo $results/a-1-1.noarch.rpm"),
    ("hard-link", "echo x > /builddir/x; ln /builddir/x $results/a-1-1.noarch.rpm"),
    ("linked-folder", "rmdir $results; mkdir /builddir/real; ln -s /builddir/real $results"),
    ("folder-of-the-host", "rmdir $results; ln -s /etc $results"),
    ("build-folder-gone", "mv /builddir/build /builddir/b2; ln -s b2 /builddir/build"),
    ("control-characters", "echo x > \"$results/$(printf 'a\\033[2J\\nb').rpm\""),
    ("dash", "echo x > $results/-rf.rpm"),
    ("foreign-source", "cp /builddir/input/*.rpm $results/other-1-1.noarch.rpm"),
    ("many", "for n in $(seq 6000); do echo x > $results/a$n-1-1.noarch.rpm; done"),
    ("sparse", "truncate -s 30G $results/a-1-1.noarch.rpm"),
    (
        "unreadable",
        "echo x > $results/a-1-1.noarch.rpm; chmod 000 $results/a-1-1.noarch.rpm $results",
    ),
    (
        "daemon",
        "(setsid sh -c \"while :; do for f in $results/*.rpm $results/*/*.rpm; do \
         [ -s \\$f ] && echo swapped > \\$f; done; done\" > /dev/null 2>&1 &) ; true",
    ),
];

/// Each is told as the package's fault or leaves the package as it is, and no upload goes on for ever.
#[test]
#[ignore = "slow: make attack"]
fn whatever_lies_among_the_results_is_the_packages_fault() {
    let mut scene = Scene::new();
    for (name, install) in WAYS {
        scene.push(&Attack { name, install, ..NOTHING });
    }
    let client = scene.farm.client();
    let ids: Vec<i64> = WAYS.iter().map(|(name, _)| client.build(&[name]).unwrap()[0]).collect();
    let mut wrong = Vec::new();
    for ((name, _), id) in WAYS.iter().zip(ids) {
        let shown = client.wait(id, &["failed", "published"], PATIENCE).unwrap();
        if shown["state"] == "failed" && shown["failure"]["fault"] != "package" {
            wrong.push(format!("{name}: {:#}", shown["failure"]));
        }
        let text = shown.to_string();
        if text.contains("root:x:0:0") || text.contains("\\u001b") {
            wrong.push(format!("{name}: it shows what it should not: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.goes_on();
}

/// What a log says to a terminal is not done by the terminal of whoever reads it.
#[test]
#[ignore = "slow: make attack"]
fn logs_do_nothing_to_a_terminal() {
    let mut scene = Scene::new();
    let build = "printf '\\033]0;title\\007\\033]52;c;ZXZpbA==\\007\\033P+q\\033\\\\\\233A\\342\\200\\256x\\n'; \
                 printf 'error: \\033[2J\\n' >&2; exit 1";
    scene.push(&Attack { name: "paints", build, ..NOTHING });
    let shown = scene.fails("paints");
    let client = scene.farm.client();
    let told = client.run(&["show", &shown["id"].to_string()]).unwrap().out;
    assert!(!told.contains('\u{1b}') && !told.contains('\u{9b}'), "{told:?}");
    assert!(!scene.farm.coordinator.log_tail().contains("\u{1b}]"), "the coordinator's log");
    scene.goes_on();
}
