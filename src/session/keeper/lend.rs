//! The keeper while its device is lent: waits for it, and serves the borrower a port where the kernel has none.

use std::pin::pin;

use super::outlets::access;
use super::{FIRST_RETRY, Keeper, LONGEST_RETRY};
use crate::session::backoff::Backoff;
use crate::session::follow::Follow;
use crate::session::lent::{self, LENT_PORT, LentPort};
use crate::session::line::stopped;
use crate::session::locate::Found;
use crate::session::plan;

impl Keeper {
    /// While the device is lent. A borrower that needs a port is served one where the kernel has none.
    pub(super) async fn wait_for_return(&mut self) {
        let (shared, mut stop) = (self.shared.clone(), self.stop.clone());
        let serves = self.config.remote.is_some() && shared.loan.wants_port();
        let over = pin!(async {
            tokio::select! {
                () = shared.loan.is_returned() => {}
                () = stopped(&mut stop) => {}
            }
        });
        if serves {
            self.serve_lent_port(over).await;
            shared.loan.set_port(None);
            self.outlets.dir.remove(LENT_PORT);
        } else {
            over.await;
        }
    }

    async fn serve_lent_port(&mut self, mut over: lent::Over<'_>) {
        let (access, events) = (access(&self.config.access), self.surroundings.events.clone());
        let (dir, watcher) = (self.outlets.dir.clone(), &self.surroundings.watcher);
        let mut port = match LentPort::new(dir, access, watcher, events, &self.config.name) {
            Ok(port) => port,
            Err(e) => {
                self.shared.tell("error", e.to_string());
                return over.await;
            }
        };
        self.shared.loan.set_port(Some(port.path()));
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        loop {
            let found = tokio::select! {
                found = self.follow.locate(&self.config, &self.surroundings.own) => found,
                () = over.as_mut() => return,
            };
            match found {
                Ok(found) => {
                    backoff.reset();
                    if self.serve_lent_board(&mut port, found, over.as_mut()).await {
                        return;
                    }
                }
                Err(e) => tracing::debug!("{}: the lent port waits for the board: {e}", self.config.name),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.step()) => {}
                () = over.as_mut() => return,
            }
        }
    }

    /// Until the board goes, or the loan is over: true then.
    async fn serve_lent_board(&mut self, port: &mut LentPort, found: Found, over: lent::Over<'_>) -> bool {
        let Found { device, port: plug, .. } = found;
        let device = self.shared.tap.wrap(device);
        self.follow = Follow::of(device.descriptors(), plug.as_deref());
        let Some(function) = plan::serial_function(&self.config, device.descriptors()) else { return false };
        let profile = self.config.serial_lines().next().map(|(_, s)| s.clone()).unwrap_or_default().profile;
        let board = lent::Board { device: &device, function, profile: &profile };
        let is_over = tokio::select! {
            is_over = port.serve(&board, over) => is_over,
            _ = device.gone() => false,
        };
        if is_over {
            board.hang_up().await;
        }
        device.give_back().await;
        is_over
    }
}
