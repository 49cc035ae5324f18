//! `rpmfarm track`: which packages of upstream are followed, and what becomes of pushes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rpmfarm_core::name::{check_git_ref, check_package};
use rpmfarm_proto::v1;

use super::Session;
use super::build::submitter;
use crate::config::filled;
use crate::document::tracking;
use crate::exit::{Error, Exit};
use crate::show::{escape, time, track as show};

/// What to do about following.
#[derive(Debug, Args)]
#[command(after_help = "\
A package that is followed is rebuilt when somebody pushes to its branch. Webhooks tell of pushes
at once; without them the farm looks by itself, at busy packages oftener. What happens with a push
is the policy's to say: automatic, propose (until approved), hold; and a freeze stops everything
until a date.

Examples:
  rpmfarm track add bash zlib --target almalinux-9
  rpmfarm track add --namespace gitlab:redhat/centos-stream/rpms --target centos-stream-9
  rpmfarm track list --target almalinux-9
  rpmfarm track --dry-run                     what would be built now, and why
  rpmfarm track approve openssl               build what was proposed
  rpmfarm track pause kernel --reason 'waits for a signed boot loader'
  rpmfarm track freeze --all --until 2026-12-31 --reason 'release week'")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    target: TargetOption,
    /// Show what would become of open pushes, and why; change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The target that is meant.
#[derive(Debug, Args)]
struct TargetOption {
    /// What is rebuilt [default: `target` of the configuration file]
    #[arg(long, env = "RPMFARM_TARGET", hide_env_values = true, global = true)]
    target: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Follow packages from now on
    #[command(after_help = "\
What is there already is not built, unless --build says so.

Examples:
  rpmfarm track add bash --target lab
  rpmfarm track add --file packages.txt --policy propose --target lab
  rpmfarm track add --namespace pagure:rpms --target fedora")]
    Add(Add),
    /// List what is followed, and how
    #[command(after_help = "\
Examples:
  rpmfarm track list --target lab
  rpmfarm track list --json | jq -r '.packages[] | select(.problem) | .package'")]
    List,
    /// Show a package: what was seen, its last pushes, what was said of it
    #[command(after_help = "Examples:\n  rpmfarm track show bash --target lab")]
    Show {
        /// Name of the package
        package: String,
    },
    /// Follow packages no longer
    #[command(after_help = "Examples:\n  rpmfarm track remove bash --target lab")]
    Remove {
        /// Names of packages
        #[arg(required = true, value_name = "PACKAGE", value_parser = package)]
        packages: Vec<String>,
    },
    /// Say what happens with pushes: automatic, propose, hold, or default for what the target says
    #[command(after_help = "\
Examples:
  rpmfarm track policy propose kernel glibc --target lab
  rpmfarm track policy default kernel --target lab
  rpmfarm track policy hold --all --reason 'the signer moves' --target lab")]
    Policy {
        /// The policy
        #[arg(value_parser = ["default", "automatic", "propose", "hold"])]
        policy: String,
        #[command(flatten)]
        whom: Whom,
        /// Why, for whoever waits
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Only note pushes until `resume` (the policy `hold`)
    #[command(after_help = "\
Examples:
  rpmfarm track pause kernel --reason 'does not boot' --target lab
  rpmfarm track pause --all --target lab")]
    Pause {
        #[command(flatten)]
        whom: Whom,
        /// Why, for whoever waits
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Build nothing until a date, whoever approves
    #[command(after_help = "\
Examples:
  rpmfarm track freeze --all --until 2026-12-31 --reason 'release week' --target lab
  rpmfarm track freeze kernel --until 2026-11-30T18:00:00Z --reason audit --target lab")]
    Freeze {
        #[command(flatten)]
        whom: Whom,
        /// When it ends: a date (the day's beginning, UTC) or a time in RFC 3339
        #[arg(long, value_name = "DATE", value_parser = time::parse)]
        until: i64,
        /// Why, for whoever waits
        #[arg(long)]
        reason: String,
    },
    /// End a pause or a freeze: what the target says holds again
    #[command(after_help = "\
Examples:
  rpmfarm track resume kernel --target lab
  rpmfarm track resume --all --target lab")]
    Resume {
        #[command(flatten)]
        whom: Whom,
    },
    /// Build what was proposed or held
    #[command(after_help = "\
Examples:
  rpmfarm track approve openssl --target lab
  rpmfarm track approve --storm 3
  rpmfarm track approve --all --target lab")]
    Approve {
        /// Packages whose pushes wait
        #[arg(value_name = "PACKAGE", value_parser = package, required_unless_present_any = ["storm", "all"])]
        packages: Vec<String>,
        /// Everything that a storm holds
        #[arg(long, value_name = "STORM", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "all")]
        storm: Option<i64>,
        /// Everything of the target that waits for approval
        #[arg(long)]
        all: bool,
    },
    /// Look at packages at once
    #[command(after_help = "\
Examples:
  rpmfarm track look bash --target lab
  rpmfarm track look --all --target lab")]
    Look {
        #[command(flatten)]
        whom: Whom,
    },
    /// Show what would become of open pushes, and why; change nothing
    #[command(
        after_help = "Examples:\n  rpmfarm track dry-run --target lab\n  rpmfarm track dry-run --json"
    )]
    DryRun,
}

/// Packages, or the whole target.
#[derive(Debug, Args)]
struct Whom {
    /// Names of packages
    #[arg(value_name = "PACKAGE", value_parser = package, required_unless_present = "all")]
    packages: Vec<String>,
    /// The whole target
    #[arg(long, conflicts_with = "packages")]
    all: bool,
}

#[derive(Debug, Args)]
struct Add {
    /// Names of packages
    #[arg(value_name = "PACKAGE", value_parser = package, required_unless_present_any = ["file", "namespace"])]
    packages: Vec<String>,
    /// A file with a package a line; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// All packages of an organisation (github, gitea, forgejo), group (gitlab) or namespace (pagure)
    #[arg(long, value_name = "FORGE:NAME", value_parser = namespace)]
    namespace: Option<(String, String)>,
    /// Branch or tag [default: the target's own]
    #[arg(long = "ref", value_name = "REF", value_parser = git_ref)]
    git_ref: Option<String>,
    /// What happens with pushes [default: what the target says]
    #[arg(long, value_parser = ["automatic", "propose", "hold"])]
    policy: Option<String>,
    /// Build what is there now as well
    #[arg(long)]
    build: bool,
}

fn package(text: &str) -> Result<String, String> {
    check_package(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

fn git_ref(text: &str) -> Result<String, String> {
    check_git_ref(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

fn namespace(text: &str) -> Result<(String, String), String> {
    let forges = ["github", "gitlab", "gitea", "forgejo", "pagure"];
    match text.split_once(':') {
        Some((forge, name)) if forges.contains(&forge) && !name.is_empty() => {
            Ok((forge.into(), name.into()))
        }
        _ => Err(format!("expected FORGE:NAME with one of {}", forges.join(", "))),
    }
}

/// Packages of a list: one a line, blanks and comments left out.
fn listed(path: &std::path::Path) -> Result<Vec<String>, Error> {
    let bad = |why: String| Error::Usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| bad(crate::exit::reason(&error)))?;
    let mut packages = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if !name.is_empty() {
            let name = package(name).map_err(|why| bad(format!("line {}: {why}", number + 1)))?;
            packages.push(name);
        }
    }
    Ok(packages)
}

/// Does it.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let target = filled(options.target.target).or(session.settings.target.take());
    let Some(what) = options.what else {
        if options.dry_run {
            return dry_run(target, session).await;
        }
        return list(target, session).await;
    };
    match what {
        What::List => return list(target, session).await,
        What::DryRun => return dry_run(target, session).await,
        What::Approve { packages, storm: Some(storm), .. } => {
            let request = approval(String::new(), packages, storm, false);
            return approve(request, session).await;
        }
        _ => {}
    }
    let target = target.ok_or_else(|| {
        Error::Usage("no target: name one with --target, RPMFARM_TARGET or `target` in the configuration file (rpmfarm target list)".into())
    })?;
    match what {
        What::Add(options) => add(target, options, session).await,
        What::Show { package } => one(target, package, session).await,
        What::Remove { packages } => remove(target, packages, session).await,
        What::Policy { policy, whom, reason } => {
            say(target, &policy, whom, reason, 0, session).await
        }
        What::Pause { whom, reason } => say(target, "hold", whom, reason, 0, session).await,
        What::Freeze { whom, until, reason } => {
            say(target, "freeze", whom, reason, until, session).await
        }
        What::Resume { whom } => say(target, "default", whom, String::new(), 0, session).await,
        What::Approve { packages, all, .. } => {
            approve(approval(target, packages, 0, all), session).await
        }
        What::Look { whom } => look(target, whom, session).await,
        What::List | What::DryRun => unreachable!("done without a target"),
    }
}

async fn add(target: String, options: Add, mut session: Session) -> Result<Exit, Error> {
    let mut packages = options.packages;
    if let Some(file) = &options.file {
        packages.extend(listed(file)?);
    }
    let (forge, namespace) = options.namespace.unwrap_or_default();
    let request = v1::TrackRequest {
        target: target.clone(),
        packages,
        forge,
        namespace,
        git_ref: options.git_ref.unwrap_or_default(),
        build: options.build,
        policy: options.policy.unwrap_or_default(),
        who: submitter(),
    };
    let reply = session.client.track(request).await?;
    let out = session.out;
    if out.json {
        out.document(&tracking::Added::from(&reply))?;
        return Ok(Exit::Done);
    }
    let mut more = Vec::new();
    if reply.known > 0 {
        more.push(format!("{} were followed already", reply.known));
    }
    if reply.skipped > 0 {
        more.push(format!("{} repositories are archived, empty or no packages", reply.skipped));
    }
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
    out.line(&format!("{} packages are followed for {target}{more}", reply.added.len()))?;
    Ok(Exit::Done)
}

async fn list(target: Option<String>, mut session: Session) -> Result<Exit, Error> {
    let packages = session.client.tracked(&target.unwrap_or_default()).await?;
    if session.out.json {
        session.out.document(&tracking::List::from(packages.as_slice()))?;
    } else if packages.is_empty() {
        session.out.line("nothing is followed: begin with rpmfarm track add")?;
    } else {
        session.out.text(&show::list(&session.out, &packages, time::now()))?;
    }
    Ok(Exit::Done)
}

async fn one(target: String, package: String, mut session: Session) -> Result<Exit, Error> {
    let details = session.client.tracked_details(target, package).await?;
    if session.out.json {
        session.out.document(&tracking::Details::from(&details))?;
    } else {
        session.out.text(&show::details(&session.out, &details, time::now()))?;
    }
    Ok(Exit::Done)
}

async fn remove(
    target: String,
    packages: Vec<String>,
    mut session: Session,
) -> Result<Exit, Error> {
    let request = v1::UntrackRequest { target: target.clone(), packages, who: submitter() };
    let removed = session.client.untrack(request).await?;
    if session.out.json {
        session.out.document(&tracking::Removed { removed })?;
    } else {
        let names = escape::line(&removed.join(" "));
        session.out.line(&format!("followed no longer for {target}: {names}"))?;
    }
    Ok(Exit::Done)
}

async fn say(
    target: String,
    word: &str,
    whom: Whom,
    reason: String,
    until_us: i64,
    mut session: Session,
) -> Result<Exit, Error> {
    let whose = if whom.all { format!("all of {target}") } else { whom.packages.join(" ") };
    let request = v1::OrderPolicyRequest {
        target,
        packages: whom.packages,
        word: word.into(),
        reason,
        until_us,
        who: submitter(),
    };
    session.client.order_policy(request).await?;
    if session.out.json {
        session
            .out
            .document(&tracking::Ordered { policy: word.into(), until: time::rfc3339(until_us) })?;
        return Ok(Exit::Done);
    }
    let what = match word {
        "default" => "what the target says".to_owned(),
        "freeze" => format!("frozen until {}", time::point(until_us)),
        word => word.to_owned(),
    };
    session.out.line(&format!("{}: {what}", escape::line(&whose)))?;
    Ok(Exit::Done)
}

fn approval(
    target: String,
    packages: Vec<String>,
    storm: i64,
    all: bool,
) -> v1::ApprovePushesRequest {
    v1::ApprovePushesRequest { target, packages, storm, all, who: submitter() }
}

async fn approve(request: v1::ApprovePushesRequest, mut session: Session) -> Result<Exit, Error> {
    let pushes = session.client.approve_pushes(request).await?;
    if session.out.json {
        session.out.document(&tracking::Plan::approved(&pushes))?;
    } else if pushes.is_empty() {
        session.out.line("nothing waits for approval")?;
    } else {
        for push in &pushes {
            let (package, commit) = (escape::line(&push.package), show::short(&push.commit));
            session.out.line(&format!("{package}: {commit} is built"))?;
        }
    }
    Ok(Exit::Done)
}

async fn look(target: String, whom: Whom, mut session: Session) -> Result<Exit, Error> {
    let request = v1::LookNowRequest { target, packages: whom.packages };
    let packages = session.client.look_now(request).await?;
    if session.out.json {
        session.out.document(&tracking::Looks { packages })?;
    } else {
        session.out.line(&format!("{packages} packages are looked at"))?;
    }
    Ok(Exit::Done)
}

async fn dry_run(target: Option<String>, mut session: Session) -> Result<Exit, Error> {
    let plan = session.client.plan_pushes(&target.unwrap_or_default()).await?;
    if session.out.json {
        session.out.document(&tracking::Plan::from(&plan))?;
    } else if plan.pushes.is_empty() {
        session.out.line("no open pushes: nothing would be built")?;
    } else {
        session.out.text(&show::plan(&session.out, &plan, time::now()))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces() {
        assert_eq!(
            namespace("gitlab:redhat/rpms"),
            Ok(("gitlab".to_owned(), "redhat/rpms".to_owned()))
        );
        for bad in ["github", "github:", "svn:x", ""] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_have_comments() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "# ours\nbash\n\n zlib # compression\n").expect("written");
        assert_eq!(listed(file.path()).expect("good"), ["bash", "zlib"]);
        std::fs::write(file.path(), "bash\n../x\n").expect("written");
        assert!(listed(file.path()).expect_err("bad").to_string().contains("line 2"));
    }
}
