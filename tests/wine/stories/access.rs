//! Who may open a pipe.

use std::os::windows::io::AsRawHandle;
use std::ptr::null_mut;

use firmware_mock::DeviceKind::Knob;
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::DACL_SECURITY_INFORMATION;

use crate::common::{Bus, Daemon, output, usbpipe};

/// The access list of an outlet, as text.
fn dacl(daemon: &Daemon, outlet: &str) -> String {
    let pipe = daemon.reader(outlet);
    let (mut descriptor, mut text, mut length) = (null_mut(), null_mut(), 0);
    // SAFETY: the handle is open, and the places for the results outlive the calls; both results are freed.
    unsafe {
        let none = null_mut();
        let parts = DACL_SECURITY_INFORMATION;
        let code = GetSecurityInfo(
            pipe.as_raw_handle(),
            SE_KERNEL_OBJECT,
            parts,
            none,
            none.cast(),
            none.cast(),
            none.cast(),
            &mut descriptor,
        );
        assert_eq!(code, 0);
        let done = ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor,
            SDDL_REVISION_1,
            parts,
            &mut text,
            &mut length,
        );
        assert_ne!(done, 0);
        let units = std::slice::from_raw_parts(text, length as usize);
        let shown = String::from_utf16_lossy(units).trim_end_matches('\0').to_owned();
        LocalFree(text.cast());
        LocalFree(descriptor);
        shown
    }
}

#[test]
fn by_default_a_pipe_is_for_its_user_administrators_and_the_system() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    let list = dacl(&daemon, "knob/ep_81");
    assert!(list.contains(";SY)") && list.contains(";BA)"), "{list}");
    assert!(!list.contains(";WD)") && !list.contains(";BU)") && !list.contains(";AN)"), "{list}");
}

#[test]
fn the_configuration_says_who_else_may_open_a_pipe() {
    let bus = Bus::with(&[Knob]);
    let device = "sddl = \"D:(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;IU)\"\n[[device.pipe]]\nendpoint = 0x81\n\
                  [[device.pipe]]\nendpoint = 0x01\nsddl = \"D:(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;BU)\"\n";
    let daemon = Daemon::run(&bus.device("knob", device));
    let list = dacl(&daemon, "knob/ep_81");
    assert!(list.contains(";IU)") && !list.contains(";BU)"), "{list}");
}

#[test]
fn what_is_no_security_descriptor_is_refused_at_the_start() {
    let bus = Bus::with(&[Knob]);
    let config = bus.device("knob", "sddl = \"everybody\"\n");
    let file = std::env::temp_dir().join("usbpipe-no-sddl.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = usbpipe();
    command.args(["--dir", r"\\.\pipe\usbpipe-no-sddl", "-c"]).arg(&file).arg("run");
    let output = output(&mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("sddl"), "{said}");
}
