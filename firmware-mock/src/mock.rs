//! The mock as a whole: devices on their ports, behind a server.
//!
//! One job: build the ports from a list of kinds. It refuses to open sockets: they are handed in.

use std::io;
use std::time::Instant;

use tokio::net::TcpListener;

use crate::board::{Board, Program};
use crate::direct::{Direct, Regs, Tone, Zero};
use crate::fault::Command;
use crate::function::Function;
use crate::kind::DeviceKind;
use crate::odd::OddFunction;
use crate::os::ControlListener;
use crate::port::Port;
use crate::server::{self, hub::Hub};

/// Simulated devices, powered and enumerated, waiting to be served.
pub struct Mock {
    hub: Hub,
}

impl Mock {
    /// Plugs the devices in. The first of each kind has the kind's name and bus id; a second one is a twin,
    /// `zero-2`, on the next free port after 1-7, and so is each odd device.
    pub fn new(devices: &[DeviceKind]) -> Self {
        let now = Instant::now();
        let mut ports = Vec::with_capacity(devices.len());
        let mut next_port = DeviceKind::ALL.len() as u32;
        for (position, &kind) in devices.iter().enumerate() {
            let number = 1 + devices[..position].iter().filter(|&&before| before == kind).count();
            let name = if number == 1 { kind.name().to_owned() } else { format!("{}-{number}", kind.name()) };
            let port = kind.port().filter(|_| number == 1).unwrap_or_else(|| {
                next_port += 1;
                next_port
            });
            ports.push((name, port, Port::new(plug(kind, number, now), now)));
        }
        Self { hub: Hub::new(ports) }
    }

    /// Name and bus id of every device, in the order given to [`Mock::new`].
    pub fn busids(&self) -> Vec<(String, String)> {
        self.hub.busids()
    }

    /// Name, bus id, idVendor and idProduct of every device that is plugged in.
    pub fn devices(&self) -> Vec<(String, String, u16, u16)> {
        let records = self.hub.records();
        let ids = |busid: &str| records.iter().map(|(record, _)| record).find(|record| record.busid == busid);
        let with_ids = |(name, busid): (String, String)| {
            let record = ids(&busid)?;
            Some((name, busid, record.vendor_id, record.product_id))
        };
        self.busids().into_iter().filter_map(with_ids).collect()
    }

    /// Lets a fault happen before anybody is served.
    ///
    /// # Errors
    /// A text that names what there is when the device or the endpoint does not exist.
    pub fn apply(&self, command: &Command) -> Result<(), String> {
        self.hub.apply(command)
    }

    /// Serves USB/IP on `listener`, and fault commands on `control`, until `shutdown` resolves.
    ///
    /// # Errors
    /// When the server cannot go on; a connection that fails is none of these.
    pub async fn serve(
        self,
        listener: TcpListener,
        control: Option<ControlListener>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        server::run(self.hub, listener, control, shutdown).await
    }
}

/// The `number`th device of its kind.
fn plug(kind: DeviceKind, number: usize, now: Instant) -> Box<dyn Function> {
    let board = |program, serial| Box::new(Board::new(program, serial, now));
    match kind {
        DeviceKind::Uno => board(Program::Uno, Some(format!("MOCK-UNO-{number}"))),
        DeviceKind::Leonardo => board(Program::Leonardo, None),
        DeviceKind::Knob => board(Program::Knob, None),
        DeviceKind::Echo => board(Program::Echo, None),
        DeviceKind::Zero => Box::new(Direct::<Zero>::new()),
        DeviceKind::Tone => Box::new(Direct::<Tone>::new()),
        DeviceKind::Regs => Box::new(Direct::<Regs>::new()),
        DeviceKind::Odd(odd) => Box::new(OddFunction::new(odd)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn serving_can_be_moved_to_another_thread() {
        fn send<F: Future + Send>(future: F) -> F {
            future
        }
        let mock = Mock::new(&DeviceKind::ALL);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        send(mock.serve(listener, None, async {})).await.expect("a clean end");
    }

    #[test]
    fn names_and_bus_ids_follow_the_order_given() {
        let busids = Mock::new(&[DeviceKind::Zero, DeviceKind::Zero, DeviceKind::Uno]).busids();
        let expected = [("zero", "1-3"), ("zero-2", "1-8"), ("uno", "1-1")];
        assert_eq!(busids, expected.map(|(name, busid)| (name.to_owned(), busid.to_owned())));
    }
}
