//! The view of readers during and after a publication.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rpmfarm_coordinator::publish::{PublishError, PublishOutcome, PublishRequest, PublishStep};
use rpmfarm_core::Arch;
use rpmfarm_core::published_repositories::PublishedRepository;
use rpmfarm_repodata::Compression;

use crate::farm::{CHANNEL, Farm, Page, TARGET, names_in};

#[tokio::test]
async fn packages_are_where_they_belong() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages =
        farm.packages(&["lib.x86_64", "lib-doc", "lib-debuginfo.x86_64", "lib-debugsource.x86_64"]);
    let mut request = farm.request(&packages);
    request.arches = vec![Arch::X86_64, Arch::Aarch64];
    let published = farm.publisher().publish(request, &farm.signer).await.unwrap();
    assert_eq!(published, PublishOutcome { generation: 1, is_new: true });
    assert_eq!(names_in(&farm.repository("os")), ["lib", "lib-doc"]);
    assert_eq!(names_in(&farm.repository("debug")), ["lib-debuginfo", "lib-debugsource"]);
    assert_eq!(names_in(&farm.repository("source")), ["made"]);
    let foreign = farm.channel().join("aarch64");
    assert_eq!(names_in(&foreign.join("os")), ["lib-doc"]);
    assert_eq!(names_in(&foreign.join("debug")), [""; 0]);
    assert_eq!(names_in(&foreign.join("source")), ["made"]);
    for kind in ["os", "debug", "source"] {
        let page = Page::read(&farm.repository(kind)).unwrap();
        rpmfarm_rpmfile::verify_detached(
            page.xml.as_bytes(),
            &page.signature(),
            &farm.certs(),
            SystemTime::now(),
        )
        .unwrap();
    }
}

#[tokio::test]
async fn several_repositories_of_a_channel_are_shown_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages =
        farm.packages(&["lib.x86_64", "lib-doc", "lib-debuginfo.x86_64", "tool.x86_64", "late"]);
    let early = |names: &[&str]| -> Vec<_> {
        packages.iter().filter(|one| names.contains(&&*one.nevra.name)).cloned().collect()
    };
    let publisher = farm.publisher();
    let before = farm.request(&early(&["lib", "lib-doc", "lib-debuginfo", "tool", "made"]));
    publisher.publish(before.clone(), &farm.signer).await.unwrap();
    assert_eq!(names_in(&farm.repository("os")), ["lib", "lib-doc", "tool"]);

    let named = [("BaseOS", &[][..]), ("CRB", &["tool", "lib-doc"][..])];
    let rules = farm.split(&before.packages, &named);
    let is_outdated = |rules: &[PublishedRepository]| {
        let url = "http://farm.example/repo";
        publisher.is_outdated(TARGET, CHANNEL, url, &farm.signer.public_key, rules).unwrap()
    };
    assert!(!is_outdated(&[]) && is_outdated(&rules.repositories));
    // Nothing is read again because of its place.
    for package in &before.packages {
        fs::remove_file(farm.blobs.path(package.digest)).unwrap();
    }
    let published = publisher.publish(rules.clone(), &farm.signer).await.unwrap();
    assert_eq!(published, PublishOutcome { generation: 2, is_new: true });
    let in_it =
        |name: &str, kind: &str| names_in(&farm.channel().join(name).join("x86_64").join(kind));
    assert_eq!(
        (in_it("BaseOS", "os"), in_it("CRB", "os")),
        (vec!["lib".into()], vec!["lib-doc".into(), "tool".into()])
    );
    assert_eq!((in_it("BaseOS", "debug").len(), in_it("CRB", "debug").len()), (1, 0));
    assert_eq!((in_it("BaseOS", "source").len(), in_it("CRB", "source").len()), (1, 0));
    assert!(fs::symlink_metadata(farm.channel().join("x86_64")).is_err(), "it leads to nothing");
    let page = Page::read(&farm.channel().join("CRB/x86_64/os")).unwrap();
    rpmfarm_rpmfile::verify_detached(
        page.xml.as_bytes(),
        &page.signature(),
        &farm.certs(),
        SystemTime::now(),
    )
    .unwrap();
    assert!(!is_outdated(&rules.repositories) && is_outdated(&rules.repositories[..1]));
    let again = publisher.publish(rules.clone(), &farm.signer).await.unwrap();
    assert_eq!(again, PublishOutcome { generation: 2, is_new: false });

    // One more package in one of them: all have the same revision, and older documents stay.
    let mut more = farm.split(&packages, &[("BaseOS", &[]), ("CRB", &["tool", "lib-doc", "late"])]);
    publisher.publish(more.clone(), &farm.signer).await.unwrap();
    page.follow().unwrap();
    assert_eq!(in_it("CRB", "os"), ["late", "lib-doc", "tool"]);
    for name in ["BaseOS", "CRB"] {
        let page = Page::read(&farm.channel().join(name).join("x86_64/os")).unwrap();
        assert!(page.xml.contains("<revision>3</revision>"), "{name}: {}", page.xml);
    }
    // A rule that changes no place is shown nevertheless, because it is asked for.
    more.repositories[1].packages.push("other".into());
    let more = PublishRequest { based_on: Some(3), ..more };
    assert!(publisher.publish(more, &farm.signer).await.unwrap().is_new);

    let mut bad = farm.split(&packages, &named);
    bad.packages[0].repository = 2;
    let error = publisher.publish(bad, &farm.signer).await.unwrap_err().to_string();
    assert!(error.contains("in none of the 2 repositories"), "{error}");
    let bad = farm.split(&packages, &[("../x", &[])]);
    let error = publisher.publish(bad, &farm.signer).await.unwrap_err().to_string();
    assert!(error.contains("cannot be the name of"), "{error}");
}

#[tokio::test]
async fn a_request_that_is_shown_already_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages = farm.packages(&["a", "b", "c"]);
    let publisher = farm.publisher();
    let first = farm.request(&packages[..2]);
    publisher.publish(first.clone(), &farm.signer).await.unwrap();
    let page = Page::read(&farm.repository("os")).unwrap().xml;
    // The same request in another order, from a caller that did not get the answer.
    let mut again = first;
    again.packages.reverse();
    let published = publisher.publish(again, &farm.signer).await.unwrap();
    assert_eq!(published, PublishOutcome { generation: 1, is_new: false });
    assert_eq!(Page::read(&farm.repository("os")).unwrap().xml, page);

    // Another set of packages is another generation, and an earlier set can be shown again.
    for (wanted, generation) in [(&packages[..3], 2), (&packages[..2], 3)] {
        let published = publisher.publish(farm.request(wanted), &farm.signer).await.unwrap();
        assert_eq!(published, PublishOutcome { generation, is_new: true });
        assert_eq!(names_in(&farm.repository("os")).len(), wanted.len());
    }
}

#[tokio::test]
async fn a_change_of_the_url_or_the_compression_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages = farm.packages(&["a"]);
    let publisher = farm.publisher();
    publisher.publish(farm.request(&packages), &farm.signer).await.unwrap();
    let mut request = farm.request(&packages);
    request.base_url = "https://elsewhere.example/".into();
    request.compression = Compression::Zstd;
    publisher.publish(request, &farm.signer).await.unwrap();
    let file = farm.repos().join(TARGET).join(format!("{TARGET}-{CHANNEL}.repo"));
    let file = fs::read_to_string(file).unwrap();
    assert!(file.contains("https://elsewhere.example/lab/RPM-GPG-KEY-lab"), "{file}");
    assert!(Page::read(&farm.repository("os")).unwrap().xml.contains("-primary.xml.zst"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_a_closed_snapshot_through_thirty_publications() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let names: Vec<String> = (0..31).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let packages = farm.packages(&names);
    let publisher = farm.publisher();
    publisher.publish(farm.request(&packages[..1]), &farm.signer).await.unwrap();

    let done = AtomicBool::new(false);
    let (reads, late) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut late) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let page = Page::read(&farm.repository("os")).unwrap();
                std::thread::sleep(Duration::from_millis(reads % 7 * 10));
                page.follow().unwrap_or_else(|error| panic!("after {reads} reads: {error}"));
                reads += 1;
                late += u64::from(Page::read(&farm.repository("os")).unwrap().xml != page.xml);
            }
            (reads, late)
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for count in 2..=30 {
                    let request = farm.request(&packages[..count]);
                    publisher.publish(request, &farm.signer).await.unwrap();
                }
            });
        });
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 20 && late > 5, "{reads} reads, {late} of them during a publication");
    let generations = fs::read_dir(farm.channel().join(".generations")).unwrap().count();
    assert_eq!(generations, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_publishers_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages = farm.packages(&["a", "b"]);
    let (first, second) = (farm.publisher(), farm.publisher());
    let requests = [farm.request(&packages[..1]), farm.request(&packages[1..2])];
    let [a, b] = requests;
    let (a, b) = tokio::join!(first.publish(a, &farm.signer), second.publish(b, &farm.signer));
    let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
    assert_eq!(won.unwrap().generation, 1);
    let error = lost.unwrap_err();
    assert!(matches!(error, PublishError::Busy { .. } | PublishError::Moved { .. }), "{error}");
    assert_eq!(names_in(&farm.repository("os")).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_stood_still_holds_up_nobody_and_shows_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages = farm.packages(&["a", "b", "c"]);
    for pause_at in [PublishStep::Pooled, PublishStep::Written] {
        let (stands_still, goes_on) = (mpsc::channel(), mpsc::channel());
        let (stopped, wait) = (Mutex::new(stands_still.0), Mutex::new(goes_on.1));
        let first = farm.publisher().on_step(move |step| {
            if step == pause_at {
                stopped.lock().send(()).unwrap();
                wait.lock().recv().unwrap();
            }
        });
        let before = farm.publisher().shown(TARGET, CHANNEL).unwrap().unwrap_or(0);
        let old = farm.request(&packages[..1]);
        let signer = &farm.signer;
        let (paused, published) = tokio::join!(first.publish(old, signer), async {
            tokio::task::block_in_place(|| stands_still.1.recv().unwrap());
            let request = farm.request(&packages[..2 + before as usize % 2]);
            let published = farm.publisher().publish(request, signer).await;
            goes_on.0.send(()).unwrap();
            published
        });
        assert_eq!(published.unwrap().generation, before + 1, "{pause_at:?}");
        let error = paused.unwrap_err();
        assert!(matches!(error, PublishError::Moved { .. }), "{pause_at:?}: {error}");
        assert_eq!(farm.publisher().shown(TARGET, CHANNEL).unwrap(), Some(before + 1));
        assert_eq!(names_in(&farm.repository("os")).len(), 2 + before as usize % 2);
        let drafts = fs::read_dir(farm.channel().join(".generations")).unwrap();
        let left = drafts.filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".draft")
        });
        assert_eq!(left.count(), 0, "{pause_at:?}");
    }
}

#[tokio::test]
async fn nothing_is_shown_that_must_not_be_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages = farm.packages(&["a", "b"]);
    farm.publisher().publish(farm.request(&packages[..1]), &farm.signer).await.unwrap();
    let stopped = async || Err("the stage is another's".to_owned());
    let request = farm.request(&packages[..2]);
    let error = farm.publisher().publish_if(request, &farm.signer, stopped).await.unwrap_err();
    assert!(error.to_string().contains("testing of lab is not shown: the stage"), "{error}");
    assert_eq!(names_in(&farm.repository("os")), ["a"]);
    let request = farm.request(&packages[..2]);
    let published = farm.publisher().publish(request, &farm.signer).await.unwrap();
    assert_eq!(published.generation, 2);
}

#[tokio::test]
async fn who_looked_before_the_last_publication_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages = farm.packages(&["a", "b"]);
    let stale = farm.request(&packages[..1]);
    farm.publisher().publish(farm.request(&packages[..2]), &farm.signer).await.unwrap();
    let error = farm.publisher().publish(stale, &farm.signer).await.unwrap_err().to_string();
    assert!(error.contains("shows generation 1") && error.contains("nothing yet"), "{error}");
    assert_eq!(names_in(&farm.repository("os")), ["a", "b"]);
}

#[tokio::test]
async fn damage_in_the_generation_before_is_not_inherited() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let packages = farm.packages(&["a", "b"]);
    let publisher = farm.publisher();
    publisher.publish(farm.request(&packages[..1]), &farm.signer).await.unwrap();
    for entry in fs::read_dir(farm.repository("os").join("repodata")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with("primary.xml.gz") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    publisher.publish(farm.request(&packages[..2]), &farm.signer).await.unwrap();
    assert_eq!(names_in(&farm.repository("os")), ["a", "b"]);
    fs::write(farm.channel().join("current/generation.json"), "{").unwrap();
    publisher.publish(farm.request(&packages[1..2]), &farm.signer).await.unwrap();
    assert_eq!(names_in(&farm.repository("os")), ["b"]);
}
