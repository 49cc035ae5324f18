//! `rpmfarm package`: withdraws packages, and finds the builds that were made with them.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use rpmfarm_core::Nevra;
use rpmfarm_core::name::counted;
use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::status::BuildState;
use rpmfarm_proto::v1;

use super::build::{self, submitter};
use super::{Session, watch};
use crate::document::packages::{ImpactDocument, WithdrawalDocument};
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::table::{Column, cell, column, number, state, table};
use crate::show::wrap;

/// What to do.
#[derive(Debug, Args)]
#[command(after_help = "\
Withdrawn packages leave the pool, the channels and all later roots at once; history stays. To go
back to an older version, build it again: rpmfarm build PACKAGE --ref OLDER --bump

Examples:
  rpmfarm package impact 12
  rpmfarm package withdraw 12 --reason 'backdoor'
  rpmfarm package withdraw xz-libs-5.6.1-1.el9.x86_64 --target example-9 --reason 'backdoor'
  rpmfarm package impact 12 --rebuild
  rpmfarm package restore 12 --reason 'it was another one'")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: PackageCommand,
}

#[derive(Debug, Subcommand)]
enum PackageCommand {
    /// Remove a package, or all packages of a build, from the pool, the channels and later roots
    Withdraw(WithdrawOptions),
    /// Restore withdrawn packages
    Restore(WithdrawOptions),
    /// List the builds that were made with a package, directly or through other packages
    Impact(ImpactOptions),
}

/// Packages.
#[derive(Debug, Args)]
struct PackageSelection {
    /// Number of a build, or the full name of one package: NAME-VERSION-RELEASE.ARCH
    #[arg(value_name = "BUILD|NEVRA")]
    package: String,
    /// Target of a package that is named [default: `target` of the configuration file, else the
    /// only one of the farm]
    #[arg(long, env = "RPMFARM_TARGET", hide_env_values = true)]
    target: Option<String>,
}

#[derive(Debug, Args)]
struct WithdrawOptions {
    #[command(flatten)]
    which: PackageSelection,
    /// The reason, for the record
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
struct ImpactOptions {
    #[command(flatten)]
    which: PackageSelection,
    /// Rebuild all of them, with raised releases
    #[arg(long)]
    rebuild: bool,
    /// How urgent the rebuilds are: security, interactive, tracking or mass
    #[arg(long, value_name = "CLASS", default_value_t, requires = "rebuild")]
    priority: PriorityClass,
    /// Follow the rebuilds until they end
    #[arg(long, requires = "rebuild")]
    watch: bool,
}

const BUILDS: [Column; 4] =
    [column("BUILD"), column("PACKAGE"), column("STATE"), column("MADE WITH").wrapped()];

/// Runs the subcommand.
pub(crate) async fn run(options: Options, session: Session) -> Result<Exit, Error> {
    match options.what {
        PackageCommand::Withdraw(options) => withdraw(options, session).await,
        PackageCommand::Restore(options) => restore(options, session).await,
        PackageCommand::Impact(options) => Box::pin(impact(options, session)).await,
    }
}

/// The build, or the target and the NEVRA.
async fn which(
    which: PackageSelection,
    session: &mut Session,
) -> Result<(i64, String, String), Error> {
    if let Ok(build) = which.package.parse::<i64>() {
        return Ok((build, String::new(), String::new()));
    }
    if let Err(error) = which.package.parse::<Nevra>() {
        return Err(Error::Usage(format!("{error}, or write the number of a build")));
    }
    Ok((0, session.target(which.target).await?, which.package))
}

async fn request(
    options: WithdrawOptions,
    session: &mut Session,
) -> Result<v1::WithdrawRequest, Error> {
    let (build, target, nevra) = which(options.which, session).await?;
    Ok(v1::WithdrawRequest { build, target, nevra, reason: options.reason, who: submitter() })
}

async fn withdraw(options: WithdrawOptions, mut session: Session) -> Result<Exit, Error> {
    let request = request(options, &mut session).await?;
    let reply = session.client.withdraw(request).await?;
    let impact = reply.impact.unwrap_or_default();
    if session.out.json {
        session.out.document(&ImpactDocument::from(&impact))?;
        return Ok(Exit::Done);
    }
    for package in &reply.packages {
        session.out.line(&format!("withdrawn from {}: {package}", reply.target))?;
    }
    print(&impact, &session.out)?;
    Ok(Exit::Done)
}

async fn restore(options: WithdrawOptions, mut session: Session) -> Result<Exit, Error> {
    let request = request(options, &mut session).await?;
    let v1::RestoreReply { target, packages } = session.client.restore(request).await?;
    if session.out.json {
        session.out.document(&WithdrawalDocument { target, packages })?;
        return Ok(Exit::Done);
    }
    for package in &packages {
        session.out.line(&format!("restored to {target}: {package}"))?;
    }
    Ok(Exit::Done)
}

async fn impact(options: ImpactOptions, mut session: Session) -> Result<Exit, Error> {
    let ImpactOptions { which: asked, rebuild, priority, watch } = options;
    let (build, target, nevra) = which(asked, &mut session).await?;
    let impact = session.client.impact(v1::GetImpactRequest { build, target, nevra }).await?;
    if rebuild {
        return rebuild_all(&impact, priority, watch, session).await;
    }
    if session.out.json {
        session.out.document(&ImpactDocument::from(&impact))?;
    } else {
        print(&impact, &session.out)?;
    }
    Ok(Exit::Done)
}

fn print(impact: &v1::Impact, out: &StandardOutput) -> Result<(), Error> {
    let builds: BTreeSet<i64> = impact.builds.iter().map(|build| build.build).collect();
    if builds.is_empty() {
        return out.line("no build was made with it");
    }
    let row = |build: &v1::ImpactedBuild| {
        let through = match build.through {
            0 => build.nevra.clone(),
            by => format!("{} of build {by}", build.nevra),
        };
        vec![number(build.build), cell(&build.package), state(&build.state), cell(through)]
    };
    let rows: Vec<_> = impact.builds.iter().map(row).collect();
    out.text(&table(out, &BUILDS, &rows))?;
    let first = impact.packages.first().map(String::as_str).unwrap_or_default();
    let text = format!(
        "{} made with it; rebuild them with: rpmfarm package impact {first} --target {} --rebuild",
        counted(builds.len(), "build"),
        impact.target
    );
    out.text(&wrap::hanging("", &text, 2, out.width()))
}

async fn rebuild_all(
    impact: &v1::Impact,
    priority: PriorityClass,
    watch: bool,
    mut session: Session,
) -> Result<Exit, Error> {
    let names: BTreeSet<&str> = impact
        .builds
        .iter()
        .filter(|build| build.known_state() == Some(BuildState::Published))
        .map(|build| build.package.as_str())
        .collect();
    if names.is_empty() {
        session.out.line("nothing that was published was made with it")?;
        return Ok(Exit::Done);
    }
    let package = |name: &&str| v1::PackageRef { package: (*name).into(), git_ref: String::new() };
    let request = v1::StartBuildsRequest {
        target: impact.target.clone(),
        packages: names.iter().map(package).collect(),
        submitter: submitter(),
        idempotency_key: uuid::Uuid::now_v7().to_string(),
        bump: true,
        priority: priority.to_string(),
        ..v1::StartBuildsRequest::default()
    };
    let builds = session.client.start_builds(&request).await?.builds;
    if watch {
        return watch::follow_all(session, &builds).await;
    }
    build::print(&builds, &session.out)?;
    Ok(Exit::Done)
}
