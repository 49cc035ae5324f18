//! A generated graph like that of Debian 12, for hosts whose apt has no lists of Debian. It has the
//! numbers that were measured on Debian's: sources, circles, roots, the work of 1,627 h and the
//! critical path of 6.9 h. Each run generates the same graph.
//!
//! Sources are generated in the order of their needs, as *places*: sources in circles, libraries,
//! and programs, which no source needs. Their names do not depend on their places, so that the
//! first thousands by name resemble a distribution, too.

use std::collections::BTreeSet;
use std::ops::Range;

use super::distribution::{Distribution, Source};
use super::numbers::Numbers;
use super::takes::takes_us;

/// The seed, of several ones, whose critical path is nearest to Debian's.
const SEED: u64 = 10;
/// The number of sources in Debian's `main`.
const ALL: usize = 34_288;
/// The number of sources of the base root, which are the first ones of the largest circle.
const BASE: usize = 94;
/// The sizes of the circles with more than some ten sources, with the base root.
const CIRCLES: [usize; 4] = [5_241, 131, 21, 19];
const IN_CIRCLES: usize = CIRCLES[0] + CIRCLES[1] + CIRCLES[2] + CIRCLES[3];
/// The number of sources outside of circles that others need.
const LIBRARIES: usize = 1_000;
/// Of so many sources in a root, one is outside of the largest circle.
const OUTSIDE: usize = 8;
/// Sources of a root beyond the base root: the median, and the standard deviation of the logarithm.
const ROOT: (f64, f64) = (38.0, 1.05);
const LARGEST_ROOT: f64 = 588.0;
/// The same for the installed size of a source's packages, in KiB.
const SIZE: (f64, f64) = (500.0, 1.6);

pub(super) fn distribution() -> Distribution {
    let mut numbers = Numbers::new(SEED);
    let number = shuffled(&mut numbers);
    let (mut beyond, mut sizes) = (vec![Vec::new(); ALL], vec![0_u64; ALL]);
    for place in 0..ALL {
        let needs = needs(place, &mut numbers);
        beyond[number[place]] = needs.into_iter().map(|need| number[need]).collect();
        sizes[number[place]] = numbers.log_normal(SIZE.0, SIZE.1) as u64;
    }
    let source = |((beyond, takes_us), number): ((Vec<usize>, i64), usize)| Source {
        name: format!("source-{number:05}"),
        takes_us,
        beyond,
    };
    let sources = beyond.into_iter().zip(takes_us(&sizes)).zip(0..).map(source).collect();
    let base = number[..BASE].to_vec();
    Distribution { title: "a generated graph like that of Debian 12", sources, base }
}

/// The index of each place among the names.
fn shuffled(numbers: &mut Numbers) -> Vec<usize> {
    let mut number: Vec<usize> = (0..ALL).collect();
    for last in (1..ALL).rev() {
        number.swap(last, numbers.below(last + 1));
    }
    number
}

/// The places that are in the root of a place.
fn needs(place: usize, numbers: &mut Numbers) -> BTreeSet<usize> {
    let mut needs: BTreeSet<usize> = next_of_circle(place).into_iter().collect();
    let libraries = libraries_of(place);
    let size = numbers.log_normal(ROOT.0, ROOT.1).min(LARGEST_ROOT) as usize;
    for _ in 0..size {
        needs.insert(pick(&libraries, numbers));
    }
    needs.remove(&place);
    needs
}

/// Each source of a circle needs the next one, and the last one the first.
fn next_of_circle(place: usize) -> Option<usize> {
    let mut begin = 0;
    for size in CIRCLES {
        if place < begin + size {
            return Some(begin + (place - begin + 1) % size);
        }
        begin += size;
    }
    None
}

/// The places outside of the largest circle that a place may need.
fn libraries_of(place: usize) -> Range<usize> {
    let end = match place {
        0..IN_CIRCLES => CIRCLES[0],
        _ if place < IN_CIRCLES + LIBRARIES => IN_CIRCLES,
        _ => IN_CIRCLES + LIBRARIES,
    };
    CIRCLES[0]..end
}

/// Picks a source for a root beyond the base root. Few sources are in most roots, and most sources
/// in few.
fn pick(libraries: &Range<usize>, numbers: &mut Numbers) -> usize {
    if numbers.below(OUTSIDE) == 0 && !libraries.is_empty() {
        return libraries.start + numbers.below(libraries.len());
    }
    let count = CIRCLES[0] - BASE;
    BASE + ((count as f64 * numbers.unit().powi(3)) as usize).min(count - 1)
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::batch::OrderMode;

    use super::*;

    /// All sources that are reached from a source, including itself.
    fn reached(from: usize, edges: &[Vec<usize>]) -> BTreeSet<usize> {
        let (mut found, mut due) = (BTreeSet::from([from]), vec![from]);
        while let Some(at) = due.pop() {
            due.extend(edges[at].iter().copied().filter(|need| found.insert(*need)));
        }
        found
    }

    #[test]
    fn it_has_the_numbers_of_debian() {
        let made = distribution();
        assert_eq!(made.sources.len(), ALL);
        assert!(made.sources.is_sorted_by(|a, b| a.name < b.name));
        let needs: Vec<Vec<usize>> =
            (0..ALL).map(|at| made.needs(at, OrderMode::Bootstrap).collect()).collect();
        let mut dependents = vec![Vec::new(); ALL];
        for (at, needs) in needs.iter().enumerate() {
            needs.iter().for_each(|need| dependents[*need].push(at));
        }
        let first = made.base[0];
        let circle = reached(first, &needs).intersection(&reached(first, &dependents)).count();
        assert_eq!(circle, CIRCLES[0]);
        let mut roots: Vec<usize> = needs.iter().map(Vec::len).collect();
        roots.sort_unstable();
        let mean = roots.iter().sum::<usize>() / ALL;
        let (median, most) = (roots[ALL / 2], roots[ALL - 1]);
        assert_eq!(median, 130, "Debian's is 132");
        assert_eq!(mean, 152, "Debian's is 160");
        assert_eq!(most, 599, "Debian's is 682");
        let work_us: i64 = made.sources.iter().map(|source| source.takes_us).sum();
        assert_eq!(work_us / 3_600_000_000, 1_628, "hours; Debian's are 1,627");
    }

    #[test]
    fn it_is_the_same_at_each_run() {
        let (one, two) = (distribution(), distribution());
        let same = one.sources.iter().zip(&two.sources);
        assert!(same.clone().all(|(a, b)| a.takes_us == b.takes_us && a.beyond == b.beyond));
        assert_eq!(one.base, two.base);
    }
}
