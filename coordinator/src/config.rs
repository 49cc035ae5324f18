//! The options and environment variables of the coordinator.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rpmfarm_core::enrolment::CERTIFICATE_SECONDS;
use rpmfarm_core::lease::LeaseTerms;
use rpmfarm_daemon::log::LogFormat;
use url::Url;

use crate::identity::public_access::PublicAccessSettings;
use crate::listen::ConnectionLimits;
use crate::s3::{BucketAddress, S3Settings};

/// The coordinator of rpmfarm: pulls sources, orders builds, accepts, signs and publishes.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "rpmfarm-coordinator",
    version,
    after_help = "Examples:\n  \
        rpmfarm-coordinator --data /var/lib/rpmfarm --targets /etc/rpmfarm/targets\n  \
        rpmfarm-coordinator --database postgres://rpmfarm@db/rpmfarm \\\n      \
        --listen-tls 0.0.0.0:7879 --tls-name farm.example.org\n  \
        rpmfarm-coordinator --heartbeat 2s --lease 10s\n\n\
        A second coordinator of the same farm, on another host; DATA is shared, as by NFS:\n  \
        rpmfarm-coordinator --database postgres://rpmfarm@db/rpmfarm --data /srv/rpmfarm \\\n    \
        --cache /var/cache/rpmfarm --base-url https://farm.example.org\n\n\
        Logs go to stderr; RPMFARM_LOG sets their level (info, debug, rpmfarm_coordinator=debug).\n\
        The token that the command rpmfarm and the workers need is made at first start: DATA/token."
)]
pub struct Config {
    /// Directory of the coordinator's data: database, blobs, logs, repositories.
    #[arg(long, env = "RPMFARM_DATA", default_value = "/var/lib/rpmfarm")]
    pub data: PathBuf,

    /// Directory of files that can be fetched again (git repositories, metadata). Coordinators of
    /// one farm share DATA and need a cache each. Default: DATA.
    #[arg(long, env = "RPMFARM_CACHE", value_name = "DIR")]
    pub cache: Option<PathBuf>,

    /// Directory of the target files, NAME.toml.
    #[arg(long, env = "RPMFARM_TARGETS", default_value = "/etc/rpmfarm/targets")]
    pub targets: PathBuf,

    /// Address to listen on without TLS, for gRPC and HTTP: of this host only (see --allow-plain).
    /// Port 0 takes a free one.
    #[arg(long, env = "RPMFARM_LISTEN", default_value = "127.0.0.1:7878")]
    pub listen: SocketAddr,

    /// Let --listen be an address that other hosts reach. The token then goes over the network in
    /// the clear, and whoever has it may be any worker.
    #[arg(long)]
    pub allow_plain: bool,

    /// Address to listen on with TLS, for gRPC and HTTP: for workers with certificates, and for
    /// people with the token. Port 0 takes a free one.
    #[arg(long, env = "RPMFARM_LISTEN_TLS")]
    pub listen_tls: Option<SocketAddr>,

    /// Name or address under which others reach --listen-tls; the first one is given to new
    /// workers. May be repeated. Default: the host's name.
    #[arg(long = "tls-name", env = "RPMFARM_TLS_NAME", value_name = "NAME", value_delimiter = ',')]
    pub tls_names: Vec<String>,

    /// Let anybody read at every address that is listened on: builds, logs, locks, sources,
    /// workers. Without it that needs the farm's token or a worker's certificate at all addresses
    /// but this host's own. Published repositories are open to everybody anyway.
    #[arg(long, env = "RPMFARM_PUBLIC_READ")]
    pub public_read: bool,

    /// Let anybody see /metrics at every address that is listened on. Without it that needs the
    /// farm's token at all addresses but this host's own.
    #[arg(long, env = "RPMFARM_PUBLIC_METRICS")]
    pub public_metrics: bool,

    /// Ask for a credential at this host's own addresses, too: for a proxy that passes on more than
    /// /repo.
    #[arg(long, env = "RPMFARM_PRIVATE_READ", conflicts_with = "public_read")]
    pub private_read: bool,

    /// Connections at once, over both addresses. Fewer, when the system allows fewer open files.
    #[arg(long, env = "RPMFARM_MAX_CONNECTIONS", value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub max_connections: u32,

    /// Of these, from one address (of IPv6, from one /64); four times as many from this host's own
    /// addresses.
    #[arg(long, env = "RPMFARM_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N",
          default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections_per_address: u32,

    /// Builds of one request at most: more is refused with both numbers.
    #[arg(long, env = "RPMFARM_MAX_BATCH", value_name = "N", default_value_t = 40_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_batch: u32,

    /// Directory of the farm's certificate authority, made at first start. Coordinators of one
    /// farm share it. Default: DATA/tls.
    #[arg(long, env = "RPMFARM_TLS_DIR")]
    pub tls_dir: Option<PathBuf>,

    /// How long certificates of workers hold, in seconds; for tests of their renewal.
    #[arg(long, hide = true, default_value_t = CERTIFICATE_SECONDS, value_parser = clap::value_parser!(u64).range(2..))]
    pub certificate_seconds: u64,

    /// The database: `sqlite:///path/farm.db` or `postgres://…`. Default: DATA/farm.db.
    #[arg(long, env = "RPMFARM_DATABASE", hide_env_values = true)]
    pub database: Option<String>,

    /// The signer's Unix socket. Default: DATA/signer.sock.
    #[arg(long, env = "RPMFARM_SIGNER")]
    pub signer: Option<PathBuf>,

    /// The acceptor's Unix socket. With it, results are accepted only when the acceptor has signed
    /// that it accepts them, which the signer can ask for. Default: none.
    #[arg(long, env = "RPMFARM_ACCEPTOR", value_name = "PATH")]
    pub acceptor_socket: Option<PathBuf>,

    /// A group, by its number, that may read the blobs that are made from now on: of signer and
    /// acceptor, which read packages as users of their own (their --blobs). Default: nobody but
    /// this user reads.
    #[arg(long, env = "RPMFARM_BLOBS_GROUP", value_name = "GID")]
    pub blobs_group: Option<u32>,

    /// Keep the blobs in this bucket of S3-compatible storage, s3://BUCKET/PREFIX; DATA/blobs is
    /// its cache then. Coordinators of one farm have the same. Default: DATA/blobs alone.
    #[arg(long, env = "RPMFARM_OBJECT_STORE", value_name = "BUCKET")]
    pub object_store: Option<BucketAddress>,

    /// The largest size of the packages in DATA/blobs that the object store has, too, and no
    /// repository shows, in GiB.
    #[arg(long, env = "RPMFARM_BLOB_CACHE", value_name = "GIB", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub blob_cache: u64,

    /// Put the repositories of all channels as plain files into this bucket, s3://BUCKET/PREFIX,
    /// for a web server or a CDN in front of it. Default: none.
    #[arg(long, env = "RPMFARM_PUBLISH_BUCKET", value_name = "BUCKET")]
    pub publish_bucket: Option<BucketAddress>,

    /// The address under which users reach --publish-bucket, for the .repo files there.
    #[arg(
        long,
        env = "RPMFARM_PUBLISH_BUCKET_URL",
        value_name = "URL",
        requires = "publish_bucket"
    )]
    pub publish_bucket_url: Option<String>,

    /// The address of the S3-compatible store, as `https://s3.example.org`. Default: that of AWS.
    #[arg(long, env = "RPMFARM_S3_ENDPOINT", value_name = "URL")]
    pub s3_endpoint: Option<Url>,

    /// Its region.
    #[arg(long, env = "RPMFARM_S3_REGION", default_value = "us-east-1")]
    pub s3_region: String,

    /// The key for it, a TOML file of mode 600 with `access_key_id` and `secret_access_key`.
    /// Default: the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    #[arg(long, env = "RPMFARM_S3_CREDENTIALS", value_name = "FILE")]
    pub s3_credentials: Option<PathBuf>,

    /// Use a store that does not honour preconditions of PUT, and promise that this coordinator is
    /// the only one that ever writes to the buckets.
    #[arg(long, env = "RPMFARM_SINGLE_WRITER")]
    pub single_writer: bool,

    /// The address under which users reach this farm, for .repo files. Default: http://LISTEN.
    #[arg(long, env = "RPMFARM_BASE_URL")]
    pub base_url: Option<String>,

    /// The secrets of webhooks, a TOML file of mode 600: `[TARGET]` with `github = ["SECRET"]`,
    /// `gitlab`, `gitea`, `forgejo`, `pagure`. Default: DATA/hooks.toml, if it is there.
    #[arg(long, env = "RPMFARM_HOOK_SECRETS", value_name = "FILE")]
    pub hook_secrets: Option<PathBuf>,

    /// The longest time between two heartbeats of a worker: 100ms to 60s, as 500ms, 5s or 1m.
    #[arg(long, env = "RPMFARM_HEARTBEAT", value_name = "TIME", default_value = "5s",
          value_parser = duration)]
    pub heartbeat: Duration,

    /// How long a worker may be silent before its tasks go to others: 1s to 1h, at least three
    /// heartbeats. A worker that gets no answer for twice as long ends its builds.
    #[arg(long, env = "RPMFARM_LEASE", value_name = "TIME", default_value = "30s",
          value_parser = duration)]
    pub lease: Duration,

    /// With several coordinators: after this time without a heartbeat, the others take over the
    /// stages of a coordinator; 2s to 10m, the same for all coordinators of a farm.
    #[arg(long, env = "RPMFARM_TAKEOVER", value_name = "TIME", default_value = "6s",
          value_parser = takeover)]
    pub takeover: Duration,

    /// The form of the log.
    #[arg(long, env = "RPMFARM_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Write the listening address to this file once the port is open.
    #[arg(long)]
    pub address_file: Option<PathBuf>,

    /// The same for --listen-tls.
    #[arg(long)]
    pub tls_address_file: Option<PathBuf>,
}

/// Reads a time as a number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number with ms, s, m or h is expected, as 500ms or 5s".into()),
    };
    let number: u64 = number.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(scale).map(Duration::from_millis).ok_or_else(|| "too long".into())
}

/// Checks an address that is written into `.repo` files, where dnf appends paths to it.
fn check_base_url(text: &str) -> Result<(), String> {
    let example = "expected http://HOST[:PORT][/PATH] or https://…, as https://farm.example.org";
    let url = Url::parse(text).map_err(|error| format!("{error}; {example}"))?;
    if !["http", "https"].contains(&url.scheme()) || !text.contains("://") {
        return Err(format!("dnf must be able to fetch from it; {example}"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("it names no host; {example}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must hold no user and no password: everybody reads .repo files".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("paths are appended to it, so it must have no ? and no #; {example}"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || "$\"'\\".contains(c)) {
        return Err(format!("it has characters that .repo files cannot hold; {example}"));
    }
    Ok(())
}

/// Checks a name for the coordinator's certificate. The first one also goes into the line that new
/// workers run.
fn check_tls_name(name: &str) -> Result<(), String> {
    let example = "expected a host name or an address, as farm.example.org or 192.0.2.7";
    if name.contains("://") || name.contains('/') {
        return Err(format!("it must be no URL; {example}"));
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    if name.contains(':') {
        return Err(format!("it must not have a port, which comes from --listen-tls; {example}"));
    }
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(good) {
        return Err(format!("it is not a valid host name; {example}"));
    }
    // A malformed address, like 10.0.0 or 300.1.1.1, is not a host name either.
    if name.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit())) {
        return Err(format!("it is not an address; {example}"));
    }
    Ok(())
}

/// Checks the address of a database. It may hold a password, so the error does not repeat it.
fn check_database(url: &str) -> Result<(), String> {
    let expected = "expected sqlite:///PATH or postgres://USER[:PASSWORD]@HOST[:PORT]/NAME";
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(format!("it is not a database URL; {expected}"));
    };
    match scheme {
        "sqlite" if rest.trim_start_matches('/').is_empty() => {
            Err(format!("it names no file; {expected}"))
        }
        "sqlite" => Ok(()),
        "postgres" | "postgresql" => Url::parse(url)
            .map(drop)
            .map_err(|error| format!("it cannot be read: {error}; {expected}")),
        other => {
            let other = rpmfarm_core::name::shown(other);
            Err(format!("`{other}:` is not a supported database; {expected}"))
        }
    }
}

/// Reads the takeover time, which must cover several heartbeats.
fn takeover(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if (Duration::from_secs(2)..=Duration::from_secs(600)).contains(&time) {
        Ok(time)
    } else {
        Err("it must be between 2s and 10m".into())
    }
}

impl Config {
    /// How often workers send their state, and how long they may be silent.
    ///
    /// # Errors
    /// When the two do not fit together.
    pub fn lease_terms(&self) -> anyhow::Result<LeaseTerms> {
        LeaseTerms::new(self.heartbeat, self.lease).context("--heartbeat and --lease")
    }

    #[must_use]
    pub fn database_url(&self) -> String {
        let default = || format!("sqlite://{}", self.data.join("farm.db").display());
        self.database.clone().unwrap_or_else(default)
    }

    /// Refuses values that would otherwise fail only when they are used.
    ///
    /// # Errors
    /// Names the option, its value and what to write instead.
    pub fn check(&self) -> anyhow::Result<()> {
        self.check_plain()?;
        if let Some(url) = self.base_url() {
            check_base_url(url).map_err(|why| anyhow::anyhow!("--base-url {url}: {why}"))?;
        }
        for name in &self.tls_names {
            check_tls_name(name).map_err(|why| anyhow::anyhow!("--tls-name {name:?}: {why}"))?;
        }
        if self.listen_tls.is_none() && !self.tls_names.is_empty() {
            tracing::warn!("--tls-name is not used: there is no --listen-tls");
        }
        if let Some(url) = &self.database {
            check_database(url).map_err(|why| anyhow::anyhow!("--database: {why}"))?;
        }
        if let Some(url) = &self.publish_bucket_url {
            let bad = |why| anyhow::anyhow!("--publish-bucket-url {url}: {why}");
            check_base_url(url).map_err(bad)?;
        }
        self.check_endpoint()?;
        self.lease_terms()?;
        Ok(())
    }

    fn check_endpoint(&self) -> anyhow::Result<()> {
        let Some(url) = &self.s3_endpoint else { return Ok(()) };
        // The address may hold a password, so the error does not repeat it.
        anyhow::ensure!(
            ["http", "https"].contains(&url.scheme()) && url.has_host(),
            "--s3-endpoint: expected http://HOST[:PORT] or https://HOST[:PORT]"
        );
        anyhow::ensure!(
            url.username().is_empty() && url.password().is_none(),
            "--s3-endpoint: it must hold no key; use --s3-credentials"
        );
        if url.scheme() == "http" {
            tracing::warn!(
                "--s3-endpoint is http: everybody on the network can read what is stored"
            );
        }
        Ok(())
    }

    /// How buckets are reached.
    #[must_use]
    pub fn s3(&self) -> S3Settings {
        S3Settings {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            credentials: self.s3_credentials.clone(),
            single_writer: self.single_writer,
        }
    }

    /// The address under which users reach this farm, if one was given.
    #[must_use]
    pub fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref().map(str::trim).filter(|url| !url.is_empty())
    }

    /// Refuses to listen where others could read tokens.
    ///
    /// # Errors
    /// With the remedy, for an address of --listen that other hosts reach.
    pub fn check_plain(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.listen.ip().is_loopback() || self.allow_plain,
            "--listen {}: other hosts reach this address, and tokens would go over the network in \
             the clear; use --listen-tls for it (or --allow-plain on a network that you trust)",
            self.listen
        );
        Ok(())
    }

    /// The limits on connections.
    #[must_use]
    pub fn limits(&self) -> ConnectionLimits {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        ConnectionLimits {
            connections: count(self.max_connections),
            of_one: count(self.max_connections_per_address),
            ..ConnectionLimits::default()
        }
    }

    /// Builds of one request at most.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        usize::try_from(self.max_batch).unwrap_or(usize::MAX)
    }

    /// What callers without a credential may see.
    #[must_use]
    pub const fn opened(&self) -> PublicAccessSettings {
        PublicAccessSettings {
            reads: self.public_read,
            metrics: self.public_metrics,
            none_for_this_host: self.private_read,
        }
    }

    /// The directory of the CA.
    #[must_use]
    pub fn tls_directory(&self) -> PathBuf {
        self.tls_dir.clone().unwrap_or_else(|| self.data.join("tls"))
    }

    /// The directory of files that can be fetched again, which this coordinator alone uses.
    #[must_use]
    pub fn cache_dir(&self) -> &Path {
        self.cache.as_deref().unwrap_or(&self.data)
    }

    #[must_use]
    pub fn signer_socket(&self) -> PathBuf {
        self.signer.clone().unwrap_or_else(|| self.data.join("signer.sock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_for_this_host_unless_it_is_allowed() {
        let config =
            |arguments: &[&str]| Config::parse_from([&["rpmfarm-coordinator"], arguments].concat());
        for good in [
            &[] as &[&str],
            &["--listen", "127.0.0.9:1"],
            &["--listen", "[::1]:1"],
            &["--listen", "0.0.0.0:1", "--allow-plain"],
        ] {
            assert!(config(good).check_plain().is_ok(), "{good:?}");
        }
        for bad in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1"] {
            let error = config(&["--listen", bad]).check_plain().unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("--listen-tls"), "{error}");
        }
    }

    #[test]
    fn what_others_would_stumble_over_is_refused_at_start() {
        let check = |arguments: &[&str]| {
            Config::parse_from([&["rpmfarm-coordinator"], arguments].concat()).check()
        };
        for good in [
            &[] as &[&str],
            &["--base-url", "https://farm.example.org"],
            &["--base-url", "http://[2001:db8::1]:8080/farm/"],
            &["--base-url", ""],
            &["--listen-tls", "0.0.0.0:1", "--tls-name", "farm.example.org,192.0.2.7,::1"],
            &["--database", "postgres://u:p@db/farm"],
            &["--database", "postgresql:///farm?host=/run/postgresql"],
            &["--database", "sqlite:///var/lib/farm.db"],
        ] {
            assert!(check(good).is_ok(), "{good:?}: {:?}", check(good));
        }
        for (option, value, says) in [
            ("--base-url", "farm.example.org", "expected http://HOST"),
            ("--base-url", "farm:7878", "dnf must be able"),
            ("--base-url", "ftp://farm/", "dnf must be able"),
            ("--base-url", "http://", "expected http://HOST"),
            ("--base-url", "https://me:secret@farm/", "no password"),
            ("--base-url", "https://farm/?x=1", "no ?"),
            ("--base-url", "https://farm/$basearch", "characters"),
            ("--base-url", "https://farm/a b", "characters"),
            ("--tls-name", "https://farm.example.org", "no URL"),
            ("--tls-name", "farm:7879", "not have a port"),
            ("--tls-name", "", "not a valid host name"),
            ("--tls-name", "farm..org", "not a valid host name"),
            ("--tls-name", "-farm", "not a valid host name"),
            ("--tls-name", "*.example.org", "not a valid host name"),
            ("--tls-name", "10.0.0", "not an address"),
            ("--s3-endpoint", "ftp://s3.example.org", "https://HOST"),
            ("--s3-endpoint", "https://me:secret@s3.example.org", "no key"),
            ("--database", "mysql://db/farm", "`mysql:`"),
            ("--database", "/var/lib/farm.db", "not a database URL"),
            ("--database", "sqlite://", "names no file"),
            ("--database", "postgres://db:port/farm", "cannot be read"),
        ] {
            let error = check(&[&format!("{option}={value}")]).unwrap_err().to_string();
            assert!(error.contains(option) && error.contains(says), "{option} {value}: {error}");
            assert!(!error.contains("secret") || option == "--base-url", "{error}");
        }
    }

    #[test]
    fn buckets_have_addresses_and_the_key_is_no_option() {
        let parse = |arguments: &[&str]| {
            Config::try_parse_from([&["rpmfarm-coordinator"], arguments].concat())
        };
        let both = ["--object-store=s3://farm/blobs", "--publish-bucket=s3://repos"];
        let config = parse(&both).unwrap();
        assert_eq!(config.object_store.unwrap().to_string(), "s3://farm/blobs");
        assert_eq!(config.publish_bucket.unwrap().prefix, "");
        assert_eq!((config.blob_cache, config.s3_region.as_str()), (100, "us-east-1"));
        for bad in [
            &["--object-store=farm"][..],
            &["--publish-bucket-url=https://repos.example.org"],
            &["--s3-secret-key=x"],
            &["--blob-cache=0"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_open_and_how_much_may_connect() {
        let parse = |arguments: &[&str]| {
            Config::try_parse_from([&["rpmfarm-coordinator"], arguments].concat())
        };
        let default = parse(&[]).unwrap();
        assert_eq!(default.opened(), PublicAccessSettings::default());
        assert_eq!((default.limits().connections, default.limits().of_one), (4096, 256));
        assert_eq!(
            (default.max_batch(), parse(&["--max-batch", "9"]).unwrap().max_batch()),
            (40_000, 9)
        );
        let other = parse(&["--public-metrics", "--private-read", "--max-connections", "100"]);
        let other = other.unwrap();
        assert!(other.opened().metrics && other.opened().none_for_this_host);
        assert_eq!(other.limits().connections, 100);
        for bad in [
            &["--public-read", "--private-read"][..],
            &["--max-connections", "0"],
            &["--max-connections-per-address", "0"],
            &["--max-batch", "0"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_have_units_and_terms_are_checked() {
        let parse = |arguments: &[&str]| {
            Config::try_parse_from([&["rpmfarm-coordinator"], arguments].concat())
        };
        let default = parse(&[]).unwrap();
        assert_eq!(default.lease_terms().unwrap(), LeaseTerms::default());
        let short = parse(&["--heartbeat", "300ms", "--lease", "2s"]).unwrap();
        assert_eq!(short.lease_terms().unwrap().lease(), Duration::from_secs(2));
        for bad in ["5", "s", "5 s", "-5s", "99999999999999999h"] {
            assert!(parse(&["--lease", bad]).is_err(), "{bad}");
        }
        let unfit = parse(&["--heartbeat", "1m", "--lease", "2m"]).unwrap();
        let error = format!("{:#}", unfit.lease_terms().unwrap_err());
        assert!(error.contains("--lease") && error.contains("three heartbeats"), "{error}");
    }
}
