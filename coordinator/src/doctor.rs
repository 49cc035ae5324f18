//! The checks that `rpmfarm doctor` shows: what the coordinator finds wrong with the farm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rpmfarm_core::lease::Liveness;
use rpmfarm_core::name::counted;
use rpmfarm_core::worker_standing;
use rpmfarm_core::{Arch, Target};
use rpmfarm_proto::v1::log_check::Finding;
use rpmfarm_proto::v1::{AcceptorStatus, Check, SignerStatus};

use crate::accept::AcceptorClient;
use crate::blobs::Blobs;
use crate::fleet::{Fleet, WorkerView};
use crate::peers::Peers;
use crate::publish::{Channels, SignedAgain};
use crate::scrub::DamagedFiles;
use crate::sign::SignerClient;
use crate::store::{StandingRow, Store};
use crate::targets::Targets;

/// Finds problems of a farm. Cheap to clone.
#[derive(Clone)]
pub struct Doctor {
    pub store: Store,
    pub blobs: Blobs,
    /// Files that were found damaged.
    pub damaged: DamagedFiles,
    pub targets: Targets,
    pub fleet: Fleet,
    pub peers: Peers,
    /// The acceptor; `None` where none is set up.
    pub acceptor: Option<AcceptorClient>,
    pub signer: SignerClient,
    pub channels: Channels,
    /// Where the published trees lie.
    pub repos: PathBuf,
    /// The address under which users reach this farm, without a slash at its end.
    pub base_url: Arc<str>,
}

/// Free space below which the coordinator warns, in MiB: sources and packages of a few large
/// builds.
const LOW_SPACE_MIB: u64 = 4096;

/// Free space below which hardly anything can be imported, accepted or published any more, in MiB.
const NO_SPACE_MIB: u64 = 512;

/// Number of free inodes below which the coordinator warns; each package takes several files.
const FEW_FILES: u64 = 10_000;

/// How long the signer and the acceptor may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same for a call that makes the signer read all of its log.
const LOG_PATIENCE: Duration = Duration::from_secs(20);

/// How long a blob may take to get into its bucket.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(10 * 60);

impl Doctor {
    /// Checks the store, the space, signer and acceptor, the targets and the workers.
    pub async fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.store().await];
        checks.extend(self.space());
        checks.extend(self.uploads());
        checks.extend([self.signer().await, self.workers().await]);
        checks.extend(self.signer_state().await);
        checks.extend(self.acceptor().await);
        checks.extend(self.coordinators());
        checks.extend(damaged(&self.damaged.all()));
        for (name, target) in self.targets.all() {
            let problem = match &target {
                Err(problem) => Some(problem.clone()),
                Ok(target) => missing_keys(target, self.targets.dir()),
            };
            checks
                .extend(problem.map(|problem| check(&format!("target {name}"), "error", problem)));
            if let Ok(target) = &target {
                checks.extend(self.signatures(target).await);
            }
        }
        checks
    }

    /// The other coordinators, where there are any: how many are alive, and whether all publish
    /// under the same address.
    fn coordinators(&self) -> Option<Check> {
        let others = self.peers.others(Instant::now());
        let alive: Vec<_> = others.iter().filter(|(_, alive)| *alive).map(|(row, _)| row).collect();
        let apart = alive.iter().find(|row| *row.base_url != *self.base_url);
        if let Some(row) = apart {
            let message = format!(
                "{} publishes as {} and this one as {}: give all the same --base-url",
                row.address, row.base_url, self.base_url
            );
            return Some(check("coordinators", "error", message));
        }
        let message = format!("{} of {} others are alive", alive.len(), others.len());
        let level = if alive.len() == others.len() { "ok" } else { "warning" };
        (!others.is_empty()).then(|| check("coordinators", level, message))
    }

    async fn store(&self) -> Check {
        match self.store.ping().await {
            Ok(()) => check("store", "ok", "the database answers"),
            Err(error) => check("store", "error", error.to_string()),
        }
    }

    /// Whether new blobs get into their bucket.
    fn uploads(&self) -> Option<Check> {
        let bucket = self.blobs.bucket()?.bucket().address();
        let backlog = match self.blobs.upload_backlog(SystemTime::now()) {
            Ok(backlog) => backlog,
            Err(error) => return Some(check("object store", "error", error.to_string())),
        };
        let (count, oldest) = (backlog.count, backlog.oldest);
        if oldest < UPLOAD_PATIENCE {
            return Some(check("object store", "ok", format!("{bucket} has all older blobs")));
        }
        let minutes = oldest.as_secs() / 60;
        let message = format!(
            "{bucket} still lacks {}, the oldest for {minutes} minutes",
            counted(count, "blob")
        );
        let found = check("object store", "warning", message);
        Some(remedied(found, "the coordinator's log says why; until then this disk alone has them"))
    }

    /// The space of each file system that the coordinator writes to.
    fn space(&self) -> Vec<Check> {
        let mut seen = BTreeSet::new();
        let mut checks = Vec::new();
        for dir in [self.blobs.root(), self.repos.as_path()] {
            match nix::sys::statvfs::statvfs(dir) {
                Ok(stat) => {
                    // Several directories on one file system are one finding.
                    if seen.insert(stat.filesystem_id()) {
                        let mib = stat.blocks_available() * stat.fragment_size() / (1 << 20);
                        // Some file systems report no number of inodes: they have no limit.
                        let counts = stat.files() > 0;
                        let files = if counts { stat.files_available() } else { u64::MAX };
                        checks.push(judged(dir, mib, files));
                    }
                }
                Err(error) => {
                    let check = check("space", "error", format!("{}: {error}", dir.display()));
                    checks.push(remedied(check, "the directory must exist and be readable"));
                }
            }
        }
        checks
    }

    async fn signer(&self) -> Check {
        let mut keys = BTreeMap::<String, Vec<String>>::new();
        for target in self.targets.all().into_values().flatten() {
            for key in target.accepted_keys() {
                keys.entry(key.to_owned()).or_default().push(target.name.clone());
            }
        }
        // A signer that does not answer is one problem, however many keys it should have.
        let mut problems = BTreeMap::<String, Vec<String>>::new();
        let mut remedy = "";
        for (key, targets) in &keys {
            let asked = self.signer.public_key(key);
            let problem = match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer".to_owned(),
            };
            if remedy.is_empty() {
                remedy = if problem.contains("no key") {
                    "make the key (rpmfarm-signer key new NAME --uid 'NAME <MAIL>') and start the \
                     signer again, or name other ones as signing_key and previous_keys of the target"
                } else {
                    "start rpmfarm-signer serve; its --socket must be the coordinator's --signer"
                };
            }
            let whose = format!("key `{key}` of {}", targets.join(", "));
            problems.entry(problem).or_default().push(whose);
        }
        if problems.is_empty() {
            return check("signer", "ok", counted(keys.len(), "key"));
        }
        let lines =
            problems.into_iter().map(|(problem, keys)| format!("{}: {problem}", keys.join("; ")));
        remedied(check("signer", "error", lines.collect::<Vec<_>>().join("\n")), remedy)
    }

    /// Further checks of the signer; none where it does not answer, which is a finding already.
    async fn signer_state(&self) -> Vec<Check> {
        let asked = self.signer.status();
        let status = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) if format!("{error:#}").contains("is older than") => {
                return vec![check("signer", "error", format!("{error:#}"))];
            }
            _ => return Vec::new(),
        };
        let targets: Vec<Arc<Target>> = self.targets.all().into_values().flatten().collect();
        let mut checks = signs(&status);
        checks.extend(asks_for_acceptances(&status, self.acceptor.is_some()));
        for target in &targets {
            checks.extend(target.accepted_keys().filter_map(|key| bound(&status, target, key)));
        }
        for target in &targets {
            for channel in &target.channels {
                checks.extend(self.signer_log(&target.name, channel).await);
            }
        }
        checks
    }

    /// Whether the acceptor answers, and which workers it does not trust yet.
    async fn acceptor(&self) -> Option<Check> {
        let asked = self.acceptor.as_ref()?.status();
        let problem = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(status)) => return Some(accepts(&status)),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".to_owned(),
        };
        let remedy = "start rpmfarm-acceptor serve; its --socket must be the coordinator's \
                  --acceptor-socket";
        Some(remedied(check("acceptor", "error", problem), remedy))
    }

    /// Whether the signer's log continues from the line that was its last when a channel was
    /// signed.
    async fn signer_log(&self, target: &str, channel: &str) -> Option<Check> {
        let name = "signer log";
        let logged = match self.channels.publisher.logged(target, channel) {
            Ok(logged) => logged?,
            Err(error) => return Some(check(name, "warning", error.to_string())),
        };
        let whose = format!("{target}/{channel}, line {}", logged.line);
        let asked = tokio::time::timeout(LOG_PATIENCE, self.signer.check_log(&logged)).await;
        let found = match asked {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Some(check(name, "warning", format!("{whose}: {error:#}"))),
            Err(_) => return Some(check(name, "warning", format!("{whose}: no answer"))),
        };
        let message = format!("{whose}: {}", found.message);
        match found.finding() {
            Finding::Continues => None,
            Finding::Elsewhere => Some(remedied(
                check(name, "warning", message),
                "nothing, if that log was put aside by its operator, or the channel was signed by \
                 the signer of another coordinator; rpmfarm-signer audit verify checks a file",
            )),
            Finding::Broken | Finding::Unspecified => Some(remedied(
                check(name, "error", message),
                "something was signed that is not in the log: check who can write to the log, compare \
                 it with a copy, and treat the key as compromised until the cause is known",
            )),
        }
    }

    /// Whether the packages of a channel are signed with the key that its target names now.
    async fn signatures(&self, target: &Target) -> Option<Check> {
        let channel = target.first_channel();
        let name = format!("target {}", target.name);
        let key = &target.signing_key;
        match self.channels.to_be_signed_again(&self.store, target, channel).await {
            Ok(SignedAgain { unknown: 0, earlier: 0 }) => None,
            Ok(SignedAgain { unknown: 0, earlier }) => {
                let message = format!(
                    "{earlier} packages of {channel} are signed with an earlier key than \
                     signing_key = \"{key}\"; they are being signed again while builds are published"
                );
                let remedy = "nothing; take a key out of previous_keys when this is done and users \
                              have imported the new one";
                Some(remedied(check(&name, "warning", message), remedy))
            }
            Ok(SignedAgain { unknown: unsigned, .. }) => {
                let message = format!(
                    "{unsigned} packages of {channel} are signed with another key than signing_key \
                     = \"{key}\"; they are being signed again, and nothing else is published before that is \
                     done"
                );
                Some(remedied(
                    check(&name, "warning", message),
                    "nothing, if the signer has the key; users must import the new public key \
                     (rpmfarm repo show)",
                ))
            }
            Err(error) => Some(check(&name, "error", format!("{channel}: {error:#}"))),
        }
    }

    /// How many workers take work, and for which architectures of the targets no worker does.
    async fn workers(&self) -> Check {
        let seen = self.fleet.workers(Instant::now());
        let standings = match self.store.standing_list().await {
            Ok(standings) => standings,
            Err(error) => return check("workers", "error", error.to_string()),
        };
        let targets = self.targets.all();
        let arches = targets.values().flatten().flat_map(|target| &target.arches);
        let wanted: BTreeSet<Arch> = arches.copied().collect();
        let seen = seen.iter().map(|(name, view)| CountedWorker {
            name,
            arches: &view.state.arches,
            emulated: &view.state.emulated,
            idle: idle(view, standings.get(name)),
        });
        let (level, message) = workers_found(&seen.collect::<Vec<_>>(), &wanted);
        check("workers", level, message)
    }
}

/// The files that were found damaged; `None` when all that were read again are whole.
fn damaged(all: &[(PathBuf, String)]) -> Option<Check> {
    let (_, first) = all.first()?;
    let message = format!("{}: {first}", counted(all.len(), "damaged file"));
    let remedy = "restore these files from a backup (published files also from DATA/blobs), and check the disk; \
                  no build that needs a damaged blob is signed or published";
    Some(remedied(check("blobs", "error", message), remedy))
}

/// The key files of a target's repositories that cannot be read; `None` when all can.
fn missing_keys(target: &Target, dir: &Path) -> Option<String> {
    let keys = target.repositories.iter().flat_map(|repository| &repository.keys);
    let files: BTreeSet<PathBuf> = keys.filter_map(|key| key.file(dir)).collect();
    let problem = |path: PathBuf| {
        let error = File::open(&path).err()?;
        Some(format!("the key file {} of its repositories: {error}", path.display()))
    };
    let missing: Vec<String> = files.into_iter().filter_map(problem).collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn check(name: &str, level: &str, message: impl Into<String>) -> Check {
    let (name, level, message) = (name.into(), level.into(), message.into());
    Check { name, level, message, remedy: String::new() }
}

/// The check with its remedy.
fn remedied(check: Check, remedy: impl Into<String>) -> Check {
    Check { remedy: remedy.into(), ..check }
}

/// The check of a file system with so much free space, in MiB and in inodes.
fn judged(dir: &Path, mib: u64, files: u64) -> Check {
    let dir = dir.display();
    if files < FEW_FILES && mib >= NO_SPACE_MIB {
        let level = if files == 0 { "error" } else { "warning" };
        let found = check("space", level, format!("{files} more files can be made below {dir}"));
        return remedied(found, "remove files there, or use a file system with more inodes");
    }
    let found = |level| check("space", level, format!("{mib} MiB free below {dir}"));
    let remedy =
        |need| format!("make room there, or move it to a larger disk: {need} MiB at least");
    match mib {
        mib if mib < NO_SPACE_MIB => {
            let mut full = found("error");
            full.message.push_str(": imports, results and publications fail");
            remedied(full, remedy(LOW_SPACE_MIB))
        }
        mib if mib < LOW_SPACE_MIB => remedied(found("warning"), remedy(LOW_SPACE_MIB)),
        _ => found("ok"),
    }
}

/// Whether the signer signs at all, or is paused.
fn signs(status: &SignerStatus) -> Vec<Check> {
    let mut checks = Vec::new();
    if !status.stopped.is_empty() {
        checks.push(check("signer", "error", format!("it signs nothing: {}", status.stopped)));
    }
    if !status.paused.is_empty() {
        let message = format!("it is paused {}; builds wait for it", status.paused);
        checks.push(remedied(check("signer", "warning", message), "rpmfarm-signer resume"));
    }
    checks
}

/// Whether the signer demands acceptances, and the coordinator asks for them.
fn asks_for_acceptances(status: &SignerStatus, has_acceptor: bool) -> Option<Check> {
    match (status.acceptors, has_acceptor) {
        (0, _) => Some(remedied(
            check(
                "acceptor",
                "warning",
                "the signer knows no acceptor: it signs what the coordinator alone has accepted",
            ),
            "start rpmfarm-acceptor serve, name its socket to the coordinator (--acceptor-socket), \
             and its public key to the signer (--acceptor)",
        )),
        (_, false) => Some(remedied(
            check(
                "acceptor",
                "error",
                "the signer signs only what an acceptor has accepted, and the coordinator asks none",
            ),
            "start the coordinator with --acceptor-socket",
        )),
        _ => None,
    }
}

fn accepts(status: &AcceptorStatus) -> Check {
    let Some(first) = status.waiting.first() else {
        let (attempts, workers) = (status.accepted, status.workers);
        let message = format!("accepted attempts: {attempts}, known workers: {workers}");
        return check("acceptor", "ok", message);
    };
    let message = format!(
        "results wait: it does not know these workers by the keys that they sign with: {}",
        status.waiting.join(", ")
    );
    let remedy = format!("rpmfarm-acceptor worker trust {first}, if that is the farm's worker");
    remedied(check("acceptor", "warning", message), remedy)
}

/// Whether a key of a target is bound to this target, and to others only where that is meant.
fn bound(status: &SignerStatus, target: &Target, key: &str) -> Option<Check> {
    let name = &target.name;
    let found = status.keys.iter().find(|known| known.name == key)?;
    let remedy = format!("start rpmfarm-signer serve with --bind {key}={name}");
    if !found.bound {
        let message = format!("the key `{key}` of {name} is bound to no target and signs for any");
        return Some(remedied(check("signer", "warning", message), remedy));
    }
    let message = || {
        let bound = found.targets.join(", ");
        format!("the key `{key}` of {name} does not sign for it: it is bound to {bound}")
    };
    (!found.targets.contains(name)).then(|| remedied(check("signer", "error", message()), remedy))
}

/// A worker as it is counted by architecture.
struct CountedWorker<'a> {
    name: &'a str,
    arches: &'a [Arch],
    emulated: &'a [Arch],
    /// Why it takes no work; `None` when it does.
    idle: Option<String>,
}

/// Why a worker takes no work.
fn idle(view: &WorkerView, decided: Option<&StandingRow>) -> Option<String> {
    let standing = decided.map(|row| row.standing).unwrap_or_default();
    if worker_standing::takes_work(&view.state, view.liveness, standing) {
        return None;
    }
    Some(match decided.filter(|_| !standing.takes_work()) {
        Some(row) if row.reason.is_empty() => format!("is {standing}"),
        Some(row) => format!("is {standing}: {}", row.reason),
        None if view.liveness != Liveness::Alive => format!("is {}", view.liveness.as_str()),
        None if view.state.draining => "is about to stop".to_owned(),
        None if !view.state.unready.is_empty() => view.state.unready.clone(),
        None => {
            worker_standing::outdated(&view.state).unwrap_or_else(|| "takes no work".to_owned())
        }
    })
}

/// How many idle workers are listed with their reasons.
const SHOWN: usize = 4;

/// The state and text of the check. No worker at all is an error when workers are known, and a
/// warning when none has ever come; the same holds for each architecture.
fn workers_found(seen: &[CountedWorker<'_>], wanted: &BTreeSet<Arch>) -> (&'static str, String) {
    let taking = || seen.iter().filter(|worker| worker.idle.is_none());
    let mut message = format!("{} of {} known workers take work", taking().count(), seen.len());
    let mut counts = Vec::new();
    let mut without = Vec::new();
    for arch in wanted {
        let able = || taking().filter(|worker| worker.arches.contains(arch));
        match (able().count(), able().filter(|worker| worker.emulated.contains(arch)).count()) {
            (0, _) => without.push(arch.as_str()),
            (all, 0) => counts.push(format!("{arch} {all}")),
            (all, emulating) => counts.push(format!("{arch} {all} ({emulating} emulating)")),
        }
    }
    if !counts.is_empty() {
        message += &format!(" ({})", counts.join(", "));
    }
    let none = taking().next().is_none();
    if !none && !without.is_empty() {
        message += &format!("; none for {}", without.join(", "));
    }
    let mut reasons = seen.iter().filter_map(|worker| Some((worker.name, worker.idle.as_ref()?)));
    for (name, reason) in reasons.by_ref().take(SHOWN) {
        message += &format!("; {name} {reason}");
    }
    let more = reasons.count();
    if more > 0 {
        message += &format!("; and {more} more (rpmfarm worker list)");
    }
    let level = match (none, seen.is_empty(), without.is_empty()) {
        (true, false, _) => "error",
        (true, true, _) | (false, _, false) => "warning",
        (false, _, true) => "ok",
    };
    (level, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_take_work_are_counted() {
        use Arch::{Aarch64, X86_64};
        fn seen<'a>(
            name: &'a str,
            arches: &'a [Arch],
            emulated: &'a [Arch],
            idle: Option<&str>,
        ) -> CountedWorker<'a> {
            CountedWorker { name, arches, emulated, idle: idle.map(str::to_owned) }
        }
        let both = BTreeSet::from([X86_64, Aarch64]);
        let plain = seen("a", &[X86_64], &[], None);
        let emulating = seen("b", &[X86_64, Aarch64], &[Aarch64], None);
        let out = seen("c", &[X86_64], &[], Some("is quarantined: it failed"));
        assert_eq!(workers_found(&[], &both), ("warning", "0 of 0 known workers take work".into()));
        let expected = "0 of 1 known workers take work; c is quarantined: it failed";
        assert_eq!(workers_found(std::slice::from_ref(&out), &both), ("error", expected.into()));
        let expected = "1 of 2 known workers take work (x86_64 1); none for aarch64; c is quarantined: \
                    it failed";
        assert_eq!(workers_found(&[plain, out], &both), ("warning", expected.into()));
        let plain = seen("a", &[X86_64], &[], None);
        let expected = "2 of 2 known workers take work (x86_64 2, aarch64 1 (1 emulating))";
        assert_eq!(workers_found(&[plain, emulating], &both), ("ok", expected.into()));
        let away: Vec<_> =
            ["a", "b", "c", "d", "e", "f"].map(|n| seen(n, &[], &[], Some("is gone"))).into();
        let (_, message) = workers_found(&away, &both);
        assert!(message.ends_with("; d is gone; and 2 more (rpmfarm worker list)"), "{message}");
    }

    #[test]
    fn a_signer_that_does_not_sign_says_why_and_keys_belong_to_targets() {
        use rpmfarm_lab::fixtures::{NOWHERE, TargetFile};
        use rpmfarm_proto::v1::SignerKey;
        let mut status = SignerStatus::default();
        assert!(signs(&status).is_empty());
        status.paused = "since today: a key moves".into();
        let found = signs(&status);
        assert_eq!((found.len(), found[0].level.as_str()), (1, "warning"));
        assert!(found[0].message.contains("a key moves"), "{found:?}");
        status.stopped = "the audit log was moved".into();
        assert!(signs(&status).iter().any(|check| check.level == "error"));

        let target = TargetFile::lab(NOWHERE).target();
        let bound = |status: &SignerStatus| bound(status, &target, &target.signing_key);
        assert!(bound(&status).is_none(), "a key that is not there is told elsewhere");
        for (is_bound, targets, level) in
            [(false, &[][..], "warning"), (true, &["lab"], ""), (true, &["a", "b"], "error")]
        {
            let targets = targets.iter().map(|name| (*name).to_owned()).collect();
            let (name, fingerprint) = (target.signing_key.clone(), String::new());
            status.keys = vec![SignerKey { name, fingerprint, bound: is_bound, targets }];
            let found = bound(&status);
            assert_eq!(found.map_or(String::new(), |check| check.level), level);
        }
    }

    #[test]
    fn a_signer_that_believes_the_coordinator_alone_is_told_of() {
        let mut status = SignerStatus::default();
        let level = |status: &SignerStatus, has_acceptor| {
            asks_for_acceptances(status, has_acceptor).map_or(String::new(), |check| check.level)
        };
        assert_eq!(
            (level(&status, false), level(&status, true)),
            ("warning".into(), "warning".into())
        );
        status.acceptors = 1;
        assert_eq!((level(&status, false), level(&status, true)), ("error".into(), String::new()));

        let mut status = AcceptorStatus { accepted: 7, workers: 2, ..AcceptorStatus::default() };
        assert_eq!(accepts(&status).message, "accepted attempts: 7, known workers: 2");
        status.waiting = vec!["w1".into(), "w2".into()];
        let found = accepts(&status);
        assert!(found.level == "warning" && found.message.ends_with("w1, w2"), "{found:?}");
        assert!(found.remedy.contains("worker trust w1"), "{found:?}");
    }

    #[test]
    fn a_full_disk_is_an_error_with_its_directory() {
        let judge = |mib, files| judged(Path::new("/srv/farm"), mib, files);
        for (mib, files, level) in [
            (0, u64::MAX, "error"),
            (511, u64::MAX, "error"),
            (512, u64::MAX, "warning"),
            (4095, 1 << 20, "warning"),
            (4096, 1 << 20, "ok"),
            (1 << 20, 0, "error"),
            (1 << 20, 100, "warning"),
        ] {
            let check = judge(mib, files);
            assert_eq!(check.level, level, "{mib} MiB, {files} files: {check:?}");
            assert!(check.message.contains("/srv/farm"), "{check:?}");
            assert_eq!(check.remedy.is_empty(), level == "ok", "{check:?}");
        }
        assert!(judge(0, 0).message.starts_with("0 MiB free"), "space comes first");
    }
}
