//! How `top` looks: a table of pipes, one of them selected, and below it what there is to know of that one.

use std::cmp::Reverse;
use std::path::Path;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState};

use super::model::{Model, Row};
use crate::cli::amounts::amount;
use crate::session::{ClientStatus, PipeStatus};

/// What is selected, and in which order.
pub(super) struct View {
    dir: String,
    table: TableState,
    by_rate: bool,
    /// As last drawn: rows of the table that are seen, and all there are.
    page: usize,
    rows: usize,
}

impl View {
    /// The first row is selected.
    pub(super) fn new(dir: &Path) -> Self {
        let table = TableState::new().with_selected(0);
        Self { dir: dir.display().to_string(), table, by_rate: false, page: 1, rows: 0 }
    }

    /// Moves the selection; `to` is given where it is and how many rows are seen.
    pub(super) fn select(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let at = to(self.table.selected().unwrap_or(0), self.page);
        self.table.select(Some(at.min(self.rows.saturating_sub(1))));
    }

    /// By name, or the fastest first.
    pub(super) fn change_order(&mut self) {
        self.by_rate = !self.by_rate;
    }

    /// Draws all of it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, model: &Model) {
        let mut rows = model.rows();
        if self.by_rate {
            rows.sort_by_key(|row| Reverse(row.rate()));
        }
        let below = if frame.area().height >= TALL { TALL_DETAILS } else { DETAILS };
        let parts = [Constraint::Length(1), Constraint::Min(2), Constraint::Length(below), Constraint::Length(1)];
        let [head, table, details, foot] = Layout::vertical(parts).areas(frame.area());
        self.page = usize::from(table.height.saturating_sub(1)).max(1);
        self.rows = rows.len();
        self.select(|at, _| at);
        frame.render_widget(self.headline(model), head);
        self.draw_table(frame, table, &rows);
        if let Some(row) = self.table.selected().and_then(|at| rows.get(at)) {
            frame.render_widget(Paragraph::new(self::details(row, details)), details);
        }
        self.draw_foot(frame, foot);
    }

    fn headline(&self, model: &Model) -> Paragraph<'_> {
        if let Some(problem) = &model.problem {
            return Paragraph::new(problem.clone()).style(Style::new().fg(Color::Red));
        }
        let (there, attached) = model.devices();
        let rate = |direction| amount(model.rate(direction));
        let text = format!("{there} devices, {attached} attached   in {}B/s   out {}B/s", rate("in"), rate("out"));
        Paragraph::new(Line::from(vec![Span::styled("usbpipe ", BOLD), Span::raw(format!("{}   {text}", self.dir))]))
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect, rows: &[Row<'_>]) {
        let widths = Widths::of(area.width, rows);
        let header = ["DEVICE", "PIPE", "TYPE", "", "RATE", "TOTAL", "CLI", "LOST", "ERR", "HISTORY"];
        let right = |n: usize| if RIGHT.contains(&n) { Alignment::Right } else { Alignment::Left };
        let header = header.iter().enumerate().map(|(n, &text)| Line::raw(text).alignment(right(n)));
        let table =
            Table::new(rows.iter().map(|row| table_row(row, usize::from(widths.history))), widths.constraints())
                .header(TableRow::new(header).style(Style::new().add_modifier(Modifier::REVERSED)))
                .row_highlight_style(BOLD.add_modifier(Modifier::UNDERLINED));
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    fn draw_foot(&self, frame: &mut Frame<'_>, area: Rect) {
        let first = self.table.offset();
        let last = (first + self.page).min(self.rows);
        let order = if self.by_rate { "by name" } else { "by rate" };
        let keys = format!("q quit   \u{2191}\u{2193} PgUp PgDn Home End select   s {order}");
        let place = format!("{}\u{2013}{last} of {}", (first + 1).min(last), self.rows);
        let width = place.chars().count() as u16;
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
        frame.render_widget(Paragraph::new(keys).style(DIM), left);
        frame.render_widget(Paragraph::new(place).style(DIM), right);
    }
}

/// Columns that are as wide as what is in them; the history has the rest.
struct Widths {
    device: u16,
    history: u16,
}

impl Widths {
    fn of(width: u16, rows: &[Row<'_>]) -> Self {
        let longest = rows.iter().map(|row| row.device.name.chars().count()).max().unwrap_or(0);
        let room = width.saturating_sub(FIXED + SHORTEST_HISTORY);
        let device = u16::try_from(longest).unwrap_or(u16::MAX).clamp(6, room.max(6));
        Self { device, history: width.saturating_sub(FIXED + device) }
    }

    fn constraints(&self) -> [Constraint; 10] {
        [self.device, PIPE, TYPE, DIRECTION, RATE, TOTAL, CLIENTS, LOST, ERRORS, self.history].map(Constraint::Length)
    }
}

fn table_row<'a>(row: &Row<'a>, history: usize) -> TableRow<'a> {
    let name = Cell::new(row.device.name.as_str());
    let is_attached = row.device.state == "attached";
    let Some(pipe) = row.pipe else { return TableRow::new([name, Cell::new(row.device.state.as_str())]).style(DIM) };
    let number = |text: String| Cell::new(Line::raw(text).alignment(Alignment::Right));
    let (lost, errors) = (lost(pipe), errors(pipe));
    let warn = |cell: Cell<'a>, is_bad: bool, color| if is_bad { cell.style(Style::new().fg(color)) } else { cell };
    let cells = [
        name,
        warn(Cell::new(pipe.outlet.as_str()), pipe.problem.is_some(), Color::Red),
        Cell::new(if is_attached { short_type(pipe) } else { "gone" }),
        Cell::new(pipe.direction.as_str()),
        warn(number(format!("{}B/s", amount(row.rate()))), row.rate() > 0, Color::Green),
        number(format!("{}B", amount(pipe.counters.bytes))),
        number(pipe.clients.len().to_string()),
        warn(number(lost.clone()), lost != "0", Color::Yellow),
        warn(number(amount(errors)), errors > 0, Color::Red),
        Cell::new(spark(row, history)).style(Style::new().fg(Color::Cyan)),
    ];
    TableRow::new(cells).style(if is_attached { Style::new() } else { DIM })
}

/// The history as bars, the newest at the right, the fastest a full one.
fn spark(row: &Row<'_>, width: usize) -> String {
    let shown: Vec<u64> = row.history().take(width).collect();
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    let bar = |rate: &u64| match rate {
        0 => ' ',
        rate => BARS[(*rate as f64 / most as f64 * (BARS.len() - 1) as f64).round() as usize],
    };
    let bars: String = shown.iter().rev().map(bar).collect();
    " ".repeat(width - shown.len()) + &bars
}

/// What there is to know of one pipe, as many lines as fit.
fn details<'a>(row: &Row<'a>, area: Rect) -> Vec<Line<'a>> {
    let rule = "\u{2500}".repeat(area.width.into());
    let d = row.device;
    let words =
        [Some(d.name.as_str()), d.id.as_deref(), d.product.as_deref(), d.place.as_deref(), d.backend.as_deref()];
    let of_device: Vec<&str> = words.into_iter().flatten().collect();
    let mut lines = vec![Line::styled(rule, DIM), Line::raw(format!("{}  {}", of_device.join("  "), d.state))];
    let problem = row.pipe.and_then(|pipe| pipe.problem.as_deref());
    let reason = d.reason.as_deref().filter(|_| d.state != "attached");
    if let Some(problem) = problem.or(reason) {
        lines.push(Line::styled(problem, Style::new().fg(Color::Red)));
    }
    if let Some(pipe) = row.pipe {
        lines.push(Line::raw(pipe.path.as_str()));
        lines.push(Line::raw(counters(pipe)));
        lines.extend(pipe.clients.iter().map(|c| Line::raw(client(c))));
    }
    lines.truncate(area.height.into());
    lines
}

/// Those counters that the table does not have.
fn counters(pipe: &PipeStatus) -> String {
    let c = &pipe.counters;
    let all = [
        ("transfers", c.transfers),
        ("opens", c.opens),
        ("packets", c.packets),
        ("lost packets", c.lost_packets),
        ("lost bytes", c.lost_bytes),
        ("discarded bytes", c.discarded_bytes),
        ("stalls", c.stalls),
        ("errors", c.errors),
        ("underruns", c.underruns),
        ("bad messages", c.bad_messages),
        ("empty transfers", c.empty_transfers),
    ];
    let shown = all.iter().enumerate().filter(|(at, (_, n))| *at < 2 || *n > 0);
    shown.map(|(_, (name, n))| format!("{n} {name}")).collect::<Vec<_>>().join("   ")
}

/// One program at a pipe, and what it got or gave.
fn client(client: &ClientStatus) -> String {
    let ClientStatus { kind, pid, command, tally, .. } = client;
    let who = [command.clone(), pid.map(|pid| pid.to_string())].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let lost = if tally.lost_bytes > 0 { format!("   {}B lost", amount(tally.lost_bytes)) } else { String::new() };
    format!("  {kind:<10} {who:<24} {}B{lost}", amount(tally.bytes))
}

/// Packets where packets are lost, else bytes.
fn lost(pipe: &PipeStatus) -> String {
    match (pipe.counters.lost_packets, pipe.counters.lost_bytes) {
        (0, 0) => "0".to_owned(),
        (0, bytes) => format!("{}B", amount(bytes)),
        (packets, _) => format!("{}p", amount(packets)),
    }
}

fn errors(pipe: &PipeStatus) -> u64 {
    let c = &pipe.counters;
    c.stalls + c.errors + c.underruns + c.bad_messages
}

fn short_type(pipe: &PipeStatus) -> &str {
    match pipe.transfer_type.as_deref() {
        Some("interrupt") => "intr",
        Some("isochronous") => "iso",
        Some(other) => other,
        None => "-",
    }
}

/// Columns that are numbers.
const RIGHT: &[usize] = &[4, 5, 6, 7, 8];
const PIPE: u16 = 9;
const TYPE: u16 = 4;
const DIRECTION: u16 = 3;
const RATE: u16 = 8;
const TOTAL: u16 = 6;
const CLIENTS: u16 = 3;
const LOST: u16 = 6;
const ERRORS: u16 = 5;
/// All but name and history, with the blanks between ten columns.
const FIXED: u16 = PIPE + TYPE + DIRECTION + RATE + TOTAL + CLIENTS + LOST + ERRORS + 9;
const SHORTEST_HISTORY: u16 = 8;
/// From this height on there is room for more than the table.
const TALL: u16 = 40;
const DETAILS: u16 = 4;
const TALL_DETAILS: u16 = 10;
const BARS: [char; 8] =
    ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
