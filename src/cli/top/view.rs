//! The live view, on a terminal of 80 columns and 24 lines or more.

use std::ops::Add;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::picture::{Picture, QUANTILES, ReactorRow, Row};
use crate::reactor::{Distribution, TIMES, time_word};

/// What the list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Page {
    #[default]
    Units,
    Sessions,
    Reactors,
}

/// What the list is sorted by; the largest is first, but for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    #[default]
    Iops,
    Bytes,
    Depth,
    Latency,
    Name,
}

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) page: Page,
    pub(super) order: Order,
    /// The line that is marked.
    pub(super) at: usize,
    /// Why there is nothing newer.
    pub(super) trouble: Option<String>,
}

impl State {
    /// The marked line is one that there is.
    pub(super) fn stay_within(&mut self, picture: &Picture) {
        let lines = match self.page {
            Page::Units => picture.units.len(),
            Page::Sessions => picture.sessions.len(),
            Page::Reactors => picture.reactors.len(),
        };
        self.at = self.at.min(lines.saturating_sub(1));
    }

    /// A key was pressed; false: it is the end.
    pub(super) fn key(&mut self, key: char) -> bool {
        match key {
            'q' => return false,
            '\t' => {
                self.page = match self.page {
                    Page::Units => Page::Sessions,
                    Page::Sessions => Page::Reactors,
                    Page::Reactors => Page::Units,
                };
                self.at = 0;
            }
            'i' => self.order = Order::Iops,
            'b' => self.order = Order::Bytes,
            'd' => self.order = Order::Depth,
            'l' => self.order = Order::Latency,
            'n' => self.order = Order::Name,
            'k' => self.at = self.at.saturating_sub(1),
            'j' => self.at += 1,
            _ => {}
        }
        true
    }
}

const KEYS: &str = "q quit  Tab page  j k line  sort by: i iops  b bytes  d depth  l latency  n name";

/// Lines that the phases of the marked row take.
const DETAIL: u16 = 2 + TIMES as u16;

/// Draws the picture.
pub(super) fn draw(picture: &Picture, state: &State, area: Rect, buf: &mut Buffer) {
    let mut page = Paper { area, buf, line: 0 };
    page.title(picture, state);
    let rest = area.height.saturating_sub(page.line + 2);
    match state.page {
        Page::Reactors => page.reactors(picture, state, rest),
        Page::Units => page.rows(&picture.units, "LUN", state, rest),
        Page::Sessions => page.rows(&picture.sessions, "SESSION", state, rest),
    }
    page.line = area.height.saturating_sub(1);
    page.put(state.trouble.as_deref().unwrap_or(KEYS), Style::new().add_modifier(Modifier::DIM));
}

struct Paper<'a> {
    area: Rect,
    buf: &'a mut Buffer,
    line: u16,
}

impl Paper<'_> {
    fn put(&mut self, text: &str, style: Style) {
        if self.line < self.area.height {
            let (x, y) = (self.area.x, self.area.y + self.line);
            let width = usize::from(self.area.width);
            let padded = format!("{text:<width$}");
            self.buf.set_stringn(x, y, padded, width, style);
        }
        self.line += 1;
    }

    fn title(&mut self, picture: &Picture, state: &State) {
        // The sum of no floats would be -0.
        let sum = |of: fn(&ReactorRow) -> f64| picture.reactors.iter().map(of).fold(0.0, Add::add);
        let flow = |of: fn(&Row) -> f64| picture.units.iter().map(of).fold(0.0, Add::add);
        let order = match state.order {
            Order::Iops => "IOPS",
            Order::Bytes => "bytes",
            Order::Depth => "depth",
            Order::Latency => "p99",
            Order::Name => "name",
        };
        let (reactors, sessions, units) =
            (picture.reactors.len(), picture.sessions.len(), picture.units.len());
        let line = format!(
            "ringtgt  reactors {reactors}  sessions {sessions}  luns {units}  over {:.1} s  by {order}",
            picture.seconds
        );
        self.put(&line, Style::new().add_modifier(Modifier::BOLD));
        let line = format!(
            "IOPS {} read {} write  MB/s {} read {} write  CPU {:.0}%  depth {:.1}",
            count(flow(|u| u.read.iops)),
            count(flow(|u| u.write.iops)),
            mega(flow(|u| u.read.bytes)),
            mega(flow(|u| u.write.bytes)),
            sum(|r| r.cpu) * 100.0,
            flow(Row::depth),
        );
        self.put(&line, Style::new());
        let hungry: u64 = picture.reactors.iter().map(|r| r.hungry).sum();
        let line = format!(
            "copied {} MB/s  slots: {hungry} wait, {} missed/s  {} fenced/s  {} failed/s",
            mega(sum(|r| r.copied)),
            count(sum(|r| r.starved)),
            count(sum(|r| r.fenced)),
            count(flow(|u| u.read.failed + u.write.failed)),
        );
        self.put(&line, Style::new());
    }

    fn head(&mut self, text: &str) {
        self.put(text, Style::new().add_modifier(Modifier::REVERSED));
    }

    fn rows(&mut self, rows: &[Row], what: &str, state: &State, rest: u16) {
        let room = usize::from(rest.saturating_sub(DETAIL).max(1));
        self.head(&format!(
            "{what:<20}{:>8}{:>8}{:>8}{:>8}{:>7}{:>7}{:>7}{:>7}",
            "R IOPS", "W IOPS", "R MB/s", "W MB/s", "DEPTH", "P50", "P99", "P99.9"
        ));
        let sorted = sorted(rows, state.order);
        let at = state.at.min(sorted.len().saturating_sub(1));
        let first = at.saturating_sub(room - 1);
        for (n, row) in sorted.iter().enumerate().skip(first).take(room) {
            let style = if n == at { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
            self.put(&line(row), style);
        }
        self.line = self.area.height.saturating_sub(DETAIL + 1);
        if let Some(row) = sorted.get(at) {
            self.detail(row);
        }
    }

    /// Where the time of one of them goes.
    fn detail(&mut self, row: &Row) {
        let about = if row.about.is_empty() { &row.name } else { &row.about };
        self.put(about, Style::new().add_modifier(Modifier::BOLD));
        self.head(&format!(
            "{:<12}{:>9}{:>7}{:>7}{:>7}{:>14}{:>7}{:>7}{:>7}",
            "TIME", "READS/s", "P50", "P99", "P99.9", "WRITES/s", "P50", "P99", "P99.9"
        ));
        for at in 0..TIMES {
            let cells = |times: &Distribution, share: f64| {
                let [p50, p99, p999] = QUANTILES.map(|q| time(times.quantile(q)));
                format!("{:>7}{:>7}{:>7}{:>7}", count(share), p50, p99, p999)
            };
            let (read, write) = (&row.read, &row.write);
            let r = cells(&read.times[at], read.counts[at]);
            let w = cells(&write.times[at], write.counts[at]);
            self.put(&format!("{:<12}  {r}       {w}", time_word(at)), Style::new());
        }
    }

    fn reactors(&mut self, picture: &Picture, state: &State, rest: u16) {
        self.head(&format!(
            "{:<9}{:>6}{:>7}{:>7}{:>7}{:>8}{:>8}{:>8}{:>8}{:>7}",
            "REACTOR", "CPU%", "CONNS", "CMDS", "DISKQ", "R MB/s", "W MB/s", "COPIED", "NOSLOT", "FREE%"
        ));
        let first = state.at.min(picture.reactors.len().saturating_sub(1));
        for r in picture.reactors.iter().skip(first).take(usize::from(rest)) {
            let free = r.slots_free * 100 / r.slots.max(1);
            let line = format!(
                "{:<9}{:>6.0}{:>7}{:>7}{:>7}{:>8}{:>8}{:>8}{:>8}{:>7}",
                r.number,
                r.cpu * 100.0,
                r.connections,
                r.commands,
                r.disk_in_flight,
                mega(r.read),
                mega(r.written),
                mega(r.copied),
                count(r.starved),
                free
            );
            self.put(&line, Style::new());
        }
    }
}

fn line(row: &Row) -> String {
    let total = row.total();
    let [p50, p99, p999] = QUANTILES.map(|q| time(total.quantile(q)));
    let mark = if row.waits { "*" } else { "" };
    let depth = row.commands.map_or_else(|| format!("{:.1}", row.depth()), |n| format!("{mark}{n}"));
    format!(
        "{:<20}{:>8}{:>8}{:>8}{:>8}{:>7}{p50:>7}{p99:>7}{p999:>7}",
        short(&row.name),
        count(row.read.iops),
        count(row.write.iops),
        mega(row.read.bytes),
        mega(row.write.bytes),
        depth,
    )
}

/// The end of a name tells more than its beginning.
fn short(name: &str) -> String {
    const ROOM: usize = 19;
    let len = name.chars().count();
    if len <= ROOM {
        name.into()
    } else {
        format!("…{}", name.chars().skip(len - ROOM + 1).collect::<String>())
    }
}

fn sorted(rows: &[Row], order: Order) -> Vec<&Row> {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    let worth = |row: &Row| match order {
        Order::Iops => row.iops(),
        Order::Bytes => row.bytes(),
        Order::Depth => row.commands.map_or_else(|| row.depth(), |n| n as f64),
        Order::Latency => row.total().quantile(990).unwrap_or(0) as f64,
        Order::Name => 0.0,
    };
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    sorted.sort_by_cached_key(|row| std::cmp::Reverse((worth(row) * 1000.0) as u64));
    sorted
}

/// A number in six columns at most.
fn count(n: f64) -> String {
    match n {
        n if n >= 9_999_500.0 => format!("{:.0}M", n / 1e6),
        n if n >= 99_950.0 => format!("{:.0}k", n / 1e3),
        n if n >= 10.0 || n == 0.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

fn mega(bytes: f64) -> String {
    let mega = bytes / 1e6;
    if mega >= 100.0 || mega == 0.0 { format!("{mega:.0}") } else { format!("{mega:.1}") }
}

/// A time in six columns.
fn time(ns: Option<u64>) -> String {
    match ns {
        None => "-".into(),
        Some(ns @ ..10_000) => format!("{:.1}us", ns as f64 / 1e3),
        Some(ns @ ..1_000_000) => format!("{}us", ns / 1000),
        Some(ns @ ..10_000_000) => format!("{:.1}ms", ns as f64 / 1e6),
        Some(ns @ ..10_000_000_000) => format!("{}ms", ns / 1_000_000),
        Some(ns) => format!("{}s", ns / 1_000_000_000),
    }
}

/// All of it as text, as wide as a terminal is at least and as long as it needs.
pub(super) fn text(picture: &Picture, width: u16) -> String {
    let pages = [(Page::Units, picture.units.len()), (Page::Sessions, picture.sessions.len())];
    let mut out = String::new();
    for (n, (page, rows)) in pages.into_iter().enumerate() {
        let head = 3 + 1;
        let height = (head + rows.max(1) + 1 + usize::from(DETAIL) + 1).min(usize::from(u16::MAX)) as u16;
        let area = Rect::new(0, 0, width, height);
        let mut buf = Buffer::empty(area);
        draw(picture, &State { page, ..State::default() }, area, &mut buf);
        // The first page has the sums, and none its keys.
        let shown = if n == 0 { 0 } else { 3 }..head as u16 + rows as u16;
        shown.for_each(|y| out += &format!("{}\n", row_text(&buf, y)));
        out.push('\n');
    }
    out
}

fn row_text(buf: &Buffer, y: u16) -> String {
    let cells = (0..buf.area.width).map(|x| buf[(x, y)].symbol());
    cells.collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::picture::tests::sample;
    use super::*;

    fn screen(state: &State) -> Vec<String> {
        let picture = Picture::between(&sample(10, 1000), &sample(11, 3000));
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(&picture, state, frame.area(), frame.buffer_mut())).unwrap();
        (0..24).map(|y| row_text(terminal.backend().buffer(), y)).collect()
    }

    #[test]
    fn the_view_of_logical_units_fits_80_by_24() {
        let lines = screen(&State::default());
        assert_eq!(lines.join("\n"), include_str!("units.txt").trim_end_matches('\n'));
    }

    #[test]
    fn the_view_of_sessions_and_that_of_reactors_fit_too() {
        let mut state = State::default();
        assert!(state.key('\t'));
        assert_eq!(screen(&state).join("\n"), include_str!("sessions.txt").trim_end_matches('\n'));
        state.key('\t');
        assert_eq!(screen(&state).join("\n"), include_str!("reactors.txt").trim_end_matches('\n'));
        state.key('\t');
        assert_eq!(state.page, Page::Units);
        assert!(!state.key('q'));
    }

    #[test]
    fn the_list_is_sorted_and_marked_by_keys() {
        let first = |state: &State| screen(state)[4].clone();
        let mut state = State::default();
        assert!(first(&state).starts_with("beta "), "most IOPS");
        state.key('n');
        assert!(first(&state).starts_with("alpha "));
        state.key('l');
        let by_latency = screen(&state);
        let p99 = |line: &str| line.split_whitespace().nth(7).map(ToOwned::to_owned);
        assert!(p99(&by_latency[4]).is_some() && by_latency[0].ends_with("by p99"), "{by_latency:?}");
        // The marked one is told about below.
        state.key('n');
        let picture = Picture::between(&sample(10, 1000), &sample(11, 3000));
        for _ in 0..9 {
            assert!(state.key('j'));
            state.stay_within(&picture);
        }
        assert_eq!(screen(&state)[16], "gamma-with-a-very-long-name");
        // From the last one it is one step to that before it.
        state.key('k');
        assert_eq!(screen(&state)[16], "beta");
    }

    #[test]
    fn trouble_is_said_and_a_small_terminal_is_no_reason_to_fail() {
        let trouble = State { trouble: Some("nobody listens".into()), ..State::default() };
        assert_eq!(screen(&trouble)[23], "nobody listens");
        for (width, height) in [(0, 0), (1, 1), (10, 3), (200, 60), (80, 9)] {
            let area = Rect::new(0, 0, width, height);
            let picture = Picture::between(&sample(10, 1000), &sample(11, 3000));
            for page in [Page::Units, Page::Sessions, Page::Reactors] {
                let state = State { page, at: 1, ..State::default() };
                draw(&picture, &state, area, &mut Buffer::empty(area));
            }
        }
    }

    #[test]
    fn numbers_fit_their_columns() {
        for n in [0.0, 0.4, 9.96, 12.0, 99_949.0, 99_950.0, 9_999_499.0, 9_999_500.0, 9e8] {
            assert!(count(n).len() <= 6, "{n}: {}", count(n));
        }
        for ns in [1, 9_999, 10_000, 999_999, 1_000_000, 9_999_999, 17_000_000_000] {
            assert!(time(Some(ns)).chars().count() <= 6, "{}", time(Some(ns)));
        }
        assert_eq!(short("0123456789abcdefghijk").chars().count(), 19);
    }
}
