//! `plot`: numbers in the lines of a serial line as curves on the terminal. It sends nothing to the device.

mod curves;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod reading;
mod scale;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::KeyCode;
use tokio::time::{Instant, sleep_until};

use super::screen::{Input, Screen};
use super::serial_bytes::{News, SerialBytes};
use super::{Outcome, run_dir};
use crate::session::Event;
use curves::Curves;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzzing::fuzz;
use reading::Reading;
use view::View;

/// `usbpipe plot DEVICE`.
pub(super) async fn plot(dir: Option<PathBuf>, device: String) -> Outcome {
    let dir = run_dir(dir)?;
    let mut bytes = SerialBytes::open(&dir, &device).await?;
    let mut screen = Screen::open("`usbpipe log DEVICE -o -` shows the lines as they are")?;
    let mut plot = Plot::new(&device);
    let (mut drawn, mut is_stale) = (Instant::now(), true);
    loop {
        tokio::select! {
            input = screen.input() => match input {
                Input::End => return Ok(0),
                Input::Resize => is_stale = true,
                Input::Key(key) => {
                    plot.press(key);
                    is_stale = true;
                }
            },
            news = bytes.next() => {
                plot.take(news);
                is_stale = true;
            }
            // However fast lines come, nobody sees more pictures than these.
            () = sleep_until(drawn + FRAME), if is_stale => {
                screen.draw(|frame| plot.view.draw(frame, plot.seen()))?;
                (drawn, is_stale) = (Instant::now(), false);
            }
        }
    }
}

struct Plot {
    curves: Curves,
    /// What stands still while it is paused.
    still: Option<Curves>,
    view: View,
    /// The line whose end has not come.
    line: Vec<u8>,
    /// When trouble was told of.
    told: Option<Instant>,
}

impl Plot {
    fn new(device: &str) -> Self {
        Self { curves: Curves::default(), still: None, view: View::new(device), line: Vec::new(), told: None }
    }

    fn seen(&self) -> &Curves {
        self.still.as_ref().unwrap_or(&self.curves)
    }

    fn press(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(' ') => {
                self.view.is_paused = !self.view.is_paused;
                self.still = self.view.is_paused.then(|| self.curves.clone());
            }
            KeyCode::Char('+' | '=') => self.view.zoom(-1),
            KeyCode::Char('-') => self.view.zoom(1),
            KeyCode::Char('c') => self.curves.clear(),
            _ => {}
        }
    }

    fn take(&mut self, news: News<'_>) {
        match news {
            News::Bytes(bytes) => {
                // A device that speaks is there, whatever was told of it.
                if self.told.is_some_and(|told| told.elapsed() > TROUBLE) {
                    self.view.trouble = None;
                }
                self.read(bytes);
            }
            News::Event(event) => self.note(&event),
            News::Daemon(text) => self.tell(text.to_owned()),
        }
    }

    /// A line that is too long for numbers is text.
    fn read(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let room = (LONGEST + 1).saturating_sub(self.line.len());
            self.line.extend(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let text = String::from_utf8_lossy(&self.line);
                let is_whole = self.line.len() <= LONGEST;
                self.curves.take(if is_whole { Reading::of(text.trim_end()) } else { Reading::Text });
                self.line.clear();
            }
        }
    }

    fn note(&mut self, event: &Event) {
        if event.event == "detach" {
            // What had come of a line is no beginning of one after it.
            self.line.clear();
        }
        match event.event.as_str() {
            "attach" | "resume" => self.view.trouble = None,
            what => self.tell(format!("{what}: {}", event.text)),
        }
    }

    fn tell(&mut self, text: String) {
        self.view.trouble = Some(text);
        self.told = Some(Instant::now());
    }
}

/// Bytes of a line with numbers.
const LONGEST: usize = 1024;
/// Trouble is seen for this long, however soon it is over.
const TROUBLE: Duration = Duration::from_secs(3);
const FRAME: Duration = Duration::from_millis(40);
