//! The terminal as a screen that commands draw on: taken at the start and given back as it was at any end, also after a
//! panic. It draws nothing of its own.

use std::io::{self, IsTerminal};

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use crossterm::{execute, queue};
use futures_util::StreamExt;
use ratatui::{DefaultTerminal, Frame};

use super::Failure;
use super::signals::Signals;

/// The screen, for as long as it lives.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    keys: EventStream,
    signals: Signals,
}

/// What the person at the terminal did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Pressed this.
    Key(KeyCode),
    /// Made the window larger or smaller, so that it is to be drawn again.
    Resize,
    /// `q`, Ctrl-C, a signal, or the terminal has gone.
    End,
}

impl Screen {
    /// Takes the terminal. `instead` says what to run without one.
    ///
    /// # Errors
    /// Stdin or stdout is no terminal, or it cannot be set up.
    pub(super) fn open(instead: &str) -> Result<Self, Failure> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::usage(format!("this draws on a terminal, and there is none; {instead}")));
        }
        let signals = Signals::new()?;
        let terminal =
            ratatui::try_init().map_err(|e| Failure::run_time(format!("the terminal cannot be used: {e}")))?;
        Ok(Self { terminal, keys: EventStream::new(), signals })
    }

    /// Draws all of it.
    ///
    /// # Errors
    /// The terminal has gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        // Terminals that know how show the whole of it at once.
        let _ = queue!(io::stdout(), BeginSynchronizedUpdate);
        let drawn = self.terminal.draw(draw).map(drop).and_then(|()| execute!(io::stdout(), EndSynchronizedUpdate));
        drawn.map_err(|e| Failure::run_time(format!("drawing on the terminal failed: {e}")))
    }

    /// The next thing that the person does. Cancel safe.
    pub(super) async fn input(&mut self) -> Input {
        loop {
            let event = tokio::select! {
                event = self.keys.next() => event,
                _ = self.signals.next() => return Input::End,
            };
            match event {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => return meaning(key),
                Some(Ok(Event::Resize(..))) => return Input::Resize,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Input::End,
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn meaning(key: KeyEvent) -> Input {
    match key.code {
        KeyCode::Char('q' | 'Q') => Input::End,
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Input::End,
        code => Input::Key(code),
    }
}
