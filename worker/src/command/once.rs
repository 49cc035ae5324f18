//! `rpmfarm-worker run-once`: one build from local files, and what it took.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use parking_lot::Mutex;
use rpmfarm_core::kept;
use rpmfarm_core::limits::Limits;
use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::{Assignment, Input, Phase};
use rpmfarm_core::terms::AllTerms;
use rpmfarm_core::{
    Allowance, Arch, AttemptId, BuildId, BuildOptions, Epoch, Fault, Lock, Sha256, TaskId,
};
use rpmfarm_daemon::log::{self, LogFormat};
use serde::Serialize;
use sha2::Digest as _;

use super::options::HostOptions;
use crate::build::{self, Done, Made, Observer, Round};
use crate::files::{Files, FilesError, Wanted};
use crate::sandbox::Cancel;

/// Options of `run-once`.
#[derive(Debug, Args)]
pub(super) struct Once {
    /// The lock of the root, as JSON.
    #[arg(long, value_name = "FILE")]
    lock: PathBuf,
    /// Directory with the packages that the lock names, in any layout.
    #[arg(long, value_name = "DIR")]
    packages: PathBuf,
    /// The source package to build.
    #[arg(long, value_name = "FILE", conflicts_with = "spec", required_unless_present = "spec")]
    srpm: Option<PathBuf>,
    /// Build it with rpm's target `noarch` instead of the architecture of the root.
    #[arg(long, requires = "srpm")]
    noarch: bool,
    /// A spec, to make the source package of; its sources lie beside it.
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// File with the target's rpm macros.
    #[arg(long, value_name = "FILE")]
    macros: Option<PathBuf>,
    /// Switch a bcond of the spec on; may be given several times.
    #[arg(long, value_name = "BCOND")]
    with: Vec<String>,
    /// Switch a bcond of the spec off; may be given several times.
    #[arg(long, value_name = "BCOND")]
    without: Vec<String>,
    /// Define a macro, after those of the file; may be given several times.
    #[arg(long, value_name = "'MACRO BODY'")]
    define: Vec<String>,
    /// Leave %check out.
    #[arg(long)]
    nocheck: bool,
    /// Limits, as JSON; what is left out has its default.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    limits: String,
    /// What the build may do beyond what every build may, as in a target's `allow`; separated by
    /// commas.
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    allow: Vec<Allowance>,
    /// Where results and logs go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Builds so many times; the report has each.
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u32,
    #[command(flatten)]
    host: HostOptions,
}

/// What one build took, in seconds.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// From the assignment to the results.
    total: f64,
    /// rpmbuild alone, as the cage saw it.
    rpmbuild: f64,
    /// When each phase began.
    phases: Vec<(String, f64)>,
    /// The worker's largest resident memory so far, in KiB.
    rss_kib: u64,
    /// Names of the results.
    files: Vec<String>,
    /// For a source package: what it will make.
    predicts: Vec<String>,
    /// For a source package: what its spec says with other targets of rpm.
    terms: AllTerms,
    /// Of a build that failed, the files that were kept; they lie in `kept/`, numbered from 0.
    kept: Vec<String>,
    /// What went wrong.
    failure: Option<rpmfarm_core::Failure>,
    /// What `%generate_buildrequires` asks for.
    requires: Vec<String>,
}

impl Once {
    #[allow(clippy::print_stdout)] // The report is the answer.
    pub(super) fn run(mut self) -> Result<ExitCode> {
        log::start(LogFormat::Text);
        let prepared = self.host.prepare()?;
        let lock = fs::read(&self.lock).with_context(|| self.lock.display().to_string())?;
        let lock = Lock::from_bytes(&lock).context("the lock")?;
        let limits: Limits = serde_json::from_str(&self.limits).context("--limits")?;
        prepared.engine.scratch.prepare(limits.disk_mib);
        let mut files = LocalFiles::packages(&lock, &self.packages)?;
        let input = self.input(&mut files)?;
        fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let out = self.out.canonicalize()?;
        let mut reports = Vec::new();
        for number in 0..self.times.max(1) {
            let assignment = self.assignment(&lock, &limits, input.clone(), number.into())?;
            let directory = out.join(number.to_string());
            let _ = crate::trees::remove(&directory);
            fs::create_dir_all(&directory)?;
            reports.push(self.build(&prepared.engine, &assignment, &lock, &directory, &files));
        }
        prepared.engine.roots.settle();
        println!("{}", serde_json::to_string_pretty(&reports)?);
        let good = reports.iter().all(|report| report.failure.is_none());
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn build(
        &self,
        engine: &crate::build::Engine,
        assignment: &Assignment,
        lock: &Lock,
        directory: &Path,
        files: &LocalFiles,
    ) -> Report {
        let watch = Stopwatch { started: Instant::now(), phases: Mutex::default() };
        let cancel = Cancel::new();
        let done = engine.run(&Round {
            assignment,
            lock,
            directory,
            files,
            observer: &watch,
            cancel: &cancel,
        });
        let total = watch.started.elapsed().as_secs_f64();
        let phases = watch.phases.into_inner();
        let mut report = Report { total, phases, rss_kib: peak_rss_kib(), ..Report::default() };
        match done {
            Done::Made(Made { files, predicts, terms, rpmbuild_ms, .. }) => {
                report.terms = terms;
                report.files = files.into_iter().map(|file| file.name).collect();
                report.predicts = predicts;
                report.rpmbuild = rpmbuild_ms as f64 / 1000.0;
            }
            Done::NeedsRequires(requires) => report.requires = requires,
            Done::Failed(failure) => {
                report.failure = Some(failure);
                let kept = build::kept::list(directory).unwrap_or_default();
                report.kept = kept.into_iter().map(|file| file.path).collect();
            }
            Done::Cancelled(_) => {}
        }
        report
    }

    fn input(&self, files: &mut LocalFiles) -> Result<Input> {
        if let Some(srpm) = &self.srpm {
            let file = files.add(srpm)?;
            return Ok(Input::Srpm { file, dynamic_requires: false, noarch: self.noarch });
        }
        let Some(spec) = &self.spec else { bail!("give --srpm or --spec") };
        let mut sources = Vec::new();
        let beside = spec.parent().filter(|parent| !parent.as_os_str().is_empty());
        for entry in fs::read_dir(beside.unwrap_or(Path::new(".")))? {
            let path = entry?.path();
            if path.is_file() && path.file_name() != spec.file_name() {
                sources.push(files.add(&path)?);
            }
        }
        Ok(Input::Sources { spec: files.add(spec)?, sources, plan: None, arches: Arch::ALL.into() })
    }

    fn assignment(
        &self,
        lock: &Lock,
        limits: &Limits,
        input: Input,
        number: i64,
    ) -> Result<Assignment> {
        let macros = match &self.macros {
            Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
            None => String::new(),
        };
        let define = |text: &String| {
            let (name, body) = text
                .split_once(char::is_whitespace)
                .with_context(|| format!("--define `{text}`: write 'NAME BODY'"))?;
            anyhow::Ok((name.to_owned(), body.trim().to_owned()))
        };
        let options = BuildOptions {
            with: self.with.clone(),
            without: self.without.clone(),
            define: self.define.iter().map(define).collect::<Result<_>>()?,
            ..BuildOptions::default()
        };
        let macros = format!("{}\n{}", macros.trim_end(), options.macro_lines());
        Ok(Assignment {
            attempt: AttemptId(number),
            task: TaskId(number),
            build: BuildId(number),
            epoch: Epoch(0),
            input,
            package: "once".into(),
            target: lock.target.clone(),
            arch: lock.arch,
            lock: Sha256::of(&lock.to_bytes()),
            round: 0,
            macros,
            nocheck: self.nocheck,
            keep: kept::DEFAULT.iter().map(|pattern| (*pattern).to_owned()).collect(),
            limits: limits.clone(),
            allow: self.allow.iter().copied().collect(),
        })
    }
}

/// Notes when each phase began.
struct Stopwatch {
    started: Instant,
    phases: Mutex<Vec<(String, f64)>>,
}

impl Observer for Stopwatch {
    fn phase(&self, phase: Phase) {
        let at = self.started.elapsed().as_secs_f64();
        self.phases.lock().push((phase.to_string(), at));
    }
}

/// Files of this machine, by digest.
struct LocalFiles(HashMap<Sha256, PathBuf>);

impl LocalFiles {
    /// The packages of a lock. They are found by name and checked by digest when they are placed.
    fn packages(lock: &Lock, directory: &Path) -> Result<Self> {
        let mut by_name = HashMap::new();
        walk(directory, &mut by_name)?;
        let mut files = HashMap::new();
        for package in lock.packages() {
            let named = Path::new(&package.location)
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let name = named.unwrap_or_else(|| package.nevra.file_name());
            let path = by_name.get(&name).with_context(|| {
                format!("{} has no {name}, which the lock names", directory.display())
            })?;
            files.insert(package.digest, path.clone());
        }
        Ok(Self(files))
    }

    fn add(&mut self, path: &Path) -> Result<SourceFile> {
        let name = path.file_name().and_then(|name| name.to_str()).context("a file name")?;
        let (digest, size) = digest(path).with_context(|| path.display().to_string())?;
        self.0.insert(digest, path.to_path_buf());
        let executable = fs::metadata(path)?.permissions().mode() & 0o100 != 0;
        Ok(SourceFile { name: name.into(), digest, size, executable })
    }
}

impl Files for LocalFiles {
    fn place(&self, wanted: &[Wanted], into: &Path, _: &Cancel) -> Result<(), FilesError> {
        for file in wanted {
            let failed = |reason: String| FilesError::Fetch {
                name: file.name.clone(),
                digest: file.digest,
                reason,
                fault: Fault::Farm,
            };
            let from = self.0.get(&file.digest).ok_or_else(|| failed("it is not here".into()))?;
            let found = digest(from).map_err(|error| failed(error.to_string()))?.0;
            if found != file.digest {
                return Err(failed(format!("{} has sha256 {found}", from.display())));
            }
            let to = into.join(&file.name);
            fs::hard_link(from, &to)
                .or_else(|_| fs::copy(from, &to).map(drop))
                .map_err(FilesError::local(&to))?;
        }
        Ok(())
    }
}

fn walk(directory: &Path, found: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if let Some(name) = path.file_name() {
            found.insert(name.to_string_lossy().into_owned(), path);
        }
    }
    Ok(())
}

fn digest(path: &Path) -> std::io::Result<(Sha256, u64)> {
    let mut file = fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((Sha256::from_bytes(hasher.finalize().into()), size));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

/// The most memory that this process has had.
fn peak_rss_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
