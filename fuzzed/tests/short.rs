//! A short run of what is fuzzed: mutations of good inputs, the same each time.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rpmfarm_fuzzed::ALL;

#[path = "../../rpmfile/tests/support/mod.rs"]
mod support;

/// Inputs of each reader; `RPMFARM_FUZZ_RUNS` asks for another number.
const RUNS: u64 = 4_000;

/// No reader gets more time than this, unless `RPMFARM_FUZZ_SECONDS` says so.
const PATIENCE: Duration = Duration::from_secs(5);

/// Good inputs, from which the others are made.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let id = "a".repeat(40);
    let sha512 = "0123456789abcdef".repeat(8);
    let texts = match name {
        "sources" | "metadata" => vec![
            format!("SHA512 (hello-2.12.tar.gz) = {sha512}\n{}  b.tar.xz\n", &sha512[..32]),
            format!("{} SOURCES/hello-2.12.tar.gz\n{} SOURCES/x/y.zip\n", &sha512[..64], &id),
        ],
        "webhook" => vec![
            format!(
                r#"{{"ref":"refs/heads/c9s","after":"{id}","repository":{{"full_name":"rpms/bash"}},"commits":[{{"message":"x"}}]}}"#
            ),
            format!(
                r#"{{"object_kind":"push","ref":"refs/tags/v1","after":"{id}","project":{{"path_with_namespace":"g/s/bash"}}}}"#
            ),
            format!(
                r#"{{"msg_id":"1","msg":{{"branch":"c9s","end_commit":"{id}","repo":{{"fullname":"rpms/bash"}}}}}}"#
            ),
        ],
        "refs" => vec![
            format!("003c{id} refs/heads/c9s\n003e{id} refs/heads/c9s-x\n0000"),
            format!("001e# service=git-upload-pack\n00000046{id} HEAD\0multi_ack thin-pack\n0000"),
            "000eERR no way0000".to_owned(),
            format!("0051{id} refs/tags/imports/c9/bash-5.1-9.el9 \n0052{id} refs/tags/imports/c9/bash-5.1-10.el9 \n0000"),
        ],
        "forge" => vec![
            r#"[{"name":"bash","path":"bash","archived":false},{"name":"b c"}]"#.to_owned(),
            r#"{"projects":[{"name":"bash"}],"pagination":{"page":1,"pages":2}}"#.to_owned(),
        ],
        "spec" => vec![
            "Name: x\n%changelog\n* Mon A <a@b> - 1-2\n- Fix CVE-2024-12345\n* Sun B\n- cve-2020-1\n"
                .to_owned(),
            "%global v 2.1\n%define part() %{1}\nName: hello\nEpoch: 1\nVersion: %{v}%{?pre:~%{pre}}\n\
             Release: %autorelease -p -b 3 -e rc1\n%if 0%{?rhel} >= 9 && !%{with x}\nURL: x\n%else\n\
             %bcond_without x\n%endif\n%description\nx\n%changelog\n%autochangelog\n"
                .to_owned(),
            "Name: hello\nVersion: 1\nRelease: 2%{?dist}.3\n%global x %{expand:%{y}}\n\
             %{!?y: %global y \\\n%x%x}\n%package sub\nRelease: 7%{?dist}\n%description sub\n\
             %if 1 + 2 * (3 - 1) == 5 || \"a\" < \"b\"\n%endif\n%prep\n"
                .to_owned(),
        ],
        "autopatch" => vec![
            "parameters:\n  insert_almalinux_line: false\nactions:\n  - replace:\n    - {target: spec, find: hello, replace: hallo, count: 1}\n    - {target: '*.conf', rfind: 'bugs\\.upstream\\.(\\w+)', replace: 'bugs.farm.\\1'}\n  - delete_line:\n    - {target: spec, lines: ['Source0: a.tar']}\n"
                .to_owned(),
            "actions:\n  - delete_files:\n    - {file_name: b.patch}\n  - add_files:\n    - {type: patch, name: 1000-farm.patch, number: 0003}\n  - add_line:\n    - {target: spec, section: install, location: bottom, content: 'x'}\n  - run_script:\n    - {script: x.sh, cwd: rpms}\n"
                .to_owned(),
            "actions:\n  - modify_release:\n    - {suffix: .farm.1, auto_increment: true}\n  - changelog_entry:\n    - {name: A, email: a@b, line: [x, y]}\n"
                .to_owned(),
        ],
        "modules" => vec![
            "---\ndocument: modulemd\nversion: 2\ndata:\n  name: a\n  stream: 1.10\n  version: 3\n  context: c\n  dependencies:\n  - requires: {platform: [el8], b: [-1]}\n  artifacts:\n    rpms: [a-0:1-1.noarch]\n...\n---\ndocument: modulemd-defaults\nversion: 1\ndata: {module: a, stream: '1', profiles: {'1': [common]}}\n"
                .to_owned(),
            "document: modulemd\nversion: 1\ndata: &d {name: a, stream: b, dependencies: {requires: {platform: f27}}, xmd: [*d]}\n"
                .to_owned(),
        ],
        "rpm_header" => {
            // The lead, an empty signature header, and a main header with a name in it.
            let mut bytes = vec![0; 96];
            bytes[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
            bytes.extend(header(&[], b""));
            // The region covers all entries: it comes first and points to the last of the store.
            let region = [63, 7, (4_u32 * 16).wrapping_neg(), 16].map(u32::to_be_bytes).concat();
            let store = [b"x\x001\0noarch\0".as_slice(), &region].concat();
            let entries = [(63, 7, 11, 16), (1000, 6, 0, 1), (1001, 6, 2, 1), (1022, 6, 4, 1)];
            bytes.extend(header(&entries, &store));
            return vec![bytes];
        }
        "rpm_file" => return packages(),
        "relation" => vec![
            "pkgconfig(zlib) >= 1.2".to_owned(),
            "((a if b else c) and (d or /usr/bin/e) without f < 2:1-3)".to_owned(),
            "perl(:MODULE_COMPAT_5.32)".to_owned(),
        ],
        "attributes" => vec![
            "<package><rpm:entry name=\"(a or b)\" flags='GE' ver='1'/><file>/x</file></package>"
                .to_owned(),
        ],
        "nevra" => vec!["bash-5:5.1.8-9.el9.x86_64".to_owned(), "a-b-c-1~rc1^x-2.src".to_owned()],
        "lock" => vec![
            r#"{"target":"lab","arch":"x86_64","bootstrap":[],"layers":[[]],"options":{}}"#.to_owned(),
            String::from_utf8(lock()).unwrap(),
        ],
        "report" => return vec![report()],
        "repomd" => vec![
            "<?xml version=\"1.0\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\
             <revision>12</revision><data type=\"primary\"><location href=\"x\"/></data></repomd>\n"
                .to_owned(),
        ],
        "signer_log" => {
            let zeros = "0".repeat(64);
            vec![
                format!("{{\"line\":1,\"prev\":\"{zeros}\",\"kind\":\"pause\"}}\n{{\"x\":1}}\n"),
                format!("{{\"line\":18446744073709551615,\"prev\":\"{zeros}\"}}"),
            ]
        }
        other => panic!("{other} has no seeds"),
    };
    texts.into_iter().map(String::into_bytes).collect()
}

/// Packages of real rpmbuild, with archives that are compressed and not.
fn packages() -> Vec<Vec<u8>> {
    let spec = "Name: hello\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
                Source0: sample.txt\n%description\nx\n%install\nmkdir -p %{buildroot}/usr/share/hello\n\
                echo hello > %{buildroot}/usr/share/hello/a\nln -s a %{buildroot}/usr/share/hello/b\n\
                %files\n/usr/share/hello\n";
    let of = |payload: &str| support::build_spec(spec, &[("_binary_payload", payload)]);
    let (plain, packed) = (of("w.ufdio"), of("w3.zstdio"));
    [&plain.binary, &packed.binary, &packed.source]
        .map(|path| std::fs::read(path).unwrap())
        .to_vec()
}

fn lock() -> Vec<u8> {
    use rpmfarm_core::lock::{Layer, LockedPackage};
    use rpmfarm_core::{Arch, BuildOptions, Lock, Sha256};
    let package = LockedPackage {
        nevra: "bash-5.1-9.x86_64".parse().unwrap(),
        digest: Sha256::of(b"x"),
        size: 1,
        source: "bash".into(),
        origin: "lab".into(),
        location: "x.rpm".into(),
        base: String::new(),
        module: String::new(),
    };
    let lock = Lock {
        target: "lab".into(),
        arch: Arch::X86_64,
        bootstrap: Layer::new(vec![package.clone()]),
        layers: vec![Layer::new(vec![package])],
        options: BuildOptions::default(),
    };
    lock.to_bytes()
}

fn report() -> Vec<u8> {
    use rpmfarm_proto::{Message as _, v1};
    let state = v1::WorkerState {
        name: "worker1".into(),
        version: "1".into(),
        arches: vec!["x86_64".into()],
        slots: 4,
        labels: vec!["ssd".into()],
        ..v1::WorkerState::default()
    };
    state.encode_to_vec()
}

/// A header of an RPM: tag, type, offset and count of each entry, and the store.
fn header(entries: &[(u32, u32, u32, u32)], store: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
    bytes.extend((entries.len() as u32).to_be_bytes());
    bytes.extend((store.len() as u32).to_be_bytes());
    for (tag, kind, offset, count) in entries {
        bytes.extend([tag, kind, offset, count].into_iter().flat_map(|n| n.to_be_bytes()));
    }
    bytes.extend_from_slice(store);
    bytes
}

/// Xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}

/// Words that readers look for, and numbers at which things overflow.
const WORDS: &[&[u8]] = &[
    b"\n",
    b"\0",
    b" ",
    b"..",
    b"/",
    b"(",
    b") = ",
    b"{",
    b"[",
    b"\"",
    b"refs/heads/",
    b"0000",
    b"ffff",
    b"CVE-",
    b"%changelog",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x8e\xad\xe8\x01",
    b"\xed\xab\xee\xdb",
    b"\xc3\xa9",
    b"null",
    b"  - ",
    b": ",
    b"&a ",
    b"*a",
    b"!!str ",
    b"(.*)*",
    b"../",
    b"-1",
    b"1e999",
    b"%{",
    b"}",
    b"%{?dist}",
    b"%if ",
    b"%global ",
    b"%autorelease ",
    b"18446744073709551615",
];

fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(data.len() + 1);
        match random.below(7) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = random.next() as u8,
            2 => data.truncate(at),
            3 => {
                let word = WORDS[random.below(WORDS.len())];
                data.splice(at..at, word.iter().copied());
            }
            4 => {
                let end = (at + random.below(32)).min(data.len());
                data.drain(at..end);
            }
            5 => {
                let end = (at + random.below(64)).min(data.len());
                let piece = data[at..end].to_vec();
                let to = random.below(data.len() + 1);
                data.splice(to..to, piece);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
    data
}

/// Runs a reader over mutations of its seeds; one that breaks a promise is shown and written to a file.
fn keeps_its_promises(name: &str) {
    let fuzz = ALL.iter().find(|(one, _)| *one == name).expect("a reader of that name").1;
    let number = |variable: &str| std::env::var(variable).ok().and_then(|n| n.parse().ok());
    let patience = number("RPMFARM_FUZZ_SECONDS").map_or(PATIENCE, Duration::from_secs);
    let runs =
        number("RPMFARM_FUZZ_RUNS").unwrap_or(if patience > PATIENCE { u64::MAX } else { RUNS });
    let seeds = seeds(name);
    let begun = Instant::now();
    seeds.iter().for_each(|seed| fuzz(seed));
    fuzz(b"");
    for run in 0..runs {
        let mut random =
            Random(0x9E37_79B9_7F4A_7C15 ^ (run + 1).wrapping_mul(0xD1B5_4A32_D192_ED03));
        let data = mutated(&seeds, &mut random);
        let ended = catch_unwind(AssertUnwindSafe(|| fuzz(&data)));
        if ended.is_err() {
            let file = std::env::temp_dir().join(format!("rpmfarm-fuzz-{name}-{run}"));
            std::fs::write(&file, &data).unwrap();
            let shown = String::from_utf8_lossy(&data[..data.len().min(2000)]);
            panic!("{name}, run {run}, in {}: {shown:?}", file.display());
        }
        if begun.elapsed() > patience {
            break;
        }
    }
}

macro_rules! readers {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            keeps_its_promises(stringify!($name));
        })*

        #[test]
        fn no_reader_is_left_out() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>(), tested);
        }
    };
}

readers! {
    sources metadata webhook refs forge spec rpm_header autopatch modules rpm_file relation attributes
    nevra lock report repomd signer_log
}

#[test]
fn good_inputs_are_read() {
    use rpmfarm_core::track::Forge;
    use rpmfarm_core::track::hook::{Said, read};
    let body = &seeds("webhook")[0];
    assert!(matches!(read(Forge::Github, "push", body).unwrap().said, Said::Push(_)));
    let question = rpmfarm_core::track::refs::Question::name("c9s");
    let mut reader = rpmfarm_core::track::refs::Reader::new(&question);
    reader.feed(&seeds("refs")[0]).unwrap();
    assert!(reader.end().unwrap().is_some());
    let rpm = seeds("rpm_header").remove(0);
    assert!(rpmfarm_rpmfile::Headers::read(&mut rpm.as_slice()).is_ok());
}
