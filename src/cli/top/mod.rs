//! `top`: all pipes of a daemon as they are now, once a second. It asks for nothing but `status`.

mod model;
mod view;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossterm::event::KeyCode;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::screen::{Input, Screen};
use super::{Failure, Outcome, run_dir, status};
use crate::daemon::{Client, Reply, Request};
use crate::session::DeviceStatus;
use model::Model;
use view::View;

/// `usbpipe top`.
pub(super) async fn top(dir: Option<PathBuf>) -> Outcome {
    let dir = run_dir(dir)?;
    let mut model = Model::default();
    model.update(status::ask(&dir).await?, Instant::now().into_std());
    let mut screen = Screen::open("`usbpipe status` shows the same once")?;
    let mut view = View::new(&dir);
    let mut news = poll(&dir);
    loop {
        screen.draw(|frame| view.draw(frame, &model))?;
        tokio::select! {
            input = screen.input() => match input {
                Input::End => return Ok(0),
                Input::Resize => {}
                Input::Key(key) => turn(&mut view, key),
            },
            _ = news.changed() => match &*news.borrow_and_update() {
                Ok(devices) => model.update(devices.clone(), Instant::now().into_std()),
                Err(problem) => model.lose(problem),
            },
        }
    }
}

fn turn(view: &mut View, key: KeyCode) {
    match key {
        KeyCode::Down | KeyCode::Char('j') => view.select(|at, _| at + 1),
        KeyCode::Up | KeyCode::Char('k') => view.select(|at, _| at.saturating_sub(1)),
        KeyCode::PageDown | KeyCode::Char(' ') => view.select(|at, page| at + page),
        KeyCode::PageUp => view.select(|at, page| at.saturating_sub(page)),
        KeyCode::Home | KeyCode::Char('g') => view.select(|_, _| 0),
        KeyCode::End | KeyCode::Char('G') => view.select(|_, _| usize::MAX),
        KeyCode::Char('s') => view.change_order(),
        _ => {}
    }
}

type News = Result<Vec<DeviceStatus>, String>;

/// Asks again and again, in a task of its own: a reply that is awaited must not be given up for a key.
fn poll(dir: &Path) -> watch::Receiver<News> {
    let (sender, receiver) = watch::channel(Ok(Vec::new()));
    let dir = dir.to_owned();
    tokio::spawn(async move {
        let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut client = None;
        while !sender.is_closed() {
            ticks.tick().await;
            let news = ask(&mut client, &dir).await.map_err(|failure| failure.message);
            if news.is_err() {
                client = None;
            }
            drop(sender.send_replace(news));
        }
    });
    receiver
}

async fn ask(client: &mut Option<Client>, dir: &Path) -> Result<Vec<DeviceStatus>, Failure> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::connect(dir).await.map_err(Failure::run_time)?),
    };
    match client.ask(&Request::Status).await.map_err(Failure::run_time)? {
        Reply::Ok(devices) => Ok(devices),
        other => Err(Failure::run_time(format!("the daemon answered with something else: {other:?}"))),
    }
}

const PERIOD: Duration = Duration::from_secs(1);
