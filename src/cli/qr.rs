//! QR codes for a terminal.

use qrcode::render::unicode::Dense1x2;
use qrcode::types::QrError;
use qrcode::{EcLevel, QrCode};

/// A QR code in half blocks, two modules to a character, with its quiet zone. Blocks are its light modules: a terminal's text is
/// bright on dark more often than not, and scanners read the inverse too.
///
/// # Errors
/// When the text is too long for a QR code (2953 bytes).
pub fn qr_code(text: &str) -> Result<String, QrError> {
    // Low correction keeps the code small enough for 80 columns; a screen is neither torn nor stained.
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_address_with_a_key_fits_on_a_terminal() {
        let text = format!("http://192.168.100.200:8080/#npub1{}&relay=ws://192.168.100.200:7777", "q".repeat(58));
        let code = qr_code(&text).unwrap();
        assert!(code.lines().all(|line| line.chars().count() <= 80), "{code}");
        assert!(code.lines().count() <= 40);
        assert!(code.lines().next().unwrap().chars().all(|c| c == '█'), "the quiet zone is light");
    }

    #[test]
    fn what_is_too_long_is_an_error() {
        assert!(qr_code(&"x".repeat(3000)).is_err());
    }
}
