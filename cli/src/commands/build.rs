//! `rpmfarm build`: asks for rebuilds.

use clap::Args;
use rpmfarm_core::Arch;
use rpmfarm_core::name::{check_git_ref, check_package};
use rpmfarm_core::queue::Class;
use rpmfarm_proto::v1::{Build, PackageRef, StartBuildsRequest};

use super::{Session, watch};
use crate::config::filled;
use crate::document::Builds;
use crate::exit::{Error, Exit};
use crate::out::Out;
use crate::show::{escape, time};

/// Packages, and what to rebuild them for.
#[derive(Debug, Args)]
#[command(after_help = "\
The packages of one call form a batch: those that need each other are built in order.

Examples:
  rpmfarm build hello --target lab --watch
  rpmfarm build bash@c9s zlib@imports/c9/zlib-1.2.11-40.el9 --target almalinux-9
  rpmfarm build bash --target almalinux-9 --bump     the same sources, a higher release
  rpmfarm build libgreet greet --target lab --ref main --json
  rpmfarm build openssl --target almalinux-9 --priority security
  rpmfarm build hello --target almalinux-9 --arch aarch64 --arch ppc64le")]
pub(crate) struct Options {
    /// Packages; a branch, tag or commit may follow the name after an @
    #[arg(required = true, value_name = "PACKAGE[@REF]", value_parser = parse)]
    packages: Vec<PackageRef>,
    /// What to rebuild for [default: `target` of the configuration file]
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
    priority: Class,
    /// Build for this architecture only; may be given several times [default: all of the target's]
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<Arch>,
    /// Follow the builds until they end
    #[arg(long)]
    watch: bool,
    /// A second call with the same key makes no new builds and shows those of the first
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
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

/// Asks for the builds, and follows them where that is wanted.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let watch = options.watch;
    let request = request(options, session.settings.target.take())?;
    let builds = session.client.start_builds(&request).await?;
    if watch {
        return watch::follow_all(session, &builds).await;
    }
    print(&builds, &session.out)?;
    Ok(Exit::Done)
}

fn request(options: Options, default: Option<String>) -> Result<StartBuildsRequest, Error> {
    let target = filled(options.target).or(default).ok_or_else(|| {
        Error::Usage("no target: name one with --target, RPMFARM_TARGET or `target` in the configuration file (rpmfarm target list)".into())
    })?;
    let git_ref = options.git_ref.unwrap_or_default();
    let mut packages = options.packages;
    for package in packages.iter_mut().filter(|package| package.git_ref.is_empty()) {
        package.git_ref.clone_from(&git_ref);
    }
    // One key for the whole call: when the answer gets lost, asking again makes no second build.
    let key = filled(options.key).unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let arches = options.arch.iter().map(ToString::to_string).collect();
    Ok(StartBuildsRequest {
        target,
        packages,
        submitter: submitter(),
        idempotency_key: key,
        bump: options.bump,
        priority: options.priority.to_string(),
        arches,
    })
}

/// Who asks: USER@HOST.
pub(crate) fn submitter() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let user = user.map_or_else(|| "unknown".into(), |user| user.name);
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    host.map_or_else(|| user.clone(), |host| format!("{user}@{host}"))
}

/// Says which builds there are now.
pub(crate) fn print(builds: &[Build], out: &Out) -> Result<(), Error> {
    if out.json {
        return out.document(&Builds::new(builds, time::now()));
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
    let ids: Vec<_> = builds.iter().map(|build| build.id.to_string()).collect();
    out.line(&format!("follow with: rpmfarm watch {}", ids.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
