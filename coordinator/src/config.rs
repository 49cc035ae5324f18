//! What the coordinator is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The coordinator of rpmfarm: pulls sources, orders builds, accepts, signs and publishes.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "rpmfarm-coordinator",
    version,
    after_help = "Examples:\n  \
        rpmfarm-coordinator --data /var/lib/rpmfarm --targets /etc/rpmfarm/targets\n  \
        rpmfarm-coordinator --database postgres://rpmfarm@db/rpmfarm --listen 0.0.0.0:7878\n\n\
        Logs go to stderr; RPMFARM_LOG sets their level (info, debug, rpmfarm_coordinator=debug).\n\
        The token that the command rpmfarm and the workers need is made at first start: DATA/token."
)]
pub struct Config {
    /// Directory of everything that the coordinator keeps: database, blobs, logs, repositories.
    #[arg(long, env = "RPMFARM_DATA", default_value = "/var/lib/rpmfarm")]
    pub data: PathBuf,

    /// Directory of the target files, NAME.toml.
    #[arg(long, env = "RPMFARM_TARGETS", default_value = "/etc/rpmfarm/targets")]
    pub targets: PathBuf,

    /// Address to listen on, for gRPC and HTTP. Port 0 takes a free one.
    #[arg(long, env = "RPMFARM_LISTEN", default_value = "127.0.0.1:7878")]
    pub listen: SocketAddr,

    /// The database: `sqlite:///path/farm.db` or `postgres://…`. Default: DATA/farm.db.
    #[arg(long, env = "RPMFARM_DATABASE", hide_env_values = true)]
    pub database: Option<String>,

    /// The signer's Unix socket. Default: DATA/signer.sock.
    #[arg(long, env = "RPMFARM_SIGNER")]
    pub signer: Option<PathBuf>,

    /// The address under which users reach this farm, for .repo files. Default: http://LISTEN.
    #[arg(long, env = "RPMFARM_BASE_URL")]
    pub base_url: Option<String>,

    /// The secrets of webhooks, a TOML file of mode 600: `[TARGET]` with `github = ["SECRET"]`,
    /// `gitlab`, `gitea`, `forgejo`, `pagure`. Default: DATA/hooks.toml, if it is there.
    #[arg(long, env = "RPMFARM_HOOK_SECRETS", value_name = "FILE")]
    pub hook_secrets: Option<PathBuf>,

    /// Write the address that is listened on to this file, once it is.
    #[arg(long)]
    pub address_file: Option<PathBuf>,
}

impl Config {
    /// The database's URL.
    #[must_use]
    pub fn database_url(&self) -> String {
        let default = || format!("sqlite://{}", self.data.join("farm.db").display());
        self.database.clone().unwrap_or_else(default)
    }

    /// The signer's socket.
    #[must_use]
    pub fn signer_socket(&self) -> PathBuf {
        self.signer.clone().unwrap_or_else(|| self.data.join("signer.sock"))
    }
}
