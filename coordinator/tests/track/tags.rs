//! Following tags: the newest one by rpm's order counts.

use rpmfarm_coordinator::clock;
use rpmfarm_core::BuildId;

use crate::scene::Scene;
use crate::upstream::{Serve, id};

async fn scene(tags: &[(&str, char)]) -> Scene {
    let scene = Scene::tagged().await;
    tag(&scene, tags);
    scene.track(&["bash"]).await;
    scene.poll_packages(&["bash"]).await;
    scene
}

fn tag(scene: &Scene, tags: &[(&str, char)]) {
    for (nvr, commit) in tags {
        scene.upstream.push("bash", &format!("tags/imports/c9/{nvr}"), &id(*commit));
    }
}

async fn refs(scene: &Scene) -> Vec<String> {
    scene.poll_packages(&["bash"]).await;
    scene.decide().await;
    scene.builds().await.into_iter().map(|build| build.git_ref).collect()
}

#[tokio::test]
async fn a_newer_tag_is_built_and_older_ones_are_not() {
    let scene = scene(&[("bash-5.1.8-9.el9", 'a'), ("bash-5.1.8-8.el9", '8')]).await;
    scene.upstream.push("bash", "c9s", &id('9'));
    assert!(refs(&scene).await.is_empty(), "where following begins is no push");
    // 10 is above 9, and neither of another package, another branch, nor older.
    tag(
        &scene,
        &[
            ("bash-5.1.8-10.el9", 'b'),
            ("bash-completion-99-1.el9", 'c'),
            ("bash-5.0.99-99.el9", 'd'),
        ],
    );
    scene.upstream.push("bash", "tags/imports/c8/bash-6-1.el8", &id('e'));
    assert_eq!(refs(&scene).await, ["imports/c9/bash-5.1.8-10.el9"]);
    let pushes = scene.pushes().await;
    assert_eq!(
        (pushes[0].commit_id.as_str(), pushes[0].build),
        (id('b').as_str(), Some(BuildId(1)))
    );
    assert_eq!(refs(&scene).await.len(), 1, "once");
    // Many at once are one build, of the newest.
    tag(&scene, &[("bash-5.1.8-11.el9", 'e'), ("bash-5.1.8-11.el9_2", 'f')]);
    assert_eq!(refs(&scene).await[1..], ["imports/c9/bash-5.1.8-11.el9_2"]);
}

#[tokio::test]
async fn a_tag_that_is_taken_back_makes_no_build_of_an_older_one() {
    let scene = scene(&[("bash-5-1.el9", 'a'), ("bash-5-2.el9", 'b')]).await;
    scene.upstream.forget("bash", "tags/imports/c9/bash-5-2.el9");
    assert!(refs(&scene).await.is_empty());
    assert_eq!(scene.tracked("bash").await.problem, "");
    // A tag that was moved is another commit.
    tag(&scene, &[("bash-5-2.el9", 'c')]);
    assert_eq!(refs(&scene).await, ["imports/c9/bash-5-2.el9"]);
    assert_eq!(scene.pushes().await[0].commit_id, id('c'));
}

#[tokio::test]
async fn by_the_old_protocol_and_within_bounds() {
    let scene = scene(&[("bash-5-9.el9", 'a')]).await;
    tag(&scene, &[("bash-5-10.el9", 'b')]);
    scene.upstream.serve("bash", Serve::Old);
    assert_eq!(refs(&scene).await, ["imports/c9/bash-5-10.el9"]);
    scene.upstream.serve("bash", Serve::Refs(250_000));
    scene.poll_packages(&["bash"]).await;
    let problem = scene.tracked("bash").await.problem;
    assert!(problem.contains("more than"), "{problem}");
}

#[tokio::test]
async fn without_a_tag_it_says_so() {
    let scene = scene(&[("bash-completion-5-9.el9", 'a')]).await;
    let row = scene.tracked("bash").await;
    assert!(row.problem.contains("has no tag `imports/c9/{nvr}`"), "{}", row.problem);
    assert!(row.due > clock::now(), "{row:?}");
    assert!(scene.pushes().await.is_empty());
}
