//! The numbers of a while, by name: what is drawn. Memory is bounded, whatever a device says.

use std::collections::VecDeque;

use super::reading::Reading;

/// All curves of a line.
#[derive(Debug, Clone, Default)]
pub(super) struct Curves {
    pub(super) all: Vec<Curve>,
    /// Of numbers that come without one.
    names: Vec<String>,
    /// Lines with numbers so far; each is a step to the right.
    pub(super) steps: u64,
    /// Lines without.
    pub(super) texts: u64,
    /// Numbers that found no curve.
    pub(super) surplus: u64,
}

/// One curve.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub(super) name: String,
    /// Step and number, the newest last.
    pub(super) points: VecDeque<(f64, f64)>,
}

impl Curves {
    /// Takes a line.
    pub(super) fn take(&mut self, reading: Reading) {
        match reading {
            Reading::Text => self.texts += 1,
            Reading::Names(names) => self.rename(names),
            Reading::Values(values) => {
                self.steps += 1;
                for (at, (name, value)) in values.into_iter().enumerate() {
                    let name = name.or_else(|| self.names.get(at).cloned());
                    self.add(&name.unwrap_or_else(|| format!("value {}", at + 1)), value);
                }
            }
        }
    }

    /// Begins anew; names stay.
    pub(super) fn clear(&mut self) {
        *self = Self { names: std::mem::take(&mut self.names), ..Self::default() };
    }

    /// The least and the greatest number from this step on.
    pub(super) fn bounds(&self, from: f64) -> Option<(f64, f64)> {
        let numbers = self.all.iter().flat_map(|curve| curve.since(from)).map(|(_, number)| number);
        numbers.fold(None, |bounds, number| {
            let (least, greatest) = bounds.unwrap_or((number, number));
            Some((number.min(least), number.max(greatest)))
        })
    }

    fn rename(&mut self, names: Vec<String>) {
        if names != self.names {
            self.clear();
            self.names = names;
        }
    }

    fn add(&mut self, name: &str, value: f64) {
        let at = match self.all.iter().position(|curve| curve.name == name) {
            Some(at) => at,
            None if self.all.len() < MOST_CURVES => {
                self.all.push(Curve { name: name.to_owned(), points: VecDeque::new() });
                self.all.len() - 1
            }
            None => {
                self.surplus += 1;
                return;
            }
        };
        let points = &mut self.all[at].points;
        if points.len() == MOST_POINTS {
            points.pop_front();
        }
        points.push_back((self.steps as f64, value));
    }
}

impl Curve {
    /// Points from this step on.
    pub(super) fn since(&self, from: f64) -> impl Iterator<Item = (f64, f64)> {
        let first = self.points.partition_point(|(step, _)| *step < from);
        self.points.range(first..).copied()
    }
}

/// More cannot be told apart.
pub(super) const MOST_CURVES: usize = 12;
/// Points that are remembered of a curve.
pub(super) const MOST_POINTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn curves(lines: &[&str]) -> Curves {
        let mut curves = Curves::default();
        lines.iter().for_each(|line| curves.take(Reading::of(line)));
        curves
    }

    fn names(curves: &Curves) -> Vec<&str> {
        curves.all.iter().map(|curve| curve.name.as_str()).collect()
    }

    #[test]
    fn numbers_go_to_the_curve_of_their_name_or_place() {
        let curves = curves(&["1,2", "hello", "3,4"]);
        assert_eq!((names(&curves), curves.steps, curves.texts), (vec!["value 1", "value 2"], 2, 1));
        assert_eq!(curves.all[1].points, [(1.0, 2.0), (2.0, 4.0)]);
        assert_eq!((curves.bounds(0.0), curves.bounds(2.0)), (Some((1.0, 4.0)), Some((3.0, 4.0))));
    }

    #[test]
    fn a_line_of_names_begins_anew_when_it_says_something_new() {
        let curves = curves(&["9 9", "temp,hum", "1,2", "temp,hum", "3,4,5"]);
        assert_eq!(names(&curves), ["temp", "hum", "value 3"]);
        assert_eq!(curves.all[0].points, [(1.0, 1.0), (2.0, 3.0)]);
    }

    #[test]
    fn no_device_makes_it_grow() {
        let mut curves = Curves::default();
        for n in 0..MOST_POINTS as u64 + 100 {
            curves.take(Reading::of(&format!("a:{n} name{n}:1")));
        }
        assert_eq!((curves.all.len(), curves.all[0].points.len()), (MOST_CURVES, MOST_POINTS));
        assert_eq!(curves.surplus, MOST_POINTS as u64 + 100 - (MOST_CURVES as u64 - 1));
    }
}
