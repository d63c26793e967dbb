//! What stands in the run dir of a device on Unix: FIFOs, sockets, and the link to a terminal. It moves no bytes.

use std::path::PathBuf;
use std::sync::Arc;

use super::outlets::{BINARY_MESSAGE, Outlets, SERIAL_LINE, Standing, access};
use crate::config::{Framing, OutletKind, PipeConfig, SerialConfig};
use crate::name::line_of_outlet;
use crate::outlet::{Access, DirError, Listener, Node, SocketKind};
use crate::request::control;
use crate::session::entrance::Entrance;
use crate::session::serial::SerialPort;
use crate::session::terminals::TTY;
use crate::session::{doors, sockets};

impl Outlets {
    /// Makes the outlets that are a line's alone.
    pub(super) fn make_own_outlets(
        &mut self,
        outlet: &str,
        config: &PipeConfig,
        access: &Access,
    ) -> Result<Standing, DirError> {
        let has = |kind| config.outlets.contains(&kind);
        let fifo = match has(OutletKind::Fifo) {
            true => Some(self.make_fifo(outlet, config.is_in(), access)?),
            false => None,
        };
        let socket = match has(OutletKind::Socket) && line_of_outlet(outlet).is_none() {
            true => Some(self.listen(outlet, config.framing == Framing::Packet, access)?),
            false => None,
        };
        Ok(Standing { fifo, socket })
    }

    /// Makes what both lines of a serial function have in common, and its line control.
    pub(super) fn make_serial_outlets(
        &mut self,
        port: &Arc<SerialPort>,
        config: &SerialConfig,
    ) -> Result<(), DirError> {
        if config.outlets.contains(&OutletKind::Socket) {
            let access = access(&config.access.or(&self.config.access));
            let socket = self.listen(&port.line, false, &access)?;
            self.shared.set_socket(&port.outlet(""), &socket);
        }
        if config.outlets.contains(&OutletKind::Tty) {
            self.make_tty(port, &access(&config.access.or(&self.config.access)))?;
        }
        let entrance = self.entrance(&port.outlet("ctl"), SocketKind::Stream, &access(&self.config.access))?;
        self.serve(doors::serve_text_door(entrance, SERIAL_LINE, self.serial_text(port)));
        Ok(())
    }

    fn make_fifo(&mut self, name: &str, is_in: bool, access: &Access) -> Result<Node, DirError> {
        let node = self.dir.fifo(name, if is_in { IN_FIFO_MODE } else { OUT_FIFO_MODE }, access)?;
        self.entries.push(name.to_owned());
        Ok(node)
    }

    /// Makes the socket of a line, or of `serial`, and serves it.
    fn listen(&mut self, line: &str, messages: bool, access: &Access) -> Result<PathBuf, DirError> {
        let name = Listener::name_for(line);
        let kind = if messages { SocketKind::Messages } else { SocketKind::Stream };
        let entrance = self.entrance(&name, kind, access)?;
        self.serve(sockets::serve(entrance, line.to_owned(), self.shared.clone()));
        Ok(self.dir.path().join(name))
    }

    pub(super) fn make_control(&mut self) -> Result<(), DirError> {
        let access = access(&self.config.access);
        let request = self.make_fifo("ep_00.request", false, &access)?;
        let response = self.make_fifo("ep_00.response", true, &access)?;
        let path = request.path().to_owned();
        let fifos = doors::open_text_fifos(request, response, &self.surroundings.watcher);
        let fifos = fifos.map_err(|e| DirError::from_io(&path, "cannot open", e))?;
        self.serve(doors::serve_text_fifos(fifos, control::MAX_LINE, self.control_text()));
        let entrance = self.entrance("ep_00.sock", SocketKind::Messages, &access)?;
        self.serve(doors::serve_binary_door(entrance, BINARY_MESSAGE, self.control_binary()));
        Ok(())
    }

    fn entrance(&mut self, name: &str, kind: SocketKind, access: &Access) -> Result<Entrance, DirError> {
        let listener = Listener::bind(&self.dir, name, kind, SOCKET_MODE, access)?;
        self.entries.push(name.to_owned());
        Ok(Entrance::new(listener, name, &self.shared))
    }
}

/// The outlet of a line that has none of its own.
pub(super) fn common_outlet(outlet: &str, outlets: &[OutletKind]) -> String {
    let line = line_of_outlet(outlet).unwrap_or(outlet);
    if outlets.contains(&OutletKind::Socket) { Listener::name_for(line) } else { format!("{line}.{TTY}") }
}

const IN_FIFO_MODE: u32 = 0o640;
const OUT_FIFO_MODE: u32 = 0o620;
const SOCKET_MODE: u32 = 0o660;
