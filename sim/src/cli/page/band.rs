//! The timeline: a minute of the run is one drawing, as wide as the page, so that nothing scrolls sideways and all of it
//! can be printed. In each, a lane for every node.
//!
//! A label is as wide as it is, often wider than its bar: both together take their place in a row, and what would overlap
//! goes into the next row.

use std::fmt::Write;

use quorumq_sim::report::{Report, What};

use super::super::output::seconds;
use super::escape::escaped;
use super::lane::{Bar, Kind, Lane, end_of, lanes};

/// Virtual milliseconds of a drawing.
const BAND_MS: u64 = 60_000;
/// Left of it are the names of the lanes.
const LEFT: f64 = 110.0;
const RIGHT: f64 = 1180.0;
const WIDTH: f64 = 1200.0;
/// A line of bars.
const ROW: f64 = 18.0;
/// Above and below a lane's rows together.
const GAP: f64 = 8.0;
/// The time axis.
const HEAD: f64 = 34.0;
/// The lane of acknowledgements.
const ACKS: f64 = 64.0;
/// A character of a label, at the style sheet's size of 11: a little more than it takes.
const CHARACTER: f64 = 6.4;
/// The longest label; its title has all of it.
const LABEL: usize = 40;

/// A drawing of each minute.
pub fn timeline(report: &Report) -> String {
    let (lanes, end) = (lanes(report), end_of(report));
    let length = BAND_MS.min(end.next_multiple_of(1000));
    let most = report.moments.iter().filter_map(|moment| acks(&moment.what)).max().unwrap_or_default();
    let mut text = String::new();
    for n in 0..end.div_ceil(length) {
        let band =
            Band { report, lanes: &lanes, from: n * length, length, most_acks: most, last: (n + 1) * length >= end };
        band.draw(&mut text);
    }
    text
}

fn acks(what: &What) -> Option<u64> {
    if let What::Acks(n) = what { Some(*n) } else { None }
}

/// One minute.
struct Band<'a> {
    report: &'a Report,
    lanes: &'a [Lane],
    from: u64,
    length: u64,
    /// The most acknowledgements of any second of the run: the scale.
    most_acks: u64,
    last: bool,
}

/// A bar with its label in its place.
struct Placed<'a> {
    bar: &'a Bar,
    x: f64,
    width: f64,
    label: String,
    label_x: f64,
    /// Whether the label ends at `label_x` instead of beginning there.
    to_the_left: bool,
    row: usize,
}

impl Band<'_> {
    fn to(&self) -> u64 {
        self.from + self.length
    }

    fn x(&self, at_ms: u64) -> f64 {
        let at = at_ms.clamp(self.from, self.to()) - self.from;
        LEFT + (RIGHT - LEFT) * at as f64 / self.length as f64
    }

    /// Whether a stretch shows here. One without length belongs to one drawing only.
    fn shows(&self, from: u64, to: u64) -> bool {
        from < self.to() && (to > self.from || from == to && from >= self.from) || self.last && from == self.to()
    }

    fn draw(&self, text: &mut String) {
        let placed: Vec<Vec<Placed<'_>>> = self.lanes.iter().map(|lane| self.place(lane)).collect();
        let height_of = |bars: &Vec<Placed<'_>>| {
            let rows = bars.iter().map(|placed| placed.row + 1).max().unwrap_or(1);
            rows as f64 * ROW + GAP
        };
        let heights: Vec<f64> = placed.iter().map(height_of).collect();
        let height = HEAD + heights.iter().sum::<f64>() + ACKS;
        let name = format!("{} to {}", clock(self.from), clock(self.to()));
        let _ = writeln!(
            text,
            "<svg class=\"band\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{name}; the same is in the \
             table of moments\">"
        );
        self.axis(text, height);
        let mut y = HEAD;
        for ((lane, bars), height) in self.lanes.iter().zip(&placed).zip(&heights) {
            self.lane(text, lane, bars, (y, *height));
            y += height;
        }
        self.acks(text, y);
        self.violation(text, height);
        text.push_str("</svg>\n");
    }

    fn axis(&self, text: &mut String, height: f64) {
        let step = if self.length > 20_000 { 5_000 } else { 1_000 };
        let mut at = self.from;
        while at <= self.to() {
            let x = self.x(at);
            let _ = writeln!(
                text,
                "<path class=\"grid\" d=\"M{x:.1} {HEAD}V{height:.1}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                HEAD - 6.0,
                clock(at)
            );
            at += step;
        }
    }

    fn lane(&self, text: &mut String, lane: &Lane, bars: &[Placed<'_>], (y, height): (f64, f64)) {
        let _ = writeln!(
            text,
            "<path class=\"rule\" d=\"M0 {y:.1}H{WIDTH}\"/><text class=\"name\" x=\"4\" y=\"{:.1}\">{}</text>",
            y + GAP / 2.0 + 12.0,
            escaped(&lane.node)
        );
        for (from, to) in lane.down.iter().filter(|(from, to)| self.shows(*from, *to)) {
            let (x, width) = self.span(*from, *to);
            let title = format!("{}: process gone, {} to {}", lane.node, seconds(*from), seconds(*to));
            let _ = writeln!(
                text,
                "<rect class=\"gone\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" \
                 fill=\"url(#p-down)\"><title>{}</title></rect>",
                y + 1.0,
                height - 2.0,
                escaped(&title)
            );
        }
        bars.iter().for_each(|placed| placed.draw(text, y + GAP / 2.0));
    }

    /// Left end and width: never too thin to be seen.
    fn span(&self, from: u64, to: u64) -> (f64, f64) {
        let (x, end) = (self.x(from), self.x(to));
        let width = (end - x).max(4.0);
        (x.min(RIGHT - width), width)
    }

    fn place<'a>(&self, lane: &'a Lane) -> Vec<Placed<'a>> {
        let mut rows: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut all = Vec::new();
        for bar in lane.bars.iter().filter(|bar| self.shows(bar.from_ms, bar.to_ms)) {
            let mut placed = self.label(bar);
            let (from, to) = placed.extent();
            let free = |row: &Vec<(f64, f64)>| row.iter().all(|(a, b)| to < *a || from > *b);
            placed.row = rows.iter().position(free).unwrap_or(rows.len());
            if placed.row == rows.len() {
                rows.push(Vec::new());
            }
            rows[placed.row].push((from, to));
            all.push(placed);
        }
        all
    }

    fn label<'a>(&self, bar: &'a Bar) -> Placed<'a> {
        let (x, width) = self.span(bar.from_ms, bar.to_ms);
        let mut label = if bar.from_ms < self.from { "… ".to_owned() } else { String::new() };
        if bar.kind == Kind::Note {
            label.push_str("◆ ");
        }
        label.extend(bar.label.chars().take(LABEL));
        if bar.label.chars().count() > LABEL {
            label.push('…');
        }
        let to_the_left = x + 4.0 + text_width(&label) > RIGHT;
        let label_x = if to_the_left { RIGHT - 2.0 } else { x + 4.0 };
        Placed { bar, x, width, label, label_x, to_the_left, row: 0 }
    }

    fn acks(&self, text: &mut String, y: f64) {
        let (bottom, most) = (y + ACKS - 6.0, self.most_acks.max(1));
        let _ = writeln!(
            text,
            "<path class=\"rule\" d=\"M0 {y:.1}H{WIDTH}\"/><text class=\"name\" x=\"4\" y=\"{:.1}\">acks per s</text>\
             <text class=\"scale\" x=\"{:.1}\" y=\"{:.1}\">{most}</text><text class=\"scale\" x=\"{:.1}\" \
             y=\"{bottom:.1}\">0</text><path class=\"base\" d=\"M{LEFT} {bottom:.1}H{RIGHT}\"/>",
            y + 34.0,
            LEFT - 4.0,
            y + 12.0,
            LEFT - 4.0,
        );
        for moment in self.report.moments.iter().filter(|m| m.at_ms > self.from && m.at_ms <= self.to()) {
            let Some(n) = acks(&moment.what) else { continue };
            let began = moment.at_ms.saturating_sub(1000);
            let (x, width) = self.span(began, moment.at_ms);
            let tall = (ACKS - 14.0) * n as f64 / most as f64;
            let _ = writeln!(
                text,
                "<rect class=\"acks\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\">\
                 <title>{n} acknowledged, {} to {}</title></rect>",
                bottom - tall,
                (width - 1.0).max(1.0),
                seconds(began),
                seconds(moment.at_ms)
            );
        }
    }

    fn violation(&self, text: &mut String, height: f64) {
        let Some(violation) = self.report.violation.as_ref().filter(|v| self.shows(v.at_ms, v.at_ms)) else {
            return;
        };
        let x = self.x(violation.at_ms);
        let label = format!("✖ {}", violation.rule);
        let anchor = if x + text_width(&label) > RIGHT { "end" } else { "start" };
        let _ = writeln!(
            text,
            "<g class=\"violated\"><path d=\"M{x:.1} 12V{height:.1}\"/><text x=\"{x:.1}\" y=\"11\" \
             text-anchor=\"{anchor}\">{}</text><title>{}</title></g>",
            escaped(&label),
            escaped(&violation.to_string())
        );
    }
}

impl Placed<'_> {
    /// From where to where the bar and its label reach, with a little room.
    fn extent(&self) -> (f64, f64) {
        let width = text_width(&self.label);
        let from = if self.to_the_left { self.label_x - width } else { self.label_x };
        (self.x.min(from) - 3.0, (self.x + self.width).max(from + width) + 3.0)
    }

    fn draw(&self, text: &mut String, top: f64) {
        let y = top + self.row as f64 * ROW;
        let _ = writeln!(text, "<g><title>{}</title>", escaped(&self.bar.title));
        let (class, fill) = match self.bar.kind {
            Kind::Leads => ("leads", String::new()),
            Kind::Fault(family) => (family.class(), format!(" fill=\"url(#p-{})\"", family.class())),
            Kind::Note => ("note", String::new()),
        };
        if self.bar.kind != Kind::Note {
            let _ = writeln!(
                text,
                "<rect class=\"bar {class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"{fill}/>",
                self.x,
                y + 1.0,
                self.width,
                ROW - 3.0
            );
        }
        let anchor = if self.to_the_left { "end" } else { "start" };
        // White on the bar, or like any other label beside it.
        let inside = self.bar.kind == Kind::Leads && text_width(&self.label) + 4.0 <= self.width;
        let _ = writeln!(
            text,
            "<text class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text></g>",
            if inside { "label inside" } else { "label" },
            self.label_x,
            y + 12.0,
            escaped(&self.label)
        );
    }
}

fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// Minutes and seconds.
fn clock(ms: u64) -> String {
    format!("{}:{:02}", ms / 60_000, ms / 1000 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(from_ms: u64, to_ms: u64, label: &str) -> Bar {
        let kind = Kind::Fault(super::super::pattern::Family::of(label));
        Bar { from_ms, to_ms, kind, label: label.to_owned(), title: String::new() }
    }

    fn in_first_minute(bars: Vec<Bar>, check: impl Fn(&Band<'_>, &[Placed<'_>])) {
        let lane = Lane { bars, ..Lane::default() };
        let (report, lanes) = (Report::default(), [lane]);
        let band = Band { report: &report, lanes: &lanes, from: 0, length: BAND_MS, most_acks: 1, last: false };
        check(&band, &band.place(&lanes[0]));
    }

    #[test]
    fn no_bar_and_no_label_overlaps_another() {
        let bars = (0..40).map(|n| bar(n * 1_500, n * 1_500 + 200 * (n % 9), "restart-storm of 10.0.0.1")).collect();
        in_first_minute(bars, |_, placed| {
            assert_eq!(placed.len(), 40);
            for (n, one) in placed.iter().enumerate() {
                for other in placed[n + 1..].iter().filter(|other| other.row == one.row) {
                    let ((a, b), (c, d)) = (one.extent(), other.extent());
                    assert!(b < c || d < a, "{a}..{b} overlaps {c}..{d} in row {}", one.row);
                }
            }
        });
    }

    #[test]
    fn everything_stays_inside_the_drawing() {
        let bars = vec![bar(59_990, 59_990, "isolation of the leader"), bar(58_000, 90_000, "pause of the leader")];
        in_first_minute(bars, |_, placed| {
            for one in placed {
                let (from, to) = one.extent();
                assert!(from >= LEFT && to <= WIDTH, "{from}..{to}");
                assert!(one.to_the_left);
            }
        });
    }

    #[test]
    fn a_stretch_shows_in_each_minute_it_touches_and_a_moment_in_one() {
        in_first_minute(Vec::new(), |first, _| {
            let second = Band { from: BAND_MS, last: true, ..*first };
            let shown = |from, to| (first.shows(from, to), second.shows(from, to));
            assert_eq!(shown(50_000, 70_000), (true, true));
            assert_eq!(shown(50_000, 60_000), (true, false));
            assert_eq!(shown(60_000, 60_000), (false, true));
            assert_eq!(shown(0, 0), (true, false));
            assert_eq!(shown(120_000, 120_000), (false, true), "the very end belongs to the last minute");
        });
    }
}
