//! Texts that are never shown, and the files that hold them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::Problem;

/// A password, a token, a credential. `Debug` shows `***`, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself: for the one place that needs it, never for a log or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A token, a password or an address in a file of its own.
const MAX_VALUE_FILE_BYTES: u64 = 64 * 1024;
/// The API's token must not be guessed: 16 characters of base64 are 96 bits.
const MIN_TOKEN_CHARS: usize = 16;

/// The text of a small file.
pub(super) fn read_small_file(path: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_VALUE_FILE_BYTES).read_to_string(&mut text))
        .map_err(|error| Problem::unreadable(path, error.kind()))?;
    Ok(text)
}

/// The trimmed text of a small file that is not empty.
pub(super) fn read_value_file(path: &Path) -> Result<String, Problem> {
    let text = read_small_file(path)?;
    let text = text.trim();
    if text.is_empty() { Err(Problem::FileEmpty(path.to_owned())) } else { Ok(text.to_owned()) }
}

/// Reads a password.
///
/// # Errors
/// [`Problem`], when the file cannot be read or is empty.
pub fn read_secret_file(path: &Path) -> Result<Secret, Problem> {
    read_value_file(path).map(Secret)
}

/// Reads the API's token.
///
/// # Errors
/// [`Problem`], when the file cannot be read, is empty, or its token could be guessed.
pub fn read_token_file(path: &Path) -> Result<Secret, Problem> {
    let token = read_value_file(path)?;
    if token.chars().count() < MIN_TOKEN_CHARS {
        return Err(Problem::TokenShort(MIN_TOKEN_CHARS));
    }
    Ok(Secret(token))
}
