//! Large numbers in few characters.

/// At most four characters: `0`, `999`, `1.2k`, `12k`, `120M`. A unit may follow.
pub(super) fn amount(n: u64) -> String {
    if n < 1000 {
        return n.to_string();
    }
    let (mut value, mut prefix) = (n as f64, ' ');
    for next in ['k', 'M', 'G', 'T', 'P', 'E'] {
        // What would be rounded to a thousand belongs to the next prefix.
        if value < 999.5 {
            break;
        }
        (value, prefix) = (value / 1000.0, next);
    }
    if value < 9.95 { format!("{value:.1}{prefix}") } else { format!("{value:.0}{prefix}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(0, "0"), (999, "999"), (1000, "1.0k"), (1234, "1.2k"), (12_345, "12k"), (999_499, "999k")];
        for (n, text) in cases.into_iter().chain([(999_500, "1.0M"), (u64::MAX, "18E")]) {
            assert_eq!(amount(n), text);
        }
    }

    proptest! {
        #[test]
        fn no_number_is_long(n in any::<u64>()) {
            prop_assert!(amount(n).len() <= 4, "{}", amount(n));
        }
    }
}
