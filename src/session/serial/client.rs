//! What a client over the network asks of a line: settings that count until it goes, a break without a fixed length, and
//! the modem lines.

use super::{Ask, SerialPort, State, TerminalId};
use crate::request::Answer;
use crate::serial::Step;
use crate::usb::ModemLines;

/// A break that lasts until it is ended: PSTN 1.2, 6.3.13.
const UNTIL_ENDED: u16 = 0xffff;

impl SerialPort {
    /// What the line has, as far as is known; while the device is away, what it will get.
    pub(in crate::session) async fn settings_in_force(&self) -> Ask {
        let state = self.state.lock().await;
        let wanted = state.coding.wanted();
        match &state.attached {
            Some((_, lines)) => {
                let has = lines.wanted();
                Ask { baud: has.baud, mode: has.mode, flow: has.flow.or(wanted.flow) }.or(wanted)
            }
            None => wanted,
        }
    }

    /// The client asks for this until it goes. What the line refuses is not asked for again. Returns what is in force then.
    pub(in crate::session) async fn client_asks(&self, client: TerminalId, ask: Ask) -> Ask {
        self.change(|coding| coding.terminal_asked(client, ask)).await;
        let in_force = self.settings_in_force().await;
        let refused = ask.without(in_force);
        if !refused.is_nothing() {
            self.change(|coding| {
                coding.terminal_forgets(client, refused);
                Ask::default()
            })
            .await;
        }
        in_force
    }

    /// Starts a break, or ends one.
    pub(in crate::session) async fn set_break(&self, is_on: bool) -> Answer {
        let state = self.state.lock().await;
        let Some((device, lines)) = state.attached.clone() else { return super::disconnected(&self.device_name) };
        drop(state);
        let duration = if is_on { UNTIL_ENDED } else { 0 };
        super::done(lines.function().send_break(&*device, duration).await)
    }

    /// Starts the bootloader of an ESP by a reset sequence.
    pub(in crate::session) async fn run_sequence(&self, steps: Vec<Step>, name: &str) -> Answer {
        let mut state = self.state.lock().await;
        let State { attached: Some((device, lines)), .. } = &mut *state else {
            return super::disconnected(&self.device_name);
        };
        let before = lines.wanted();
        let device = device.clone();
        let mut unwanted = std::pin::pin!(std::future::pending());
        let answer = tokio::select! {
            answer = self.play(&*device, lines, steps, name, unwanted.as_mut()) => answer,
            () = self.over.notified() => super::disconnected(&self.device_name),
        };
        // What the sequence did to the lines is not to be repeated at the next attach.
        *lines = crate::serial::Lines::new(*lines.function(), before);
        answer
    }

    /// The state of the modem lines, where the port has them or the device reports them.
    pub(in crate::session) async fn modem_lines(&self) -> Option<ModemLines> {
        let state = self.state.lock().await;
        let (device, lines) = state.attached.clone()?;
        drop(state);
        if let Some(now) = device.modem_lines(lines.function().control_interface).await {
            return Some(now);
        }
        let reported = (*self.reported.borrow())?;
        let wanted = lines.wanted();
        Some(ModemLines {
            dtr: wanted.dtr.unwrap_or(false),
            rts: wanted.rts.unwrap_or(false),
            // CDC ACM has no CTS: USB itself is the flow control.
            cts: true,
            dsr: reported.dsr,
            ring: reported.ring,
            dcd: reported.dcd,
        })
    }

    /// The reset profile of the configuration.
    pub(in crate::session) fn profile(&self) -> String {
        super::lock(&self.config).profile.clone()
    }

    /// Resolves at the next report of the device.
    pub(in crate::session) fn reports(&self) -> tokio::sync::watch::Receiver<Option<crate::serial::SerialState>> {
        self.reported.subscribe()
    }
}
