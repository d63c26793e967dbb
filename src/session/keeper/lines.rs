//! The tasks of lines. A line that ends by an error of the program starts over: its outlet is opened again, and it gets the
//! device's pipe again. Programs that had been handed to it find their connection closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::bridge::{NewReader, NewWriter};
use crate::config::{Framing, PipeConfig};
use crate::outlet::{InFifo, Node, OutFifo, Watcher};
use crate::session::backoff::Backoff;
use crate::session::hub::Hub;
use crate::session::in_line::InLine;
use crate::session::line::Context;
use crate::session::out_line::OutLine;
use crate::usb::caught;

/// What a line is made of, once more if need be.
pub(super) struct Parts {
    pub(super) context: Context,
    pub(super) config: PipeConfig,
    pub(super) hub: Arc<Hub>,
    pub(super) fifo: Option<Node>,
    pub(super) watcher: Watcher,
}

impl Parts {
    /// Opens the FIFO for an IN line, if it has one.
    ///
    /// # Errors
    /// Those of the outlet.
    pub(super) fn in_fifo(&self) -> io::Result<Option<InFifo>> {
        let packets = self.config.framing == Framing::Packet;
        self.fifo.clone().map(|node| InFifo::new(node, &self.watcher, packets)).transpose()
    }

    /// The same for an OUT line.
    ///
    /// # Errors
    /// Those of the outlet.
    pub(super) fn out_fifo(&self) -> io::Result<Option<OutFifo>> {
        self.fifo.clone().map(|node| OutFifo::new(node, &self.watcher)).transpose()
    }

    /// An IN line, until the daemon stops.
    pub(super) async fn read(self, mut fifo: Option<InFifo>, mut arrivals: UnboundedReceiver<NewReader>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let (context, config, hub) = (self.context.clone(), self.config.clone(), self.hub.clone());
            let ended = caught(InLine::new(context, config, fifo, hub, arrivals).run()).await;
            let Some(again) = self.again(ended, &mut backoff, || self.in_fifo()).await else { return };
            (fifo, arrivals) = (again, self.hub.renew_in());
        }
    }

    /// An OUT line, until the daemon stops.
    pub(super) async fn write(self, mut fifo: Option<OutFifo>, mut arrivals: UnboundedReceiver<NewWriter>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let (context, config) = (self.context.clone(), self.config.clone());
            let ended = caught(OutLine::new(context, config, fifo, &self.hub, arrivals).run()).await;
            let Some(again) = self.again(ended, &mut backoff, || self.out_fifo()).await else { return };
            (fifo, arrivals) = (again, self.hub.renew_out());
        }
    }

    /// Reports how the line has ended, and opens its FIFO again after a pause. `None` when the daemon stops.
    async fn again<T>(
        &self,
        mut ended: Result<(), String>,
        backoff: &mut Backoff,
        open: impl Fn() -> io::Result<T>,
    ) -> Option<T> {
        while self.context.starts_over(ended, backoff.step()).await {
            match open() {
                Ok(opened) => return Some(opened),
                Err(e) => ended = Err(format!("its FIFO cannot be opened again: {e}")),
            }
        }
        None
    }
}

/// The pauses before a line is started over.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
