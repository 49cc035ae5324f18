//! The solver's pool: packages come and go in any order, some with names, checksums and file lists
//! of others, and what is in the pool stays what was put into it. Beneath it is libsolv, which is
//! C: under cargo-fuzz the address sanitizer watches it (`fuzz/libsolv`).

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::{Arch, Nevra};
use rpmfarm_solv::{Fragment, Pool, PoolError, Repository, SolveRequest};

/// Names and checksums: so few that they meet.
const DIFFERENT: u8 = 8;
/// Packages that are added at once.
const BATCH: u8 = 6;
/// Steps of one input.
const STEPS: usize = 48;
/// The repository.
const OWN: &str = "own";

/// A package: its name, its checksum, how many files it has, and whose first file it requires, by
/// name and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    name: u8,
    checksum: u8,
    files: u8,
    requires: Option<(u8, u8)>,
}

impl Row {
    fn read(bytes: &mut impl Iterator<Item = u8>) -> Self {
        let mut next = || bytes.next().unwrap_or_default();
        let (name, checksum, files) = (next() % DIFFERENT, next() % DIFFERENT, next() % 4);
        let required = next();
        let of = (required % DIFFERENT, required / DIFFERENT % DIFFERENT);
        Self { name, checksum, files, requires: (required >= 128).then_some(of) }
    }

    fn nevra(name: u8) -> Nevra {
        format!("n{name}-1-1.x86_64").parse().expect("it is a NEVRA")
    }

    fn path(name: u8, checksum: u8, file: u8) -> String {
        format!("/usr/share/n{name}/{checksum}/f{file}")
    }

    fn fragment(self) -> Fragment {
        let Self { name, checksum, files, requires } = self;
        let required = requires.map_or_else(String::new, |(name, checksum)| {
            let path = Self::path(name, checksum, 0);
            format!("<rpm:requires><rpm:entry name=\"{path}\"/></rpm:requires>")
        });
        let files: String = (0..files)
            .map(|file| format!("<file>{}</file>", Self::path(name, checksum, file)))
            .collect();
        let version = "<version epoch=\"0\" ver=\"1\" rel=\"1\"/>";
        Fragment {
            primary: format!(
                "<package type=\"rpm\"><name>n{name}</name><arch>x86_64</arch>{version}\
                 <checksum type=\"sha256\" pkgid=\"YES\">{checksum:064x}</checksum>\
                 <size package=\"1\" installed=\"1\" archive=\"1\"/><location href=\"n{name}.rpm\"/>\
                 <format>{required}</format></package>"
            ),
            filelists: format!(
                "<package pkgid=\"{checksum:064x}\" name=\"n{name}\" arch=\"x86_64\">{version}{files}</package>"
            ),
        }
    }
}

/// What the pool is to have, by name.
#[derive(Debug, Default)]
struct Model(BTreeMap<u8, Row>);

impl Model {
    /// Adds rows, all or none: the places of those that have the checksum of another one.
    fn add(&mut self, rows: &[Row]) -> Vec<usize> {
        let (mut seen, mut twins, mut new) = (BTreeSet::new(), Vec::new(), Vec::new());
        for (place, row) in rows.iter().enumerate() {
            let is_of_other =
                self.0.values().any(|old| old.checksum == row.checksum && old.name != row.name);
            if is_of_other || !seen.insert(row.checksum) {
                twins.push(place);
            }
            // What is known stays as it is.
            if self.0.get(&row.name).is_none_or(|old| old.checksum != row.checksum) {
                new.push(*row);
            }
        }
        if twins.is_empty() {
            self.0.extend(new.into_iter().map(|row| (row.name, row)));
        }
        twins
    }

    /// The packages that are installed for a file; `None` when that cannot be.
    fn solution(&self, (name, checksum): (u8, u8)) -> Option<BTreeSet<u8>> {
        let (mut installed, mut wanted) = (BTreeSet::new(), Some((name, checksum)));
        while let Some((name, checksum)) = wanted {
            let owns = |row: &&Row| row.checksum == checksum && row.files > 0;
            let row = self.0.get(&name).filter(owns)?;
            wanted = if installed.insert(name) { row.requires } else { None };
        }
        Some(installed)
    }
}

/// Adds, removes and solves as the input directs, and compares the pool with the model at each
/// step.
pub fn fuzz_pool(data: &[u8]) {
    let mut pool = Pool::new(Arch::X86_64);
    let about = Repository { id: OWN.to_owned(), ..Repository::default() };
    pool.add_repository(about).expect("it is the first");
    let (mut model, mut bytes) = (Model::default(), data.iter().copied());
    for _ in 0..STEPS {
        let (Some(step), Some(what)) = (bytes.next(), bytes.next()) else { return };
        match step % 4 {
            0 | 1 => {
                let rows: Vec<Row> = (0..=what % BATCH).map(|_| Row::read(&mut bytes)).collect();
                add(&mut pool, &mut model, &rows);
            }
            2 => {
                let name = what % DIFFERENT;
                pool.remove_packages(OWN, &[Row::nevra(name)]).expect("the repository is there");
                model.0.remove(&name);
            }
            _ => solve(&mut pool, &model, (what % DIFFERENT, what / DIFFERENT % DIFFERENT)),
        }
        assert_eq!(pool.len(), model.0.len(), "{model:?}");
    }
}

fn add(pool: &mut Pool, model: &mut Model, rows: &[Row]) {
    let fragments: Vec<Fragment> = rows.iter().map(|row| row.fragment()).collect();
    let refused = match pool.add_packages(OWN, &fragments) {
        Ok(()) => Vec::new(),
        Err(PoolError::SameChecksum { twins, .. }) => {
            twins.into_iter().map(|twin| twin.place).collect()
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(refused, model.add(rows), "{rows:?}");
}

fn solve(pool: &mut Pool, model: &Model, of: (u8, u8)) {
    let path = Row::path(of.0, of.1, 0);
    let request = SolveRequest { install: vec![path.as_str()], ..SolveRequest::default() };
    let solved = pool.solve(&request).ok();
    let found: Option<Vec<Nevra>> =
        solved.map(|solution| solution.packages.into_iter().map(|package| package.nevra).collect());
    let expected: Option<Vec<Nevra>> =
        model.solution(of).map(|names| names.into_iter().map(Row::nevra).collect());
    assert_eq!(found, expected, "{path} of {model:?}");
}
