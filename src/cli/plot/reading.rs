//! Numbers in a line of text, as the serial plotter of the Arduino IDE finds them: `1,2`, `temp:21.5 hum:40`, separated by
//! commas, blanks or tabs. A line of names, separated by commas or tabs, names the numbers of those that follow.

/// What a line turned out to be.
#[derive(Debug, PartialEq)]
pub(super) enum Reading {
    /// Numbers, some of them with names.
    Values(Vec<(Option<String>, f64)>),
    /// Names for numbers that have none.
    Names(Vec<String>),
    /// Anything else.
    Text,
}

impl Reading {
    /// Reads one line. Where a number has a name, words without a number are passed over, and so is a unit behind a
    /// number; where none has, every word must be a number.
    pub(super) fn of(line: &str) -> Self {
        let words = words(line);
        let values: Vec<(Option<String>, f64)> = words.iter().filter_map(|word| labelled(word)).collect();
        if !values.is_empty() {
            return Self::Values(values);
        }
        let numbers: Option<Vec<f64>> = words.iter().map(|word| number(word)).collect();
        match numbers {
            Some(numbers) if !numbers.is_empty() => Self::Values(numbers.into_iter().map(|n| (None, n)).collect()),
            _ => names(line).map_or(Self::Text, Self::Names),
        }
    }
}

/// Words, where a blank behind a colon separates nothing.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in line.split([',', ' ', '\t', '\r']).filter(|word| !word.is_empty()).take(MOST_WORDS) {
        match words.last_mut().filter(|label| label.len() > 1 && label.ends_with(':')) {
            Some(label) => label.push_str(word),
            None => words.push(word.to_owned()),
        }
    }
    words
}

/// `label:number`, with or without a unit.
fn labelled(word: &str) -> Option<(Option<String>, f64)> {
    let (label, value) = word.rsplit_once(':')?;
    let label: String = label.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    let end = value.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |at| at + 1);
    let number = number(value).or_else(|| number(&value[..end]))?;
    (!label.is_empty()).then_some((Some(label), number))
}

/// A number as people write it; no infinities, and none that is beyond all measure.
fn number(word: &str) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let number: f64 = word.chars().all(is_part).then(|| word.parse().ok())??;
    (number.abs() <= LARGEST).then_some(number)
}

fn names(line: &str) -> Option<Vec<String>> {
    let names: Vec<String> = line.split([',', '\t']).map(|name| name.trim().to_owned()).take(MOST_WORDS).collect();
    let is_name = |name: &String| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().count() <= LONGEST_NAME
            && !name.contains(|c: char| c.is_control() || c == ':')
    };
    (names.len() > 1 && names.iter().all(is_name)).then_some(names)
}

const LARGEST: f64 = 1e100;
const MOST_WORDS: usize = 64;
const LONGEST_NAME: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(line: &str) -> Vec<(Option<String>, f64)> {
        match Reading::of(line) {
            Reading::Values(values) => values,
            other => panic!("{line:?} is {other:?}"),
        }
    }

    #[test]
    fn numbers_are_separated_by_commas_blanks_or_tabs() {
        for line in ["1,-2.5,3e2", "1 -2.5 3e2", "1\t-2.5\t3e2\r", "  1, -2.5 ,\t+300. "] {
            let numbers: Vec<f64> = values(line).iter().map(|(_, n)| *n).collect();
            assert_eq!(numbers, [1.0, -2.5, 300.0], "{line:?}");
        }
    }

    #[test]
    fn numbers_may_have_names_and_units() {
        let expected = [(Some("temp".to_owned()), 21.5), (Some("hum".to_owned()), 40.0)];
        for line in ["temp:21.5,hum:40", "temp: 21.5 hum: 40", "temp:21.5\u{b0}C\thum:40%", "now temp:21.5, hum:40 ok"]
        {
            assert_eq!(values(line), expected, "{line:?}");
        }
        assert_eq!(values("a:b:7"), [(Some("a:b".to_owned()), 7.0)]);
    }

    #[test]
    fn a_line_of_names_is_told_from_text() {
        assert_eq!(Reading::of("temp,hum level\r"), Reading::Names(vec!["temp".into(), "hum level".into()]));
        let texts = ["", "READY", "PONG 1", "ERR unknown: x", ":5", "a:", "1,x", "nan", "inf", "1e999", "a, 2 b"];
        for line in texts {
            assert_eq!(Reading::of(line), Reading::Text, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in prop_oneof!["\\PC{0,80}", "[a:,0-9.eE+\u{b0} -]{0,40}"]) {
            let _ = Reading::of(&line);
        }

        #[test]
        fn what_was_printed_is_read(
            numbers in prop::collection::vec(("[a-z_]{1,9}", -1e9f64..1e9), 1..8),
            is_labelled in any::<bool>(),
            separator in "[,\t ]",
        ) {
            let numbers: Vec<_> = numbers.into_iter().map(|(name, n)| (is_labelled.then_some(name), n)).collect();
            let print = |(name, n): &(Option<String>, f64)| match name {
                Some(name) => format!("{name}:{n}"),
                None => n.to_string(),
            };
            let line = numbers.iter().map(print).collect::<Vec<_>>().join(&separator);
            prop_assert_eq!(Reading::of(&line), Reading::Values(numbers));
        }
    }
}
