//! The frame clock of isochronous endpoints.
//!
//! One job: say which packets' frames have passed, and how many frames passed without a packet. It refuses to
//! tick: everything is derived from `now` when somebody asks.
//!
//! ```text
//!            begin                        served all                  begin, 1 s later
//!  no stream ─────▶ running (next frame) ───────────▶ waiting ─────────────────────────▶ a new stream
//!                       ▲                                │
//!                       ├── begin in time: frames are caught up, nothing is lost ◀──┤
//!                       └── begin too late: the frames in between are a gap ◀───────┘
//! ```
//!
//! A host controller that has packets queued never misses a frame, so frames are served one after the other up to
//! `now`, however late that is. When all packets are served, the host needs a moment to queue the next: the clock
//! waits, and what the host takes is borrowed time. Up to [`SLACK`] is lent, and forgiven when the stream has
//! caught up with real time; beyond it the frames that passed are lost, as they would be on a bus.

use std::time::{Duration, Instant};

/// Counts milliseconds from its creation; frame `n` lasts from `n` to `n + 1`.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameClock(Instant);

/// The schedule of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The frame that the next packet goes into.
    next: u64,
    /// When the packets ran out; none while some are queued or before the stream began.
    waiting_since: Option<Instant>,
    borrowed: Duration,
    begun: bool,
}

impl FrameClock {
    pub(super) fn new(now: Instant) -> Self {
        Self(now)
    }

    /// The frame that `now` is in: all before it have passed.
    pub(super) fn frame(self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX)
    }

    /// When the frame has passed.
    pub(super) fn end_of(self, frame: u64) -> Instant {
        self.0 + Duration::from_millis(frame + 1)
    }
}

impl Stream {
    /// Packets are queued where none were. Answers the frames lost since.
    pub(super) fn begin(&mut self, clock: FrameClock, now: Instant) -> u64 {
        let current = clock.frame(now);
        let pause = self.waiting_since.take().map(|since| now.saturating_duration_since(since));
        let Some(pause) = pause.filter(|&pause| self.begun && pause < NEW_STREAM) else {
            *self = Self { next: current + 1, begun: true, ..Self::default() };
            return 0;
        };
        let missed = current.saturating_sub(self.next);
        if missed == 0 {
            return 0;
        }
        self.borrowed += pause;
        if self.borrowed <= SLACK {
            return 0;
        }
        self.borrowed = Duration::ZERO;
        self.next = current;
        missed
    }

    /// The frame of the next packet, if it has passed.
    pub(super) fn serve(&mut self, clock: FrameClock, now: Instant) -> Option<u64> {
        if self.next >= clock.frame(now) {
            self.borrowed = Duration::ZERO;
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// No packet is left.
    pub(super) fn ran_out(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// When so many more packets will have been served.
    pub(super) fn served_at(&self, clock: FrameClock, packets: usize) -> Instant {
        clock.end_of(self.next + (packets as u64).saturating_sub(1))
    }
}

/// How long the host may take in all to queue the next packets.
const SLACK: Duration = Duration::from_millis(20);
/// After such a pause nobody takes it for the same stream.
const NEW_STREAM: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        clock: FrameClock,
        start: Instant,
        stream: Stream,
    }

    impl Bench {
        fn new() -> Self {
            let start = Instant::now();
            Self { clock: FrameClock::new(start), start, stream: Stream::default() }
        }

        fn at(&self, us: u64) -> Instant {
            self.start + Duration::from_micros(us)
        }

        fn begin(&mut self, us: u64) -> u64 {
            self.stream.begin(self.clock, self.at(us))
        }

        /// Serves up to `packets` at this time and says which frames they went into.
        fn serve(&mut self, us: u64, packets: usize) -> Vec<u64> {
            let now = self.at(us);
            let frames: Vec<u64> = std::iter::from_fn(|| self.stream.serve(self.clock, now)).take(packets).collect();
            if frames.len() == packets {
                self.stream.ran_out(now);
            }
            frames
        }
    }

    #[test]
    fn packets_are_served_when_their_frames_have_passed() {
        let mut bench = Bench::new();
        assert_eq!(bench.begin(10_500), 0);
        assert_eq!(bench.stream.served_at(bench.clock, 3), bench.at(14_000));
        assert_eq!(bench.serve(11_999, 3), []);
        assert_eq!(bench.serve(13_000, 3), [11, 12]);
        assert_eq!(bench.serve(14_000, 1), [13]);
    }

    #[test]
    fn a_late_server_catches_up_without_a_gap() {
        let mut bench = Bench::new();
        bench.begin(0);
        assert_eq!(bench.serve(60_000, 8).len(), 8);
        assert_eq!(bench.begin(60_300), 0);
        assert_eq!(bench.serve(60_300, 8), (9..17).collect::<Vec<_>>());
    }

    #[test]
    fn a_host_that_pauses_longer_than_the_slack_loses_the_frames_between() {
        let mut bench = Bench::new();
        bench.begin(0);
        assert_eq!(bench.serve(9_000, 8), (1..9).collect::<Vec<_>>());
        assert_eq!(bench.begin(49_000), 40);
        assert_eq!(bench.serve(51_000, 2), [49, 50]);
    }

    #[test]
    fn a_host_that_is_always_a_little_late_cannot_borrow_for_ever() {
        let mut bench = Bench::new();
        bench.begin(0);
        bench.serve(9_000, 8);
        assert_eq!(bench.begin(24_000), 0);
        bench.serve(24_000, 8);
        assert!(bench.begin(39_000) > 0);
    }

    #[test]
    fn borrowed_time_is_forgiven_when_the_stream_has_caught_up() {
        let mut bench = Bench::new();
        bench.begin(0);
        bench.serve(9_000, 8);
        for round in 0..5 {
            let start = 9_000 + round * 100_000;
            assert_eq!(bench.begin(start + 15_000), 0);
            assert_eq!(bench.serve(start + 50_000, 100).len(), 50);
            assert_eq!(bench.serve(start + 100_000, 50).len(), 50);
        }
    }

    #[test]
    fn a_pause_of_a_second_is_the_end_and_not_a_gap() {
        let mut bench = Bench::new();
        bench.begin(0);
        bench.serve(9_000, 8);
        assert_eq!(bench.begin(1_100_000), 0);
        assert_eq!(bench.serve(1_102_000, 1), [1101]);
    }
}
