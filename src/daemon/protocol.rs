//! What commands and daemon say to each other on `admin.sock`: one JSON object a line, each way.
//!
//! `{"cmd":"status"}` is answered by `{"ok":[…]}`, `{"cmd":"tasks"}` by `{"tasks":{"dropped_log_lines":0,"tasks":[…]}}`,
//! anything that fails by `{"error":"…"}`; after `{"cmd":"events"}`
//! events follow, one a line, until the client leaves. What `{"cmd":"release","device":"uno","borrower":"avrdude"}` lends is
//! taken back when the client leaves. After `{"cmd":"capture",…}` what follows is pcapng, until the client ends its side of
//! the connection. `{"cmd":"open","device":"uno","outlet":"serial.rx"}` makes the connection what one to that outlet's socket
//! would be; with `"pass":"pipe"`, `"socket"` or `"packet"` it stays what it is, and beside the `{"ok":[]}` lies the
//! program's end of such a pair (SCM_RIGHTS).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::session::{DeviceStatus, Pass, TaskStatus};

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// State and counters of all devices.
    Status,
    /// What the daemon's own tasks do and wait for.
    Tasks,
    /// Events as they happen.
    Events,
    /// One request of the control pipe.
    Control {
        /// The device's name.
        device: String,
        /// The request as text.
        request: String,
    },
    /// Let go of a device.
    Release {
        /// The device's name.
        device: String,
        /// For whom, in words for people; without it, until a reclaim.
        #[serde(default)]
        borrower: Option<String>,
        /// Whether the port of this machine's kernel is needed.
        #[serde(default)]
        port: bool,
    },
    /// Take a device back: what this client was lent, else whatever was released.
    Reclaim {
        /// The device's name.
        device: String,
    },
    /// One request of a serial line.
    Serial {
        /// The device's name.
        device: String,
        /// The request as text.
        request: String,
    },
    /// To be a program at an outlet from now on, whether or not it has a socket: by this connection, or by a descriptor
    /// that comes beside the reply.
    Open {
        /// The device's name.
        device: String,
        /// The outlet's name: `ep_81`, `serial.rx`, or `serial` for both directions.
        outlet: String,
        /// The descriptor that is wanted; without it, this connection becomes the outlet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pass: Option<Pass>,
        /// The program's name for `status`; without it, that of the process at the other end of this connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        program: Option<String>,
    },
    /// What crosses between a device's pipes and the device, as pcapng.
    Capture {
        /// The device's name.
        device: String,
        /// The longest record in bytes.
        limit: u32,
    },
}

/// One reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Status`].
    Ok(Vec<DeviceStatus>),
    /// To [`Request::Tasks`].
    Tasks(DaemonStatus),
    /// To [`Request::Control`], [`Request::Serial`] and [`Request::Reclaim`]: the answer line.
    Answer(String),
    /// To [`Request::Release`]: the port, where one was asked for.
    Released(Option<PathBuf>),
    /// The request could not be carried out.
    Error(String),
}

/// The state of the daemon itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Lines of its log that were dropped, because nobody read them in time or they could not be written.
    pub dropped_log_lines: u64,
    /// Its tasks.
    pub tasks: Vec<TaskStatus>,
}

/// The longest line in bytes that the daemon reads.
pub(super) const MAX_REQUEST: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_reads_as_documented() {
        let request: Request = serde_json::from_str(r#"{"cmd":"control","device":"regs","request":"status"}"#).unwrap();
        assert_eq!(request, Request::Control { device: "regs".into(), request: "status".into() });
    }

    #[test]
    fn a_descriptor_is_asked_for_as_documented() {
        let line = r#"{"cmd":"open","device":"uno","outlet":"serial","pass":"packet"}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        let (device, outlet) = ("uno".to_owned(), "serial".to_owned());
        assert_eq!(request, Request::Open { device, outlet, pass: Some(Pass::Packet), program: None });
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in ".{0,200}") {
            let _ = serde_json::from_str::<Request>(&line);
        }
    }
}
