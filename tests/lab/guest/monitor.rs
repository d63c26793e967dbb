//! QEMU's own monitor, reached from inside through a port: keys are pressed and hardware is pulled out there. Refuses
//! to interpret answers beyond telling success from failure.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};

/// A connection to the monitor, by its JSON protocol (QMP).
pub struct Monitor {
    to: File,
    from: BufReader<File>,
}

impl Monitor {
    pub(super) fn open() -> Self {
        let to = OpenOptions::new().read(true).write(true).open("/dev/virtio-ports/monitor").unwrap();
        let from = BufReader::new(to.try_clone().unwrap());
        let mut monitor = Self { to, from };
        // An error if an earlier connection has done it already, as this port is always the same one.
        let _ = monitor.ask("qmp_capabilities", json!({}));
        monitor
    }

    /// Presses a key, by its name for QEMU (`a`, `ret`, `shift`), and lets it go.
    pub fn press(&mut self, key: &str) {
        let key = json!({ "keys": [{ "type": "qcode", "data": key }], "hold-time": 20 });
        self.ask("send-key", key).unwrap();
    }

    /// Runs a command and gives what it returns.
    pub fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, Value> {
        let request = json!({ "execute": command, "arguments": arguments, "id": "lab" });
        writeln!(self.to, "{request}").unwrap();
        loop {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "the monitor's port was closed");
            let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
            // Events and the greeting carry no id.
            if answer["id"] == "lab" {
                return match answer.get("error") {
                    None => Ok(answer["return"].take()),
                    Some(error) => Err(error.clone()),
                };
            }
        }
    }
}
