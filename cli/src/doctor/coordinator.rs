//! Checks of the coordinator from this host: whether it can be reached, whether it accepts the
//! token, whether the clocks agree, and its own findings.

use rpmfarm_proto::v1::{self, Info};

use super::{Finding, Level, bad, good};
use crate::client::Client;
use crate::config::Settings;
use crate::exit::{Error, Exit};
use crate::show::time;

/// Clocks that differ by more, in microseconds, make times hard to read.
const SKEW_WARNING: i64 = 1_000_000;
/// Clocks that differ by more, in microseconds, make TLS and signatures fail.
const SKEW_ERROR: i64 = 60_000_000;

/// All findings, and the exit code that follows from these.
pub(crate) async fn check(settings: &Settings) -> (Vec<Finding>, Exit) {
    match reach(settings).await {
        Ok((mut client, info, asked, answered)) => {
            let mut findings = vec![reached(settings, &info, answered - asked)];
            findings.push(version(&info));
            findings.push(clock(info.now_us - (asked + answered) / 2));
            let token = token(settings, &mut client).await;
            let exit = if token.level == Level::Error { Exit::Unreachable } else { Exit::Done };
            findings.push(token);
            findings.extend(info.checks.iter().map(own));
            (findings, exit)
        }
        Err(error) => {
            let mut findings = vec![unreached(&error)];
            findings.extend(token_file(settings));
            (findings, error.exit())
        }
    }
}

async fn reach(settings: &Settings) -> Result<(Client, Info, i64, i64), Error> {
    let mut client = Client::connect(settings).await?;
    let asked = time::now();
    let info = client.info().await?;
    Ok((client, info, asked, time::now()))
}

fn reached(settings: &Settings, info: &Info, took: i64) -> Finding {
    let database = if info.database.is_empty() { "its store" } else { &info.database };
    good(
        "coordinator",
        format!("{} answers in {}, on {database}", settings.server, time::duration(took)),
    )
}

fn unreached(error: &Error) -> Finding {
    // The error has the remedy where it is known.
    let remedy = match error {
        Error::Token(_) => "it answers, and needs its token for everything",
        _ => "when it is elsewhere, name it with --server or RPMFARM_SERVER",
    };
    bad(Level::Error, "coordinator", error.to_string(), remedy)
}

fn version(info: &Info) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if info.version == own {
        return good("version", format!("both are {own}"));
    }
    let message = format!("this command is {own}, the coordinator {}", info.version);
    bad(Level::Warning, "version", message, "install the same version on both")
}

fn clock(ahead: i64) -> Finding {
    let differs = time::duration(ahead.abs());
    let level = match ahead.abs() {
        skew if skew > SKEW_ERROR => Level::Error,
        skew if skew > SKEW_WARNING => Level::Warning,
        _ => return good("clock", format!("differs from the coordinator's by {differs}")),
    };
    let side = if ahead > 0 { "behind" } else { "ahead of" };
    let message = format!("this host's clock is {differs} {side} the coordinator's");
    bad(level, "clock", message, "keep both in step with chrony or systemd-timesyncd")
}

/// Whether the coordinator accepts the token. It is asked to cancel build 0, which does not exist:
/// with a good token the answer is "not found", and nothing is changed.
async fn token(settings: &Settings, client: &mut Client) -> Finding {
    let source = match settings.token.read(&first(settings)) {
        Ok(token) => token.origin,
        Err(error) => return no_token(&error),
    };
    match client.cancel(0).await {
        Err(Error::Token(message)) => bad(
            Level::Error,
            "token",
            message,
            "copy the coordinator's token file; it is printed where the coordinator starts",
        ),
        Err(Error::Unreachable(message)) => {
            bad(Level::Error, "token", message, "the connection broke; try again")
        }
        _ => good("token", format!("accepted, from {source}")),
    }
}

/// The check of the token file, without the coordinator.
fn token_file(settings: &Settings) -> Option<Finding> {
    settings.token.read(&first(settings)).err().map(|error| no_token(&error))
}

/// On the coordinator's own host, reading needs no token: without one, half of the commands work.
fn no_token(error: &Error) -> Finding {
    bad(
        Level::Warning,
        "token",
        error.to_string(),
        "without it only reading works, and only on the coordinator's own host; building, cancelling and retrying need it",
    )
}

/// A finding of the coordinator itself.
fn own(check: &v1::Check) -> Finding {
    let level = match check.level.as_str() {
        "ok" => Level::Ok,
        "error" => Level::Error,
        _ => Level::Warning,
    };
    let (name, message) = (check.name.clone(), check.message.clone());
    let remedy = (!check.remedy.is_empty()).then(|| check.remedy.clone());
    Finding { place: "coordinator", name, level, message, remedy }
}

/// The coordinator that is tried first.
fn first(settings: &Settings) -> String {
    settings.servers().into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_judged_by_how_far_they_are_apart() {
        assert_eq!(clock(-300_000).level, Level::Ok);
        let warning = clock(2_500_000);
        assert_eq!(warning.level, Level::Warning);
        assert_eq!(warning.message, "this host's clock is 2.5 s behind the coordinator's");
        let error = clock(-120_000_000);
        assert_eq!(error.level, Level::Error);
        assert!(error.message.contains("2 min ahead of"), "{}", error.message);
    }
}
