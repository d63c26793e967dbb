//! What a device has on Windows: named pipes, whatever kinds of outlets are asked for elsewhere. It moves no bytes.
//!
//! Pipes go both ways, so that a serial function has one for both of its lines, and so has the control pipe for requests
//! and answers.

use std::path::PathBuf;
use std::sync::Arc;

use super::outlets::{BINARY_MESSAGE, Outlets, SERIAL_LINE, Standing, access};
use crate::config::{Framing, OutletKind, PipeConfig, SerialConfig};
use crate::name::line_of_outlet;
use crate::outlet::{Access, DirError, Direction, Listener, Security, Shape};
use crate::request::control;
use crate::session::entrance::Entrance;
use crate::session::serial::SerialPort;
use crate::session::{doors, sockets};

impl Outlets {
    /// Makes the outlets that are a line's alone.
    pub(super) fn make_own_outlets(
        &mut self,
        outlet: &str,
        config: &PipeConfig,
        access: &Access,
    ) -> Result<Standing, DirError> {
        if line_of_outlet(outlet).is_some() {
            return Ok(Standing { fifo: None, socket: None });
        }
        let direction = if config.is_in() { Direction::In } else { Direction::Out };
        let shape = Shape { direction, messages: config.framing == Framing::Packet };
        let pipe = self.listen(outlet, shape, access)?;
        Ok(Standing { fifo: None, socket: Some(pipe) })
    }

    /// Makes what both lines of a serial function have in common, and its line control.
    pub(super) fn make_serial_outlets(
        &mut self,
        port: &Arc<SerialPort>,
        config: &SerialConfig,
    ) -> Result<(), DirError> {
        if config.outlets.contains(&OutletKind::Tty) {
            self.make_tty(port, &Access::default())?;
        }
        let access = access(&config.access.or(&self.config.access));
        if !config.outlets.is_empty() {
            let pipe = self.listen(&port.line, BOTH_WAYS, &access)?;
            self.shared.set_socket(&port.outlet(""), &pipe);
        }
        let entrance = self.entrance(&port.outlet("ctl"), BOTH_WAYS, &access)?;
        self.serve(doors::serve_text_door(entrance, SERIAL_LINE, self.serial_text(port)));
        Ok(())
    }

    /// Makes the outlets of the control pipe.
    pub(super) fn make_control(&mut self) -> Result<(), DirError> {
        let access = access(&self.config.access);
        let text = self.entrance("ep_00", BOTH_WAYS, &access)?;
        self.serve(doors::serve_text_door(text, control::MAX_LINE, self.control_text()));
        let binary = self.entrance("ep_00.sock", Shape { messages: true, ..BOTH_WAYS }, &access)?;
        self.serve(doors::serve_binary_door(binary, BINARY_MESSAGE, self.control_binary()));
        Ok(())
    }

    /// Makes the pipe of a line, or of `serial`, and serves it.
    fn listen(&mut self, line: &str, shape: Shape, access: &Access) -> Result<PathBuf, DirError> {
        let entrance = self.entrance(&Listener::name_for(line), shape, access)?;
        self.serve(sockets::serve(entrance, line.to_owned(), self.shared.clone()));
        Ok(self.dir.path().join(line))
    }

    fn entrance(&self, name: &str, shape: Shape, access: &Access) -> Result<Entrance, DirError> {
        let security = match &access.sddl {
            Some(sddl) => Security::parse(sddl),
            None => Security::of_this_user(),
        };
        let security = security.map_err(|e| {
            let what = "cannot be opened to anybody: `sddl` is no security descriptor that Windows understands";
            DirError::from_io(&self.dir.path().join(name), what, e)
        })?;
        let listener = Listener::bind(&self.dir, name, shape, security)?;
        Ok(Entrance::new(listener, name, &self.shared))
    }
}

/// The outlet of a line that has none of its own.
pub(super) fn common_outlet(outlet: &str, _outlets: &[OutletKind]) -> String {
    line_of_outlet(outlet).unwrap_or(outlet).to_owned()
}

const BOTH_WAYS: Shape = Shape { direction: Direction::Both, messages: false };
