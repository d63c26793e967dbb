//! How `plot` looks: the curves, and below them what each is now.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Paragraph};

use super::curves::{Curve, Curves, MOST_POINTS};
use super::scale::Scale;

/// What is drawn beside the curves.
pub(super) struct View {
    device: String,
    /// What happened to the device, if that was not that it came.
    pub(super) trouble: Option<String>,
    pub(super) is_paused: bool,
    /// How often steps were doubled; below 0, halved.
    zoom: i32,
}

impl View {
    /// Nothing has happened yet.
    pub(super) fn new(device: &str) -> Self {
        Self { device: device.to_owned(), trouble: None, is_paused: false, zoom: 0 }
    }

    /// Shows more steps (`by` above 0) or fewer.
    pub(super) fn zoom(&mut self, by: i32) {
        self.zoom = (self.zoom + by).clamp(-4, 6);
    }

    /// Draws all of it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>, curves: &Curves) {
        let legend = legend(curves, frame.area().width.into());
        let rows = (legend.len() as u16).min(frame.area().height / 3);
        let parts = [Constraint::Length(1), Constraint::Min(3), Constraint::Length(rows), Constraint::Length(1)];
        let [head, chart, below, foot] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(self.headline(curves), head);
        self.draw_chart(frame, chart, curves);
        frame.render_widget(Paragraph::new(legend), below);
        let space = if self.is_paused { "go on" } else { "pause" };
        frame.render_widget(Paragraph::new(format!("q quit   space {space}   + - zoom   c clear")).style(DIM), foot);
    }

    fn headline(&self, curves: &Curves) -> Paragraph<'_> {
        let yellow = Style::new().fg(Color::Yellow);
        let mut spans = vec![Span::styled(self.device.as_str(), BOLD), Span::raw(format!("   {} lines", curves.steps))];
        if curves.texts > 0 {
            spans.push(Span::styled(format!("   {} without numbers", curves.texts), DIM));
        }
        if curves.surplus > 0 {
            spans.push(Span::styled(format!("   {} numbers too many", curves.surplus), yellow));
        }
        if self.is_paused {
            spans.push(Span::styled("   paused", yellow));
        }
        if let Some(trouble) = &self.trouble {
            spans.push(Span::styled(format!("   {trouble}"), Style::new().fg(Color::Red)));
        }
        Paragraph::new(Line::from(spans))
    }

    fn draw_chart(&self, frame: &mut Frame<'_>, area: Rect, curves: &Curves) {
        let steps = self.steps(area.width);
        let last = (curves.steps as f64).max(steps);
        let first = last - steps + 1.0;
        let Some((least, greatest)) = curves.bounds(first) else { return draw_hint(frame, area) };
        let scale = Scale::around(least, greatest, usize::from(area.height) / ROWS_A_MARK);
        let points: Vec<Vec<(f64, f64)>> = curves.all.iter().map(|curve| curve.since(first).collect()).collect();
        let datasets = points.iter().enumerate().map(|(n, points)| dataset(n, points)).collect();
        let ago = format!("-{}", steps as u64 - 1);
        let x = Axis::default().bounds([first, last]).labels([ago, "now".to_owned()]).style(DIM);
        let y = Axis::default().bounds([scale.low, scale.high]).labels(scale.marks).labels_alignment(Alignment::Right);
        frame.render_widget(Chart::new(datasets).x_axis(x).y_axis(y.style(DIM)).legend_position(None), area);
    }

    /// Steps that are seen: one for each column, unless zoomed.
    fn steps(&self, width: u16) -> f64 {
        (f64::from(width) * 2f64.powi(self.zoom)).round().clamp(2.0, MOST_POINTS as f64)
    }
}

fn dataset(n: usize, points: &[(f64, f64)]) -> Dataset<'_> {
    // A line has two ends.
    let graph = if points.len() > 1 { GraphType::Line } else { GraphType::Scatter };
    Dataset::default().marker(Marker::Braille).graph_type(graph).style(color(n)).data(points)
}

fn draw_hint(frame: &mut Frame<'_>, area: Rect) {
    let text = "waiting for lines with numbers: 1,2 or temp:21.5 hum:40";
    let parts = [Constraint::Fill(1), Constraint::Length(1), Constraint::Fill(1)];
    let [_, middle, _] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(text).alignment(Alignment::Center).style(DIM), middle);
}

/// The name of each curve and its last number, in as few lines as they fit into.
fn legend(curves: &Curves, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (n, curve) in curves.all.iter().enumerate() {
        let spans = [Span::styled("\u{25a0} ", color(n)), Span::raw(describe(curve) + "   ")];
        let needed: usize = spans.iter().map(Span::width).sum();
        match lines.last_mut().filter(|line| line.width() + needed <= width) {
            Some(line) => line.spans.extend(spans),
            None => lines.push(Line::from_iter(spans)),
        }
    }
    lines
}

fn describe(curve: &Curve) -> String {
    let last = curve.points.back().map_or(0.0, |(_, number)| *number);
    let is_plain = last == 0.0 || (1e-3..1e9).contains(&last.abs());
    let number = if is_plain { ((last * 1000.0).round() / 1000.0).to_string() } else { format!("{last:.3e}") };
    format!("{} {number}", curve.name)
}

fn color(n: usize) -> Style {
    let colors = [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Red, Color::Blue];
    let style = Style::new().fg(colors[n % colors.len()]);
    if n >= colors.len() { style.add_modifier(Modifier::BOLD) } else { style }
}

/// Lines of the terminal for each mark of the axis.
const ROWS_A_MARK: usize = 3;
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
