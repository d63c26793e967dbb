//! What Windows does not have, and what this version cannot do there.

use toml::Spanned;

use super::OutletKind;
use super::typed::TypedDevice;
use super::unsupported::{Gap, Places};

pub(super) const GAPS: &[Gap] = &[
    (
        owners_and_modes,
        "owners, groups and permission bits, which are Unix's; write `sddl` instead of `owner`, `group` and `mode`",
    ),
    (
        |device| outlets(device, &[OutletKind::Fifo, OutletKind::Socket]),
        "FIFOs and Unix sockets, of which Windows has none; write \"pipe\", a named pipe, which several programs can open, \
         or leave `outlets` out",
    ),
    (
        |device| outlets(device, &[OutletKind::Tty]),
        "terminals; the pipe `serial` goes both ways, and `usbpipe serial NAME` sets its speed. Leave \"tty\" out",
    ),
];

fn owners_and_modes(device: &TypedDevice) -> Places {
    let pipes = device.pipe.iter().map(Spanned::get_ref);
    let serial = device.serials().map(Spanned::get_ref);
    let names = [&device.owner, &device.group].into_iter();
    let names = names.chain(pipes.clone().flat_map(|pipe| [&pipe.owner, &pipe.group]));
    let names = names.chain(serial.flat_map(|serial| [&serial.owner, &serial.group])).flatten().map(Spanned::span);
    let modes = [&device.mode].into_iter().chain(pipes.map(|pipe| &pipe.mode)).flatten().map(Spanned::span);
    names.chain(modes).collect()
}

/// Outlets of these kinds, wherever they stand.
fn outlets(device: &TypedDevice, kinds: &[OutletKind]) -> Places {
    let serial = device.serials().filter_map(|serial| serial.get_ref().outlets.as_ref());
    let pipes = device.pipe.iter().filter_map(|pipe| pipe.get_ref().outlets.as_ref());
    let all = serial.chain(pipes).flat_map(Spanned::get_ref);
    all.filter(|outlet| kinds.contains(outlet.get_ref())).map(Spanned::span).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::unsupported;

    #[test]
    fn owners_modes_and_terminals_are_refused_with_what_to_write_instead() {
        let text = "[[device]]\nname = \"d\"\nmatch = { vid = 1 }\ngroup = \"dialout\"\nmode = 0o600\n[device.serial]\n\
                    outlets = [\"fifo\", \"tty\"]\n[[device.pipe]]\nendpoint = 0x81\nsddl = \"D:(A;;GA;;;SY)\"\n";
        let refused = unsupported(text, Path::new("t.toml"));
        assert_eq!(refused.iter().map(|e| e.line).collect::<Vec<_>>(), [4, 5, 7, 7]);
        assert!(refused[..2].iter().all(|e| e.message.contains("write `sddl`")), "{refused:?}");
        assert!(refused[2].message.contains("\"pipe\""), "{refused:?}");
        assert!(refused[3].message.contains("`serial`"), "{refused:?}");
    }
}
