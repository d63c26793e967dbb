//! What a daemon's serial line receives, for commands that look on: its bytes and its events, over every unplug and over
//! the daemon's end. It sends nothing, and takes no byte from other readers.

use std::future::{pending, ready};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::sleep;

use super::Failure;
use crate::daemon::{Client, Request};
use crate::session::{Event, TextLine, TextReader};

/// The line of one device.
pub(super) struct SerialBytes {
    dir: PathBuf,
    device: String,
    source: Option<Source>,
    events: Option<TextReader<Source>>,
    /// What happened after the bytes that are there.
    later: Option<Event>,
    buffer: Vec<u8>,
    is_lost: bool,
}

type Source = Box<dyn AsyncRead + Unpin + Send>;

/// What came.
pub(super) enum News<'a> {
    /// From the device; at least one byte.
    Bytes(&'a [u8]),
    /// What happened to the device.
    Event(Event),
    /// What happened to the daemon, in words.
    Daemon(&'static str),
}

enum Came {
    Bytes,
    Event(Option<TextLine>),
    /// There are none for now.
    NoBytes,
    SourceEnded,
}

impl SerialBytes {
    /// Looks on the line of a device that the daemon has.
    ///
    /// # Errors
    /// No daemon runs, or it has no such device, or the device has no serial line.
    pub(super) async fn open(dir: &Path, device: &str) -> Result<Self, Failure> {
        let mut line = Self {
            dir: dir.to_owned(),
            device: device.to_owned(),
            source: None,
            events: None,
            later: None,
            buffer: Vec::with_capacity(CHUNK),
            is_lost: false,
        };
        line.connect().await?;
        Ok(line)
    }

    /// The next thing that happens. Cancel safe.
    pub(super) async fn next(&mut self) -> News<'_> {
        loop {
            if self.connect().await.is_err() {
                if !std::mem::replace(&mut self.is_lost, true) {
                    return News::Daemon("the daemon has ended; waiting for the next one");
                }
                sleep(RETRY).await;
                continue;
            }
            if std::mem::take(&mut self.is_lost) {
                return News::Daemon("a daemon is there again");
            }
            match self.wait().await {
                Came::Bytes => return News::Bytes(&self.buffer),
                Came::Event(Some(TextLine::Text(text))) => match self.event(&text) {
                    Some(event) if BEFORE_BYTES.contains(&event.event.as_str()) => return News::Event(event),
                    later => self.later = later,
                },
                Came::NoBytes => {
                    if let Some(event) = self.later.take() {
                        return News::Event(event);
                    }
                }
                Came::Event(Some(TextLine::TooLong)) => {}
                Came::Event(None) => (self.events, self.source) = (None, None),
                Came::SourceEnded => {
                    self.source = None;
                    if let Some(event) = self.later.take() {
                        return News::Event(event);
                    }
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Events first: what a device says after an attach comes after that. What it said before it went came before that, so
    /// that such an event waits for the bytes that are there.
    async fn wait(&mut self) -> Came {
        let Self { source, events, buffer, later, .. } = self;
        buffer.clear();
        let has_later = later.is_some();
        tokio::select! {
            biased;
            line = async { match events { Some(events) => events.next().await, None => pending().await } },
                if !has_later => Came::Event(line),
            read = read(source, buffer) => match read {
                Ok(1..) => Came::Bytes,
                _ => Came::SourceEnded,
            },
            () = ready(()), if has_later => Came::NoBytes,
        }
    }

    /// What is told of this device and its line.
    fn event(&self, line: &str) -> Option<Event> {
        let event: Event = serde_json::from_str(line).ok()?;
        let is_own = event.device == self.device && !WITHOUT_NEWS.contains(&event.event.as_str());
        let is_line = event.outlet.as_ref().is_none_or(|outlet| outlet.starts_with("serial"));
        (is_own && is_line).then_some(event)
    }

    /// Makes the connections that are missing.
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.events.is_none() {
            let mut client = Client::connect(&self.dir).await.map_err(Failure::run_time)?;
            client.ask(&Request::Events).await.map_err(Failure::run_time)?;
            self.events = Some(TextReader::new(Box::new(client.into_stream()), LONGEST_EVENT));
        }
        if self.source.is_none() {
            self.source = Some(look_on(&self.dir, &self.device).await?);
        }
        Ok(())
    }
}

async fn read(source: &mut Option<Source>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    match source {
        Some(source) => source.read_buf(buffer).await,
        None => pending().await,
    }
}

/// A reader of the line, with a copy of its own of all that comes.
async fn look_on(dir: &Path, device: &str) -> Result<Source, Failure> {
    let mut client = Client::connect(dir).await.map_err(Failure::run_time)?;
    let request = Request::Open { device: device.to_owned(), outlet: SERIAL.to_owned(), pass: None, program: None };
    client.ask(&request).await.map_err(Failure::run_time)?;
    Ok(Box::new(client.into_stream()))
}

const SERIAL: &str = "serial.rx";
/// That programs come and go is nothing that the device does.
const WITHOUT_NEWS: &[&str] = &["open", "close", "refuse", "start", "end"];
/// What happens before the bytes that follow from it.
const BEFORE_BYTES: &[&str] = &["attach", "resume", "reset"];
const RETRY: Duration = Duration::from_secs(1);
const CHUNK: usize = 64 << 10;
const LONGEST_EVENT: usize = 64 << 10;
