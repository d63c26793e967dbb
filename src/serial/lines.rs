//! The state of one serial line as this side wants it, and as far as anybody has asked for it.
//!
//! What nobody asked for is never sent, so that opening stays silent; what was asked for is sent again when the
//! device comes back.

use crate::config::{Flow, SerialMode};
use crate::usb::{FlowControl, TransferError, UsbDevice};

use super::{Function, LineCoding};

/// What has been asked for; `None` leaves the device's own choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Bits a second.
    pub baud: Option<u32>,
    /// Character format.
    pub mode: Option<SerialMode>,
    /// Flow control.
    pub flow: Option<Flow>,
    /// Data Terminal Ready.
    pub dtr: Option<bool>,
    /// Request To Send.
    pub rts: Option<bool>,
}

/// A serial function together with what is wanted of it.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    function: Function,
    wanted: Wanted,
}

impl Lines {
    /// The lines of a function just found; nothing is sent.
    pub fn new(function: Function, wanted: Wanted) -> Self {
        Self { function, wanted }
    }

    /// What has been asked for so far.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The function they belong to.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// Whether DTR is on: as it was asked for, else as the host can tell, else off.
    pub async fn is_dtr_on(&self, device: &dyn UsbDevice) -> bool {
        match self.wanted.dtr {
            Some(on) => on,
            None => device.modem_lines(self.function.control_interface).await.is_some_and(|lines| lines.dtr),
        }
    }

    /// Sends all that is wanted, for a device that has just come.
    ///
    /// # Errors
    /// Those of the control transfers.
    pub async fn apply(&self, device: &dyn UsbDevice) -> Result<(), TransferError> {
        if self.wanted.baud.is_some() || self.wanted.mode.is_some() {
            self.send_coding(device).await?;
        }
        if let Some(flow) = self.wanted.flow {
            device.set_flow_control(flow.into()).await?;
        }
        if self.wanted.dtr.is_some() || self.wanted.rts.is_some() {
            self.send_lines(device).await?;
        }
        Ok(())
    }

    /// Changes speed or format; what is `None` stays.
    ///
    /// # Errors
    /// Those of the control transfers; what was wanted before is then wanted again.
    pub async fn set_coding(
        &mut self,
        device: &dyn UsbDevice,
        baud: Option<u32>,
        mode: Option<SerialMode>,
    ) -> Result<(), TransferError> {
        let before = self.wanted;
        self.wanted.baud = baud.or(self.wanted.baud);
        self.wanted.mode = mode.or(self.wanted.mode);
        let result = self.send_coding(device).await;
        if result.is_err() {
            self.wanted = before;
        }
        result
    }

    /// Changes the flow control.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the device has none.
    pub async fn set_flow(&mut self, device: &dyn UsbDevice, flow: Flow) -> Result<(), TransferError> {
        device.set_flow_control(flow.into()).await?;
        self.wanted.flow = Some(flow);
        Ok(())
    }

    /// Forgets that lines were asked for; they stay as they are.
    pub fn forget_lines(&mut self, dtr: bool, rts: bool) {
        self.wanted.dtr = self.wanted.dtr.filter(|_| !dtr);
        self.wanted.rts = self.wanted.rts.filter(|_| !rts);
    }

    /// Changes DTR, RTS or both, in one request; what is `None` stays as it was asked for, else as it is.
    ///
    /// # Errors
    /// Those of the control transfer.
    pub async fn set_lines(
        &mut self,
        device: &dyn UsbDevice,
        dtr: Option<bool>,
        rts: Option<bool>,
    ) -> Result<(), TransferError> {
        let before = self.wanted;
        self.wanted.dtr = dtr.or(self.wanted.dtr);
        self.wanted.rts = rts.or(self.wanted.rts);
        let result = self.send_lines(device).await;
        if result.is_err() {
            self.wanted = before;
        }
        result
    }

    /// A device that keeps one half of the coding to itself is asked for it first.
    async fn send_coding(&self, device: &dyn UsbDevice) -> Result<(), TransferError> {
        let coding = match self.wanted {
            Wanted { baud: Some(baud), mode: Some(mode), .. } => LineCoding { baud, mode },
            Wanted { baud, mode, .. } => {
                let current = self.function.line_coding(device).await?;
                LineCoding { baud: baud.unwrap_or(current.baud), mode: mode.unwrap_or(current.mode) }
            }
        };
        self.function.set_line_coding(device, coding).await
    }

    async fn send_lines(&self, device: &dyn UsbDevice) -> Result<(), TransferError> {
        let (dtr, rts) = match self.wanted {
            Wanted { dtr: Some(dtr), rts: Some(rts), .. } => (dtr, rts),
            Wanted { dtr, rts, .. } => {
                let now = device.modem_lines(self.function.control_interface).await;
                (dtr.or(now.map(|l| l.dtr)).unwrap_or(false), rts.or(now.map(|l| l.rts)).unwrap_or(false))
            }
        };
        self.function.set_lines(device, dtr, rts).await
    }
}

impl From<Flow> for FlowControl {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::None => Self::None,
            Flow::RtsCts => Self::RtsCts,
            Flow::XonXoff => Self::XonXoff,
        }
    }
}
