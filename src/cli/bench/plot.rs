//! The results as pictures: an SVG by itself, or a page with it and the table.
//!
//! Owns: the drawing. Two charts: latency against the share of I/Os, on axes of nines and of powers of ten; and
//! IOPS against the queue depth, a line for each block size and number of sessions. Promises: readable on light and on
//! dark ground, without scripts, fonts or anything else from elsewhere.

use std::fmt::Write;

use super::report::{Report, Run, cells, heads, size};

/// The picture, and one chart of it, in user units.
const WIDTH: f64 = 860.0;
const CHART: f64 = 340.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 196.0;
const TOP: f64 = 70.0;
const GAP: f64 = 86.0;

/// Colours that most eyes can tell apart (after Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6d1f", "#7f7f7f"];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#333}.t{font-size:17px;font-weight:600}\
.h{font-size:13px;font-weight:600}.g{stroke:#8884;stroke-width:1}.a{stroke:#888;stroke-width:1;fill:none}\
.l{fill:none;stroke-width:2;stroke-linejoin:round}.e{text-anchor:end}.m{text-anchor:middle}\
.b{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ddd}.b{fill:#1b1b1b}}";

/// A line of a chart.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    /// Which colour; beyond the last they begin anew, dotted.
    colour: usize,
    dashed: bool,
}

/// A scale: what is at its ends, and how far along a value lies (0 to 1).
struct Axis {
    title: &'static str,
    ticks: Vec<(f64, String)>,
    along: Box<dyn Fn(f64) -> f64>,
}

/// The picture alone.
pub(super) fn svg(report: &Report) -> String {
    let charts = [latency(report), depth(report)];
    let height = TOP + charts.len() as f64 * (CHART + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"b\" width=\"{WIDTH}\" height=\"{height}\"/>\n<text class=\"t\" x=\"{LEFT}\" y=\"30\">{}</text>\n",
        escape(&report.title())
    );
    for (n, (title, across, up, series)) in charts.iter().enumerate() {
        chart(&mut out, TOP + n as f64 * (CHART + GAP), title, across, up, series);
    }
    out.push_str("</svg>\n");
    out
}

/// A page with the picture and the table.
pub(super) fn html(report: &Report) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let heads = row(&heads().map(str::to_owned), "th");
    let lines: String = cells(report).iter().map(|line| row(line, "td")).collect();
    format!(
        "<!doctype html>\n<meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <style>body{{max-width:60rem;margin:2rem auto;font:14px system-ui,sans-serif}}table{{border-collapse:collapse}}\
         th,td{{padding:.2rem .5rem;text-align:right;border-bottom:1px solid #8884}}</style>\n{}<table>\n{heads}{lines}</table>\n",
        escape(&report.title()),
        svg(report)
    )
}

type Chart = (&'static str, Axis, Axis, Vec<Series>);

fn latency(report: &Report) -> Chart {
    let mut series = Vec::new();
    let both = report.runs.iter().any(|run| run.read.is_some() && run.write.is_some());
    let varied = report.runs.iter().any(|run| run.sessions != report.runs[0].sessions);
    for (colour, run) in report.runs.iter().enumerate() {
        for (word, direction) in [("read", &run.read), ("write", &run.write)] {
            let Some(direction) = direction else { continue };
            let name = run.name(varied);
            let name = if both { format!("{name} {word}") } else { name };
            let points = direction.latency_us.curve.clone();
            series.push(Series { name, points, colour, dashed: both && word == "write" });
        }
    }
    let nines =
        series.iter().flat_map(|s| &s.points).map(|(q, _)| -(1.0 - q).log10()).fold(1.0, f64::max).ceil();
    let mut ticks = vec![(0.0, "0".to_owned()), (0.5, "50 %".to_owned())];
    ticks.extend((1..=nines as usize).map(|n| {
        let digits = n.saturating_sub(2);
        (1.0 - 10f64.powi(-(n as i32)), format!("{:.digits$} %", 100.0 * (1.0 - 10f64.powi(-(n as i32)))))
    }));
    let along = Box::new(move |q: f64| (-(1.0 - q).max(1e-12).log10() / nines).clamp(0.0, 1.0));
    let across = Axis { title: "share of I/Os that took at most so long", ticks, along };
    ("Latency, µs", across, powers(&series), series)
}

fn depth(report: &Report) -> Chart {
    let mut keys: Vec<(u32, u32)> = report.runs.iter().map(|run| (run.bs, run.sessions)).collect();
    keys.sort_unstable();
    keys.dedup();
    let line = |(colour, (bs, sessions)): (usize, (u32, u32))| {
        let of_it = |run: &&Run| (run.bs, run.sessions) == (bs, sessions);
        let mut points: Vec<(f64, f64)> =
            report.runs.iter().filter(of_it).map(|run| (f64::from(run.qd), run.iops)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { name: format!("{} · {sessions} sess.", size(bs)), points, colour, dashed: false }
    };
    let series: Vec<Series> = keys.into_iter().enumerate().map(line).collect();
    let most = series.iter().flat_map(|s| &s.points).map(|p| p.0).fold(2.0, f64::max);
    let doublings = most.log2().ceil();
    let mut depths: Vec<u32> = report.runs.iter().map(|run| run.qd).collect();
    depths.sort_unstable();
    depths.dedup();
    let ticks = depths.into_iter().map(|qd| (f64::from(qd), qd.to_string())).collect();
    let along = Box::new(move |qd: f64| (qd.max(1.0).log2() / doublings).clamp(0.0, 1.0));
    let across = Axis { title: "I/Os outstanding in each session", ticks, along };
    ("IOPS", across, from_zero(&series), series)
}

/// Powers of ten around all values.
fn powers(series: &[Series]) -> Axis {
    let values = || series.iter().flat_map(|s| &s.points).map(|p| p.1.max(0.1));
    let low = values().fold(f64::INFINITY, f64::min).min(1e6).log10().floor();
    let high = values().fold(1.0, f64::max).log10().ceil().max(low + 1.0);
    let ticks = (low as i32..=high as i32).flat_map(|n| {
        let at = 10f64.powi(n);
        let steps = if high - low <= 2.0 { vec![1.0, 2.0, 5.0] } else { vec![1.0] };
        steps.into_iter().map(move |s| at * s)
    });
    let ticks = ticks.filter(|v| v.log10() <= high + 1e-9).map(|v| (v, short(v))).collect();
    Axis { title: "", ticks, along: Box::new(move |v: f64| (v.max(0.1).log10() - low) / (high - low)) }
}

/// From nothing to a round number above all values.
fn from_zero(series: &[Series]) -> Axis {
    let most = series.iter().flat_map(|s| &s.points).map(|p| p.1).fold(1.0, f64::max);
    let power = 10f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| s * 5.0 >= most).unwrap_or(most);
    let top = step * (most / step).ceil();
    let ticks = (0..=(top / step).round() as u32).map(|n| f64::from(n) * step);
    Axis { title: "", ticks: ticks.map(|v| (v, short(v))).collect(), along: Box::new(move |v| v / top) }
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", v / 1e6),
        v if v >= 1e4 => format!("{} k", v / 1e3),
        v => format!("{v}"),
    }
}

fn chart(out: &mut String, top: f64, title: &str, across: &Axis, up: &Axis, series: &[Series]) {
    let (right, bottom) = (WIDTH - RIGHT, top + CHART);
    let x = |v: f64| LEFT + (across.along)(v) * (right - LEFT);
    let y = |v: f64| bottom - (up.along)(v).clamp(0.0, 1.0) * CHART;
    let _ = writeln!(out, "<text class=\"h\" x=\"{LEFT}\" y=\"{:.1}\">{title}</text>", top - 12.0);
    for (value, text) in &up.ticks {
        let at = y(*value);
        let _ = writeln!(
            out,
            "<path class=\"g\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"e\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (value, text) in &across.ticks {
        let at = x(*value);
        let _ = writeln!(
            out,
            "<path class=\"g\" d=\"M{at:.1} {top}V{bottom}\"/><text class=\"m\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>",
            bottom + 18.0
        );
    }
    let _ = writeln!(
        out,
        "<path class=\"a\" d=\"M{LEFT} {top}V{bottom}H{right}\"/><text class=\"m\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        (LEFT + right) / 2.0,
        bottom + 38.0,
        across.title
    );
    for (n, line) in series.iter().enumerate() {
        draw(out, line, n, top, &x, &y);
    }
}

/// A line with its name beside the chart.
fn draw(out: &mut String, line: &Series, n: usize, top: f64, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) {
    let colour = COLOURS[line.colour % COLOURS.len()];
    let dashes = match (line.dashed, line.colour >= COLOURS.len()) {
        (false, false) => "",
        (true, false) => " stroke-dasharray=\"7 4\"",
        (false, true) => " stroke-dasharray=\"2 3\"",
        (true, true) => " stroke-dasharray=\"7 3 2 3\"",
    };
    let points: Vec<String> = line.points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
    let _ =
        writeln!(out, "<polyline class=\"l\" stroke=\"{colour}\"{dashes} points=\"{}\"/>", points.join(" "));
    if line.points.len() <= 16 {
        for p in &line.points {
            let _ = writeln!(
                out,
                "<circle fill=\"{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                x(p.0),
                y(p.1)
            );
        }
    }
    let (at, left) = (top + 8.0 + n as f64 * 18.0, WIDTH - RIGHT + 14.0);
    // What has no room beside the chart is still in the table.
    if at < top + CHART {
        let _ = writeln!(
            out,
            "<path class=\"l\" stroke=\"{colour}\"{dashes} d=\"M{left} {at}h22\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left + 28.0,
            at + 4.0,
            escape(&line.name)
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sweep;
    use super::*;

    /// All numbers of all lines.
    fn coordinates(svg: &str) -> Vec<f64> {
        let points = svg.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        points.flat_map(|p| p.split([' ', ',']).map(|n| n.parse().unwrap()).collect::<Vec<f64>>()).collect()
    }

    #[test]
    fn a_sweep_is_drawn_within_the_picture() {
        let picture = svg(&sweep(&[(4096, 1), (4096, 8), (65536, 8), (4096, 64)]));
        // Reads and writes of four steps, and two block sizes over their queue depths.
        assert_eq!(picture.matches("<polyline").count(), 8 + 2);
        let all = coordinates(&picture);
        assert!(all.len() > 300 && all.iter().all(|n| (0.0..=WIDTH.max(1000.0)).contains(n)), "{all:?}");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        assert_eq!(picture.matches("<svg").count(), picture.matches("</svg>").count());
    }

    #[test]
    fn a_page_has_the_table_too_and_no_markup_from_outside() {
        let page = html(&sweep(&[(4096, 2)]));
        assert!(page.contains("<svg") && page.contains("<td>4k</td>") && page.contains("p99.99"));
        assert_eq!(escape("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }

    #[test]
    fn nothing_measured_is_no_trouble() {
        let picture = svg(&sweep(&[]));
        assert!(picture.ends_with("</svg>\n") && !picture.contains("NaN"));
    }
}
