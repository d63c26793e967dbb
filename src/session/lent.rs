//! The port of a board that is lent and for which this machine's kernel has none: a terminal that behaves as the port
//! would, for one program at a time.
//!
//! ```text
//!   waits ── a program opens it: the board is reset, DTR stays on ──► its bytes and its speed ── closed: DTR off ──► waits
//! ```
//!
//! It stands for as long as the device is lent, also while the board is away in its bootloader. It refuses to take part
//! in anything else: nobody else reads or writes meanwhile.

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::events::Events;
use crate::bridge::{Verdict, alone};
use crate::outlet::tty::{Change, Place, Settings, Tty, TtyListener, TtyNews, TtySink, TtySource};
use crate::outlet::{Access, Dir, DirError, Watcher};
use crate::serial::{Function, LineCoding, Step, upload};
use crate::usb::{OpenError, TransferError, UsbDevice};

/// The terminal.
pub(super) struct LentPort {
    listener: TtyListener,
    events: Events,
    device_name: String,
}

/// Resolves when the device is no longer lent. It is not asked again then.
pub(super) type Over<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// The board behind it, for one session.
pub(super) struct Board<'a> {
    pub(super) device: &'a Arc<dyn UsbDevice>,
    pub(super) function: Function,
    /// The reset profile.
    pub(super) profile: &'a str,
}

impl LentPort {
    /// Makes the terminal and the link to it.
    ///
    /// # Errors
    /// [`DirError`] when either cannot be made.
    pub(super) fn new(
        dir: Dir,
        access: Access,
        watcher: &Watcher,
        events: Events,
        device_name: &str,
    ) -> Result<Self, DirError> {
        let place = Place { dir, name: LENT_PORT.to_owned(), access };
        let listener = TtyListener::new(place, Settings { speed: USUAL_SPEED, ..Settings::default() }, watcher)?;
        Ok(Self { listener, events, device_name: device_name.to_owned() })
    }

    /// What programs open.
    pub(super) fn path(&self) -> PathBuf {
        self.listener.path()
    }

    /// Serves programs with this board until the loan is `over`; a program that is there then may still be sent for. True
    /// then, false when there are no more terminals.
    pub(super) async fn serve(&mut self, board: &Board<'_>, mut over: Over<'_>) -> bool {
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = self.listener.accept() => accepted,
                () = over.as_mut() => return true,
            };
            let tty = match accepted {
                Ok(tty) => tty,
                Err(e) => {
                    self.tell(e.to_string());
                    return false;
                }
            };
            let mut serving = pin!(board.serve(tty));
            tokio::select! {
                served = &mut serving => if let Err(e) = served { self.tell(e.to_string()) },
                () = over.as_mut() => {
                    let _ = timeout(FLUSH, serving).await;
                    return true;
                }
            }
        }
    }

    fn tell(&self, problem: String) {
        self.events.tell("error", &self.device_name, Some(LENT_PORT), problem);
    }
}

impl Board<'_> {
    /// One program, from its opening to its end.
    async fn serve(&self, tty: Tty) -> Result<(), OpenError> {
        let Tty { mut sink, mut source, mut news } = tty;
        self.play(upload(self.profile)).await;
        let bytes = async { tokio::try_join!(self.inward(&mut sink), self.outward(&mut source)) };
        let (moved, ()) = tokio::join!(bytes, self.settings(&mut news));
        self.hang_up().await;
        moved.map(drop)
    }

    /// As the kernel does at the last close (HUPCL). With a speed of 1200 before it, that is the touch.
    pub(super) async fn hang_up(&self) {
        self.play(vec![Step::Lines { dtr: false, rts: false }]).await;
    }

    async fn inward(&self, sink: &mut TtySink) -> Result<(), OpenError> {
        let endpoint = &self.function.bulk_in;
        let mut pipe = self.device.open_pipe(endpoint)?;
        loop {
            match alone::inward(&mut *pipe, sink, endpoint.max_packet_size).await {
                Verdict::Device(e) => self.go_on_after(e, endpoint.address).await,
                Verdict::Closed | Verdict::Outlet(_) | Verdict::Stopped => return Ok(()),
            }
        }
    }

    async fn outward(&self, source: &mut TtySource) -> Result<(), OpenError> {
        let endpoint = &self.function.bulk_out;
        let mut pipe = self.device.open_pipe(endpoint)?;
        loop {
            match alone::outward(&mut *pipe, source, OUT_TRANSFER).await {
                Verdict::Device(e) => self.go_on_after(e, endpoint.address).await,
                Verdict::Closed | Verdict::Outlet(_) | Verdict::Stopped => return Ok(()),
            }
        }
    }

    /// A halt is cleared. That the device has gone, others notice and drop all of this.
    async fn go_on_after(&self, error: TransferError, address: u8) {
        match error {
            TransferError::Disconnected => std::future::pending().await,
            TransferError::Stall => drop(self.device.clear_halt(address).await),
            _ => tokio::time::sleep(super::line::FIRST_PAUSE).await,
        }
    }

    /// Passes on the speeds that the program sets until it closes the terminal.
    async fn settings(&self, news: &mut TtyNews) {
        loop {
            match news.next().await {
                Change::Set(Settings { speed, .. }) if speed > 0 => self.set_speed(speed).await,
                Change::Closed => return,
                _ => {}
            }
        }
    }

    async fn set_speed(&self, baud: u32) {
        let Self { device, function, .. } = self;
        let Ok(now) = function.line_coding(&***device).await else { return };
        if now.baud != baud {
            let _ = function.set_line_coding(&***device, LineCoding { baud, ..now }).await;
        }
    }

    async fn play(&self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Begin => {}
                // A board without lines has nothing to reset.
                Step::Lines { dtr, rts } => drop(self.function.set_lines(&**self.device, dtr, rts).await),
            }
        }
    }
}

/// The link's name.
pub(super) const LENT_PORT: &str = "serial.lent";
/// Of the terminal until a program sets another: that of most bootloaders.
const USUAL_SPEED: u32 = 115_200;
const OUT_TRANSFER: usize = 4096;
/// How long what a program wrote may take to reach the board after the loan is over.
const FLUSH: Duration = Duration::from_secs(1);
