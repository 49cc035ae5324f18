//! Random numbers.

use rand::Rng as _;

/// Where random numbers come from: a part of whatever draws them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomSource;

impl RandomSource {
    /// A number between two, the second excluded.
    #[must_use]
    pub fn draw_between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.draw()
    }

    /// A number below 100.
    #[must_use]
    pub fn draw_percent(self) -> u8 {
        // What is drawn is less than one.
        (self.draw() * 100.0) as u8
    }

    /// A number from 0 to below 1.
    fn draw(self) -> f64 {
        #[cfg(feature = "simulation")]
        if let Some(number) = crate::simulation::draw_random() {
            return number;
        }
        rand::thread_rng().r#gen()
    }
}
