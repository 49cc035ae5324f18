//! `rpmfarm track`: the tracked packages, and the verdicts on pushes.

mod options;

use rpmfarm_core::name::counted;
use rpmfarm_proto::v1;

use self::options::{AddOptions, TrackCommand, TrackSelection, listed};
use super::Session;
use super::build::submitter;
use crate::config::filled;
use crate::document::tracking;
use crate::exit::{Error, Exit};
use crate::show::{escape, time, track as show};

pub(crate) use self::options::Options;

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let target = filled(options.target.target).or(session.settings.target.take());
    let Some(what) = options.what else {
        if options.dry_run {
            return dry_run(target, session).await;
        }
        return list(target, session).await;
    };
    match what {
        TrackCommand::List => return list(target, session).await,
        TrackCommand::DryRun => return dry_run(target, session).await,
        TrackCommand::Approve { packages, storm: Some(storm), .. } => {
            let request = approval(String::new(), packages, storm, false);
            return approve(request, session).await;
        }
        _ => {}
    }
    let target = session.target(target).await?;
    match what {
        TrackCommand::Add(options) => add(target, options, session).await,
        TrackCommand::Show { package } => one(target, package, session).await,
        TrackCommand::Remove { packages } => remove(target, packages, session).await,
        TrackCommand::Policy { policy, whom, reason } => {
            set_policy(target, &policy, whom, reason, 0, session).await
        }
        TrackCommand::Pause { whom, reason } => {
            set_policy(target, "hold", whom, reason, 0, session).await
        }
        TrackCommand::Freeze { whom, until, reason } => {
            set_policy(target, "freeze", whom, reason, until, session).await
        }
        TrackCommand::Resume { whom } => {
            set_policy(target, "default", whom, String::new(), 0, session).await
        }
        TrackCommand::Approve { packages, all, .. } => {
            approve(approval(target, packages, 0, all), session).await
        }
        TrackCommand::Look { whom } => poll_now(target, whom, session).await,
        TrackCommand::List | TrackCommand::DryRun => unreachable!("done without a target"),
    }
}

async fn add(target: String, options: AddOptions, mut session: Session) -> Result<Exit, Error> {
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
        out.document(&tracking::TrackAddDocument::from(&reply))?;
        return Ok(Exit::Done);
    }
    let mut more = Vec::new();
    if reply.known > 0 {
        more.push(format!("{} were tracked already", reply.known));
    }
    if reply.skipped > 0 {
        more.push(format!("{} repositories are archived, empty or no packages", reply.skipped));
    }
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
    out.line(&format!("tracking {} for {target}{more}", counted(reply.added.len(), "package")))?;
    Ok(Exit::Done)
}

async fn list(target: Option<String>, mut session: Session) -> Result<Exit, Error> {
    let packages = session.client.tracked(&target.unwrap_or_default()).await?;
    if session.out.json {
        session.out.document(&tracking::TrackedListDocument::from(packages.as_slice()))?;
    } else if packages.is_empty() {
        session.out.line("no package is tracked; start with: rpmfarm track add")?;
    } else {
        session.out.text(&show::list(&session.out, &packages, time::now()))?;
    }
    Ok(Exit::Done)
}

async fn one(target: String, package: String, mut session: Session) -> Result<Exit, Error> {
    let details = session.client.tracked_details(target, package).await?;
    if session.out.json {
        session.out.document(&tracking::TrackedDetailsDocument::from(&details))?;
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
        session.out.document(&tracking::TrackRemoveDocument { removed })?;
    } else {
        let names = escape::line(&removed.join(" "));
        session.out.line(&format!("no longer tracked for {target}: {names}"))?;
    }
    Ok(Exit::Done)
}

async fn set_policy(
    target: String,
    word: &str,
    whom: TrackSelection,
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
        session.out.document(&tracking::PolicyOverrideResultDocument {
            policy: word.into(),
            until: time::rfc3339(until_us),
        })?;
        return Ok(Exit::Done);
    }
    let what = match word {
        "default" => "the target's policy".to_owned(),
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
        session.out.document(&tracking::PushPlanDocument::approved(&pushes))?;
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

async fn poll_now(
    target: String,
    whom: TrackSelection,
    mut session: Session,
) -> Result<Exit, Error> {
    let request = v1::LookNowRequest { target, packages: whom.packages };
    let packages = session.client.look_now(request).await?;
    if session.out.json {
        session.out.document(&tracking::PollRequestDocument { packages })?;
    } else {
        session.out.line(&format!(
            "polling {}",
            counted(packages.try_into().unwrap_or(usize::MAX), "package")
        ))?;
    }
    Ok(Exit::Done)
}

async fn dry_run(target: Option<String>, mut session: Session) -> Result<Exit, Error> {
    let plan = session.client.plan_pushes(&target.unwrap_or_default()).await?;
    if session.out.json {
        session.out.document(&tracking::PushPlanDocument::from(&plan))?;
    } else if plan.pushes.is_empty() {
        session.out.line("no open pushes: nothing would be built")?;
    } else {
        session.out.text(&show::plan(&session.out, &plan, time::now()))?;
    }
    Ok(Exit::Done)
}
