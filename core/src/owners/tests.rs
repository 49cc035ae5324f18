use proptest::prelude::*;

use super::*;

fn nevra(text: &str) -> Nevra {
    text.parse().unwrap()
}

fn made(text: &str) -> BuiltPackage {
    let nevra = nevra(text);
    let provides = vec![nevra.name.clone(), format!("{}(x86-64)", nevra.name)];
    BuiltPackage {
        nevra,
        provides,
        obsoletes: Vec::new(),
        files: Vec::new(),
        directories: Vec::new(),
    }
}

fn owner(source: &str, package: &str, repository: &str) -> Owner {
    Owner { source: source.into(), package: nevra(package), repository: repository.into() }
}

/// A distribution with gcc, its parts, and fonts of two sources.
fn known() -> KnownOwners {
    let gcc = owner("gcc", "gcc-13-1.x86_64", "appstream");
    let cpp = owner("gcc", "cpp-13-1.x86_64", "appstream");
    let bash = owner("bash", "bash-5-1.x86_64", "baseos");
    let fonts = ["a-fonts", "b-fonts"];
    let fonts = fonts.map(|name| owner(name, &format!("{name}-1-1.noarch"), "appstream"));
    let mut known = KnownOwners::default();
    for owner in [&gcc, &cpp, &bash] {
        let name = owner.package.name.clone();
        known.names.entry(name.clone()).or_default().insert(owner.clone());
        let isa = format!("{name}(x86-64)");
        for what in [name, isa] {
            known.capabilities.entry(what).or_default().insert(owner.clone());
        }
    }
    known.capabilities.insert("/bin/sh".into(), [bash.clone()].into());
    known.capabilities.insert("/usr/bin/cpp".into(), [cpp.clone()].into());
    known.capabilities.insert("/usr/share/asked-for".into(), [cpp].into());
    known.capabilities.insert("font(:lang=en)".into(), fonts.into());
    known.paths.insert("/usr/bin/bash".into(), [bash].into());
    known
}

fn claimed(
    source: &str,
    made: &[BuiltPackage],
    known: &KnownOwners,
    rights: &OwnerRights<'_>,
) -> Vec<String> {
    claims(source, made, known, rights)
        .iter()
        .map(|claim| format!("{} {}", claim.kind, claim.what))
        .collect()
}

#[test]
fn the_source_that_makes_a_name_goes_on_making_it() {
    let all = [made("gcc-14-1.x86_64"), made("cpp-14-1.x86_64"), made("gcc-new-14-1.x86_64")];
    assert!(claimed("gcc", &all, &known(), &OwnerRights::default()).is_empty());
}

#[test]
fn another_source_that_takes_a_name_waits_for_a_person() {
    let found = claims("evil", &[made("gcc-14-1.x86_64")], &known(), &OwnerRights::default());
    assert_eq!(found.len(), 1, "{found:?}");
    let says = "makes the package gcc (gcc owns it: gcc-13-1.x86_64 of appstream)";
    assert_eq!(found[0].to_string(), says);
}

#[test]
fn what_is_provided_obsoleted_and_packaged_is_looked_at() {
    let evil = BuiltPackage {
        provides: vec!["evil".into(), "gcc".into(), "/bin/sh".into(), "evil-thing".into()],
        obsoletes: vec!["cpp".into(), "nobody".into()],
        files: vec!["/bin/bash".into(), "/usr/bin/cpp".into(), "/usr/share/evil".into()],
        directories: vec!["/usr/share/evil".into(), "/usr/share/asked-for".into()],
        ..made("evil-1-1.noarch")
    };
    let expected = [
        "provides /bin/sh",
        "provides gcc",
        "obsoletes cpp",
        "file /usr/bin/bash",
        "file /usr/bin/cpp",
        "file /usr/share/asked-for",
    ];
    assert_eq!(claimed("evil", &[evil], &known(), &OwnerRights::default()), expected);
}

#[test]
fn capabilities_that_many_have_are_free_until_a_build_asks_for_one() {
    let fonts =
        BuiltPackage { provides: vec!["font(:lang=en)".into()], ..made("c-fonts-1-1.noarch") };
    let mut known = known();
    assert!(
        claimed("c-fonts", std::slice::from_ref(&fonts), &known, &OwnerRights::default())
            .is_empty()
    );
    known.required.insert("font(:lang=en)".into());
    let found = claimed("c-fonts", &[fonts], &known, &OwnerRights::default());
    assert_eq!(found, ["provides font(:lang=en)"]);
}

#[test]
fn a_full_name_that_a_stranger_has_does_not_fail_its_owner() {
    let mut known = known();
    let stranger = owner("evil", "gcc-1:14-1.x86_64", "farm");
    known.names.entry("gcc".into()).or_default().insert(stranger);
    let found = claims("gcc", &[made("gcc-14-1.x86_64")], &known, &OwnerRights::default());
    let says =
        "makes gcc-14-1.x86_64, a name that is taken (evil owns it: gcc-1:14-1.x86_64 of farm)";
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [says]);
    // The store reports its own earlier build: the release has to be raised.
    let own = owner("gcc", "gcc-14-1.x86_64", "farm");
    known.names.insert("gcc".into(), [own].into());
    assert!(claimed("gcc", &[made("gcc-14-1.x86_64")], &known, &OwnerRights::default()).is_empty());
}

#[test]
fn what_the_target_lists_needs_no_person() {
    let may_own = ["gcc".to_owned(), "/usr/bin/*".to_owned()];
    let rights = OwnerRights { may_own: &may_own, approved: &[] };
    let all = BuiltPackage { files: vec!["/bin/bash".into()], ..made("gcc-14-1.x86_64") };
    assert!(claimed("toolset", &[all, made("cpp-14-1.x86_64")], &known(), &rights) == ["name cpp"]);
}

#[test]
fn an_approved_claim_makes_an_owner() {
    let approved = |kind, what: &str, source: &str| ApprovedClaim {
        kind,
        what: what.into(),
        source: source.into(),
        build: BuildId(7),
    };
    let all = [
        approved(ClaimKind::Name, "gcc", "toolset"),
        approved(ClaimKind::Provides, "cpp", "toolset"),
    ];
    let rights = OwnerRights { may_own: &[], approved: &all };
    let toolset = BuiltPackage { provides: vec!["cpp".into()], ..made("gcc-14-1.x86_64") };
    assert!(claimed("toolset", &[toolset], &known(), &rights).is_empty());
    // The previous owner needs a person's decision for the name, but not for its provides.
    let mut known = known();
    known.names.get_mut("gcc").unwrap().insert(owner("toolset", "gcc-14-1.x86_64", "farm"));
    let before = [made("gcc-15-1.x86_64"), made("cpp-15-1.x86_64")];
    assert_eq!(claimed("gcc", &before, &known, &rights), ["name gcc"]);
}

#[test]
fn requirements_name_paths_and_what_many_have() {
    let requires = ["gcc >= 4", "/usr/bin/perl", "((/bin/a or font(:lang=ja)) if b)"];
    let found = asked(&requires.map(str::to_owned));
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["/bin/a", "/usr/bin/perl", "font(:lang=ja)"]);
}

#[test]
fn words_of_kinds_are_read_again() {
    for kind in [
        ClaimKind::Name,
        ClaimKind::Nevra,
        ClaimKind::Provides,
        ClaimKind::Obsoletes,
        ClaimKind::File,
    ] {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert!("gcc".parse::<ClaimKind>().is_err());
}

#[test]
fn impact_goes_on_through_what_was_made() {
    let digest = |text: &str| Sha256::compute(text.as_bytes());
    let link = |build, made: &[&str], used: &[&str]| BuildLink {
        build: BuildId(build),
        made: made.iter().map(|text| digest(text)).collect(),
        used: used.iter().map(|text| digest(text)).collect(),
    };
    let links = [
        link(1, &["bad"], &[]),
        link(2, &["a"], &["bad", "good"]),
        link(3, &["b"], &["a"]),
        link(4, &["c"], &["good"]),
        link(5, &["d"], &["b", "bad"]),
        // The package was built again with itself.
        link(1, &["bad"], &["bad"]),
    ];
    let found = impact(&[digest("bad")].into(), &links);
    let claimed: Vec<_> = found.iter().map(|one| (one.build.0, one.through.map(|b| b.0))).collect();
    assert_eq!(claimed, [(2, None), (5, None), (3, Some(2))]);
}

proptest! {
    /// For all builds: names of the own source are never claimed, and each claim has another owner.
    #[test]
    fn claims_are_of_others(
        source in "[abc]",
        makes in proptest::collection::vec("[pqr]", 1..4),
        provides in proptest::collection::vec("[pqrst]", 0..4),
        has in proptest::collection::vec(("[abc]", "[pqrst]"), 0..12),
    ) {
        let mut known = KnownOwners::default();
        for (source, name) in &has {
            let owner = owner(source, &format!("{name}-1-1.noarch"), "repo");
            known.names.entry(name.clone()).or_default().insert(owner.clone());
            known.capabilities.entry(name.clone()).or_default().insert(owner);
        }
        let all: Vec<BuiltPackage> = makes
            .iter()
            .map(|name| BuiltPackage { provides: provides.clone(), ..made(&format!("{name}-2-1.noarch")) })
            .collect();
        let found = claims(&source, &all, &known, &OwnerRights::default());
        for claim in &found {
            prop_assert!(!claim.owners.is_empty());
            prop_assert!(claim.owners.iter().all(|owner| owner.source != source));
            let owns = has.iter().any(|(by, name)| *by == source && *name == claim.what);
            prop_assert!(!owns, "{claim}");
        }
        for name in &makes {
            let owned = has.iter().any(|(by, what)| by != &source && what == name);
            let own = has.iter().any(|(by, what)| by == &source && what == name);
            let claimed = found.iter().any(|c| c.kind == ClaimKind::Name && c.what == *name);
            prop_assert_eq!(claimed, owned && !own);
        }
    }
}

#[test]
fn an_approval_is_of_what_was_shown_and_moves_the_holders_of_full_names_away() {
    let claim = |kind, what: &str, holder: &str| Claim {
        kind,
        what: what.to_owned(),
        package: nevra("mine-1-1.x86_64"),
        owners: [owner("other", holder, FARM)].into(),
    };
    let name = claim(ClaimKind::Name, "cpp", "cpp-13-1.x86_64");
    let taken = claim(ClaimKind::Nevra, "cpp-13-1.x86_64", "cpp-1:13-1.x86_64");
    let shown = [name.clone()];
    let found = [name.clone(), taken.clone()];
    assert_eq!(beyond(&found, &shown), std::slice::from_ref(&taken));
    // Another owner of the same name is nothing new.
    let again = claim(ClaimKind::Name, "cpp", "cpp-14-1.x86_64");
    assert!(beyond(&[again], &shown).is_empty());
    assert_eq!(holders(&found), [nevra("cpp-1:13-1.x86_64")]);
    assert!(holders(&[name]).is_empty());
}
