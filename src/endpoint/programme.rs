//! `file://`: what a line plays from this machine's own disk, for whom it begins, and what happens at its end.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::EndpointError;

/// A file, a folder or a playlist, and how it is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programme {
    /// Absolute.
    pub path: PathBuf,
    pub start: Start,
    pub after: After,
}

/// For whom a programme begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Each caller sees it from its beginning: who calls a file does not expect to come in the middle of it.
    #[default]
    Own,
    /// All callers see the same moment of it, as of a broadcast.
    Shared,
}

/// What comes after the last picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum After {
    #[default]
    HangUp,
    /// The beginning.
    Loop,
    /// The last picture, until the caller hangs up.
    Hold,
}

impl Programme {
    /// Reads `file:///srv/welcome.mp4`.
    pub(super) fn of(url: &Url) -> Result<Programme, EndpointError> {
        // With a `?` or `#` that is not escaped, the path would be another one than it seems.
        if url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::FileAddress);
        }
        let path = url.to_file_path().map_err(|()| EndpointError::FileAddress)?;
        Programme::at(path)
    }

    /// Reads `/srv/welcome.mp4`.
    pub(super) fn at(path: PathBuf) -> Result<Programme, EndpointError> {
        if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(EndpointError::FileAddress);
        }
        Ok(Programme { path, start: Start::default(), after: After::default() })
    }
}

/// As an address that can be read again.
impl fmt::Display for Programme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::from_file_path(&self.path) {
            Ok(url) => f.write_str(url.as_str()),
            Err(()) => write!(f, "file://{}", self.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    fn path_of(text: &str) -> Result<PathBuf, EndpointError> {
        match text.parse()? {
            Endpoint::File(programme) => Ok(programme.path),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_file_is_named_by_its_url_or_by_its_absolute_path() {
        for (text, path) in [
            ("file:///srv/welcome.mp4", "/srv/welcome.mp4"),
            ("file://localhost/srv/a.mp4", "/srv/a.mp4"),
            ("file:///srv/b%C3%BChne%3F%20%231.mkv", "/srv/bühne? #1.mkv"),
            ("/srv/what? #1.mkv", "/srv/what? #1.mkv"),
        ] {
            assert_eq!(path_of(text), Ok(path.into()), "{text}");
        }
    }

    #[test]
    fn an_address_that_names_another_path_than_it_seems_is_refused() {
        for text in ["file://srv/welcome.mp4", "file:///srv/a?b.mp4", "file:///srv/a#b.mp4", "file:///srv/a%00.mp4"] {
            assert_eq!(path_of(text), Err(EndpointError::FileAddress), "{text}");
        }
    }

    #[test]
    fn it_is_shown_as_it_can_be_read_again() {
        let endpoint: Endpoint = "/srv/what? #1.mkv".parse().unwrap();
        assert_eq!(endpoint.to_string(), "file:///srv/what%3F%20%231.mkv");
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    }
}
