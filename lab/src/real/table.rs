//! The results as a table and as text.
//!
//! Owns the text. Must not know how results are obtained.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::state::{Record, Verdict};

/// The table of all records, followed by the notes on single branches.
#[must_use]
pub fn page(records: &[Record]) -> String {
    let mut text = String::from(
        "| branch | package | imported | built | against plain rpmbuild | rpmbuild, s | around it, s |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for record in records {
        let farm = record.farm.as_ref();
        let package = farm.and_then(|farm| farm.srpm.as_deref()).unwrap_or(&record.package);
        let imported = farm.is_some_and(|farm| farm.srpm.is_some());
        let built = farm.is_some_and(|farm| farm.is_published());
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        let times = |farm: Option<f64>, plain: Option<f64>| match (farm, plain) {
            (Some(farm), Some(plain)) if plain > 0.0 => format!("{farm:.1} ({plain:.1})"),
            (Some(farm), _) => format!("{farm:.1}"),
            _ => String::new(),
        };
        let done = farm.filter(|_| built);
        let plain = record.plain.as_ref().filter(|plain| plain.built);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            record.branch,
            package.strip_suffix(".src").unwrap_or(package),
            yes(imported),
            yes(built),
            cell(&against(record)),
            times(done.map(|farm| farm.rpmbuild), plain.map(|plain| plain.rpmbuild)),
            times(done.map(|farm| farm.around), plain.map(|plain| plain.root)),
        );
    }
    text.push('\n');
    text.push_str(&sums(records));
    text
}

/// The last cell of a branch's row: what went wrong.
fn against(record: &Record) -> String {
    let farm = record.farm.as_ref();
    let message = farm.map(|farm| farm.message.as_str()).unwrap_or_default();
    let plain = record.plain.as_ref().map(|plain| plain.message.as_str()).unwrap_or_default();
    match record.verdict() {
        Verdict::Lost => format!("not had: {}", record.lost.join(", ")),
        Verdict::NotImported | Verdict::NoRoot => message.to_owned(),
        Verdict::BothFail => format!("plain rpmbuild fails too: {message}"),
        Verdict::Same => format!("{} packages, the same", record.compared),
        Verdict::Explained => {
            let reasons: BTreeSet<&str> =
                record.differences.iter().filter_map(|one| one.reason.as_deref()).collect();
            let reasons: Vec<&str> = reasons.into_iter().collect();
            format!("{} packages; {}: {}", record.compared, tags(record, true), reasons.join("; "))
        }
        Verdict::Unexplained => match farm {
            Some(farm) if !farm.is_published() => {
                format!("**unexplained**: the farm fails: {} {message}", farm.fault)
            }
            _ if !plain.is_empty() => {
                format!("**unexplained**: only plain rpmbuild fails: {plain}")
            }
            _ => format!("**unexplained**: {}", tags(record, false)),
        },
        Verdict::Open => "not analysed yet".into(),
    }
}

/// The tags that differ, with or without a reason.
fn tags(record: &Record, explained: bool) -> String {
    let some = record.differences.iter().filter(|one| one.reason.is_some() == explained);
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in some {
        let paths = found.entry(&one.tag).or_default();
        if !one.path.is_empty() && !paths.contains(&one.path.as_str()) {
            paths.push(&one.path);
        }
    }
    let each = found.into_iter().map(|(tag, paths)| match paths.as_slice() {
        [] => tag.to_owned(),
        [only] => format!("{tag} of {only}"),
        [first, rest @ ..] => format!("{tag} of {first} and {} more", rest.len()),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// A text of one line, escaped for a cell.
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(300).collect();
    short.replace('|', "\\|")
}

/// How many branches have each verdict, and the sums of the times.
#[must_use]
pub fn sums(records: &[Record]) -> String {
    let count = |wanted: &[Verdict]| {
        records.iter().filter(|record| wanted.contains(&record.verdict())).count()
    };
    let built = |record: &&Record| record.farm.as_ref().is_some_and(|farm| farm.is_published());
    let packages: usize = records.iter().filter(built).map(|record| record.compared).sum();
    let sum = |of: &dyn Fn(&Record) -> f64| records.iter().filter(built).map(of).sum::<f64>();
    let farm =
        |of: fn(&super::state::Farmed) -> f64| sum(&|record| record.farm.as_ref().map_or(0.0, of));
    let plain =
        |of: fn(&super::state::Plain) -> f64| sum(&|record| record.plain.as_ref().map_or(0.0, of));
    format!(
        "{} branches: {} built and published; of these {} are the same as plain rpmbuild's ({} packages \
         compared), {} differ for a reason that is given; {} fail under both; {} want what the lab lacks; \
         {} cannot be read; of {} a tarball could not be had; {} unexplained; {} not checked.\n\n\
         Of what was built: rpmbuild {:.0} s on the farm, {:.0} s plain; around it {:.0} s on the farm \
         (sources, root, results), {:.0} s plain (root by rpm, on a base root that was there).\n",
        records.len(),
        records.iter().filter(built).count(),
        count(&[Verdict::Same]),
        packages,
        count(&[Verdict::Explained]),
        count(&[Verdict::BothFail]),
        count(&[Verdict::NoRoot]),
        count(&[Verdict::NotImported]),
        count(&[Verdict::Lost]),
        count(&[Verdict::Unexplained]),
        count(&[Verdict::Open]),
        farm(|farm| farm.rpmbuild),
        plain(|plain| plain.rpmbuild),
        farm(|farm| farm.around),
        plain(|plain| plain.root),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::compare::Difference;
    use crate::real::state::{Farmed, Plain};

    fn built() -> Record {
        Record {
            package: "a".into(),
            branch: "el9".into(),
            farm: Some(Farmed {
                state: "published".into(),
                srpm: Some("a-0:1-1.el9.src".into()),
                rpmbuild: 2.0,
                around: 0.5,
                locked: true,
                ..Farmed::default()
            }),
            plain: Some(Plain { built: true, rpmbuild: 2.2, root: 1.0, ..Plain::default() }),
            compared: 3,
            ..Record::default()
        }
    }

    #[test]
    fn rows_say_what_was_found() {
        let lost = Record {
            package: "b".into(),
            branch: "el8".into(),
            lost: vec!["b-1.tar.gz".into()],
            ..Record::default()
        };
        let text = page(&[built(), lost]);
        assert!(
            text.contains(
                "| el9 | a-0:1-1.el9 | yes | yes | 3 packages, the same | 2.0 (2.2) | 0.5 (1.0) |"
            ),
            "{text}"
        );
        assert!(text.contains("| el8 | b | no | no | not had: b-1.tar.gz |  |  |"), "{text}");
        assert!(
            text.contains("2 branches: 1 built and published; of these 1 are the same"),
            "{text}"
        );
    }

    #[test]
    fn differences_are_named_with_their_reason() {
        let mut record = built();
        let one = |tag: &str, path: &str, reason: Option<&str>| Difference {
            package: "a".into(),
            tag: tag.into(),
            path: path.into(),
            farm: "1".into(),
            plain: "2".into(),
            reason: reason.map(str::to_owned),
        };
        record.differences = vec![
            one("Filedigests", "/x", Some("why|so")),
            one("Filedigests", "/y", Some("why|so")),
        ];
        let text = page(std::slice::from_ref(&record));
        assert!(text.contains("3 packages; Filedigests of /x and 1 more: why\\|so"), "{text}");
        record.differences.push(one("Postin", "", None));
        assert!(page(std::slice::from_ref(&record)).contains("**unexplained**: Postin |"));
    }
}
