//! Claims: a build that makes names which packages of other sources have waits for a person, and
//! none of its packages is in the pool before.

use rpmfarm_coordinator::claims::DecisionOutcome;
use rpmfarm_core::owners::ClaimKind;
use rpmfarm_core::{BuildId, Fault};

use crate::scene::{Scene, built, spec};
use crate::support::{Built, build_spec};

/// A source package with one binary package of another name.
fn sub(source: &str, name: &str, version: &str, more: &str) -> Built {
    let package = if source == name {
        format!("{more}\n%description\nx\n")
    } else {
        format!(
            "%description\nx\n%package -n {name}\nSummary: x\n{more}\n%description -n {name}\nx\n"
        )
    };
    build_spec(
        &format!(
            "Name: {source}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: x\n\
             Source0: sample.txt\nBuildArch: noarch\n{package}%install\n\
             mkdir -p %{{buildroot}}/usr/share/{name}\necho {source} > \
             %{{buildroot}}/usr/share/{name}/data\n%files -n {name}\n/usr/share/{name}\n"
        ),
        &[],
    )
}

impl Scene {
    async fn claims_of(&self, build: BuildId) -> Vec<String> {
        let claims = self.farm.store.claim_list_open(build).await.unwrap();
        claims.iter().map(|claim| format!("{} {}", claim.kind, claim.what)).collect()
    }

    async fn approved(&self, build: BuildId) -> DecisionOutcome {
        let row = self.farm.store.build_fetch(build).await.unwrap().unwrap();
        self.farm.claims().approve(&self.farm.store, &row, ("ann", "it replaces it")).await.unwrap()
    }

    async fn is_at(&self, build: BuildId, stage: &str) -> bool {
        let waiting = self.farm.store.build_list_with_claims("lab", false, 9).await.unwrap();
        let finish = self.farm.store.build_list_accepted().await.unwrap();
        match stage {
            "claim" => waiting.iter().any(|row| row.id == build),
            _ => finish.iter().any(|row| row.id == build),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_provides_the_name_of_another_waits_for_a_person() {
    let scene = Scene::new().await;
    scene.distribution(&[&built("gcc", "Release: 1", "the compiler")]);
    let evil = built("evil", "Release: 1\nProvides: gcc = 999\nBuildArch: noarch", "evil");
    let build = scene.made("evil", &evil).await;
    assert!(scene.packages(build).await.is_empty(), "nothing of it is in the pool");
    assert_eq!(scene.claims_of(build).await, ["provides gcc"]);
    assert!(scene.is_at(build, "claim").await && !scene.is_at(build, "finish").await);
    let claims = scene.farm.store.claim_list(build).await.unwrap();
    assert_eq!(claims[0].to_string(), "evil provides gcc (gcc owns it: gcc-1-1.x86_64 of lab)");

    // A refusal ends the build, with its reason.
    let row = scene.farm.store.build_fetch(build).await.unwrap().unwrap();
    let refused = scene
        .farm
        .claims()
        .refuse(&scene.farm.store, &row, ("ann", "nobody knows why"))
        .await
        .unwrap();
    assert_eq!(refused, DecisionOutcome::Done);
    let failure = scene.farm.store.failure_list(build, None).await.unwrap().pop().unwrap().failure;
    assert_eq!(failure.fault, Fault::Package);
    assert!(failure.message.contains("ann refused that it evil provides gcc"), "{failure}");
    assert!(failure.message.ends_with("nobody knows why"), "{failure}");
    assert!(!scene.farm.store.build_is_open(build).await.unwrap());
    assert_eq!(scene.approved(build).await, DecisionOutcome::NotClaimed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_distribution_that_is_rebuilt_claims_nothing() {
    let scene = Scene::new().await;
    scene
        .distribution(&[&sub("gcc", "cpp", "1", "Provides: cc"), &built("gcc", "Release: 1", "a")]);
    let again = sub("gcc", "cpp", "2", "Provides: cc\nObsoletes: gcc < 1");
    let build = scene.made("gcc", &again).await;
    assert_eq!(scene.claims_of(build).await, [""; 0]);
    assert_eq!(scene.packages(build).await, ["cpp-2-1.noarch", "gcc-2-1.src"]);
    // A name without an owner belongs to the source that makes it first.
    let first = scene.made("one", &sub("one", "fresh", "1", "")).await;
    assert_eq!(scene.packages(first).await, ["fresh-1-1.noarch", "one-1-1.src"]);
    let second = scene.made("two", &sub("two", "fresh", "2", "")).await;
    assert_eq!(scene.claims_of(second).await, ["name fresh"]);
    assert!(scene.packages(second).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_that_is_approved_makes_an_owner() {
    let scene = Scene::new().await;
    scene.distribution(&[&sub("old", "tool", "1", "")]);
    let build = scene.made("new", &sub("new", "tool", "2", "Obsoletes: tool < 2")).await;
    assert_eq!(scene.claims_of(build).await, ["name tool"]);
    assert_eq!(scene.approved(build).await, DecisionOutcome::Done);
    assert_eq!(scene.packages(build).await, ["new-2-1.src", "tool-2-1.noarch"]);
    assert!(scene.is_at(build, "finish").await && !scene.is_at(build, "claim").await);
    assert_eq!(scene.approved(build).await, DecisionOutcome::NotClaimed);
    let decisions = scene.farm.store.claim_decision_list(build).await.unwrap();
    assert_eq!((decisions[0].word.as_str(), decisions[0].who.as_str()), ("approved", "ann"));

    let next = scene.made("new", &sub("new", "tool", "3", "")).await;
    assert_eq!(scene.packages(next).await, ["new-3-1.src", "tool-3-1.noarch"]);
    let back = scene.made("old", &sub("old", "tool", "4", "")).await;
    assert_eq!(scene.claims_of(back).await, ["name tool"], "it is another's now");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_lists_needs_no_person() {
    let scene = Scene::with("packages.new.may_own = [\"tool*\"]").await;
    scene.distribution(&[&sub("old", "tool", "1", ""), &sub("other", "thing", "1", "")]);
    let build = scene.made("new", &sub("new", "tool", "2", "")).await;
    assert_eq!(scene.packages(build).await, ["new-2-1.src", "tool-2-1.noarch"]);
    let build = scene.made("new", &sub("new", "thing", "3", "")).await;
    assert_eq!(scene.claims_of(build).await, ["name thing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_base_package_has_an_owner() {
    let scene = Scene::new().await;
    let shell = build_spec(
        &spec("shell", "Release: 1", "sh").replace("/usr/share/shell", "/usr/bin/shell"),
        &[],
    );
    scene.base("shell", &shell);
    let evil = spec("evil", "Release: 1", "evil").replace("/usr/share/evil", "/bin/shell");
    let build = scene.made("evil", &build_spec(&evil, &[])).await;
    assert_eq!(scene.claims_of(build).await, ["file /usr/bin/shell/data"]);
    let own = spec("shell", "Release: 2", "sh").replace("/usr/share/shell", "/usr/bin/shell");
    let build = scene.made("shell", &build_spec(&own, &[])).await;
    assert_eq!(scene.claims_of(build).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_stranger_took_first_does_not_fail_its_owner() {
    let scene = Scene::with("packages.evil.may_own = [\"tool\"]").await;
    scene.distribution(&[&sub("tool", "tool", "1", "")]);
    let stranger = scene.made("evil", &sub("evil", "tool", "2", "")).await;
    assert_eq!(scene.packages(stranger).await, ["evil-2-1.src", "tool-2-1.noarch"]);

    let build = scene.made("tool", &sub("tool", "tool", "2", "")).await;
    let claims = scene.farm.store.claim_list_open(build).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].kind, claims[0].what.as_str()), (ClaimKind::Nevra, "tool-2-1.noarch"));
    assert!(claims[0].to_string().contains("evil owns it"), "{}", claims[0]);
    assert_eq!(scene.approved(build).await, DecisionOutcome::Done);
    assert_eq!(scene.packages(build).await, ["tool-2-1.noarch", "tool-2-1.src"]);
    let away = scene.farm.store.withdrawal_list_of_builds(&[stranger]).await.unwrap();
    assert_eq!(away.len(), 1);
    assert_eq!(away[0].reason, format!("replaced by build {build}: it replaces it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effect_is_the_roots_that_hold_what_is_claimed() {
    let scene = Scene::new().await;
    let gcc = built("gcc", "Release: 1", "the compiler");
    scene.distribution(&[&gcc]);
    scene.base("gcc", &gcc);
    scene.made("hello", &built("hello", "Release: 1", "hello")).await;
    let build = scene.made("evil", &sub("evil", "gcc", "2", "")).await;
    let claims = scene.farm.store.claim_list_open(build).await.unwrap();
    let found = scene.farm.claims().affected(&scene.farm.store, "lab", claims).await.unwrap();
    let (_, holds) = &found["hello"];
    assert_eq!(holds.iter().collect::<Vec<_>>(), ["gcc"]);
}
