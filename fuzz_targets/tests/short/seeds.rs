//! Good inputs of each reader, from which the others are made.

use std::io::Write as _;

use rpmfarm_core::lock::{Layer, LockedPackage};
use rpmfarm_core::source::{SourceBundle, SourceFile};
use rpmfarm_core::{Arch, BuildOptions, Evr, Lock, Nevra, Sha256};
use rpmfarm_guarded::chain::ChainHead;
use rpmfarm_proto::{Message as _, v1};
use rpmfarm_rpmfile::Headers;
use rpmfarm_signer::event::{Event, LogEntry};
use rpmfarm_sources::modify::{Context, Parameters, PlannedFile, PlannedNode, ScriptPlan, Step};

use crate::forge::{self, File};

/// Good inputs of a reader.
pub(crate) fn seeds_of(name: &str) -> Vec<Vec<u8>> {
    match name {
        "rpm_header" => vec![small_rpm()],
        "package" | "contents" => rpms(),
        "signed_header" => vec![main_header()],
        "fragments" => vec![fragments()],
        "pack" => packs(),
        "worker_state" => vec![worker_state()],
        "desired_state" => vec![desired_state()],
        "options" => vec![options()],
        "lock" => vec![lock()],
        "bundle" => vec![bundle()],
        "plan" => vec![plan()],
        "pool" => pools(),
        "audit_log" => vec![audit_log()],
        _ => texts(name).into_iter().map(String::into_bytes).collect(),
    }
}

fn texts(name: &str) -> Vec<String> {
    let id = "a".repeat(40);
    let sha512 = "0123456789abcdef".repeat(8);
    let sha256 = &sha512[..64];
    match name {
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
        "hook_body" => vec![
            format!(
                r#"{{"object_kind":"push","ref":"refs/heads/c9s","after":"{id}","project":{{"path_with_namespace":"g/s/bash"}}}}"#
            ),
            format!(
                "payload=%7B%22topic%22%3A%22git.receive%22%2C%22msg%22%3A%7B%22branch%22%3A%22c9s%22\
                 %2C%22end_commit%22%3A%22{id}%22%2C%22repo%22%3A%7B%22fullname%22%3A%22rpms%2Fbash%22%7D%7D%7D&x=1"
            ),
        ],
        "tree" => vec![
            "hello.spec\nsources\na.patch\nlink -> common/b\ncommon/b\ntests/run.sh\nsub@\n".to_owned(),
            ".hello.metadata\nSPECS/hello.spec\nSOURCES/a.patch\nSOURCES/b -> ../common/a\n\
             common/a\nSOURCES/deep/x -> x\n"
                .to_owned(),
        ],
        "nevra" => vec![
            "hello-2.12.1-1.el9.x86_64\na-b-c-1:2.0~rc1-3.noarch\na-0:1-1.src\na-1^git1-1.el9_2.src\n"
                .to_owned(),
            "a-01.010a-1.x\na-1.10-1.x\na-1..9-1.x\na-1~~-1.x\na-1^-1.x\n".to_owned(),
        ],
        "keys" => vec![include_str!("../../src/key.asc").to_owned()],
        "signature" => vec![include_str!("signature.asc").to_owned()],
        "repomd" | "page" => vec![format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <repomd xmlns=\"http://linux.duke.edu/metadata/repo\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n\
             <revision>1700000000</revision>\n<data type=\"primary\"><checksum type=\"sha256\">{sha256}</checksum>\n\
             <open-checksum type=\"sha256\">{sha256}</open-checksum><location href=\"repodata/p.xml.gz\"/>\n\
             <timestamp>1700000001.25</timestamp><size>10</size><open-size>20</open-size></data>\n\
             <data type=\"modules\"><checksum type=\"sha512\">{sha512}</checksum>\n\
             <location xml:base=\"http://x/\" href=\"repodata/m.yaml.zst\"/></data></repomd>\n"
        )],
        "metalink" => vec![
            format!(
                "<?xml version=\"1.0\"?><metalink version=\"3.0\" xmlns=\"http://www.metalinker.org/\"><files>\n\
                 <file name=\"repomd.xml\"><verification><hash type=\"sha256\">{sha256}</hash></verification>\n\
                 <resources><url protocol=\"https\" preference=\"100\">https://a/x/repodata/repomd.xml</url>\n\
                 <url preference=\"9\">http://b/?a=1&amp;b=/repodata/repomd.xml</url></resources></file></files></metalink>\n"
            ),
            "# mirrors\nhttps://a/x/\n http://b/y\nftp://c/\n".to_owned(),
        ],
        "href" => vec!["Packages/f/foo-1~rc1-1.rpm".to_owned(), "a b/x%41?y#z".to_owned()],
        "relation" => vec![
            "((crate(a/default) >= 0.2.0 with crate(a/default) < 0.3.0~) if crate(b))".to_owned(),
            "pkgconfig(x) >= 1:2-3".to_owned(),
        ],
        "requirement" => vec![
            "hello >= 0:1-1\npkgconfig(x)\n/usr/bin/hello\n(hello or (absent and absent))\n".to_owned(),
            "/usr/share/hello\n(hello if absent else pkgconfig(x))\n(hello with pkgconfig(x))\n\
             (hello unless (hello without absent))\nrpmlib(x) < 1\n"
                .to_owned(),
        ],
        "primary" => vec![
            primary("<rpm:requires><rpm:entry name=\"((a or b) if c)\"/></rpm:requires>"),
            primary(
                "<!-- \" --><rpm:provides><rpm:entry name=\"hello\" flags=\"EQ\" epoch=\"0\" \
                 ver=\"1\" rel=\"1\"/></rpm:provides><rpm:obsoletes><rpm:entry name='&#40;a&#x29;'/>\
                 </rpm:obsoletes><file>/usr/bin/hello</file><file type=\"dir\">/etc/hello</file>",
            ),
        ],
        "records" => vec![
            format!(
                r#"{{"git_ref":"c9s","files":[{{"name":"a","digest":"{sha256}","size":1,"from":"git"}}]}}"#
            ),
            r#"{"noarch":{"requires":["gcc"],"exclusive":["noarch"],"noarch":true}}"#.to_owned(),
            format!(r#"[{{"path":"x/config.log","digest":"{sha256}","size":3}}]"#),
        ],
        "target" => vec![include_str!("../../../deploy/targets/lab.toml").to_owned()],
        "csr" => vec![include_str!("request.pem").to_owned()],
        "build_log" => vec![
            "Executing(%build): /bin/sh -e /tmp/x\n+ make\nx.c:1:2: error: no\nmake: *** [all] Error 2\n\
             error: Bad exit status from /tmp/x (%build)\n\nRPM build errors:\n    Bad exit status\n"
                .to_owned(),
            "error: Failed build dependencies:\n\tgcc is needed by x-1-1.x86_64\n\u{1b}[31mred\u{1b}[0m\r\n\
             Processing files: x\nerror: Installed (but unpackaged) file(s) found:\n   /usr/x\n"
                .to_owned(),
        ],
        "terms" => vec![
            "target x86_64\nrequires gcc\nrequires rpmlib(x)\nmakes a\nprovides b\nexclusive noarch\n\
             excluded ppc64le\nbuilds noarch\nend\ntarget noarch\nconflicts c\nend\ntarget aarch64\n"
                .to_owned(),
        ],
        "rpm_said" => vec![
            "error: %prein(a-1-1.x86_64) scriptlet failed, exit status 1\nerror: a: install failed\n"
                .to_owned(),
            "\tfile /x from install of a-1-1 conflicts with file from package b-1-1\n\
             \tlibx is needed by a-1-1.x86_64\ninstalling package a needs 5MB on the / filesystem\n"
                .to_owned(),
        ],
        "journal" => vec![format!(
            "{{\"package\":{{\"target\":\"lab\",\"nevra\":\"a-1-1.noarch\",\"header\":\"{sha256}\"}}}}\n\
             {{\"page\":{{\"key\":\"k\",\"target\":\"lab\",\"channel\":\"testing\",\"path\":\"x86_64/os\",\
             \"revision\":3,\"digest\":\"{sha256}\"}}}}\n\
             {{\"floor\":{{\"target\":\"lab\",\"channel\":\"testing\",\"to\":2}}}}\n\
             {{\"forgotten\":{{\"target\":\"lab\",\"nevra\":\"a-1-1.noarch\"}}}}\n"
        )],
        "words" => vec![
            "memory=1024 disk=2048 label=ssd\n32G\n1048576M\nlab/testing/x86_64/os\nlab=lab,next\n"
                .to_owned(),
            format!("{sha256}\n{sha512}\n{id}\nrpmfarm.{sha256}.{sha256}\n"),
            format!(
                "rpmfarm acceptance of a package 1\ntarget lab\nbuild 3\nattempt 5\nworker w1\n\
                 nevra a-1-1.noarch\nfile {sha256}\nheader {sha256}\ntime 6\n"
            ),
        ],
        "tags" => vec![
            "imports/c9/hello-1.0-1.el9\nimports/c9/hello-1.0%7Erc1-1.el9\nimports/c9/hello-1.0_rc1-1.el9\n\
             imports/c9/hello-1.0-rc1-1.el9\nimports/c9/hello-1:2-3\nimports/c9/hello-1_7E2-3^{}\n"
                .to_owned(),
        ],
        "kept" => vec!["config.log *.l[a-o]g core.[!x]* b/?\nx/config.log\na.log\ncore.1\na/b/c\n".to_owned()],
        other => panic!("{other} has no seeds"),
    }
}

/// The `<package>` element of primary.xml.
fn primary(format: &str) -> String {
    let id = "a".repeat(64);
    format!(
        "<package type=\"rpm\"><name>hello</name><arch>x86_64</arch>\
         <version epoch=\"0\" ver=\"1\" rel=\"1\"/><checksum type=\"sha256\" pkgid=\"YES\">{id}</checksum>\
         <summary>s</summary><description/><packager/><url/><time file=\"1\" build=\"1\"/>\
         <size package=\"1\" installed=\"1\" archive=\"1\"/><location href=\"hello.rpm\"/>\
         <format><rpm:license>MIT</rpm:license>{format}</format></package>"
    )
}

/// Steps on a pool: a number of packages to add with name, checksum, files and what is required of
/// each; one to remove; a path to solve for.
fn pools() -> Vec<Vec<u8>> {
    vec![
        // Two packages, of which one requires a file of the other; both leave.
        [&[0, 1, 1, 1, 2, 0x80 | 0o22, 2, 2, 1, 0][..], &[3, 0o11, 3, 0o22, 2, 2, 3, 0o11, 2, 1]]
            .concat(),
        // Three of one checksum, at once and one after the other.
        [&[0, 1, 1, 1, 1, 0, 2, 1, 1, 0][..], &[0, 0, 1, 1, 1, 0, 0, 0, 2, 1, 1, 0, 3, 0o11]]
            .concat(),
        // One that is replaced and comes back, between others.
        [
            &[1, 2, 1, 1, 3, 0, 2, 2, 3, 0, 3, 3, 3, 0, 0, 0, 1, 4, 2, 0][..],
            &[3, 0o41, 3, 0o11, 0, 0, 1, 1, 3, 0, 3, 0o11],
        ]
        .concat(),
    ]
}

/// Lead, an empty signature header, and a main header with a name in it.
fn small_rpm() -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
    bytes.extend(header(&[], b""));
    // The region covers all entries: it comes first and points to the last of the store.
    let region = [63, 7, (4_u32 * 16).wrapping_neg(), 16].map(u32::to_be_bytes).concat();
    let store = [b"x\x001\0noarch\0".as_slice(), &region].concat();
    let entries = [(63, 7, 11, 16), (1000, 6, 0, 1), (1001, 6, 2, 1), (1022, 6, 4, 1)];
    bytes.extend(header(&entries, &store));
    bytes
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

/// Packages with files of each kind, as they are and compressed.
fn rpms() -> Vec<Vec<u8>> {
    let content = b"hello\n";
    let linked = |path: &str| File { inode: 7, ..File::regular(path, content) };
    let files = [
        File::directory("/usr/share/hello"),
        File::regular("/usr/share/hello/a", content),
        File::symlink("/usr/share/hello/b", "../../share/hello/a"),
        linked("/usr/share/hello/c"),
        linked("/usr/share/hello/d"),
    ];
    let contents: [&[u8]; 5] = [b"", content, b"../../share/hello/a", b"", content];
    let both: Vec<(File, &[u8])> = files.iter().cloned().zip(contents).collect();
    let open = forge::honest(&both);
    let packed = zstd::encode_all(open.as_slice(), 3).unwrap();
    let dir = tempfile::tempdir().unwrap();
    [(open, None), (packed, Some("zstd"))]
        .map(|(payload, compressor)| {
            std::fs::read(forge::package(dir.path(), &files, &payload, compressor)).unwrap()
        })
        .into()
}

fn main_header() -> Vec<u8> {
    let rpm = rpms().remove(0);
    Headers::read(&mut rpm.as_slice()).unwrap().main().to_vec()
}

/// Repodata of one package as they are kept: a line with the format, then each with its length.
fn fragments() -> Vec<u8> {
    let mut open = b"rpmfarm fragments 1\n".to_vec();
    for text in ["<package type=\"rpm\"/>\n", "", "<package/>\n"] {
        open.extend((text.len() as u64).to_le_bytes());
        open.extend(text.as_bytes());
    }
    zstd::encode_all(open.as_slice(), 3).unwrap()
}

/// A pack with a file and a delta, as it is and in packets.
fn packs() -> Vec<Vec<u8>> {
    let zlib = |bytes: &[u8]| {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x02".to_vec();
    // A blob of five bytes.
    pack.push(0x35);
    pack.extend(zlib(b"hello"));
    // A delta on an object of this name: of five bytes five are copied.
    pack.push(0x74);
    pack.extend([7; 20]);
    pack.extend(zlib(&[5, 5, 0x90, 5]));
    pack.extend([9; 20]);
    let mut packets = format!("0008NAK\n{:04x}\x01", pack.len() + 5).into_bytes();
    packets.extend(&pack);
    packets.extend(b"0000");
    vec![pack, packets]
}

fn file_ref(name: &str) -> v1::FileRef {
    v1::FileRef {
        name: name.to_owned(),
        digest: Sha256::compute(name.as_bytes()).hex(),
        size: 3,
        executable: true,
    }
}

fn worker_state() -> Vec<u8> {
    use v1::attempt_report::Progress;
    let success = v1::Success {
        files: vec![v1::ResultFile {
            file: Some(file_ref("a-1-1.noarch.rpm")),
            kind: "rpm".to_owned(),
        }],
        predicts: vec!["a".to_owned()],
        terms: vec![v1::SpecTerms {
            target: "noarch".to_owned(),
            requires: vec!["gcc".to_owned()],
            ..Default::default()
        }],
        proof: Some(v1::Proof {
            key: "01".repeat(32),
            input: "02".repeat(32),
            signature: "03".repeat(64),
        }),
        ..Default::default()
    };
    let failure = v1::Failure {
        fault: v1::Fault::Package.into(),
        stage: "build".to_owned(),
        message: "no".to_owned(),
        excerpt: vec!["x".to_owned()],
        typed_stage: v1::FailureStage::Build.into(),
    };
    let requires = v1::DynamicRequires { round: 1, requires: vec!["python3dist(x)".to_owned()] };
    let reports = [
        Progress::Phase("build".to_owned()),
        Progress::Requires(requires),
        Progress::Succeeded(success),
        Progress::Failed(failure),
    ];
    let report = |progress| v1::AttemptReport { attempt: 1, epoch: 2, progress: Some(progress) };
    v1::WorkerState {
        name: "w1".to_owned(),
        version: "0.1.0".to_owned(),
        arches: vec!["x86_64".to_owned()],
        slots: 2,
        labels: vec!["ssd".to_owned()],
        attempts: reports.into_iter().map(report).collect(),
        ..Default::default()
    }
    .encode_to_vec()
}

fn desired_state() -> Vec<u8> {
    use v1::assignment::Input;
    let sources = v1::SourcesInput {
        spec: Some(file_ref("a.spec")),
        sources: vec![file_ref("a.tar")],
        plan: Some(file_ref("plan")),
        arches: vec!["x86_64".to_owned()],
    };
    let srpm = v1::SrpmInput {
        file: Some(file_ref("a-1-1.src.rpm")),
        dynamic_requires: true,
        noarch: false,
    };
    let assignment = |input| v1::Assignment {
        attempt: 1,
        input: Some(input),
        arch: "x86_64".to_owned(),
        lock: Sha256::compute(b"lock").hex(),
        limits: Some(v1::Limits::default()),
        allow: vec!["fuse".to_owned()],
        ..Default::default()
    };
    v1::DesiredState {
        assignments: vec![assignment(Input::Sources(sources)), assignment(Input::Srpm(srpm))],
        notice: "drained".to_owned(),
        ..Default::default()
    }
    .encode_to_vec()
}

fn options() -> Vec<u8> {
    v1::BuildOptions {
        with: vec!["tests".to_owned()],
        without: vec!["docs".to_owned()],
        define: vec![v1::Macro { name: "optflags".to_owned(), body: "-O2".to_owned() }],
        additional_packages: vec!["gcc >= 4".to_owned()],
        repositories: vec![v1::AddedRepository {
            baseurl: "https://example.org/repo/".to_owned(),
            keys: vec![include_str!("../../src/key.asc").to_owned()],
            nogpgcheck: false,
        }],
        ..Default::default()
    }
    .encode_to_vec()
}

fn lock() -> Vec<u8> {
    let package = LockedPackage {
        nevra: Nevra::new("a", Evr::new(1, "2", "3"), "noarch"),
        digest: Sha256::compute(b"a"),
        size: 1,
        source: "a".to_owned(),
        origin: "lab".to_owned(),
        location: "a.rpm".to_owned(),
        base: String::new(),
        module: "m:1".to_owned(),
    };
    let layer = Layer::new(vec![package]);
    Lock {
        target: "lab".to_owned(),
        arch: Arch::X86_64,
        bootstrap: layer.clone(),
        layers: vec![layer],
        options: BuildOptions { with: vec!["x".to_owned()], ..BuildOptions::default() },
    }
    .to_bytes()
}

fn source_file(name: &str) -> SourceFile {
    let digest = Sha256::compute(name.as_bytes());
    SourceFile { name: name.to_owned(), digest, size: 3, executable: false }
}

fn bundle() -> Vec<u8> {
    SourceBundle {
        package: "a".to_owned(),
        url: "https://example.org/a.git".to_owned(),
        commit: "a".repeat(40),
        spec: source_file("a.spec"),
        sources: vec![source_file("a.tar")],
        modification: None,
        plan: Some(source_file("plan")),
    }
    .to_bytes()
}

fn plan() -> Vec<u8> {
    let planned = |path: &str, node| PlannedFile { path: path.to_owned(), node };
    let file = PlannedNode::File { digest: Sha256::compute(b"a"), size: 1, executable: true };
    ScriptPlan {
        parameters: Parameters::default(),
        context: Context {
            package: "a".to_owned(),
            time: 1_700_000_000,
            macros: vec![("dist".to_owned(), ".el9".to_owned())],
            built: vec!["1-2.el9".to_owned()],
            spec_names: Vec::new(),
        },
        tree: vec![planned("a.spec", file), planned("b", PlannedNode::Link("a.spec".to_owned()))],
        modifications: Vec::new(),
        lookaside: Vec::new(),
        notes: Vec::new(),
        steps: vec![Step::Bump(Some(3))],
    }
    .to_bytes()
}

fn audit_log() -> Vec<u8> {
    let mut head = ChainHead::START;
    let mut log = Vec::new();
    for event in [Event::Began { log: "x".to_owned() }, Event::Resumed] {
        let entry = LogEntry { time: "2026-01-01T00:00:00Z".to_owned(), event };
        let (line, next) = head.next(&entry).unwrap();
        log.extend(line);
        head = next;
    }
    log
}
