//! A tag of upstream says which version and release it is, and is held to it.

use rpmfarm_core::Fault;

use crate::scene::{Scene, built};

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_names_another_release_is_refused() {
    let target = include_str!("../../../deploy/targets/lab.toml");
    let target = target.replace("ref = \"lab9\"", "ref = \"imports/c9/{nvr}\"");
    let scene = Scene::of(&target).await;
    let made = built("hello", "Release: 2.el9", "hi");
    for wrong in ["hello-1-3.el9", "hello-2-2.el9", "hello-1-22.el9", "hallo-1-2.el9"] {
        let build = scene.build_of("hello", &format!("imports/c9/{wrong}")).await;
        let refused = scene.srpm(build, &made).await.unwrap_err();
        assert_eq!(refused.fault, Fault::Package, "{refused}");
        for words in ["hello-1-2.el9", wrong] {
            assert!(refused.message.contains(words), "{refused}");
        }
        assert!(scene.packages(build).await.is_empty());
    }
    // Another dist tag is the farm's own; and who asked for a commit has promised nothing.
    for right in ["imports/c9/hello-1-2.el9_4", "imports/c9/hello-1-2", "c0ffee"] {
        let build = scene.build_of("hello", right).await;
        scene.srpm(build, &made).await.expect(right);
    }
}
