//! Logs as tools write them, and which of their lines the excerpt has.

use super::*;

fn read(log: &str) -> LogReader {
    let mut reader = LogReader::new();
    // In odd pieces: lines do not come whole.
    for piece in log.as_bytes().chunks(7) {
        reader.feed(piece);
    }
    reader
}

const COMPILER: &str = "\
Executing(%prep): /bin/sh -e /var/tmp/rpm-tmp.abc
+ tar -xf hello.tar.gz
tar: Ignoring unknown extended header keyword 'SCHILY.dev'
Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.def
checking for error: handler... no
gcc -O2 -Werror -c hello.c
hello.c: In function 'main':
hello.c:3:5: error: expected ';' before 'return'
    3 |     return 0
make: *** [Makefile:4: hello.o] Error 1
error: Bad exit status from /var/tmp/rpm-tmp.def (%build)

RPM build errors:
    Bad exit status from /var/tmp/rpm-tmp.def (%build)
";

#[test]
fn a_compilers_error_is_found() {
    let log = read(COMPILER);
    assert_eq!(log.part(), BuildSection::Build);
    assert_eq!(log.cause(), Some("hello.c:3:5: error: expected ';' before 'return'"));
    assert_eq!(
        log.excerpt(),
        [
            "hello.c:3:5: error: expected ';' before 'return'",
            "error: Bad exit status from /var/tmp/rpm-tmp.def (%build)",
            "RPM build errors:",
            "    Bad exit status from /var/tmp/rpm-tmp.def (%build)",
        ]
    );
}

#[test]
fn causes_of_every_kind() {
    let table = [
        (
            BuildSection::Prep,
            "Executing(%prep): x\n+ false\nHunk #1 FAILED at 3.\n1 out of 1 hunk FAILED -- saving rejects to file a.rej\nerror: Bad exit status from x (%prep)\n",
            "1 out of 1 hunk FAILED -- saving rejects to file a.rej",
        ),
        (
            BuildSection::Check,
            "Executing(%check): x\nPASS: a\nFAIL: tests/b.sh\n# FAIL:  1\nmake[1]: *** [check] Error 1\n",
            "FAIL: tests/b.sh",
        ),
        (
            BuildSection::Files,
            "Processing files: a-1-1.x86_64\nerror: File not found: /builddir/build/BUILDROOT/usr/bin/a\n",
            "error: File not found: /builddir/build/BUILDROOT/usr/bin/a",
        ),
        (
            BuildSection::Start,
            "error: line 12: Unknown tag: Foo: bar\n",
            "error: line 12: Unknown tag: Foo: bar",
        ),
        (
            BuildSection::Build,
            "Executing(%build): x\ncurl: (6) Could not resolve host: example.org\nerror: Bad exit status from x (%build)\n",
            "curl: (6) Could not resolve host: example.org",
        ),
        (
            BuildSection::Build,
            "Executing(%build): x\n/usr/bin/ld: a.o: undefined reference to `frob'\ncollect2: error: ld returned 1 exit status\n",
            "/usr/bin/ld: a.o: undefined reference to `frob'",
        ),
        (
            BuildSection::Build,
            "Executing(%build): x\n\u{1b}[31merror[E0308]\u{1b}[0m: mismatched types\n",
            "error[E0308]: mismatched types",
        ),
    ];
    for (part, text, cause) in table {
        let log = read(text);
        assert_eq!((log.part(), log.cause()), (part, Some(cause)), "{text}");
    }
}

#[test]
fn unpackaged_files_are_listed_once() {
    let text = "Processing files: a-1-1.noarch
error: Installed (but unpackaged) file(s) found:
   /usr/share/a
   /usr/share/b

RPM build errors:
    Installed (but unpackaged) file(s) found:
   /usr/share/a
   /usr/share/b
";
    assert_eq!(
        read(text).excerpt(),
        [
            "error: Installed (but unpackaged) file(s) found:",
            "   /usr/share/a",
            "   /usr/share/b",
            "RPM build errors:",
        ]
    );
}

#[test]
fn without_a_known_cause_the_last_lines_are_shown() {
    let log = read(
        "Executing(%build): x\n+ ./frobnicate\nI do not feel like it\nerror: Bad exit status from x (%build)\n",
    );
    assert_eq!(
        log.excerpt(),
        ["+ ./frobnicate", "I do not feel like it", "error: Bad exit status from x (%build)"]
    );
    assert_eq!(log.cause(), Some("I do not feel like it"));
    let end = "error: Bad exit status from x (%build)";
    let make = "make: *** [all] Error 2";
    for (text, cause) in
        [("no\n+ exit 1", "no"), ("yes\n+ false", "+ false"), (make, make), ("", end)]
    {
        let log = read(&format!("Executing(%build): x\n{text}\n{end}\n"));
        assert_eq!(log.cause(), Some(cause));
    }
}

#[test]
fn a_list_of_warnings_hides_nothing() {
    let warnings = "    line 12: Possible unexpanded macro\n".repeat(20);
    let log = read(&format!(
        "Executing(%build): x\nI do not feel like it\nerror: Bad exit status from x (%build)\n\n\
             RPM build warnings:\n{warnings}\nRPM build errors:\n    Bad exit status from x (%build)\n"
    ));
    let excerpt = log.excerpt();
    assert_eq!(excerpt[0], "I do not feel like it", "{excerpt:?}");
    assert!(!excerpt.iter().any(|line| line.contains("unexpanded")), "{excerpt:?}");
}

#[test]
fn what_was_only_tried_does_not_hide_the_cause() {
    let tried = "cat: a: No such file or directory\n".repeat(20);
    let log = read(&format!("Executing(%build): x\n{tried}a.c:1: error: b\n{tried}"));
    assert_eq!(log.cause(), Some("a.c:1: error: b"));
    assert_eq!(log.excerpt().len(), 1 + SUSPECTS);
    let log = read(&format!("Executing(%build): x\n{tried}sh: frob: command not found\n"));
    assert_eq!(log.cause(), Some("sh: frob: command not found"));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut log = LogReader::new();
    for number in 0..1000 {
        log.feed(format!("a.c:{number}: error: {}\n", "x".repeat(5000)).as_bytes());
        log.feed(b"make: *** [all] Error 2\n");
    }
    log.feed(&vec![b'x'; 1 << 20]);
    let excerpt = log.excerpt();
    assert_eq!(excerpt.len(), LINES);
    assert!(excerpt.iter().all(|line| line.chars().count() <= WIDTH));
    assert!(excerpt[0].starts_with("a.c:0: error: "), "the first error is the cause");
    assert!(log.partial.len() <= WIDTH * 4);
}

/// Scripts of a spec that failed, as rpmbuild 4.18 with dash wrote their logs, and the command and
/// status that are reported.
#[test]
fn the_command_that_failed_is_known() {
    let table = [
        ("+ cd /\n+ echo in subshell\nin subshell\n+ false", Some("false"), None),
        ("+ f\n+ echo in f\nin f\n+ return 3", Some("echo in f"), Some(3)),
        ("+ test 1 = 1\n+ test 2 = 1\n+ exit 7", Some("test 2 = 1"), Some(7)),
        ("+ make -s all\nhi\nmake: *** [Makefile:3: all] Error 5", Some("make -s all"), Some(5)),
        (
            "+ make check\nmake[1]: *** [Makefile:9: test] Error 1\nmake: *** [Makefile:4: check] Error 2",
            Some("make check"),
            Some(1),
        ),
        ("+ exit 1\n+ true\n+ ./run", Some("./run"), None),
        ("nothing is traced", None, None),
    ];
    for (text, command, status) in table {
        let end = "error: Bad exit status from /var/tmp/rpm-tmp.x (%build)";
        let log = read(&format!("Executing(%build): /bin/sh -e x\n{text}\n{end}\n"));
        assert_eq!((log.command(), log.status()), (command, status), "{text}");
        // A command without a reported failure is not shown as failed.
        let killed = read(&format!("Executing(%build): /bin/sh -e x\n{text}\n"));
        assert_eq!(killed.command(), None, "{text}");
    }
}

#[test]
fn a_list_belongs_to_its_heading() {
    let log = read(
        "Processing files: a-1-1.noarch\nerror: Installed (but unpackaged) file(s) found:\n   \
         /usr/share/a\n   /usr/share/b\n\n\nRPM build errors:\n",
    );
    assert_eq!(log.listed(), ["/usr/share/a", "/usr/share/b"]);
    assert_eq!(read("error: File not found: /x\n").listed(), Vec::<&str>::new());
}
