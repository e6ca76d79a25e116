//! Where the passphrase of an encrypted key is. It never stands in the configuration itself, nor on a command line.

use std::path::{Path, PathBuf};

use super::secret::read_small_file;
use super::{Problem, Secret};

/// The variable in which systemd names the folder of a service's credentials (`LoadCredential=`, systemd.exec(5)).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// `file:PATH`, `env:NAME` or `credential:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassphraseSource {
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
    /// A credential that systemd hands to the service.
    Credential(String),
}

impl PassphraseSource {
    /// Reads a source; `folder` is where relative paths start.
    ///
    /// # Errors
    /// [`Problem::PassphraseSource`]. Somebody may have put the passphrase itself there: it is not repeated.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Problem> {
        let (kind, name) = text.split_once(':').ok_or(Problem::PassphraseSource)?;
        match kind {
            "file" if !name.is_empty() => Ok(Self::File(folder.join(name))),
            "env" if is_name(name) => Ok(Self::Env(name.to_owned())),
            "credential" if is_name(name) => Ok(Self::Credential(name.to_owned())),
            _ => Err(Problem::PassphraseSource),
        }
    }

    /// The file that it is read from, if any.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) | Self::Credential(_) => None,
        }
    }

    /// The passphrase, without the line end that an editor leaves.
    ///
    /// # Errors
    /// [`Problem`], when it is not there or empty.
    pub fn read(&self) -> Result<Secret, Problem> {
        let text = match self {
            Self::File(path) => read_small_file(path)?,
            Self::Env(name) => std::env::var(name).map_err(|_| Problem::EnvUnset(name.clone()))?,
            Self::Credential(name) => {
                let folder = std::env::var_os(CREDENTIALS_DIRECTORY).ok_or(Problem::NoCredentials)?;
                read_small_file(&Path::new(&folder).join(name)).map_err(|problem| match problem {
                    Problem::NoSuchFile(_) => Problem::NoCredential(name.clone()),
                    other => other,
                })?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() { Err(Problem::PassphraseEmpty) } else { Ok(Secret::from(text.to_owned())) }
    }
}

/// A variable or a credential, and not the way to another folder's file.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_source_names_a_file_a_variable_or_a_credential_and_nothing_else() {
        let parse = |text| PassphraseSource::parse(text, Path::new("/etc/callgate"));
        assert_eq!(parse("file:key.pass"), Ok(PassphraseSource::File("/etc/callgate/key.pass".into())));
        assert_eq!(parse("file:/run/key.pass"), Ok(PassphraseSource::File("/run/key.pass".into())));
        assert_eq!(parse("env:KEY_PASS"), Ok(PassphraseSource::Env("KEY_PASS".into())));
        assert_eq!(parse("credential:door"), Ok(PassphraseSource::Credential("door".into())));
        for bad in ["", "hunter2", "file:", "env:", "env:A B", "credential:../door", "credential:a/b", "pass:hunter2"] {
            assert_eq!(parse(bad), Err(Problem::PassphraseSource), "{bad}");
        }
    }

    #[test]
    fn a_passphrase_keeps_its_spaces_and_loses_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(folder.path().join("pass"), text).unwrap();
            PassphraseSource::File(folder.path().join("pass")).read()
        };
        assert_eq!(read(" two words \r\n").unwrap().expose(), " two words ");
        assert_eq!(read("\n"), Err(Problem::PassphraseEmpty));
        let absent = PassphraseSource::File(folder.path().join("absent")).read();
        assert_eq!(absent, Err(Problem::unreadable(&folder.path().join("absent"), io::ErrorKind::NotFound)));
        assert_eq!(
            PassphraseSource::Env("CALLGATE_TEST_UNSET".into()).read(),
            Err(Problem::EnvUnset("CALLGATE_TEST_UNSET".into()))
        );
    }
}
