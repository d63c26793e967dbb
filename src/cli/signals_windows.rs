//! What ends a daemon in a console: Ctrl-C, Ctrl-Break, closing the window, logging off; and what the service manager asks
//! of one that is a service. What follows from them is others' business.

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown,
};

use super::Failure;
use super::service_windows::Controls;

/// The events of a console that a daemon knows.
pub(super) struct Signals {
    interrupt: CtrlC,
    quit: CtrlBreak,
    close: CtrlClose,
    logoff: CtrlLogoff,
    shutdown: CtrlShutdown,
    service: Controls,
}

/// What an event means.
pub(super) enum Received {
    /// The end.
    End,
    /// Reading the configuration again, which only the service manager asks for.
    Reload,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let cannot = |e: std::io::Error| Failure::run_time(format!("cannot listen for Ctrl-C: {e}"));
        let listen = || {
            Ok(Self {
                interrupt: ctrl_c()?,
                quit: ctrl_break()?,
                close: ctrl_close()?,
                logoff: ctrl_logoff()?,
                shutdown: ctrl_shutdown()?,
                service: Controls::take(),
            })
        };
        listen().map_err(cannot)
    }

    pub(super) async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.interrupt.recv() => Received::End,
            _ = self.quit.recv() => Received::End,
            _ = self.close.recv() => Received::End,
            _ = self.logoff.recv() => Received::End,
            _ = self.shutdown.recv() => Received::End,
            asked = self.service.next() => asked,
        }
    }

    /// Waits until this process shall end.
    pub(super) async fn end(&mut self) {
        while !matches!(self.next().await, Received::End) {}
    }
}
