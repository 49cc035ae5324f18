//! Log and journal on real files: crashes, disks that are full, and hands that are not the
//! signer's.

use std::fs;

use rpmfarm_core::signing::RepositoryId;

use super::*;

fn page(revision: u64) -> Event {
    let place = RepositoryId::new("lab", "testing", "x86_64/os").unwrap();
    let sha256 = Sha256::compute(&revision.to_be_bytes());
    let (key, fingerprint) = ("k".to_owned(), "f".to_owned());
    Event::Repomd { key, fingerprint, place, revision, sha256 }
}

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn open(&self) -> Result<AuditLog, OpenError> {
        // Whoever had it before ends its thread when its last handle is gone.
        loop {
            match AuditLog::open(&self.log(), &self.state()) {
                Err(OpenError::Held(_)) => std::thread::yield_now(),
                opened => return opened,
            }
        }
    }

    fn refused(&self) -> String {
        self.open().unwrap_err().to_string()
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.log()).unwrap().lines().map(str::to_owned).collect()
    }

    fn revision(&self) -> u64 {
        self.open().unwrap().memory().revision("lab", "testing")
    }
}

async fn append(audit: &AuditLog, event: Event) -> Result<LogHead, LogError> {
    audit.append(LogEntry::now(event)).await
}

#[tokio::test]
async fn every_line_follows_the_one_before_over_restarts() {
    let scene = Scene::new();
    let audit = scene.open().unwrap();
    append(&audit, page(1)).await.unwrap();
    drop(audit);
    let audit = scene.open().unwrap();
    let appends = (2..52).map(|n| {
        let audit = audit.clone();
        tokio::spawn(async move { append(&audit, page(n)).await })
    });
    let mut logged = Vec::new();
    for append in appends.collect::<Vec<_>>() {
        logged.push(append.await.unwrap().unwrap());
    }
    logged.sort_by_key(|logged| logged.line);
    let numbers: Vec<u64> = logged.iter().map(|logged| logged.line).collect();
    assert_eq!(numbers, (3..53).collect::<Vec<_>>());
    assert_eq!(audit.head(), *logged.last().unwrap());
    for then in [&logged[0], &logged[49]] {
        assert!(matches!(audit.goes_on_from(then), LogCheck::Continues(_)));
    }
    let walked = chain::walk(fs::read(scene.log()).unwrap().as_slice(), None, |_, _| ()).unwrap();
    assert_eq!((walked.head.line, walked.head.digest), (52, logged[49].digest));
    drop(audit);
    assert_eq!(scene.revision(), 51);
}

#[tokio::test]
async fn a_crash_between_log_and_journal_forgets_nothing() {
    let scene = Scene::new();
    let audit = scene.open().unwrap();
    append(&audit, page(1)).await.unwrap();
    let journal = fs::read(scene.state().join("state.jsonl")).unwrap();
    append(&audit, page(2)).await.unwrap();
    drop(audit);
    // The log is on disk, the journal's last lines are not, or only half of them.
    for torn in [&b""[..], b"{\"fact\":{\"page\":{\"ke"] {
        drop(scene.open().unwrap());
        fs::write(scene.state().join("state.jsonl"), [&journal, torn].concat()).unwrap();
        assert_eq!(scene.revision(), 2);
    }
    // Half a line of the log.
    let mut log = OpenOptions::new().append(true).open(scene.log()).unwrap();
    log.write_all(b"{\"line\":9,\"pr").unwrap();
    let audit = scene.open().unwrap();
    append(&audit, page(3)).await.unwrap();
    let walked = chain::walk(fs::read(scene.log()).unwrap().as_slice(), None, |_, _| ()).unwrap();
    assert_eq!((walked.cut, walked.is_torn), (1, false));
    drop(audit);
    // No journal at all: it is made anew from the log.
    fs::remove_file(scene.state().join("state.jsonl")).unwrap();
    let before = scene.lines().len();
    assert_eq!(scene.revision(), 3);
    assert_eq!(scene.lines().len(), before);
}

#[tokio::test]
async fn a_log_from_before_the_chain_is_gone_on_with() {
    let scene = Scene::new();
    fs::write(scene.log(), "{\"time\":\"t\",\"key\":\"lab\",\"kind\":\"file\"}\n{\"ti").unwrap();
    let audit = scene.open().unwrap();
    append(&audit, page(1)).await.unwrap();
    drop(audit);
    let lines = scene.lines();
    assert_eq!(lines.len(), 4);
    assert!(lines[2].starts_with("{\"line\":3,\"prev\":"), "{lines:?}");
    assert!(lines[2].contains(&Sha256::compute(b"{\"ti").hex()), "{lines:?}");
    assert_eq!(scene.revision(), 1);
}

#[tokio::test]
async fn a_log_that_others_touched_is_not_gone_on_with() {
    let scene = Scene::new();
    let audit = scene.open().unwrap();
    let first = append(&audit, page(1)).await.unwrap();
    append(&audit, page(2)).await.unwrap();
    drop(audit);
    drop(scene.open().unwrap());
    let good = fs::read(scene.log()).unwrap();
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();

    fs::remove_file(scene.log()).unwrap();
    assert!(scene.refused().contains("it is not there, and was written to before"));
    fs::write(scene.log(), lines[..2].concat()).unwrap();
    let error = scene.refused();
    assert!(
        error.contains("it was cut off or replaced") && error.contains("audit restart"),
        "{error}"
    );
    let changed =
        String::from_utf8(good.clone()).unwrap().replace("\"revision\":2", "\"revision\":3");
    fs::write(scene.log(), changed).unwrap();
    assert!(scene.refused().contains("its line 3 is not the one that was written"));
    for more in [&b"{\"some\":\"thing\"}\n"[..], lines[1]] {
        fs::write(scene.log(), [&good, more].concat()).unwrap();
        let error = scene.refused();
        assert!(
            error.contains("the signer did not write") || error.contains("does not follow"),
            "{error}"
        );
    }
    // A line before the last is not read when it starts, but by whoever compares.
    let changed =
        String::from_utf8(good.clone()).unwrap().replace("\"revision\":1", "\"revision\":0");
    fs::write(scene.log(), changed).unwrap();
    let audit = scene.open().unwrap();
    assert!(matches!(audit.goes_on_from(&first), LogCheck::Broken(_)));
    drop(audit);
    fs::write(scene.log(), &good).unwrap();
    let audit = scene.open().unwrap();
    assert!(matches!(audit.goes_on_from(&first), LogCheck::Continues(_)));
    let other = LogHead { log: "another".into(), ..first.clone() };
    assert!(matches!(audit.goes_on_from(&other), LogCheck::Elsewhere(_)));
    let later = LogHead { line: 99, ..first };
    assert!(matches!(audit.goes_on_from(&later), LogCheck::Broken(_)));
}

/// What somebody does to the log.
type Touch = fn(&Path);

#[tokio::test]
async fn a_log_that_is_touched_while_it_is_written_stops_it() {
    let touches: [(&str, Touch); 4] = [
        ("not there any more", |log| fs::rename(log, log.with_extension("old")).unwrap()),
        ("another file is in its place", |log| {
            fs::copy(log, log.with_extension("new")).unwrap();
            fs::rename(log.with_extension("new"), log).unwrap();
        }),
        ("it was cut off", |log| {
            OpenOptions::new().write(true).open(log).unwrap().set_len(10).unwrap();
        }),
        ("somebody else wrote to it", |log| {
            OpenOptions::new().append(true).open(log).unwrap().write_all(b"x\n").unwrap();
        }),
    ];
    for (why, touch) in touches {
        let scene = Scene::new();
        let audit = scene.open().unwrap();
        append(&audit, page(1)).await.unwrap();
        assert_eq!(audit.stopped(), None);
        touch(&scene.log());
        for revision in [2, 3] {
            let error = append(&audit, page(revision)).await.unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("audit restart"), "{why}: {error}");
        }
        assert!(audit.stopped().is_some());
        drop(audit);
        // What was signed before counts in the new file, and the chain goes on.
        let before = Journal::peek(&scene.state()).unwrap().end.unwrap().head;
        while let Err(error) = LogWriter::restart(&scene.log(), &scene.state(), "it was moved") {
            assert!(matches!(error, OpenError::Held(_)), "{why}: {error}");
            std::thread::yield_now();
        }
        let audit = scene.open().unwrap();
        assert_eq!(audit.memory().revision("lab", "testing"), 1);
        append(&audit, page(2)).await.unwrap();
        let log = fs::read(scene.log()).unwrap();
        let walked = chain::walk(log.as_slice(), None, |_, _| ()).unwrap();
        assert_eq!((walked.from, walked.head.line), (before, before.line + 2), "{why}");
        let then = LogHead { log: audit.head().log, line: before.line, digest: before.digest };
        assert!(matches!(audit.goes_on_from(&then), LogCheck::Elsewhere(_)), "{why}");
    }
}

#[tokio::test]
async fn a_full_disk_shuts_it_for_good() {
    let scene = Scene::new();
    let mut books = LogWriter::open(&scene.log(), &scene.state()).unwrap();
    books.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    books.path = "/dev/full".into();
    let audit = AuditLog::start(books).unwrap();
    assert_eq!(append(&audit, page(1)).await, Err(LogError::Disk));
    audit.failed().await;
    assert_eq!(append(&audit, page(2)).await, Err(LogError::Disk));
}

#[test]
fn one_at_a_time() {
    let scene = Scene::new();
    let _books = LogWriter::open(&scene.log(), &scene.state()).unwrap();
    let error = LogWriter::open(&scene.log(), &scene.state()).unwrap_err().to_string();
    assert!(error.contains("a signer runs on it; stop it first"), "{error}");
}
