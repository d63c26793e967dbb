//! What a person can do when a device is refused: sentences only, nothing is looked up that is not needed for them.

/// An interface is held by a kernel driver, or by another program where no driver is named.
pub fn interface_busy(interface: u8, driver: Option<&str>) -> String {
    match driver {
        Some("usbfs") | None => {
            format!("interface {interface} is held by another program; end that program, or release the device in it")
        }
        Some(driver @ "cdc_acm") => format!(
            "interface {interface} is held by the kernel driver {driver}; write driver = \"kernel\" to use its serial \
             port, or detach = true to take it for as long as the daemon runs"
        ),
        Some(driver) => format!(
            "interface {interface} is held by the kernel driver {driver}; write detach = true in the device's \
             configuration to take it for as long as the daemon runs"
        ),
    }
}
