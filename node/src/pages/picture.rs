//! QR codes inside a page: SVG with a name for who cannot see it, and nothing in it that styles or runs.

use crate::qr::{self, QrError};

/// A text as a QR code, to stand in a page as it is (`|safe`). `label` says what it is, `caption` stands under it.
///
/// # Errors
///
/// As [`qr::svg`].
pub fn code(text: &str, label: &str, caption: &str) -> Result<String, QrError> {
    let label = askama::filters::escape(label, askama::filters::Html).map_err(|_| QrError::Caption)?;
    Ok(qr::svg(text, caption)?.replacen("<svg ", &format!("<svg class=\"qr\" aria-label=\"{label}\" "), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

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
