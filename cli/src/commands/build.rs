//! `rpmfarm build`: asks for rebuilds.

use std::path::PathBuf;

use clap::Args;
use rpmfarm_core::batch::OrderMode;
use rpmfarm_core::name::{check_git_ref, check_package};
use rpmfarm_core::options::AddedRepository;
use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::{Arch, BuildOptions};
use rpmfarm_proto::v1::{BatchPlan, Build, PackageRef, StartBuildsReply, StartBuildsRequest};

use super::{Session, watch};
use crate::config::filled;
use crate::document::BuildsDocument;
use crate::document::batches::PlanDocument;
use crate::exit::{Error, Exit};
use crate::out::{self, StandardOutput};
use crate::show::{batch, escape, time, wrap};

/// Builds that are named in a command to follow them; of more, their batch is.
const NAMED: usize = 20;

/// Packages, and what to rebuild them for.
#[derive(Debug, Args)]
#[command(after_help = "\
The packages of one call form a batch: those that need each other are built in order. --order says
what counts as needed: what builds require beyond the base root (requires), the base root too
(bootstrap), or nothing, as long as a root can be solved (none).

Examples:
  rpmfarm build hello --target lab --watch
  rpmfarm build bash@c9s zlib@imports/c9/zlib-1.2.11-40.el9 --target almalinux-9
  rpmfarm build bash --target almalinux-9 --bump     the same sources, a higher release
  rpmfarm build libgreet greet --target lab --ref main --json
  rpmfarm build libgreet greet --target lab --plan   what it would be; nothing is built
  rpmfarm build gcc glibc bash --target almalinux-9 --order bootstrap --priority mass
  rpmfarm build openssl --target almalinux-9 --priority security
  rpmfarm build hello --target almalinux-9 --arch aarch64 --arch ppc64le
  rpmfarm build python3 --target lab --nocheck --without tests --define 'dist .lab9.test'")]
pub(crate) struct Options {
    /// Packages; a branch, tag or commit may follow the name after an @
    #[arg(required = true, value_name = "PACKAGE[@REF]", value_parser = parse)]
    packages: Vec<PackageRef>,
    /// Target to rebuild for [default: `target` of the configuration file, else the
    /// only one of the farm]
    #[arg(long, env = "RPMFARM_TARGET", hide_env_values = true)]
    target: Option<String>,
    /// Branch, tag or commit of the packages that name none [default: the target's own]
    #[arg(long = "ref", value_name = "REF", value_parser = parse_ref)]
    git_ref: Option<String>,
    /// Rebuild without a change: raise the release, so that it sorts above what it replaces
    #[arg(long)]
    bump: bool,
    /// How urgent it is: security, interactive, tracking or mass
    #[arg(long, value_name = "CLASS", default_value_t)]
    priority: PriorityClass,
    /// Build for this architecture only; may be given several times [default: all of the target's]
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<Arch>,
    /// Which needs put the builds in order: requires, bootstrap or none [default: the target's own]
    #[arg(long, value_name = "ORDER")]
    order: Option<OrderMode>,
    #[command(flatten)]
    as_mock: MockOptions,
    /// Build nothing: show the order, the least and the expected time, and what will be refused
    #[arg(long, conflicts_with_all = ["watch", "key"])]
    plan: bool,
    /// Follow the builds until they end
    #[arg(long)]
    watch: bool,
    /// A second call with the same key makes no new builds and shows those of the first
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// What mock has under the same names, for this call's builds alone. It is recorded with them, and
/// counts after a retry as well.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "As in mock, for these builds alone")]
struct MockOptions {
    /// Switch a bcond of the spec on; may be given several times
    #[arg(long, value_name = "BCOND")]
    with: Vec<String>,
    /// Switch a bcond of the spec off; may be given several times
    #[arg(long, value_name = "BCOND")]
    without: Vec<String>,
    /// Define a macro, after the target's; may be given several times
    #[arg(short = 'D', long, value_name = "'MACRO BODY'", value_parser = parse_macro)]
    define: Vec<(String, String)>,
    /// Skip %check
    #[arg(long)]
    nocheck: bool,
    /// Additional requirement of the root, beside those of the spec; may be given several times
    #[arg(long, value_name = "PACKAGE", alias = "add-package")]
    additional_package: Vec<String>,
    /// Additional repository for the root; may be given several times
    #[arg(long, value_name = "URL", alias = "add-repo")]
    addrepo: Vec<String>,
    /// Armored key that signs the packages of --addrepo [default: the target's own keys]
    #[arg(long, value_name = "FILE", requires = "addrepo")]
    addrepo_key: Vec<PathBuf>,
    /// Take unsigned packages from --addrepo; the target must allow it (unsigned_addrepo)
    #[arg(long, requires = "addrepo", conflicts_with = "addrepo_key")]
    addrepo_nogpgcheck: bool,
}

impl MockOptions {
    fn options(self) -> Result<BuildOptions, Error> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map_err(|error| Error::Usage(format!("--addrepo-key {}: {error}", path.display())))
        };
        let keys = self.addrepo_key.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let added = |baseurl: String| AddedRepository {
            baseurl,
            keys: keys.clone(),
            nogpgcheck: self.addrepo_nogpgcheck,
        };
        Ok(BuildOptions {
            repositories: self.addrepo.into_iter().map(added).collect(),
            with: self.with,
            without: self.without,
            define: self.define,
            nocheck: self.nocheck,
            additional_packages: self.additional_package,
        })
    }
}

/// `NAME BODY`, as rpmbuild and mock take it.
fn parse_macro(text: &str) -> Result<(String, String), String> {
    let text = text.trim();
    // Options of a macro may hold no blank.
    let (name, body) = text.split_once(char::is_whitespace).ok_or_else(|| {
        format!("`{text}` is a name without a body; write 'NAME BODY', as 'dist .el9.test'")
    })?;
    Ok((name.trim_start_matches('%').to_owned(), body.trim().to_owned()))
}

fn parse(text: &str) -> Result<PackageRef, String> {
    let (package, git_ref) =
        text.split_once('@').map_or((text, None), |(name, at)| (name, Some(at)));
    check_package(package).map_err(|error| error.to_string())?;
    let git_ref = git_ref.map(parse_ref).transpose()?.unwrap_or_default();
    Ok(PackageRef { package: package.into(), git_ref })
}

fn parse_ref(text: &str) -> Result<String, String> {
    check_git_ref(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

/// Requests the builds, and follows them if that is wanted.
pub(crate) async fn run(mut options: Options, mut session: Session) -> Result<Exit, Error> {
    let Options { watch, plan, .. } = options;
    let target = session.target(options.target.take()).await?;
    let request = request(options, target)?;
    if plan {
        return print_plan(&session.client.plan_builds(request).await?, &session.out);
    }
    let StartBuildsReply { builds, warnings } = session.client.start_builds(&request).await?;
    for warning in warnings {
        out::note(wrap::hanging("rpmfarm: ", &warning, 2, None).trim_end());
    }
    if watch {
        return watch::follow_all(session, &builds).await;
    }
    print(&builds, &session.out)?;
    Ok(Exit::Done)
}

fn request(options: Options, target: String) -> Result<StartBuildsRequest, Error> {
    let git_ref = options.git_ref.unwrap_or_default();
    let mut packages = options.packages;
    for package in packages.iter_mut().filter(|package| package.git_ref.is_empty()) {
        package.git_ref.clone_from(&git_ref);
    }
    // One key for the whole call: when the answer gets lost, the repeated request makes no second
    // build.
    let key = filled(options.key).unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let arches = options.arch.iter().map(ToString::to_string).collect();
    let asked = options.as_mock.options()?;
    let options_of_builds = (!asked.is_nothing()).then(|| (&asked).into());
    Ok(StartBuildsRequest {
        target,
        packages,
        submitter: submitter(),
        idempotency_key: key,
        bump: options.bump,
        priority: options.priority.to_string(),
        arches,
        options: options_of_builds,
        order: options.order.map(|order| order.to_string()).unwrap_or_default(),
    })
}

fn print_plan(plan: &BatchPlan, out: &StandardOutput) -> Result<Exit, Error> {
    if out.json {
        out.document(&PlanDocument::from(plan))?;
    } else {
        out.text(&batch::plan(plan, out))?;
    }
    Ok(Exit::Done)
}

/// The submitter: USER@HOST.
pub(crate) fn submitter() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let user = user.map_or_else(|| "unknown".into(), |user| user.name);
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    host.map_or_else(|| user.clone(), |host| format!("{user}@{host}"))
}

/// Prints the builds that were started.
pub(crate) fn print(builds: &[Build], out: &StandardOutput) -> Result<(), Error> {
    if out.json {
        return out.document(&BuildsDocument::new(builds, time::now()));
    }
    for build in builds {
        let at = if build.git_ref.is_empty() { "" } else { "@" };
        let what = format!("{}{at}{} for {}", build.package, build.git_ref, build.target);
        out.line(&format!(
            "build {}: {}, {}",
            build.id,
            escape::line(&what),
            escape::line(&build.state)
        ))?;
    }
    if let Some(batch) = batch::of_builds(builds).filter(|_| builds.len() > NAMED) {
        return out.line(&format!("follow with: rpmfarm batch watch {batch}"));
    }
    let ids: Vec<_> = builds.iter().map(|build| build.id.to_string()).collect();
    out.line(&format!("follow with: rpmfarm watch {}", ids.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_macro_is_a_name_and_a_body() {
        let pair = |name: &str, body: &str| Ok((name.to_owned(), body.to_owned()));
        assert_eq!(parse_macro("dist .el9"), pair("dist", ".el9"));
        assert_eq!(parse_macro("%x(n:)  a  b "), pair("x(n:)", "a  b"));
        assert!(parse_macro("dist").is_err());
    }

    #[test]
    fn a_reference_follows_an_at() {
        let package = parse("gtk+@imports/c9/gtk-1").expect("good");
        assert_eq!(
            (package.package.as_str(), package.git_ref.as_str()),
            ("gtk+", "imports/c9/gtk-1")
        );
        assert_eq!(parse("hello").expect("good").git_ref, "");
        for bad in ["", "@main", "hello@", "a/b", "hello@--upload-pack=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
