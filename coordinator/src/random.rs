//! Random numbers.

use rand::Rng as _;

/// The source of random numbers: a part of whatever draws them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomSource;

impl RandomSource {
    /// A number from `low` up to, but not including, `high`.
    #[must_use]
    pub fn draw_between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.draw()
    }

    /// A number from 0 to 99.
    #[must_use]
    pub fn draw_percent(self) -> u8 {
        // The drawn number is below 1, so the product is below 100.
        (self.draw() * 100.0) as u8
    }

    /// A number from 0 up to, but not including, 1.
    fn draw(self) -> f64 {
        #[cfg(feature = "simulation")]
        if let Some(number) = crate::simulation::draw_random() {
            return number;
        }
        rand::thread_rng().r#gen()
    }
}
