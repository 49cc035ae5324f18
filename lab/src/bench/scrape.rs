//! The values of a coordinator's `/metrics`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, ensure};

use crate::farm::Farm;

/// The text of the metrics.
pub(super) fn text(farm: &Farm) -> anyhow::Result<String> {
    let address = farm.server().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "no metrics: {answer:.200}");
    Ok(answer)
}

/// The value of a metric without labels.
pub(super) fn value(text: &str, name: &str) -> anyhow::Result<f64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = lines.next().with_context(|| format!("no metric {name}"))?;
    Ok(value.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP rpmfarm_statements x\nrpmfarm_statements_totals 1\nrpmfarm_statements_total 7\n";
        assert!((value(text, "rpmfarm_statements_total").unwrap() - 7.0).abs() < f64::EPSILON);
        assert!(value(text, "rpmfarm_statements").is_err());
    }
}
