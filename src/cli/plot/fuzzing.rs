//! What a fuzzer does with a plot: any bytes, drawn on a small terminal of any size.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::curves::{MOST_CURVES, MOST_POINTS};
use super::{News, Plot};

/// The first three bytes choose the size of the terminal and the length of the pieces.
///
/// # Panics
/// When the plot grows beyond its bounds.
pub(crate) fn fuzz(data: &[u8]) {
    let [width, height, piece, bytes @ ..] = data else { return };
    let mut plot = Plot::new("uno");
    for piece in bytes.chunks(usize::from(*piece) + 1) {
        plot.take(News::Bytes(piece));
    }
    assert!(plot.curves.all.len() <= MOST_CURVES);
    for curve in &plot.curves.all {
        assert!(curve.points.len() <= MOST_POINTS && curve.points.iter().all(|(_, number)| number.is_finite()));
    }
    let backend = TestBackend::new(u16::from(width % 64), u16::from(height % 32));
    let Ok(mut terminal) = Terminal::new(backend);
    let Ok(_) = terminal.draw(|frame| plot.view.draw(frame, plot.seen()));
}
