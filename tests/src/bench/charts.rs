//! `cargo xtask bench charts`: what benchmarks printed as JSON, as pictures for documents.
//!
//! Each picture is of one kind of bars, from left to right, with the figure behind; bars may be of several parts, and lie
//! on a scale of powers of ten where the figures are far apart.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use plotters::{
    prelude::{
        Color as _, IntoDrawingArea as _, IntoFont as _, RGBColor, Rectangle, SVGBackend, Text, WHITE,
    },
    style::{BLACK, TextStyle},
};
use serde_json::Value;

const WIDTH: u32 = 760;
const ROW: i32 = 30;
const TOP: i32 = 56;
const LEFT: i32 = 190;
const RIGHT: i32 = 90;
const BAR_MARGIN: i32 = 4;
const TITLE_SIZE: i32 = 18;
const TEXT_SIZE: i32 = 13;
/// Apart enough for those who see fewer colours, and dark enough beside white.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

/// A picture of bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// The name of its file, without folder and ending.
    pub name: String,
    /// What it shows, with the unit.
    pub title: String,
    /// What the parts of a bar are; empty for bars of one part.
    pub parts: Vec<String>,
    /// Each bar's name and parts.
    pub bars: Vec<(String, Vec<f64>)>,
    /// Whether lengths are logarithms.
    pub logarithmic: bool,
}

/// The pictures there are of a benchmark's figures; none if they are of no benchmark that has any.
pub fn of(figures: &Value) -> Vec<Chart> {
    [servers(figures, "renewals"), servers(figures, "dora"), steps(figures), counts(figures), memory(figures)]
        .into_iter()
        .flatten()
        .filter(|chart| !chart.bars.is_empty())
        .collect()
}

/// `bench peers`: answers a second by server.
fn servers(figures: &Value, kind: &str) -> Option<Chart> {
    let bars = figures.get(kind)?.as_object()?.iter();
    let title = if kind == "dora" { "New leases a second" } else { "Renewals a second" };
    Some(Chart {
        name: kind.to_owned(),
        title: format!("{title} (logarithmic)"),
        parts: Vec::new(),
        bars: bars
            .filter_map(|(server, of)| Some((server.clone(), vec![of.get("per_s")?.as_f64()?])))
            .collect(),
        logarithmic: true,
    })
}

/// `bench fastpath`: nanoseconds a renewal by number of leases, step by step.
fn steps(figures: &Value) -> Option<Chart> {
    let bar = |of: &Value| -> Option<(String, Vec<f64>)> {
        let step = |name: &str| of.get("steps_ns")?.get(name)?.as_f64();
        let resize = step("resize")?;
        let parts = vec![step("parse")?, step("look_up")?, step("compare")?, resize, step("write")? - resize];
        Some((format!("{} leases at random", of.get("leases")?), parts))
    };
    Some(Chart {
        name: "fastpath".to_owned(),
        title: "Nanoseconds for a renewal in the kernel".to_owned(),
        parts: ["parse", "look-up", "compare", "resize", "write"].map(str::to_owned).into(),
        bars: figures.get("by_leases")?.as_array()?.iter().filter_map(bar).collect(),
        logarithmic: false,
    })
}

/// `bench gate`: instructions by way of a frame.
fn counts(figures: &Value) -> Option<Chart> {
    let counts = figures.get("counts")?.as_object()?.iter();
    let executed = counts.filter_map(|(name, count)| {
        Some((name.strip_prefix("executed.")?.replace('_', " "), vec![count.as_f64()?]))
    });
    Some(Chart {
        name: "executed".to_owned(),
        title: "Instructions a frame takes through the XDP program".to_owned(),
        parts: Vec::new(),
        bars: executed.collect(),
        logarithmic: false,
    })
}

/// `bench scale`: octets a lease.
fn memory(figures: &Value) -> Option<Chart> {
    let start = figures.get("start")?;
    let part = |name: &str| start.get(name).and_then(Value::as_f64);
    let parts = vec![part("kernel_octets_per_lease")?, part("daemon_octets_per_lease")?];
    Some(Chart {
        name: format!("memory-{}", figures.get("leases")?),
        title: "Octets of memory for a lease".to_owned(),
        parts: ["kernel", "daemon"].map(str::to_owned).into(),
        bars: vec![(format!("{} leases", figures.get("leases")?), parts)],
        logarithmic: false,
    })
}

impl Chart {
    /// Writes it into `folder`.
    ///
    /// # Errors
    ///
    /// When a figure is none, or the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<std::path::PathBuf> {
        let path = folder.join(format!("{}.svg", self.name));
        std::fs::write(&path, self.svg()?).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The picture.
    ///
    /// # Errors
    ///
    /// When a figure is none.
    pub fn svg(&self) -> Result<String> {
        let lengths = self.lengths()?;
        let rows = i32::try_from(self.bars.len()).context("too many bars")?;
        let mut text = String::new();
        {
            let height = u32::try_from(TOP + ROW * rows + ROW / 2)?;
            let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
            let wrong = |error: &dyn std::fmt::Display| anyhow!("{} cannot be drawn: {error}", self.name);
            area.fill(&WHITE).map_err(|error| wrong(&error))?;
            let style = |size: i32| TextStyle::from(("sans-serif", size).into_font()).color(&BLACK);
            let write = |words: &str, at: (i32, i32), size: i32| {
                area.draw(&Text::new(words.to_owned(), at, style(size))).map_err(|error| wrong(&error))
            };
            write(&self.title, (10, 8), TITLE_SIZE)?;
            for (index, (part, colour)) in (0..).zip(self.parts.iter().zip(COLOURS)) {
                let x = LEFT + index * 100;
                let square = Rectangle::new([(x, 36), (x + 10, 46)], colour.filled());
                area.draw(&square).map_err(|error| wrong(&error))?;
                write(part, (x + 15, 34), TEXT_SIZE)?;
            }
            for (row, ((name, parts), ends)) in (0..).zip(self.bars.iter().zip(&lengths)) {
                let y = TOP + ROW * row;
                write(name, (10, y + 8), TEXT_SIZE)?;
                let mut from = LEFT;
                for (end, colour) in ends.iter().zip(COLOURS) {
                    let corners = [(from, y + BAR_MARGIN), (*end, y + ROW - BAR_MARGIN)];
                    area.draw(&Rectangle::new(corners, colour.filled())).map_err(|error| wrong(&error))?;
                    from = *end;
                }
                write(&figure(parts.iter().sum()), (from + 6, y + 8), TEXT_SIZE)?;
            }
            area.present().map_err(|error| wrong(&error))?;
        }
        Ok(text)
    }

    /// Where the parts of each bar end.
    fn lengths(&self) -> Result<Vec<Vec<i32>>> {
        let totals: Vec<f64> = self.bars.iter().map(|(_, parts)| parts.iter().sum()).collect();
        ensure!(
            totals.iter().all(|total| total.is_finite() && *total >= 0.0),
            "{}: a figure is missing or below zero",
            self.name
        );
        let scale =
            |value: f64| if self.logarithmic { (1.0 + value.max(0.0)).log10() } else { value.max(0.0) };
        let most = totals.iter().copied().map(scale).fold(f64::MIN_POSITIVE, f64::max);
        let room = f64::from(WIDTH as i32 - LEFT - RIGHT);
        let ends = self.bars.iter().map(|(_, parts)| {
            let mut sum = 0.0;
            let mut end = |part: &f64| {
                sum += part.max(0.0);
                LEFT + (scale(sum) / most * room) as i32
            };
            parts.iter().map(&mut end).collect()
        });
        Ok(ends.collect())
    }
}

/// A figure as people write it: whole, in groups of three.
fn figure(value: f64) -> String {
    let digits = format!("{value:.0}");
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
    fn figures_of_each_benchmark_become_pictures() {
        let peers = serde_json::json!({
            "renewals": {"ours": {"per_s": 1_600_000.4}, "kea": {"per_s": 25_000.0}},
            "dora": {"ours": {"per_s": 50_000.0}},
        });
        let charts = of(&peers);
        assert_eq!(charts.iter().map(|chart| chart.name.as_str()).collect::<Vec<_>>(), ["renewals", "dora"]);
        let svg = charts[0].svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("1,600,000") && svg.contains("25,000"), "{svg}");

        let fastpath = serde_json::json!({"by_leases": [{"leases": 1024, "steps_ns":
            {"parse": 10.0, "look_up": 20.0, "compare": 30.0, "resize": 5.0, "write": 40.0}}]});
        let [chart] = &of(&fastpath)[..] else { panic!("one picture") };
        assert_eq!(chart.bars, [("1024 leases at random".to_owned(), vec![10.0, 20.0, 30.0, 5.0, 35.0])]);
        let ends = &chart.lengths().unwrap()[0];
        assert!(ends.is_sorted() && ends.last() == Some(&(WIDTH as i32 - RIGHT)), "{ends:?}");
        assert!(of(&serde_json::json!({"something": "else"})).is_empty());
    }

    #[test]
    fn groups_of_three() {
        assert_eq!([0.0, 999.0, 1000.4, 1_234_567.0].map(figure), ["0", "999", "1,000", "1,234,567"]);
    }
}
