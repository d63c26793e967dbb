//! The reference as Markdown, for docs/configuration.md.

use super::tables::TABLES;
use super::{ABOUT, Key, Table, facts};

/// The whole document.
pub fn markdown() -> String {
    let tables: String = TABLES.iter().map(table).collect();
    format!(
        "<!-- Generated from src/config/reference/tables.rs; CONTRIBUTING.md says how. -->\n\n# Configuration\n\n{}\n{tables}",
        filled(ABOUT)
    )
}

fn table(table: &Table) -> String {
    let keys: String = table.keys.iter().map(key).collect();
    format!("\n## `{}`\n\n{}\n\n```toml\n{}```\n{keys}", table.name, filled(table.about), table.example)
}

fn key(key: &Key) -> String {
    let facts: String = facts(key).iter().map(|(label, words)| format!("- {label}: {words}\n")).collect();
    format!("\n### `{}`\n\n{}\n\n{facts}", key.name, filled(key.about))
}

/// Paragraphs with lines of at most [`WIDTH`] characters.
fn filled(text: &str) -> String {
    text.split("\n\n").map(paragraph).collect::<Vec<_>>().join("\n\n")
}

fn paragraph(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

const WIDTH: usize = 120;
