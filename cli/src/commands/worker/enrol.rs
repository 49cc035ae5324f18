//! `rpmfarm worker enrol`.

use clap::Args;
use rpmfarm_proto::v1::{Invitation, InviteWorkerRequest};

use crate::commands::Session;
use crate::document::InvitationDocument;
use crate::exit::{Error, Exit};
use crate::show::{escape, time};

/// For whom.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm worker enrol builder-3
  rpmfarm worker enrol builder-3 --arch aarch64 --valid 15m
  rpmfarm worker enrol builder-3 --json | jq -r .token | ssh builder-3 rpmfarm-worker enrol \\
      --coordinator https://farm.example.org:7879 --token -

The token works once and names the farm's CA, so that the new worker needs nothing else to trust
the coordinator. A worker that has certificates already gets a new one, and loses the old ones.")]
pub(super) struct EnrolOptions {
    /// Name of the worker, unique in the farm
    worker: String,
    /// Architectures that it may build for; may be repeated [default: any]
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<String>,
    /// Lifetime of the token, as 90s, 15m, 1h, 2d; at most 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    valid: u64,
}

impl EnrolOptions {
    pub(super) async fn run(self, mut session: Session) -> Result<Exit, Error> {
        let request = InviteWorkerRequest {
            worker: self.worker,
            arches: self.arch,
            valid_seconds: self.valid,
        };
        let invitation = session.client.invite_worker(request).await?;
        if session.out.json {
            session.out.document(&InvitationDocument::from(&invitation))?;
        } else {
            session.out.text(&text(&invitation, time::now()))?;
        }
        Ok(Exit::Done)
    }
}

fn text(invitation: &Invitation, now: i64) -> String {
    let line = escape::line;
    format!(
        "a token for worker {}, for {} and one use; run this there, as root:\n\n  \
         rpmfarm-worker enrol --coordinator {} --token {}\n\n\
         then start it: rpmfarm-worker run\n",
        line(&invitation.worker),
        time::duration(invitation.expires_us - now),
        line(&invitation.coordinator),
        line(&invitation.token),
    )
}

/// A time like `90s`, `15m`, `1h`, `2d`, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a duration (90s, 15m, 1h, 2d)");
    let (digits, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let unit = match unit {
        "s" | "" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    match number.checked_mul(unit) {
        Some(seconds) if seconds > 0 => Ok(seconds),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("1h"), Ok(3600));
        assert_eq!(seconds("2d"), Ok(172_800));
        assert_eq!(seconds("5"), Ok(5));
        for bad in ["", "h", "0", "-1h", "1y", "1.5h", "99999999999999999999d", "é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
