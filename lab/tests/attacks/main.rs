//! Attacks on a whole farm of real processes: by somebody who may push to one repository, who
//! reaches the port, who has a worker, who writes to the coordinator's disk, or who has its user.
//! Each test ends with a successful build of somebody else.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod made;
mod packages;
mod port;
mod results;
#[allow(dead_code, reason = "the other suite uses more of it")]
#[path = "../end_to_end/scene.rs"]
mod scene;
mod signer;
mod stored;
mod stranger;

use std::time::Duration;

use rpmfarm_lab::distgit::{self, BRANCH, Commit, Entry};
use scene::{PATIENCE, Scene};
use serde_json::Value;

/// A build without attacks takes some seconds; during an attack it must not take much longer.
const SOON: Duration = Duration::from_secs(120);

/// A package of one file, with additions to its spec.
#[derive(Clone, Copy)]
struct Attack<'a> {
    name: &'a str,
    /// Tags, and sections that follow the description.
    tags: &'a str,
    /// The commands of `%build`.
    build: &'a str,
    /// The commands of `%install` after the file was made.
    install: &'a str,
    more: &'a str,
    /// Files beside the spec.
    files: &'a [(&'a str, &'a str)],
}

const NOTHING: Attack<'_> =
    Attack { name: "", tags: "", build: "", install: "", more: "", files: &[] };

impl Attack<'_> {
    fn spec(&self) -> String {
        let Self { name, tags, build, install, more, .. } = self;
        format!(
            "Name: {name}\nVersion: 1.0\nRelease: 1%{{?dist}}\nSummary: An attack\nLicense: x\n{tags}\n\
             %description\nx\n%prep\n%build\n{build}\n%install\nmkdir -p %{{buildroot}}/usr/share/{name}\n\
             echo x > %{{buildroot}}/usr/share/{name}/x\nresults=/builddir/build/RPMS\n{install}\n\
             {more}\n%files\n/usr/share/{name}\n%changelog\n\
             * Thu Jan 01 2026 The lab <lab@rpmfarm.invalid> - 1.0-1\n- x\n"
        )
    }
}

impl Scene {
    /// Makes the dist-git repository of a package.
    fn push(&self, attack: &Attack<'_>) {
        let (spec, name) = (attack.spec(), format!("SPECS/{}.spec", attack.name));
        let files: Vec<(String, &str)> =
            attack.files.iter().map(|(name, text)| (format!("SOURCES/{name}"), *text)).collect();
        let mut tree =
            std::collections::BTreeMap::from([(name.as_str(), Entry::File(spec.as_bytes()))]);
        for (name, text) in &files {
            tree.insert(name, Entry::File(text.as_bytes()));
        }
        let commit = Commit { message: "Attack", tree };
        distgit::create(&self.world.repository_of(attack.name), BRANCH, &[commit]).unwrap();
    }

    /// Builds a package alone, and returns it when it has failed by its own fault.
    fn fails(&self, name: &str) -> Value {
        let client = self.farm.client();
        let id = client.build(&[name]).unwrap()[0];
        let shown = client.wait(id, &["failed"], SOON).unwrap();
        assert_eq!(shown["failure"]["fault"], "package", "{shown:#}");
        shown
    }

    /// The farm still works: no process has died, no worker is suspected, and other builds succeed.
    fn goes_on(&mut self) {
        assert!(self.farm.coordinator.ended().is_none(), "{}", self.farm.coordinator.log_tail());
        for worker in &mut self.farm.workers {
            assert!(worker.ended().is_none(), "{}", worker.log_tail());
        }
        let client = self.farm.client();
        let workers = client.json(&["worker", "list"]).unwrap().to_string();
        assert!(!workers.contains("quarantined"), "{workers}");
        let id = client.build(&["tiny", "--bump"]).unwrap()[0];
        client.wait(id, &["published"], PATIENCE).unwrap();
    }
}

fn message(shown: &Value) -> &str {
    shown["failure"]["message"].as_str().unwrap_or_default()
}
