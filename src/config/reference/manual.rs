//! The reference as a manual page, usbpipe.toml(5).

use roff::{Inline, Roff, bold, roman};

use super::tables::TABLES;
use super::{ABOUT, Key, Table, facts, pieces};

/// The page in roff.
pub fn manual() -> String {
    let mut page = Roff::new();
    let version = concat!("usbpipe ", env!("CARGO_PKG_VERSION"));
    // A blank for the date, because what is empty would not be there at all.
    page.control("TH", ["usbpipe.toml", "5", " ", version]);
    page.control("SH", ["NAME"]).text([roman("usbpipe.toml - configuration of usbpipe")]);
    page.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut page, ABOUT);
    TABLES.iter().for_each(|part| table(&mut page, part));
    page.control("SH", ["SEE ALSO"]).text([
        bold("usbpipe"),
        roman("(1), "),
        bold("usbpipe-config-check"),
        roman("(1)"),
    ]);
    page.to_roff()
}

fn table(page: &mut Roff, table: &Table) {
    page.control("SH", [table.name]);
    paragraphs(page, table.about);
    page.control("PP", None).control("RS", ["4"]).control("nf", None);
    for line in table.example.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", None).control("RE", None);
    table.keys.iter().for_each(|part| key(page, part));
}

fn key(page: &mut Roff, key: &Key) {
    page.control("TP", None).text([bold(key.name)]).text(inlines(key.about));
    for (label, words) in facts(key) {
        let words = inlines(&words);
        page.control("br", None).text(std::iter::once(roman(format!("{label}: "))).chain(words).collect::<Vec<_>>());
    }
}

fn paragraphs(page: &mut Roff, text: &str) {
    for paragraph in text.split("\n\n") {
        page.control("PP", None).text(inlines(paragraph));
    }
}

/// Code is bold.
fn inlines(text: &str) -> Vec<Inline> {
    pieces(text).map(|(is_code, piece)| if is_code { bold(piece) } else { roman(piece) }).collect()
}
