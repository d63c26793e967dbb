//! What Unix does not have; there is nothing that this version cannot do yet.

use toml::Spanned;

use super::OutletKind;
use super::typed::TypedDevice;
use super::unsupported::{Gap, Places};

pub(super) const GAPS: &[Gap] = &[
    (sddl, "security descriptors, which are Windows'; write `owner`, `group` and `mode` instead of `sddl`"),
    (pipes, "named pipes, which are Windows'; write \"fifo\" or \"socket\""),
];

fn pipes(device: &TypedDevice) -> Places {
    let serial = device.serials().filter_map(|serial| serial.get_ref().outlets.as_ref());
    let pipes = device.pipe.iter().filter_map(|pipe| pipe.get_ref().outlets.as_ref());
    let all = serial.chain(pipes).flat_map(Spanned::get_ref);
    all.filter(|outlet| *outlet.get_ref() == OutletKind::Pipe).map(Spanned::span).collect()
}

fn sddl(device: &TypedDevice) -> Places {
    let pipes = device.pipe.iter().map(|pipe| &pipe.get_ref().sddl);
    let serial = device.serials().map(|serial| &serial.get_ref().sddl);
    [&device.sddl].into_iter().chain(pipes).chain(serial).flatten().map(Spanned::span).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, unsupported};

    #[test]
    fn a_security_descriptor_is_understood_and_refused_wherever_it_stands() {
        let text = "[[device]]\nname = \"d\"\nmatch = { vid = 1 }\nsddl = \"D:(A;;GA;;;WD)\"\n[device.serial]\n\
                    driver = \"user\"\nsddl = \"D:(A;;GA;;;BU)\"\n[[device.pipe]]\nendpoint = 0x81\nsddl = \"D:(A;;GA;;;SY)\"\n";
        let device = Config::parse(text, Path::new("t.toml")).unwrap().devices.remove(0);
        let accesses = [&device.access, &device.serial.unwrap().access, &device.pipes[0].access];
        let texts = accesses.map(|access| access.sddl.as_deref().unwrap());
        assert_eq!(texts, ["D:(A;;GA;;;WD)", "D:(A;;GA;;;BU)", "D:(A;;GA;;;SY)"]);
        let refused = unsupported(text, Path::new("t.toml"));
        assert_eq!(refused.iter().map(|e| e.line).collect::<Vec<_>>(), [4, 7, 10]);
        assert!(refused.iter().all(|e| e.message.contains("not in this version") && e.message.contains("`owner`")));
    }

    #[test]
    fn named_pipes_are_refused_with_what_there_is_here() {
        let text = "[[device]]\nname = \"d\"\nmatch = { vid = 1 }\n[device.serial]\noutlets = [\"fifo\", \"pipe\"]\n\
                    [[device.pipe]]\nendpoint = 0x81\noutlets = [\"pipe\"]\n";
        let refused = unsupported(text, Path::new("t.toml"));
        assert_eq!(refused.iter().map(|e| e.line).collect::<Vec<_>>(), [5, 8]);
        assert!(refused.iter().all(|e| e.message.contains("write \"fifo\"")), "{refused:?}");
    }
}
