//! The chart of dispatch latency over queue length, as SVG.

use std::fmt::Write as _;

/// The measurements with one database.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Queue length with the median and the 99th percentile in milliseconds.
    pub(super) points: Vec<Point>,
}

/// Queue length, median and 99th percentile.
type Point = (f64, f64, f64);

type Value = fn(&Point) -> f64;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 52.0;
const COLOURS: [&str; 2] = ["#1f77b4", "#d95f02"];

/// Draws the chart. `budget` is the line that the 99th percentile must stay under.
pub(super) fn draw(lines: &[Line], budget: f64) -> String {
    let mut chart = Chart::new(lines, budget);
    chart.axes();
    chart.budget(budget);
    let mut labels = Vec::new();
    for (line, colour) in lines.iter().zip(COLOURS) {
        labels.extend(chart.line(line, colour));
    }
    chart.labels(labels);
    chart.svg.push_str("</svg>\n");
    chart.svg
}

/// The label at the end of a curve: its height, its colour and its text.
type Label = (f64, &'static str, String);

/// A chart under construction.
struct Chart {
    svg: String,
    /// The powers of ten around the lengths of queues.
    from: f64,
    to: f64,
    /// The highest value, in milliseconds.
    top: f64,
}

impl Chart {
    fn new(lines: &[Line], budget: f64) -> Self {
        let all = || lines.iter().flat_map(|line| &line.points);
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"14\">A task is ready: how long until a worker has \
             it, 1,000 workers</text>\n"
        );
        Self {
            svg,
            from: all().map(|point| point.0).fold(f64::INFINITY, f64::min).log10().floor(),
            to: all().map(|point| point.0).fold(1.0, f64::max).log10().ceil(),
            top: all().map(|point| point.2).fold(budget * 1.2, f64::max) * 1.05,
        }
    }

    /// The x coordinate of a queue length.
    fn x(&self, length: f64) -> f64 {
        let share = (length.log10() - self.from) / (self.to - self.from).max(1.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    /// The y coordinate of a time.
    fn y(&self, ms: f64) -> f64 {
        HEIGHT - BOTTOM - ms / self.top * (HEIGHT - TOP - BOTTOM)
    }

    fn put(&mut self, text: &str) {
        self.svg.push_str(text);
        self.svg.push('\n');
    }

    fn axes(&mut self) {
        for step in 0..=4 {
            let ms = self.top / 4.0 * f64::from(step);
            self.put(&format!(
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{1:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ms:.0} ms</text>",
                WIDTH - RIGHT,
                self.y(ms),
                LEFT - 8.0,
                self.y(ms) + 4.0
            ));
        }
        let mut power = self.from;
        while power <= self.to {
            let length = 10_f64.powf(power);
            self.put(&format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.x(length),
                HEIGHT - BOTTOM + 18.0,
                thousands(length)
            ));
            power += 1.0;
        }
        self.put(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">tasks in the queue</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 12.0
        ));
    }

    fn budget(&mut self, budget: f64) {
        self.put(&format!(
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{1:.1}\" stroke=\"#999\" \
             stroke-dasharray=\"2 4\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"#666\">budget of p99: \
             {budget:.0} ms</text>",
            WIDTH - RIGHT,
            self.y(budget),
            WIDTH - RIGHT + 8.0,
            self.y(budget) + 4.0
        ));
    }

    /// Draws the curves of a database, and returns their labels.
    fn line(&mut self, line: &Line, colour: &'static str) -> Vec<Label> {
        let series: [(&str, &str, Value); 2] = [
            ("p99", "", |point| point.2),
            ("median", " stroke-dasharray=\"6 4\"", |point| point.1),
        ];
        let mut labels = Vec::new();
        for (what, dashes, value) in series {
            let mut path = String::new();
            for point in &line.points {
                let (px, py) = (self.x(point.0), self.y(value(point)));
                let _ = write!(path, "{px:.1},{py:.1} ");
                self.put(&format!(
                    "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\" fill=\"{colour}\"/>"
                ));
            }
            self.put(&format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
                path.trim_end()
            ));
            if let Some(last) = line.points.last() {
                let text = format!("{} {what}, {:.1} ms", line.name, value(last));
                labels.push((self.y(value(last)) + 4.0, colour, text));
            }
        }
        labels
    }

    /// Writes labels so that they do not overlap.
    fn labels(&mut self, mut labels: Vec<Label>) {
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut lowest = f64::INFINITY;
        for (at, colour, text) in labels.into_iter().rev() {
            lowest = at.min(lowest - 15.0);
            self.put(&format!(
                "<text x=\"{:.1}\" y=\"{lowest:.1}\" fill=\"{colour}\">{text}</text>",
                WIDTH - RIGHT + 8.0
            ));
        }
    }
}

/// `100,000`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_shows_what_was_measured() {
        let line = |name, scale: f64| Line {
            name,
            points: vec![(1e3, 4.0 * scale, 9.0), (1e5, 5.0 * scale, 12.0)],
        };
        let svg = draw(&[line("SQLite", 1.0), line("PostgreSQL", 2.0)], 50.0);
        for part in ["SQLite p99, 12.0 ms", "PostgreSQL median, 10.0 ms", "100,000", "50 ms"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
