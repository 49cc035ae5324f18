//! Assumed build times of packages: log-normally distributed, with a median of a minute and at most
//! three hours, correlated with the installed size. Each run has the same numbers.

use super::numbers::Numbers;

const MEDIAN_US: f64 = 60e6;
const MOST_US: f64 = 3.0 * 3_600e6;
/// The standard deviation of the logarithm.
const SPREAD: f64 = 1.45;
/// The correlation with the logarithm of the size.
const CORRELATION: f64 = 0.7;

/// A build time in microseconds for each size.
pub(super) fn takes_us(sizes: &[u64]) -> Vec<i64> {
    let logs: Vec<f64> = sizes.iter().map(|size| (*size.max(&1) as f64).ln()).collect();
    let count = logs.len().max(1) as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt().max(f64::MIN_POSITIVE);
    let mut numbers = Numbers::new(7);
    let takes = |log: f64| {
        let own = (1.0 - CORRELATION * CORRELATION).sqrt() * numbers.normal();
        let mixed = CORRELATION * (log - mean) / deviation + own;
        (MEDIAN_US * (SPREAD * mixed).exp()).clamp(1e6, MOST_US) as i64
    };
    logs.into_iter().map(takes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_documented_distribution() {
        let sizes: Vec<u64> = (0..9_999).map(|n: u32| 1_u64 << (n % 20)).collect();
        let mut takes = takes_us(&sizes);
        assert_eq!(takes, takes_us(&sizes));
        takes.sort_unstable();
        let median = takes[takes.len() / 2] as f64;
        assert!((40e6..90e6).contains(&median), "{median}");
        assert!(takes[takes.len() - 1] as f64 <= MOST_US);
        assert!(takes_us(&[]).is_empty() && takes_us(&[5, 5])[0] > 0);
    }
}
