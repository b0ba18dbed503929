//! What reaches the operator's screen: tables, JSON, progress.

use std::io::Write as _;
use std::time::Duration;

use domain::time::Millis;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Writes to standard output. A reader that has gone away (`| head`) is not an error.
pub(super) fn say(text: &str) {
    if cfg!(test) {
        // Only what goes through the macro is kept apart from the test's own output.
        print!("{text}");
        return;
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a value as JSON, indented, for machines and for people who pipe it on.
pub(super) fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    say(&text);
    Ok(())
}

/// Lines with their cells under each other; a column whose every cell below the heading begins with a digit stands to
/// the right.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<usize> = (0..columns).map(|c| cells(c).map(|t| t.chars().count()).max().unwrap_or(0)).collect();
    let numeric: Vec<bool> = (0..columns)
        .map(|c| cells(c).skip(1).all(|t| t == "-" || t.starts_with(|first: char| first.is_ascii_digit())))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(&widths).zip(&numeric) {
            let cell = if *right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A span as people say it: the two largest units that are not zero.
pub(super) fn span(span: Millis) -> String {
    let secs = span.0.max(0) / 1_000;
    let units = [(secs / 86_400, "d"), (secs / 3_600 % 24, "h"), (secs / 60 % 60, "min"), (secs % 60, "s")];
    let said: Vec<String> = units
        .iter()
        .skip_while(|(n, _)| *n == 0)
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, u)| format!("{n} {u}"))
        .collect();
    if said.is_empty() { "0 s".to_owned() } else { said.join(" ") }
}

/// A bar on standard error; where that is no terminal, nothing is drawn.
pub(super) fn progress(what: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    let style = ProgressStyle::with_template("{msg:24} {bar:30} {human_pos}/{human_len}  {per_sec}, {eta} to go");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_numbers_stand_to_the_right() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text =
            table(&[row(["log", "entries", "age"]), row(["a", "7", "3 s"]), row(["hospital-gulou", "12000", "-"])]);
        assert_eq!(
            text,
            "log             entries  age\n\
             a                     7  3 s\n\
             hospital-gulou    12000    -\n"
        );
    }

    #[test]
    fn a_span_has_at_most_two_units() {
        for (millis, said) in [
            (-5, "0 s"),
            (999, "0 s"),
            (59_000, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (3_600_000 + 1_000, "1 h"),
            (90_061_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Millis(millis)), said, "{millis}");
        }
    }
}
