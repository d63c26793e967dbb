//! The marks of an axis: round numbers that are evenly spaced and enclose what is drawn.

/// Round bounds and the marks between them.
#[derive(Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    /// From `low` to `high`, both included.
    pub(super) marks: Vec<String>,
}

impl Scale {
    /// For numbers from `least` to `greatest`, with at most `most` steps between the marks (and at least two).
    pub(super) fn around(least: f64, greatest: f64, most: usize) -> Self {
        // A curve that does not move is in the middle.
        let room = if least == greatest { (least.abs() / 10.0).max(1.0) } else { 0.0 };
        let (least, greatest) = (least - room, greatest + room);
        let most = most.max(2) as f64;
        let mut step = round_step((greatest - least) / most);
        let ends = |step: f64| ((least / step).floor(), (greatest / step).ceil());
        while ends(step).1 - ends(step).0 > most {
            step = round_step(step * 1.5);
        }
        let (first, last) = ends(step);
        let marks = (0..=(last - first) as usize).map(|n| mark((first + n as f64) * step, step)).collect();
        Self { low: first * step, high: last * step, marks }
    }
}

/// 1, 2 or 5 times a power of ten, not less than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(SMALLEST_STEP).log10().floor());
    // What is too small by rounding alone will do.
    let fitting = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= least * (1.0 - 1e-9));
    fitting.unwrap_or(10.0) * power
}

fn mark(value: f64, step: f64) -> String {
    let value = if value.abs() < step / 2.0 { 0.0 } else { value };
    if value.abs() >= 1e7 || (step < 1e-4 && value != 0.0) {
        return format!("{value:.2e}");
    }
    let digits = (-step.log10().floor()).clamp(0.0, 4.0) as usize;
    format!("{value:.digits$}")
}

const SMALLEST_STEP: f64 = 1e-290;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_are_round() {
        assert_eq!(Scale::around(0.0, 100.0, 5).marks, ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(Scale::around(-0.3, 0.9, 4).marks, ["-0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(Scale::around(21.5, 21.5, 4).marks, ["18", "20", "22", "24"]);
        assert_eq!(Scale::around(2e9, 3e9, 2).marks, ["2.00e9", "2.50e9", "3.00e9"]);
    }

    proptest! {
        #[test]
        fn what_is_drawn_lies_between_the_bounds(a in -1e100f64..1e100, b in -1e100f64..1e100, most in 0usize..20) {
            let (least, greatest) = (a.min(b), a.max(b));
            let scale = Scale::around(least, greatest, most);
            let slack = least.abs().max(greatest.abs()) * 1e-9;
            prop_assert!(scale.low <= least + slack && scale.high >= greatest - slack && scale.low < scale.high);
            prop_assert!((2..=most.max(2) + 1).contains(&scale.marks.len()), "{scale:?}");
        }

        #[test]
        fn also_for_numbers_that_hardly_differ(a in -1e6f64..1e6, by in 0u32..50, most in 2usize..20) {
            let greatest = a + a.abs() * 2f64.powi(-(by as i32));
            let scale = Scale::around(a, greatest, most);
            prop_assert!(scale.low < scale.high && scale.marks.len() <= most + 1, "{scale:?}");
        }
    }
}
