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

/// What the list is sorted by; the largest is first, but for names and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Iops,
    Bytes,
    Depth,
    Latency,
    Cpu,
    Name,
}

impl Order {
    /// The one that a key stands for on that page: reactors have other columns than what is served by them.
    fn of(key: char, page: Page) -> Option<Self> {
        match (key, page) {
            ('b', _) => Some(Self::Bytes),
            ('d', _) => Some(Self::Depth),
            ('n', _) => Some(Self::Name),
            ('c', Page::Reactors) => Some(Self::Cpu),
            ('i', Page::Units | Page::Sessions) => Some(Self::Iops),
            ('l', Page::Units | Page::Sessions) => Some(Self::Latency),
            _ => None,
        }
    }

    fn word(self, page: Page) -> &'static str {
        match (self, page) {
            (Self::Iops, _) => "IOPS",
            (Self::Bytes, _) => "bytes",
            (Self::Depth, Page::Reactors) => "commands",
            (Self::Depth, _) => "depth",
            (Self::Latency, _) => "p99",
            (Self::Cpu, _) => "CPU",
            (Self::Name, Page::Reactors) => "number",
            (Self::Name, _) => "name",
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) page: Page,
    /// Of logical units and sessions.
    pub(super) order: Order,
    /// Of reactors.
    pub(super) cores: Order,
    /// The line that is marked.
    pub(super) at: usize,
    /// Why there is nothing newer.
    pub(super) trouble: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self { page: Page::Units, order: Order::Iops, cores: Order::Name, at: 0, trouble: None }
    }
}

impl State {
    /// What the page is sorted by.
    fn order(&self) -> Order {
        if self.page == Page::Reactors { self.cores } else { self.order }
    }

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
            'k' => self.at = self.at.saturating_sub(1),
            'j' => self.at += 1,
            key => self.sort(key),
        }
        true
    }

    fn sort(&mut self, key: char) {
        let Some(order) = Order::of(key, self.page) else { return };
        match self.page {
            Page::Reactors => self.cores = order,
            Page::Units | Page::Sessions => self.order = order,
        }
    }
}

fn keys(page: Page) -> &'static str {
    match page {
        Page::Reactors => "q quit  Tab page  j k line  sort by: c cpu  b bytes  d commands  n number",
        _ => "q quit  Tab page  j k line  sort by: i iops  b bytes  d depth  l latency  n name",
    }
}

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
    page.put(
        state.trouble.as_deref().unwrap_or_else(|| keys(state.page)),
        Style::new().add_modifier(Modifier::DIM),
    );
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
        let (reactors, sessions, units) =
            (picture.reactors.len(), picture.sessions.len(), picture.units.len());
        let away = match picture.units.iter().filter(|unit| unit.why.is_some()).count() {
            0 => String::new(),
            away => format!(" ({away} not ready)"),
        };
        let line = format!(
            "ringtgt  reactors {reactors}  sessions {sessions}  luns {units}{away}  over {:.1} s  by {}",
            picture.seconds,
            state.order().word(state.page)
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
        self.lines(&sorted, line, state.at, room);
        self.line = self.area.height.saturating_sub(DETAIL + 1);
        if let Some(row) = sorted.get(state.at).or_else(|| sorted.last()) {
            self.detail(row);
        }
    }

    /// As many lines as there is room for, one of which is marked.
    fn lines<T>(&mut self, sorted: &[&T], line: impl Fn(&T) -> String, at: usize, room: usize) {
        let at = at.min(sorted.len().saturating_sub(1));
        let first = (at + 1).saturating_sub(room);
        for (n, row) in sorted.iter().enumerate().skip(first).take(room) {
            let style = if n == at { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
            self.put(&line(row), style);
        }
    }

    /// Where the time of one of them goes.
    fn detail(&mut self, row: &Row) {
        let about = match &row.why {
            Some(why) => format!("{} is not ready: {why}", row.name),
            None if row.about.is_empty() => row.name.clone(),
            None => row.about.clone(),
        };
        self.put(&about, Style::new().add_modifier(Modifier::BOLD));
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
        let sorted = sorted_reactors(&picture.reactors, state.cores);
        self.lines(&sorted, line_of_reactor, state.at, rest.max(1).into());
    }
}

fn line_of_reactor(r: &ReactorRow) -> String {
    let free = r.slots_free * 100 / r.slots.max(1);
    format!(
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
    )
}

fn line(row: &Row) -> String {
    if let Some(why) = &row.why {
        return format!("{:<20} not ready: {why}", short(&row.name));
    }
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

/// What is not ready is first, wherever it would be by its figures, which are none.
fn sorted(rows: &[Row], order: Order) -> Vec<&Row> {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    let worth = |row: &Row| match order {
        Order::Name | Order::Cpu => 0.0,
        _ if row.why.is_some() => f64::INFINITY,
        Order::Iops => row.iops(),
        Order::Bytes => row.bytes(),
        Order::Depth => row.commands.map_or_else(|| row.depth(), |n| n as f64),
        Order::Latency => row.total().quantile(990).unwrap_or(0) as f64,
    };
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    sorted.sort_by_cached_key(|row| std::cmp::Reverse((worth(row) * 1000.0) as u64));
    sorted
}

fn sorted_reactors(rows: &[ReactorRow], order: Order) -> Vec<&ReactorRow> {
    let mut sorted: Vec<&ReactorRow> = rows.iter().collect();
    let worth = |row: &ReactorRow| match order {
        Order::Cpu => row.cpu,
        Order::Bytes => row.read + row.written,
        Order::Depth => row.commands as f64,
        Order::Name | Order::Iops | Order::Latency => 0.0,
    };
    sorted.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then(a.number.cmp(&b.number)));
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
    let pages = [
        (Page::Units, picture.units.len()),
        (Page::Sessions, picture.sessions.len()),
        (Page::Reactors, picture.reactors.len()),
    ];
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
        screen_of(&Picture::between(&sample(10, 1000), &sample(11, 3000)), state)
    }

    fn screen_of(picture: &Picture, state: &State) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(picture, state, frame.area(), frame.buffer_mut())).unwrap();
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
    fn what_is_not_ready_is_first_and_says_so() {
        let mut picture = Picture::between(&sample(10, 1000), &sample(11, 3000));
        picture.units[0].why = Some("/dev/sdx: is in use by process 7 (dd)".into());
        let lines = screen_of(&picture, &State::default());
        assert!(lines[0].contains("  luns 3 (1 not ready)  over "), "{lines:?}");
        assert_eq!(lines[4], "alpha                not ready: /dev/sdx: is in use by process 7 (dd)");
        assert_eq!(lines[16], "alpha is not ready: /dev/sdx: is in use by process 7 (dd)");
        let by_name = screen_of(&picture, &State { order: Order::Name, ..State::default() });
        assert!(by_name[4].starts_with("alpha ") && by_name[5].starts_with("beta "), "{by_name:?}");
    }

    #[test]
    fn reactors_are_sorted_by_their_own_columns_and_none_is_hidden() {
        let mut picture = Picture::between(&sample(10, 1000), &sample(11, 3000));
        let one = picture.reactors[0].clone();
        let row = |number: u16| ReactorRow { number, cpu: f64::from(number % 5), ..one.clone() };
        picture.reactors = (0..30).map(row).collect();
        let mut state = State { page: Page::Reactors, ..State::default() };
        let shown = |state: &State| {
            let lines = screen_of(&picture, state);
            let numbers = lines[4..23].iter().filter_map(|line| line.split(' ').next()?.parse().ok());
            (lines[0].rsplit(' ').next().unwrap_or_default().to_owned(), numbers.collect::<Vec<u16>>())
        };
        let (word, all) = shown(&state);
        assert_eq!((word.as_str(), all.len(), all[0]), ("number", 19, 0));
        // One step down moves the mark, not the list; the last one is reached.
        state.key('j');
        assert_eq!(shown(&state).1[0], 0);
        state.at = 29;
        assert_eq!(shown(&state).1.last(), Some(&29));
        state.at = 0;
        state.key('c');
        let (word, by_cpu) = shown(&state);
        assert_eq!((word.as_str(), &by_cpu[..3]), ("CPU", &[4, 9, 14][..]));
        // What reactors have no column for changes nothing, here and on the other pages.
        state.key('l');
        assert_eq!((state.cores, state.order), (Order::Cpu, Order::Iops));
    }

    #[test]
    fn the_text_has_all_three_pages() {
        let text = text(&Picture::between(&sample(10, 1000), &sample(11, 3000)), 80);
        let heads =
            ["LUN ", "SESSION ", "REACTOR "].map(|head| text.lines().filter(|l| l.starts_with(head)).count());
        assert_eq!(heads, [1, 1, 1], "{text}");
        let reactors: Vec<&str> =
            text.lines().skip_while(|line| !line.starts_with("REACTOR")).skip(1).collect();
        assert!(reactors.len() == 3 && reactors[1].starts_with("1  ") && reactors[2].is_empty(), "{text}");
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
