//! What a person can do when a device is refused or a transfer fails: sentences only, nothing is looked up that is not
//! needed for them.

use super::TransferError;
use super::advice_here::transfer_memory_advice;
use super::descriptors::{AltSetting, Descriptors};
use super::errno::{ENOMEM, ENOSPC, EPROTO};

/// An interface is held by a kernel driver, or by another program where no driver is named. `others` are the programs
/// that have the device open, such as `heimdall (process 4711)`.
pub fn interface_busy(interface: u8, driver: Option<&str>, others: &[String]) -> String {
    match driver {
        Some("usbfs") | None => {
            let who = match others {
                [] => "another program".to_owned(),
                [only] => only.clone(),
                several => format!("one of the programs {}", several.join(", ")),
            };
            format!("interface {interface} is held by {who}; end that program, or release the device in it")
        }
        Some(driver @ "cdc_acm") => format!(
            "interface {interface} is held by the kernel driver {driver}; write driver = \"kernel\" to use its serial \
             port, or detach = true (--detach in a command) to take it for as long as usbpipe runs"
        ),
        Some(driver) => format!(
            "interface {interface} is held by the kernel driver {driver}; write detach = true in the device's \
             configuration, or --detach in the command, to take it for as long as usbpipe runs"
        ),
    }
}

/// That an endpoint is not there in each alternate setting of its interface, and how to select one that has it; nothing
/// where it always is. One line without a full stop.
pub fn endpoint_not_selected(d: &Descriptors, address: u8) -> Option<String> {
    let has = |s: &&AltSetting| s.endpoints.iter().any(|e| e.address == address);
    let interface = d.alt_settings.iter().find(has)?.interface;
    let (with, without): (Vec<&AltSetting>, Vec<&AltSetting>) =
        d.alt_settings.iter().filter(|s| s.interface == interface).partition(has);
    let first = with.first().filter(|_| !without.is_empty())?.setting;
    let numbers: Vec<String> = with.iter().map(|s| s.setting.to_string()).collect();
    Some(format!(
        "endpoint {address:#04x} is only there in alternate setting {} of interface {interface}, which must be selected; \
         the request `alt {interface} {first}` of `usbpipe control` does that, or in the configuration `interface = \
         {interface}` and `alt = {first}` in its [[device.pipe]]",
        numbers.join(" or ")
    ))
}

/// What to try after a transfer has failed; nothing where the error says all there is to say. One line without a full
/// stop.
pub fn transfer_failed(error: TransferError) -> Option<String> {
    match error {
        TransferError::Io(ENOMEM) => Some(transfer_memory_advice()),
        TransferError::Io(ENOSPC) => Some(
            "the bus has no time left for it; unplug another device of this bus, or choose an alternate setting with \
             smaller packets"
                .to_owned(),
        ),
        TransferError::Overflow | TransferError::Io(EPROTO) => Some(
            "try another cable or port, without a hub; if it stays, the firmware sends packets longer than the \
             wMaxPacketSize of its descriptors, or breaks off in the middle of one"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_an_interface_is_named() {
        let text = |others: &[&str]| {
            let others: Vec<String> = others.iter().map(|o| (*o).to_owned()).collect();
            interface_busy(2, Some("usbfs"), &others)
        };
        assert!(text(&[]).starts_with("interface 2 is held by another program; "));
        assert!(text(&["adb (process 7)"]).starts_with("interface 2 is held by adb (process 7); end that program"));
        assert!(
            text(&["a (process 1)", "b (process 2)"]).contains("one of the programs a (process 1), b (process 2);")
        );
    }
}
