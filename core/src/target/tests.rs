//! Target files that are read, and those that are refused with a reason.

use super::*;

const LAB: &str = r#"
name = "lab"
arches = ["x86_64"]
dist = ".lab1"
vendor = "100% lab"
channels = ["testing", "stable"]
signing_key = "lab"
allow = ["keyring"]
bootstrap = ["rpm"]
base = ["bash", "rpm-build"]
private_hosts = ["127.0.0.1:8080"]

[upstream]
url = "http://127.0.0.1:8080/git/{name}.git"
ref = "lab1"
lookaside = [
  "http://127.0.0.1:8080/lookaside/{name}/{file}/{hashtype}/{hash}/{file}",
  "https://sources.example.org/{branch}/{hash}",
]

[[repositories]]
id = "lab"
baseurl = "http://127.0.0.1:8080/repo/{arch}"
repo_gpgcheck = true
keys = ["lab.asc"]

[macros]
optflags = "-O2 -g"

[limits]
seconds = 600
memory_mib = 1024

[packages.hello]
ref = "hello-1"
allow = ["fuse", "loop"]
limits = { seconds = 60 }
macros = { optflags = "-O0" }
"#;

/// A good target, for other tests as well.
pub(crate) fn lab() -> Target {
    Target::parse("lab.toml", LAB).expect("the lab's target is good")
}

#[test]
fn what_is_closed_is_opened_by_word() {
    use crate::Allowance::{Fuse, Keyring, Loop};
    assert_eq!(lab().allowed("hello"), [Fuse, Loop, Keyring].into());
    assert_eq!(lab().allowed("other"), [Keyring].into());
    let message = refusal("allow = [\"fuse\", \"loop\"]", "allow = [\"mount\"]");
    assert!(
        message.contains("unknown permission `mount`") && message.contains("user_namespaces"),
        "{message}"
    );
}

/// The message for the lab's target with one line replaced.
fn refusal(line: &str, by: &str) -> String {
    assert!(LAB.contains(line), "{line}");
    let error = Target::parse("lab.toml", &LAB.replacen(line, by, 1)).expect_err(by);
    error.to_string()
}

#[test]
fn defaults_and_overrides() {
    let target = lab();
    assert_eq!(target.first_channel(), "testing");
    assert_eq!(target.build_host, "rpmfarm");
    assert_eq!(target.git_url("gtk+"), "http://127.0.0.1:8080/git/gtk+.git");
    assert_eq!(target.git_ref("other", None).unwrap(), "lab1");
    assert_eq!(target.git_ref("hello", None).unwrap(), "hello-1");
    assert_eq!(target.git_ref("hello", Some("c9s")).unwrap(), "c9s");
    assert!(target.git_ref("hello", Some("--upload-pack=x")).is_err());
    assert_eq!(target.limits_of("hello").seconds, 60);
    assert_eq!(target.limits_of("hello").memory_mib, 1024);
    assert_eq!(target.limits_of("other").seconds, 600);
    let repository = &target.repositories[0];
    assert!(repository.gpgcheck && repository.priority == 99);
    assert_eq!(repository.urls(Arch::X86_64), ["http://127.0.0.1:8080/repo/x86_64/"]);
    let key = repository.keys[0].file("/etc/farm".as_ref()).unwrap();
    assert_eq!(key.to_str(), Some("/etc/farm/lab.asc"));
}

#[test]
fn a_build_is_for_the_architectures_of_its_target_that_were_asked_for() {
    use crate::Arch::{Aarch64, Ppc64le, X86_64};
    let target = Target { arches: vec![X86_64, Aarch64], ..lab() };
    assert_eq!(target.arches_among(&[]), [X86_64, Aarch64]);
    assert_eq!(target.arches_among(&[Ppc64le, Aarch64]), [Aarch64]);
}

#[test]
fn a_repository_may_be_named_unlike_its_package() {
    let named = "[packages.\"gtk+\"]\nrepository = \"gtkplus\"\n";
    let target = Target::parse("lab.toml", &format!("{LAB}\n{named}")).unwrap();
    assert_eq!(target.git_url("gtk+"), "http://127.0.0.1:8080/git/gtkplus.git");
    assert_eq!(target.package_of("gtkplus"), "gtk+");
    assert_eq!(target.package_of("hello"), "hello");
    for (bad, says) in [
        (named.replace("gtkplus", "../x"), "packages.gtk+.repository"),
        (format!("{named}[packages.other]\nrepository = \"gtkplus\"\n"), "is the repository of"),
    ] {
        let error = Target::parse("lab.toml", &format!("{LAB}\n{bad}")).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_repository_lies_at_several_urls_or_on_mirrors() {
    let baseurl = "baseurl = \"http://127.0.0.1:8080/repo/{arch}\"";
    let with = |place: &str| {
        assert!(LAB.contains(baseurl));
        Target::parse("lab.toml", &LAB.replace(baseurl, place))
    };
    let several = "baseurl = [\"https://a/{arch}\", \"https://b/\"]";
    let urls = with(several).unwrap().repositories[0].urls(Arch::Aarch64);
    assert_eq!(urls, ["https://a/aarch64/", "https://b/"]);
    assert!(with("metalink = \"https://m/metalink?repo=x&arch={arch}\"").is_ok());
    for (place, says) in [
        ("mirrorlist = \"https://m/$basearch\"", "write {arch} for $basearch"),
        ("baseurl = \"https://m/$releasever/os\"", "$releasever"),
        ("", "set one of baseurl, mirrorlist and metalink"),
        ("baseurl = []", "set one of baseurl"),
        ("baseurl = \"https://a/\"\nmetalink = \"https://m/\"", "set one of baseurl"),
        ("baseurl = [\"https://a/\", \"ftp://b/\"]", "`ftp:` is not allowed"),
        ("baseurl = 7", "expected a URL"),
        ("baseurl = \"https://a/\"\nincludepkgs = [\"a b\"]", "includepkgs"),
    ] {
        let error = with(place).unwrap_err().to_string();
        assert!(error.contains(says), "{place}: {error}");
    }
    assert!(with("baseurl = \"https://a/\"\nexcludepkgs = [\"x*\"]").is_ok());
}

#[test]
fn modules_are_chosen_by_the_target_and_by_packages() {
    let more = "modules = [\"nodejs:20\", \"ruby:3.3\"]\ndisabled_modules = [\"perl\"]\n";
    let own = "[packages.x]\nmodules = [\"perl:5.32\"]\ndisabled_modules = [\"ruby\"]\n";
    let target = Target::parse("lab.toml", &format!("{more}{LAB}\n{own}")).unwrap();
    let (of_x, of_y) = (target.modules_of("x"), target.modules_of("y"));
    assert_eq!(of_y.enabled.keys().collect::<Vec<_>>(), ["nodejs", "ruby"]);
    assert_eq!(of_y.disabled.iter().collect::<Vec<_>>(), ["perl"]);
    assert_eq!(of_x.enabled.keys().collect::<Vec<_>>(), ["nodejs", "perl"]);
    assert_eq!(of_x.disabled.iter().collect::<Vec<_>>(), ["ruby"]);
    for (bad, says) in [
        ("modules = [\"nodejs\"]", "write NAME:STREAM"),
        ("modules = [\"a:1\", \"a:2\"]", "another stream of the same module"),
        ("modules = [\"a:1\"]\ndisabled_modules = [\"a\"]", "also in `modules`"),
        ("disabled_modules = [\"a:1\"]", "without a stream"),
        ("module_platform_id = \"el9\"", "write NAME:STREAM"),
    ] {
        let error = Target::parse("lab.toml", &format!("{bad}\n{LAB}")).unwrap_err().to_string();
        assert!(error.contains(says), "{bad}: {error}");
    }
}

#[test]
fn the_order_of_requests_is_one_of_three_words() {
    assert_eq!(lab().order, OrderMode::Requires);
    let text = LAB.replace("dist = ", "order = \"none\"\ndist = ");
    let target = Target::parse("lab.toml", &text).expect("it is good");
    assert_eq!(target.order, OrderMode::Unordered);
    let message = refusal("dist = ", "order = \"random\"\ndist = ");
    assert!(
        message.contains("unknown order `random` (known: requires, bootstrap, none)"),
        "{message}"
    );
}

#[test]
fn lookaside_urls_are_in_order() {
    let checksum = Checksum::from_hex(&"AB".repeat(64)).unwrap();
    let hash = "ab".repeat(64);
    assert_eq!(
        lab().lookaside_urls("hello", "c9", "hello 2.tar", &checksum),
        [
            format!(
                "http://127.0.0.1:8080/lookaside/hello/hello%202.tar/sha512/{hash}/hello%202.tar"
            ),
            format!("https://sources.example.org/c9/{hash}"),
        ]
    );
}

#[test]
fn macro_file_holds_each_name_once() {
    let file = lab().macro_file("hello");
    assert!(file.contains("\n%dist .lab1\n"), "{file}");
    assert!(file.contains("\n%vendor 100%% lab\n"), "{file}");
    assert!(file.contains("\n%_buildhost rpmfarm\n"), "{file}");
    assert!(file.contains("\n%optflags -O0\n"), "{file}");
    assert!(!file.contains("-O2"), "{file}");
    assert!(lab().macro_file("other").contains("\n%optflags -O2 -g\n"));
}

#[test]
fn refusals_name_file_key_value_and_remedy() {
    let message = refusal("http://127.0.0.1:8080/git/{name}.git", "file:///srv/{name}");
    assert_eq!(
        message,
        "lab.toml: upstream.url = \"file:///srv/{name}\": `file:` is not allowed; use https"
    );
}

#[test]
fn refusals() {
    let git = "http://127.0.0.1:8080/git/{name}.git";
    let lookaside = "https://sources.example.org/{branch}/{hash}";
    let repo = "http://127.0.0.1:8080/repo/{arch}";
    for (line, by, words) in [
        ("name = \"lab\"", "name = \"La/b\"", "lower-case"),
        ("name = \"lab\"", "nmae = \"lab\"", "unknown field `nmae`"),
        ("[\"x86_64\"]", "[]", "arches = \"[]\": must not be empty"),
        ("[\"x86_64\"]", "[\"s390x\"]", "unknown architecture `s390x`"),
        ("[\"x86_64\"]", "[\"x86_64\", \"x86_64\"]", "twice"),
        ("\".lab1\"", "\"lab1\"", "with its dot"),
        ("[\"testing\", \"stable\"]", "[\"testing\", \"../x\"]", "channels = \"../x\""),
        ("base = [\"bash\"", "base = [\"bash; rm\"", "is not a package name"),
        ("\"127.0.0.1:8080\"", "\"*.example.org\"", "no pattern"),
        ("\"127.0.0.1:8080\"", "\"127.0.0.1:8081\"", "add it to private_hosts"),
        (git, "ext::sh -c x {name}", "`ext:` is not allowed"),
        (git, "https://git.example.org/x.git", "needs the variable {name}"),
        (git, "https://git.example.org/{nmae}.git", "unknown variable {nmae}; known: {name}"),
        (git, "https://{name}.example.org/x.git", "must not depend on a variable"),
        (git, "https://u:p@git.example.org/{name}.git", "user name or password"),
        (git, "http://git.example.org/{name}.git", "upstream.insecure"),
        (git, "https://10.0.0.1/{name}.git", "private address"),
        (git, "https://localhost/{name}.git", "private address"),
        ("ref = \"lab1\"", "ref = \"-x\"", "is not a branch, tag or commit"),
        (lookaside, "https://sources.example.org/{file}", "needs the variable {hash}"),
        (lookaside, "ftp://sources.example.org/{hash}", "`ftp:`"),
        (lookaside, "https://sources.example.org/{hash", "brace without its partner"),
        ("id = \"lab\"", "id = \"farm\"", "own builds"),
        ("id = \"lab\"", "id = \"a b\"", "letters, digits"),
        (repo, "http://127.0.0.1:8080/repo/{basearch}", "known: {arch}"),
        ("keys = [\"lab.asc\"]", "keys = []", "need a key"),
        ("repo_gpgcheck = true", "gpgcheck = false", "insecure = true"),
        ("keys = [\"lab.asc\"]", "keys = [\"a\"]\nprioritty = 1", "prioritty"),
        ("optflags = \"-O2 -g\"", "dist = \".x\"", "field `dist`"),
        ("optflags = \"-O2 -g\"", "ab = \"1\"", "no such macro name"),
        ("dist = \".lab1\"", "dist = \".lab1\"\nkeep_on_failure = [\"/etc/*\"]", "end of a path"),
        ("optflags = \"-O2 -g\"", "_topdir = \"/x\"", "set by the worker"),
        ("optflags = \"-O2 -g\"", "\"a b c\" = \"1\"", "no such macro name"),
        ("optflags = \"-O2 -g\"", "optflags = \"%{expand:{\"", "not closed"),
        ("memory_mib = 1024", "memory_mib = 0", "limits.memory_mib"),
        ("memory_mib = 1024", "memory = 1", "unknown field `memory`"),
        ("{ seconds = 60 }", "{ seconds = 0 }", "packages.hello.limits.seconds"),
        ("{ seconds = 60 }", "{ seconds = 60 }\nneeds = { memory = \"9\" }", "512M, 32G or 1T"),
        ("ref = \"hello-1\"", "ref = \"a..b\"", "packages.hello.ref"),
        ("[packages.hello]", "[packages.\"../x\"]", "is not a package name"),
        ("[limits]", "[track]\npoll_seconds = 0\n[limits]", "track.poll_seconds"),
        ("[limits]", "[track]\npoll_longest_seconds = 5\n[limits]", "less than track.poll_seconds"),
        ("[limits]", "[track]\npolicy = \"never\"\n[limits]", "unknown policy `never`"),
        ("[limits]", "[track.forges]\ngithub = \"ftp://x\"\n[limits]", "track.forges.github"),
        ("[limits]", "[track.forges]\ngitlab = \"https://10.0.0.1\"\n[limits]", "private address"),
    ] {
        let message = refusal(line, by);
        assert!(message.starts_with("lab.toml: "), "{message}");
        assert!(message.contains(words), "{by}: {message}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let text = LAB.replace(".lab1", "lab1").replace("repo_gpgcheck = true", "gpgcheck = false");
    let message = Target::parse("lab.toml", &text).expect_err("two problems").to_string();
    assert_eq!(message.lines().count(), 2, "{message}");
}

#[test]
fn insecure_is_allowed_when_said() {
    for (line, by) in [
        ("repo_gpgcheck = true", "gpgcheck = false\ninsecure = true"),
        (
            "http://127.0.0.1:8080/git/{name}.git\"",
            "http://git.example.org/{name}\"\ninsecure = true",
        ),
    ] {
        Target::parse("lab.toml", &LAB.replacen(line, by, 1)).expect(by);
    }
}

#[test]
fn survives_being_written_and_read() {
    let text = toml::to_string(&lab()).expect("writes");
    assert_eq!(Target::parse("again.toml", &text).expect("reads"), lab());
}

#[test]
fn modifications_are_named_by_templates() {
    let with = |more: &str| {
        LAB.replacen(
            "[[repositories]]",
            &format!("[modifications]\nref = \"a1\"\n{more}\n[[repositories]]"),
            1,
        )
    };
    let good = with("url = \"http://127.0.0.1:8080/autopatch/{name}.git\"");
    let target = Target::parse("lab.toml", &good).unwrap();
    let expected = ("http://127.0.0.1:8080/autopatch/gtk+.git".to_owned(), "a1".to_owned());
    assert_eq!(target.modifications_of("gtk+"), Some(expected));
    assert_eq!(lab().modifications_of("gtk+"), None);
    let unmodified = good.replace("ref = \"hello-1\"", "unmodified = true");
    let target = Target::parse("lab.toml", &unmodified).unwrap();
    assert_eq!(target.modifications_of("hello"), None);
    assert!(target.macros_of("hello").contains(&("optflags".to_owned(), "-O0".to_owned())));
    assert!(target.macros_of("other").contains(&("dist".to_owned(), ".lab1".to_owned())));
    for (bad, key) in [
        ("url = \"http://example.org/{name}.git\"", "modifications.url"),
        ("url = \"https://example.org/x.git\"", "modifications.url"),
        ("url = \"https://example.org/{name}\"\nconfig = \"../x\"", "modifications.config"),
        ("url = \"https://example.org/{name}\"\nconfig = \"other.yaml\"", "modifications.config"),
        ("url = \"https://example.org/{name}\"\nbranch = \"x\"", "branch"),
    ] {
        let error = Target::parse("lab.toml", &with(bad)).unwrap_err().to_string();
        assert!(error.contains(key), "{bad}: {error}");
    }
}

#[test]
fn tags_say_what_upstream_built() {
    let with =
        |tags: &str| LAB.replacen("ref = \"lab1\"", &format!("ref = \"lab1\"\ntags = {tags}"), 1);
    let target =
        Target::parse("lab.toml", &with("[\"imports/c9/{nvr}\", \"r9-{nvr}-x\"]")).unwrap();
    for (git_ref, nvr) in [
        ("imports/c9/hello-1-2.el9", Some("hello-1-2.el9")),
        ("r9-hello-1-2.el9-x", Some("hello-1-2.el9")),
        ("c9", None),
        ("imports/c8/hello-1-2.el8", None),
    ] {
        assert_eq!(target.tagged_nvr(git_ref), nvr, "{git_ref}");
    }
    let text = LAB.replacen("ref = \"lab1\"", "ref = \"imports/c9/{nvr}\"", 1);
    let target = Target::parse("lab.toml", &text).unwrap();
    assert_eq!(target.tagged_nvr("imports/c9/hello-1-2.el9"), Some("hello-1-2.el9"));
    assert_eq!(target.git_ref("other", None).unwrap(), "imports/c9/{nvr}");
    for bad in ["{nvr}-{nvr}", "c9/{version}"] {
        let text = LAB.replacen("ref = \"lab1\"", &format!("ref = \"{bad}\""), 1);
        let error = Target::parse("lab.toml", &text).unwrap_err().to_string();
        assert!(error.contains("upstream.ref") && error.contains("{nvr}"), "{error}");
    }
    for bad in ["[\"imports/c9\"]", "[\"{nvr}{nvr}\"]", "[\"{name}\"]"] {
        let error = Target::parse("lab.toml", &with(bad)).unwrap_err().to_string();
        assert!(error.contains("upstream.tags"), "{error}");
    }
}

/// The example of docs/targets.md is a target.
#[test]
fn the_guides_example_is_one() {
    let guide = include_str!("../../../docs/targets.md");
    let (_, rest) = guide.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let target = Target::parse("example-9.toml", example).unwrap();
    assert_eq!(target.first_channel(), "testing");
    assert!(guide.contains("`needs`") && !target.needs_of("kernel").is_nothing());
}

/// The message for the lab's target with these repositories.
fn split_refusal(repositories: &str) -> String {
    let text = format!("{LAB}\n{repositories}");
    Target::parse("lab.toml", &text).expect_err(repositories).to_string()
}

#[test]
fn repositories_of_a_channel_are_named_and_have_rules() {
    let good = "
        [[published_repositories]]
        name = \"BaseOS\"
        sources = [\"bash\", \"kernel*\"]
        [[published_repositories]]
        name = \"AppStream\"
        rest = true
        [[published_repositories]]
        name = \"CRB\"
        packages = [\"bash\", \"*-devel\"]";
    let target = Target::parse("lab.toml", &format!("{LAB}{good}")).unwrap();
    let names = target.published_repositories.iter().map(|one| one.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["BaseOS", "AppStream", "CRB"]);
    assert_eq!(target.published_repositories[2].packages, ["bash", "*-devel"]);
    assert!(lab().published_repositories.is_empty());

    let one = |name: &str, rules: &str| {
        format!("[[published_repositories]]\nname = \"{name}\"\n{rules}\n")
    };
    let rest = "rest = true";
    for (name, rules, says) in [
        ("x86_64", rest, "name of an architecture"),
        ("a/b", rest, "use letters"),
        (".generations", rest, "use letters"),
        ("current", rest, "something else"),
        ("Packages", rest, "something else"),
        ("a", "", "has no rule"),
        ("a", "packages = [\"\"]", "write the name of a package"),
        ("a", "packages = [\"b c\"]", "write the name of a package"),
        ("a", "sources = [\"b\", \"b\"]", "is listed in a already"),
    ] {
        let message = split_refusal(&one(name, rules));
        assert!(message.contains(says), "{name} {rules}: {message}");
    }
    for (names, says) in [
        (["AppStream", "appstream"], "is listed twice"),
        (["a", "a-debug"], "belongs to a"),
        (["a", "b"], "only one repository can take the rest"),
    ] {
        let message = split_refusal(&names.map(|name| one(name, rest)).concat());
        assert!(message.contains(says), "{names:?}: {message}");
    }
    let many: String =
        (0..33).map(|n| one(&format!("r{n}"), &format!("sources = [\"{n}\"]"))).collect();
    assert!(split_refusal(&many).contains("32 repositories"));
    let patterns: Vec<String> = (0..1001).map(|n| format!("\"p{n}*\"")).collect();
    let message = split_refusal(&one("a", &format!("sources = [{}]", patterns.join(", "))));
    assert!(message.contains("1000 patterns"), "{message}");
}

#[test]
fn earlier_keys_count_as_long_as_they_are_named() {
    let keys = |target: &Target| target.accepted_keys().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(keys(&lab()), ["lab"]);
    let text = LAB.replace("signing_key = \"lab\"", "signing_key = \"b\"\nprevious_keys = [\"a\"]");
    assert_eq!(keys(&Target::parse("lab.toml", &text).expect("it is good")), ["b", "a"]);
    for wrong in ["[\"lab\"]", "[\"a\", \"a\"]", "[\"a b\"]", "[\"a\", \"b\", \"c\", \"d\"]"] {
        let with = format!("signing_key = \"lab\"\nprevious_keys = {wrong}");
        let message = refusal("signing_key = \"lab\"", &with);
        assert!(message.contains("previous_keys"), "{wrong}: {message}");
    }
}
