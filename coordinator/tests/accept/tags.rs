//! A tag of upstream names a version and release, and the build must have them.

use rpmfarm_core::Fault;

use crate::scene::{Scene, built, spec};
use crate::support::build_spec;

const TAGS: &str = "upstream.ref = \"imports/c9/{nvr}\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_names_another_release_is_refused() {
    let scene = Scene::with(TAGS).await;
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
    // The farm may have another dist tag; and a request for a commit promises no version.
    for right in ["imports/c9/hello-1-2.el9_4", "imports/c9/hello-1-2", "c0ffee"] {
        let build = scene.build_of("hello", right).await;
        scene.srpm(build, &made).await.expect(right);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_may_write_in_its_own_way_what_git_cannot_name() {
    let scene = Scene::with(TAGS).await;
    let text = spec("hello", "Release: 1.el9", "hi").replace("Version: 1", "Version: 2.0~rc1");
    let made = build_spec(&text, &[]);
    for (tag, agrees) in [
        ("hello-2.0%7Erc1-1.el9", true),
        ("hello-2.0_7Erc1-1.el9", true),
        ("hello-2.0_rc1-1.el9", true),
        ("hello-2.0-rc1-1.el9", true),
        ("hello-2.0%5Erc1-1.el9", false),
        ("hello-2.0_rc2-1.el9", false),
        ("hello-2.0-1.el9", false),
    ] {
        let build = scene.build_of("hello", &format!("imports/c9/{tag}")).await;
        assert_eq!(scene.srpm(build, &made).await.is_ok(), agrees, "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn macros_that_nothing_defines_are_the_package_s() {
    let scene = Scene::new().await;
    for (tags, words) in [
        ("Release: 1%{rel}", "tag RELEASE: `1%{rel}`: the macro %{rel} is not defined"),
        ("Release: 1%{?dist}%{bar}", "%{bar}`: the macro %{bar} is not defined"),
        ("Release: 1\nBuildRequires: a%{bar}", "BuildRequires is `a%{bar}`: the macro %{bar}"),
        ("Release: 1\nBuildRequires: a >= %{bar}", "BuildRequires is `a >= %{bar}`"),
        ("Release: 1\nExcludeArch: %{some_arches}", "ExcludeArch is `%{some_arches}`"),
    ] {
        let build = scene.build("hello").await;
        let refused = scene.srpm(build, &built("hello", tags, "hi")).await.unwrap_err();
        assert_eq!(refused.fault, Fault::Package, "{refused}");
        assert!(refused.message.contains(words), "{refused}");
        assert!(refused.message.contains("[packages.NAME.macros]"), "{refused}");
    }
}
