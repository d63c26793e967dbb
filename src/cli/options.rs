//! Options of commands that open a device themselves: what a configuration would say of it, for this once. Opens nothing.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{Failure, words};
use crate::config::{DeviceConfig, Driver, Framing, OutletKind, SerialConfig};
use crate::selector::Selector;

/// How a device is taken.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct TakeArgs {
    /// Take interfaces from kernel drivers, which get them back at the end
    #[arg(long)]
    pub(super) detach: bool,
    /// The one interface to use, by its number
    #[arg(long, value_name = "N")]
    pub(super) interface: Option<u8>,
}

/// All options of a bridge that has no configuration.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct BridgeArgs {
    #[command(flatten)]
    pub(super) take: TakeArgs,
    /// Alternate setting of --interface, or of each interface that has it [default: the first with endpoints]
    #[arg(long, value_name = "N")]
    pub(super) alt: Option<u8>,
    /// How transfers look to programs; jsonl is for IN endpoints, OUT endpoints stay streams then
    #[arg(long, value_name = "FRAMING", value_parser = framing())]
    pub(super) framing: Option<Framing>,
    /// Create Unix sockets too, where each program gets a copy of its own
    #[arg(long, hide = !words::HAS_SOCKETS)]
    pub(super) socket: bool,
}

/// By the names of the configuration, so that completions know them.
fn framing() -> impl TypedValueParser<Value = Framing> {
    let names = Framing::NAMED.map(|(name, _)| name);
    let of_name = |name: String| Framing::NAMED.iter().find(|(known, _)| *known == name).map(|(_, framing)| *framing);
    PossibleValuesParser::new(names).map(move |name| of_name(name).unwrap_or_default())
}

impl TakeArgs {
    /// These, and nothing else.
    pub(super) fn alone(self) -> BridgeArgs {
        BridgeArgs { take: self, ..BridgeArgs::default() }
    }
}

impl BridgeArgs {
    /// The options that were given.
    fn given(&self) -> Vec<&'static str> {
        let given = [
            (self.take.detach, "--detach"),
            (self.take.interface.is_some(), "--interface"),
            (self.alt.is_some(), "--alt"),
            (self.framing.is_some(), "--framing"),
            (self.socket, "--socket"),
        ];
        given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, name)| name).collect()
    }

    /// Refuses all options for a device of a daemon, which bridges it already.
    ///
    /// # Errors
    /// Which options were given, and where to set them instead.
    pub(super) fn refuse_for_daemon(&self, device: &str) -> Result<(), Failure> {
        let given = self.given().join(" and ");
        if given.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{given} cannot be used for {device:?}, which is a device of the daemon: set it in the daemon's configuration, \
             or select a device that no daemon has, as by 2341:0043"
        )))
    }

    /// Refuses what has no meaning for a selected device, whatever the device turns out to be.
    ///
    /// # Errors
    /// Which option that is, and why.
    pub(super) fn check(&self, selector: &Selector) -> Result<(), Failure> {
        if self.socket && !words::HAS_SOCKETS {
            return Err(Failure::usage(
                "--socket is for Unix: each named pipe of Windows serves several programs anyway",
            ));
        }
        let of_usb: Vec<&str> = self.given().into_iter().filter(|name| *name != "--socket").collect();
        match selector {
            Selector::Tty(_) if !of_usb.is_empty() => Err(Failure::usage(format!(
                "{selector} is a serial port of the system, for which {} cannot be used; name the USB device by its ids \
                 or its place, as `usbpipe list` shows them",
                of_usb.join(" and ")
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the device is wanted by USB, and not by the system's serial port.
    pub(super) fn wants_usb(&self) -> bool {
        self.take.detach || self.take.interface.is_some() || self.alt.is_some()
    }

    /// Sets what was given.
    pub(super) fn apply(&self, config: &mut DeviceConfig) {
        config.detach = self.take.detach;
        config.endpoints.interface = self.take.interface;
        config.endpoints.alt = self.alt;
        config.endpoints.framing = self.framing.unwrap_or_default();
        if self.socket {
            config.outlets.push(OutletKind::Socket);
        }
        if let Some(serial) = &mut config.serial {
            serial.outlets.clone_from(&config.outlets);
        }
    }

    /// The serial line of a device of which nothing else is wanted.
    pub(super) fn serial_line(&self, config: &DeviceConfig) -> SerialConfig {
        let driver = if self.take.detach { Driver::User } else { Driver::default() };
        let outlets = config.outlets.clone();
        SerialConfig { driver, interface: self.take.interface, outlets, ..SerialConfig::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_usb_are_refused_for_a_serial_port() {
        let options = BridgeArgs { framing: Some(Framing::Hex), alt: Some(1), ..BridgeArgs::default() };
        let problem = options.check(&"/dev/ttyACM0".parse().unwrap()).unwrap_err();
        assert_eq!(problem.code, 2);
        assert!(problem.message.starts_with("/dev/ttyACM0 is a serial port"), "{}", problem.message);
        assert!(problem.message.contains("--alt and --framing"), "{}", problem.message);
        assert!(options.check(&"2341:0043".parse().unwrap()).is_ok());
    }

    #[test]
    fn nothing_given_is_fine_everywhere() {
        let none = BridgeArgs::default();
        assert!(none.check(&"COM5".parse().unwrap()).is_ok() && none.refuse_for_daemon("zero").is_ok());
    }
}
