//! What `top` knows: the last status, and how fast each pipe was for a while. It takes statuses and the time, and reads
//! no clock.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::session::{DeviceStatus, PipeStatus};

/// All pipes of a daemon.
#[derive(Debug, Default)]
pub(super) struct Model {
    devices: Vec<DeviceStatus>,
    paces: HashMap<(String, String), Pace>,
    at: Option<Instant>,
    /// Why there is no news, if there is none.
    pub(super) problem: Option<String>,
}

/// How fast a pipe is.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes: u64,
    /// Bytes a second at each update, the newest last.
    history: VecDeque<u64>,
}

/// A pipe, or a device that has none yet.
pub(super) struct Row<'a> {
    pub(super) device: &'a DeviceStatus,
    pub(super) pipe: Option<&'a PipeStatus>,
    pace: Option<&'a Pace>,
}

impl Model {
    /// Takes what the daemon says `now`.
    pub(super) fn update(&mut self, devices: Vec<DeviceStatus>, now: Instant) {
        let elapsed = self.at.replace(now).map(|then| now.duration_since(then).as_secs_f64());
        let mut before = std::mem::take(&mut self.paces);
        for (device, pipe) in devices.iter().flat_map(|d| d.pipes.iter().map(move |p| (d, p))) {
            let key = (device.name.clone(), pipe.outlet.clone());
            let mut pace = before.remove(&key).unwrap_or_else(|| Pace::from(pipe.counters.bytes));
            pace.update(pipe.counters.bytes, elapsed);
            self.paces.insert(key, pace);
        }
        self.devices = devices;
        self.problem = None;
    }

    /// The daemon says nothing any more.
    pub(super) fn lose(&mut self, problem: &str) {
        self.problem = Some(problem.to_owned());
        self.paces.values_mut().for_each(|pace| pace.history.clear());
        self.at = None;
    }

    /// All pipes in the order of the daemon, which is that of the devices' names.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let of_device = |device| {
            let row = move |pipe| Row { device, pipe, pace: pipe.and_then(|pipe| self.pace(device, pipe)) };
            let none = device.pipes.is_empty().then(|| row(None));
            none.into_iter().chain(device.pipes.iter().map(move |pipe| row(Some(pipe))))
        };
        self.devices.iter().flat_map(of_device).collect()
    }

    fn pace(&self, device: &DeviceStatus, pipe: &PipeStatus) -> Option<&Pace> {
        self.paces.get(&(device.name.clone(), pipe.outlet.clone()))
    }

    /// How many devices there are, and how many of them are attached.
    pub(super) fn devices(&self) -> (usize, usize) {
        (self.devices.len(), self.devices.iter().filter(|d| d.state == "attached").count())
    }

    /// Bytes a second of all pipes in this direction, `in` or `out`.
    pub(super) fn rate(&self, direction: &str) -> u64 {
        let is_meant = |row: &Row<'_>| row.pipe.is_some_and(|pipe| pipe.direction == direction);
        self.rows().iter().filter(|row| is_meant(row)).map(Row::rate).sum()
    }
}

impl Row<'_> {
    /// Bytes a second now.
    pub(super) fn rate(&self) -> u64 {
        self.history().next().unwrap_or(0)
    }

    /// Bytes a second at each update, the newest first.
    pub(super) fn history(&self) -> impl Iterator<Item = u64> {
        self.pace.into_iter().flat_map(|pace| pace.history.iter().rev().copied())
    }
}

impl Pace {
    fn from(bytes: u64) -> Self {
        Self { bytes, history: VecDeque::new() }
    }

    /// Counters begin anew with each daemon.
    fn update(&mut self, bytes: u64, elapsed: Option<f64>) {
        let moved = bytes.saturating_sub(self.bytes);
        self.bytes = bytes;
        let Some(elapsed) = elapsed.filter(|&seconds| seconds > 0.0) else { return };
        self.history.push_back((moved as f64 / elapsed).round() as u64);
        if self.history.len() > REMEMBERED {
            self.history.pop_front();
        }
    }
}

/// Updates that are remembered of a pipe: as many as a wide screen shows.
const REMEMBERED: usize = 240;

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// A device with one pipe that has moved so many bytes.
    pub(in super::super) fn device(name: &str, bytes: u64) -> DeviceStatus {
        let pipe = json!({
            "outlet": "ep_81", "endpoint": "0x81", "direction": "in", "type": "bulk", "max_packet_size": 512,
            "path": format!("/run/usbpipe/{name}/ep_81"),
            "open": true, "opens": 1, "transfers": 3, "bytes": bytes, "packets": 0, "stalls": 0, "errors": 0,
            "lost_packets": 0, "lost_bytes": 0, "discarded_bytes": 0, "underruns": 0, "bad_messages": 0,
        });
        let device = json!({ "name": name, "state": "attached", "sessions": 1, "pipes": [pipe] });
        serde_json::from_value(device).unwrap()
    }

    #[test]
    fn a_rate_is_what_moved_since_the_last_look() {
        let (mut model, start) = (Model::default(), Instant::now());
        for (seconds, bytes) in [(0, 1_000_000), (1, 1_500_000), (3, 1_700_000)] {
            model.update(vec![device("zero", bytes)], start + Duration::from_secs(seconds));
        }
        assert_eq!(model.rows()[0].history().collect::<Vec<_>>(), [100_000, 500_000]);
        assert_eq!((model.rate("in"), model.rate("out"), model.devices()), (100_000, 0, (1, 1)));
    }

    #[test]
    fn a_daemon_that_was_started_anew_is_no_rate_below_zero() {
        let (mut model, start) = (Model::default(), Instant::now());
        model.update(vec![device("zero", 5000)], start);
        model.update(vec![device("zero", 10)], start + Duration::from_secs(1));
        assert_eq!(model.rate("in"), 0);
        model.lose("no daemon");
        model.update(vec![device("zero", 5000)], start + Duration::from_secs(9));
        assert_eq!(model.rows()[0].history().count(), 0, "nobody knows what was in between");
    }

    #[test]
    fn memory_does_not_grow_with_time_or_with_devices_that_have_gone() {
        let (mut model, start) = (Model::default(), Instant::now());
        for n in 0..1000 {
            model.update(vec![device("zero", n), device(&format!("device-{n}"), 0)], start + Duration::from_secs(n));
        }
        assert_eq!((model.paces.len(), model.rows()[0].history().count()), (2, REMEMBERED));
    }
}
