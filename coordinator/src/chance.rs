//! What is left to chance.

use rand::Rng as _;

/// Where chance comes from: a part of whatever draws.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chance;

impl Chance {
    /// A number between two, the second excluded.
    #[must_use]
    pub fn between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.part()
    }

    /// A number below 100.
    #[must_use]
    pub fn percent(self) -> u8 {
        // The part is less than one.
        (self.part() * 100.0) as u8
    }

    /// A number from 0 to below 1.
    fn part(self) -> f64 {
        #[cfg(feature = "simulation")]
        if let Some(part) = crate::simulation::chance() {
            return part;
        }
        rand::thread_rng().r#gen()
    }
}
