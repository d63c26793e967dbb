//! What is printed: a header, one line a figure on stdout, and what it means on stderr.

/// The figures of one side, one a run.
pub(crate) struct Runs(Vec<f64>);

/// Prints figures as they become known.
pub(crate) struct Table(());

impl Runs {
    pub(crate) fn of(runs: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = runs.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len().is_multiple_of(2) { (self.0[middle - 1] + self.0[middle]) / 2.0 } else { self.0[middle] }
    }

    fn span(&self) -> String {
        format!("{} to {}", short(self.0[0]), short(self.0[self.0.len() - 1]))
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        print(&format!("{:<34} {:>10} {:>10} {:>6}", "name", "usbpipe", "reference", "ratio"));
        Self(())
    }

    /// Medians of both sides and their ratio on stdout; the spread of the runs on stderr.
    pub(crate) fn figure(&mut self, name: &str, usbpipe: &Runs, reference: &Runs) {
        let (ours, theirs) = (usbpipe.median(), reference.median());
        print(&format!("{name:<34} {:>10} {:>10} {:>6.2}", short(ours), short(theirs), ours / theirs));
        let runs = usbpipe.0.len();
        self.note(&format!("{name}: {runs} runs, usbpipe {}, reference {}", usbpipe.span(), reference.span()));
    }

    pub(crate) fn note(&mut self, text: &str) {
        eprintln!("# {text}");
    }
}

/// About three digits.
fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

#[allow(clippy::print_stdout, reason = "the figures are this program's output")]
fn print(line: &str) {
    println!("{line}");
}
