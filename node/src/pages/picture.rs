//! QR codes inside a page: SVG with a name for who cannot see it, and nothing in it that styles or runs.

use crate::qr::{self, QrError};

/// The dots of the printers at desks.
const PRINTER_DOTS_PER_INCH: u32 = 300;

/// A text as a QR code, to stand in a page as it is (`|safe`). `label` says what it is, `caption` stands under it.
///
/// # Errors
///
/// As [`qr::svg`].
pub fn code(text: &str, label: &str, caption: &str) -> Result<String, QrError> {
    let label = askama::filters::escape(label, askama::filters::Html).map_err(|_| QrError::Caption)?;
    Ok(qr::svg(text, caption)?.replacen("<svg ", &format!("<svg class=\"qr\" aria-label=\"{label}\" "), 1))
}

/// The same for paper: a module is so many dots of a printer with 300 an inch, and twice as many where it has 600. So no module
/// is wider than another, which readers notice in small codes.
///
/// # Errors
///
/// As [`qr::svg`].
pub fn printed(text: &str, label: &str, dots_per_module: u32) -> Result<String, QrError> {
    let svg = code(text, label, "")?;
    let side: u32 =
        svg.split("viewBox=\"0 0 ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or(0);
    let inches = f64::from(side * dots_per_module) / f64::from(PRINTER_DOTS_PER_INCH);
    let natural = side * qr::SVG_DOTS_PER_MODULE;
    let svg = svg.replacen("class=\"qr\"", "class=\"qr-printed\"", 1);
    let size = |inches: String| format!("width=\"{inches}\" height=\"{inches}\"");
    Ok(svg.replacen(&size(natural.to_string()), &size(format!("{inches:.4}in")), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_module_is_a_whole_number_of_dots() {
        // 21 modules and twice 4 of quiet zone, 10 dots each.
        let svg = printed("VC1:0", "Card", 10).unwrap();
        assert!(
            svg.contains("width=\"0.9667in\" height=\"0.9667in\"") && svg.contains("class=\"qr-printed\""),
            "{svg}"
        );
    }

    #[test]
    fn a_code_has_a_name_and_nothing_that_a_policy_forbids() {
        let svg = code("VQ1:6BF", "张伟的 \"券\" <1>", "张伟").unwrap();
        assert!(svg.starts_with("<svg class=\"qr\" aria-label=\"张伟的 ") && svg.contains("role=\"img\""), "{svg}");
        for forbidden in ["style=", "<style", "<script", "onload", "href", "<1>"] {
            assert!(!svg.contains(forbidden), "{forbidden}: {svg}");
        }
        assert_eq!(code("small letters", "", "").unwrap_err(), QrError::Text);
    }
}
