//! Worlds for the judge: repositories, a choice of modules and lists of requirements, all from one
//! seed. Metadata are written as createrepo_c writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rpmfarm_core::Sha256;
use rpmfarm_core::modules::ModuleChoice;
use rpmfarm_solv::Repository;

/// The platform of all worlds.
pub(crate) const PLATFORM: &str = "platform:lab9";

const NAMES: u64 = 40;
/// Names of capabilities, and of files.
const CAPABILITIES: u64 = 10;
const FILES: u64 = 8;
const MODULES: u64 = 4;

/// Whether worlds have a feature. `JUDGE_WITHOUT` names those that they are to lack, separated by
/// commas, to find out which one makes a difference.
fn with(feature: &str) -> bool {
    let without = std::env::var("JUDGE_WITHOUT").unwrap_or_default();
    !without.split(',').any(|name| name == feature)
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) repositories: Vec<Made>,
    pub(crate) choice: ModuleChoice,
    pub(crate) requests: Vec<Vec<String>>,
}

/// A repository on disk.
pub(crate) struct Made {
    pub(crate) about: Repository,
    pub(crate) dir: PathBuf,
    pub(crate) modules: Option<String>,
}

/// SplitMix64: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in so many of a hundred.
    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

/// A package as its metadata have it.
struct Package {
    name: String,
    epoch: u64,
    version: String,
    release: String,
    arch: &'static str,
    entries: BTreeMap<&'static str, Vec<String>>,
    files: BTreeSet<String>,
}

impl World {
    pub(crate) fn new(seed: u64, requests: usize, dir: &Path) -> Self {
        let mut chance = Chance(seed);
        let mut repositories = Vec::new();
        for number in 0..2 + chance.below(2) {
            let about = about(&mut chance, number);
            let dir = dir.join(&about.id);
            let mut packages = plain(&mut chance);
            let wanted = chance.percent(60) && with("modules");
            let modules = wanted.then(|| modules(&mut chance, number, &mut packages));
            write(&dir, &packages, modules.as_deref());
            repositories.push(Made { about, dir, modules });
        }
        let choice = choice(&mut chance, &repositories);
        let requests = (0..requests)
            .map(|_| (0..1 + chance.below(4)).map(|_| requirement(&mut chance, 0)).collect())
            .collect();
        Self { seed, repositories, choice, requests }
    }
}

fn about(chance: &mut Chance, number: u64) -> Repository {
    let mut patterns = |percent| -> Vec<String> {
        let count = if chance.percent(percent) { 1 + chance.below(3) } else { 0 };
        (0..count)
            .map(|_| {
                let name = format!("p{}", chance.below(NAMES));
                match chance.below(5) {
                    0 => format!("{name}-2-*"),
                    1 => format!("{name}.noarch"),
                    2 => format!("p{}?", 1 + chance.below(3)),
                    3 => format!("p[{}-9]", chance.below(9)),
                    _ => name,
                }
            })
            .collect()
    };
    let mut excludes = patterns(40);
    let mut includes = patterns(10);
    if !with("excludes") {
        excludes.clear();
    }
    if !with("includes") {
        includes.clear();
    }
    if !includes.is_empty() {
        includes.push("p[0-2]*".to_owned());
    }
    Repository {
        id: format!("r{number}"),
        priority: {
            let drawn = [99, 99, 50, 10][usize::try_from(chance.below(4)).unwrap()];
            if with("priorities") { drawn } else { 99 }
        },
        cost: {
            let drawn = [1000, 1000, 500][usize::try_from(chance.below(3)).unwrap()];
            if with("costs") { drawn } else { 1000 }
        },
        excludes,
        includes,
        module_hotfixes: chance.percent(15) && with("hotfixes"),
    }
}

/// Something to require; packages ask for later names only, so that circles are rare.
fn requirement(chance: &mut Chance, after: u64) -> String {
    let name = |chance: &mut Chance| {
        let from = if chance.percent(3) { 0 } else { after.min(NAMES - 1) };
        format!("p{}", from + chance.below(NAMES - from))
    };
    match chance.below(20) {
        0..8 => name(chance),
        8..10 => {
            let relation = chance.of(&["<", "<=", "=", ">=", ">"]);
            let version = 1 + chance.below(3);
            let release = if chance.percent(30) { "-1" } else { "" };
            format!("{} {relation} {version}{release}", name(chance))
        }
        10..13 => format!("c{}", chance.below(CAPABILITIES)),
        13 => format!("c{} >= {}", chance.below(CAPABILITIES), 1 + chance.below(3)),
        14 => format!("/usr/bin/f{}", chance.below(FILES)),
        15 => format!("/usr/share/f{}", chance.below(FILES)),
        16 => format!("({} or {})", name(chance), name(chance)),
        17 => format!("({} if {})", name(chance), name(chance)),
        18 => format!("({} and {})", name(chance), name(chance)),
        _ => format!("(c{} with {})", chance.below(CAPABILITIES), name(chance)),
    }
}

fn plain(chance: &mut Chance) -> Vec<Package> {
    let mut all = Vec::new();
    for number in 0..NAMES {
        if chance.percent(25) {
            continue;
        }
        let mut versions = BTreeSet::new();
        for _ in 0..1 + chance.below(2) {
            versions.insert(1 + chance.below(3));
        }
        let arch = if chance.percent(50) { "noarch" } else { "x86_64" };
        for version in versions {
            let release = format!("{}", 1 + chance.below(2));
            all.push(package(chance, number, version, release, arch));
        }
    }
    all
}

fn package(
    chance: &mut Chance,
    number: u64,
    version: u64,
    release: String,
    arch: &'static str,
) -> Package {
    let mut entries: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut files = BTreeSet::new();
    let name = format!("p{number}");
    let epoch = u64::from(chance.percent(8));
    let evr = format!("{version}-{release}");
    let full = if epoch == 0 { evr } else { format!("{epoch}:{evr}") };
    entries.entry("provides").or_default().push(format!("{name} = {full}"));
    for _ in 0..chance.below(4) {
        if number + 1 < NAMES {
            entries.entry("requires").or_default().push(requirement(chance, number + 1));
        }
    }
    if chance.percent(40) {
        let capability = format!("c{}", chance.below(CAPABILITIES));
        let version = if chance.percent(60) { format!(" = {version}") } else { String::new() };
        entries.entry("provides").or_default().push(format!("{capability}{version}"));
    }
    if chance.percent(6) {
        entries.entry("provides").or_default().push(format!("p{} = 2-1", chance.below(NAMES)));
    }
    for (kind, percent) in [("conflicts", 5), ("obsoletes", 5)] {
        if chance.percent(percent) {
            let other = format!("p{} < {}", chance.below(NAMES), 2 + chance.below(2));
            entries.entry(kind).or_default().push(other);
        }
    }
    for kind in ["recommends", "suggests", "supplements", "enhances"] {
        if chance.percent(10) {
            let other = format!("p{}", chance.below(NAMES));
            entries.entry(kind).or_default().push(other);
        }
    }
    for dir in ["/usr/bin", "/usr/share"] {
        if chance.percent(15) {
            files.insert(format!("{dir}/f{}", chance.below(FILES)));
        }
    }
    Package { name, epoch, version: version.to_string(), release, arch, entries, files }
}

/// Streams with packages of their own, which are added.
fn modules(chance: &mut Chance, repository: u64, packages: &mut Vec<Package>) -> String {
    let mut yaml = String::new();
    for module in 0..MODULES {
        if chance.percent(40) {
            continue;
        }
        let names: Vec<u64> = (0..1 + chance.below(4)).map(|_| chance.below(NAMES)).collect();
        for stream in 1..=2 {
            for (build, context) in ["a1", "b2"].into_iter().enumerate() {
                if build == 1 && chance.percent(70) {
                    continue;
                }
                let release = format!("1.module_m{module}s{stream}{context}r{repository}");
                let mut artifacts = BTreeSet::new();
                for name in &names {
                    if chance.percent(80) {
                        let version = 1 + chance.below(3);
                        let made = package(chance, *name, version, release.clone(), "x86_64");
                        let nevra = format!(
                            "{}-{}:{}-{}.x86_64",
                            made.name, made.epoch, made.version, made.release
                        );
                        // Now and then it is listed and not there, or there and not listed.
                        if chance.percent(97) {
                            artifacts.insert(nevra);
                        }
                        if chance.percent(97) {
                            packages.push(made);
                        }
                    }
                }
                if chance.percent(10) {
                    artifacts.insert(format!("p{}-0:1-1.src", chance.below(NAMES)));
                }
                yaml.push_str(&document(chance, module, stream, context, &artifacts, &names));
            }
        }
        if chance.percent(60) {
            let modified = if chance.percent(30) { "\n  modified: 202001010000" } else { "" };
            let stream = 1 + chance.below(2);
            yaml.push_str(&format!(
                "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: m{module}\n  \
                 stream: \"{stream}\"{modified}\n  profiles: {{}}\n...\n"
            ));
        }
    }
    yaml
}

fn document(
    chance: &mut Chance,
    module: u64,
    stream: u64,
    context: &str,
    artifacts: &BTreeSet<String>,
    names: &[u64],
) -> String {
    let mut requires = String::from("platform: [lab9]");
    if chance.percent(5) {
        requires = "platform: [lab8]".to_owned();
    }
    if chance.percent(30) && module + 1 < MODULES {
        let streams = chance.of(&["[]", "[\"1\"]", "[\"2\"]", "[\"1\", \"2\"]", "[\"-1\"]"]);
        requires.push_str(&format!(", m{}: {streams}", module + 1));
    }
    let rpms: String = artifacts.iter().map(|rpm| format!("    - {rpm}\n")).collect();
    let rpms = if rpms.is_empty() { "{}".to_owned() } else { format!("\n    rpms:\n{rpms}") };
    let version = 1 + chance.below(3);
    let fixed = if chance.percent(25) { "\n  static_context: true" } else { "" };
    let left = if chance.percent(8) {
        format!("\n  demodularized: {{rpms: [p{}]}}", names[0])
    } else {
        String::new()
    };
    format!(
        "---\ndocument: modulemd\nversion: 2\ndata:\n  name: m{module}\n  stream: \"{stream}\"\n  \
         version: {version}\n  context: {context}{fixed}\n  arch: x86_64\n  summary: s\n  \
         description: d\n  license: {{module: [MIT]}}\n  dependencies:\n  - requires: \
         {{{requires}}}{left}\n  artifacts: {}\n...\n",
        rpms.trim_end()
    )
}

fn choice(chance: &mut Chance, repositories: &[Made]) -> ModuleChoice {
    let mut choice = ModuleChoice::default();
    for module in 0..MODULES {
        let (name, stream) = (format!("m{module}"), (1 + chance.below(2)).to_string());
        let there = format!("name: {name}\n  stream: \"{stream}\"");
        let there = repositories.iter().flat_map(|r| &r.modules).any(|text| text.contains(&there));
        match chance.below(10) {
            0..3 if there => {
                choice.enabled.insert(name, stream);
            }
            3 if there => {
                choice.disabled.insert(name);
            }
            _ => {}
        }
    }
    choice
}

fn write(dir: &Path, packages: &[Package], modules: Option<&str>) {
    let repodata = dir.join("repodata");
    fs::create_dir_all(&repodata).unwrap();
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let count = packages.len();
    let mut primary = format!(
        "{head}<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{count}\">\n"
    );
    let mut filelists = format!(
        "{head}<filelists xmlns=\"http://linux.duke.edu/metadata/filelists\" packages=\"{count}\">\n"
    );
    for package in packages {
        let Package { name, epoch, version, release, arch, entries, files } = package;
        let id = Sha256::compute(format!("{}{name}-{version}-{release}", dir.display()).as_bytes());
        let list = |bin_only: bool| -> String {
            files
                .iter()
                .filter(|file| !bin_only || file.contains("bin/"))
                .map(|file| format!("<file>{file}</file>"))
                .collect()
        };
        let version = format!("<version epoch=\"{epoch}\" ver=\"{version}\" rel=\"{release}\"/>");
        primary.push_str(&format!(
            "<package type=\"rpm\"><name>{name}</name><arch>{arch}</arch>{version}<checksum type=\"sha256\" pkgid=\"YES\">{id}</checksum><summary>s</summary><description/><packager/><url/><time file=\"1\" build=\"1\"/><size package=\"1\" installed=\"1\" archive=\"1\"/><location href=\"{id}.rpm\"/><format><rpm:license>MIT</rpm:license>"
        ));
        for (kind, list) in entries {
            let list: String = list.iter().map(|entry| self::entry(entry)).collect();
            primary.push_str(&format!("<rpm:{kind}>{list}</rpm:{kind}>"));
        }
        primary.push_str(&format!("{}</format></package>\n", list(true)));
        filelists.push_str(&format!(
            "<package pkgid=\"{id}\" name=\"{name}\" arch=\"{arch}\">{version}{}</package>\n",
            list(false)
        ));
    }
    primary.push_str("</metadata>\n");
    filelists.push_str("</filelists>\n");
    let mut page = format!(
        "{head}<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1</revision>\n"
    );
    let mut add = |kind: &str, name: &str, text: &str| {
        fs::write(repodata.join(name), text).unwrap();
        page.push_str(&format!(
            "<data type=\"{kind}\"><checksum type=\"sha256\">{}</checksum><location href=\"repodata/{name}\"/><timestamp>1</timestamp><size>{}</size></data>\n",
            Sha256::compute(text.as_bytes()),
            text.len()
        ));
    };
    add("primary", "primary.xml", &primary);
    add("filelists", "filelists.xml", &filelists);
    if let Some(modules) = modules {
        add("modules", "modules.yaml", modules);
    }
    page.push_str("</repomd>\n");
    fs::write(repodata.join("repomd.xml"), page).unwrap();
}

/// `name`, `name RELATION [EPOCH:]VERSION[-RELEASE]`, or a rich dependency, as an element.
fn entry(text: &str) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let words: Vec<&str> = text.split(' ').collect();
    let [name, relation, evr] = words[..] else {
        return format!("<rpm:entry name=\"{}\"/>", escaped(text));
    };
    if text.starts_with('(') {
        return format!("<rpm:entry name=\"{}\"/>", escaped(text));
    }
    let flags = match relation {
        "<" => "LT",
        "<=" => "LE",
        "=" => "EQ",
        ">=" => "GE",
        _ => "GT",
    };
    let (epoch, rest) = evr.split_once(':').unwrap_or(("0", evr));
    let (version, release) = rest.split_once('-').unwrap_or((rest, ""));
    let release = if release.is_empty() { String::new() } else { format!(" rel=\"{release}\"") };
    format!(
        "<rpm:entry name=\"{name}\" flags=\"{flags}\" epoch=\"{epoch}\" ver=\"{version}\"{release}/>"
    )
}
