//! Key files: one secret key each, as `nsec1...` or 64 hex digits, or encrypted as `ncryptsec1...` (NIP-49).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use nostr::nips::nip19::{FromBech32 as _, ToBech32 as _};
use nostr::nips::nip49::{self, EncryptedSecretKey, KeySecurity};
use nostr::{Keys, PublicKey, SecretKey};

use super::Secret;
use super::problem::io_words;

/// Where a line's key comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum LineKey {
    /// The key file was there.
    Given(Keys),
    /// No key yet: it is made here the first time the line runs.
    ToGenerate(PathBuf),
}

impl LineKey {
    /// The key that a line without a key file of its own has: kept in the data folder, under the line's name.
    ///
    /// # Errors
    /// [`KeyError`] when there is a file, and no key in it.
    pub fn kept(data_dir: &Path, line: &str) -> Result<Self, KeyError> {
        let path = data_dir.join("keys").join(format!("{line}.nsec"));
        match read_key_file(&path) {
            Err(KeyError::Unreadable(path, io::ErrorKind::NotFound)) => Ok(Self::ToGenerate(path)),
            read => read.map(Self::Given),
        }
    }

    /// The public key, once there is a key.
    pub fn public_key(&self) -> Option<PublicKey> {
        match self {
            Self::Given(keys) => Some(keys.public_key()),
            Self::ToGenerate(_) => None,
        }
    }

    /// The keys; makes and keeps them if there are none yet.
    ///
    /// # Errors
    /// [`KeyError`] when the file cannot be written, or when another process wrote it first and it is no key.
    pub fn open(&self) -> Result<Keys, KeyError> {
        let path = match self {
            Self::Given(keys) => return Ok(keys.clone()),
            Self::ToGenerate(path) => path,
        };
        if let Some(folder) = path.parent() {
            make_private_folder(folder)?;
        }
        match create_key_file(path) {
            Err(KeyError::Exists(path)) => read_key_file(&path),
            made => made,
        }
    }
}

/// Why there is no key. No variant holds a byte of a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read {}: {}", .0.display(), io_words(*.1))]
    Unreadable(PathBuf, io::ErrorKind),
    #[error("{} can be read by others: run `chmod 600 {}`", .0.display(), .0.display())]
    OpenToOthers(PathBuf),
    #[error("{} holds no secret key: one line with nsec1..., ncryptsec1... or 64 hex digits is expected", .0.display())]
    NotAKey(PathBuf),
    #[error("{} holds a public key: the secret key (nsec1...) is expected", .0.display())]
    Public(PathBuf),
    #[error("{} holds an encrypted key (ncryptsec): its passphrase is needed", .0.display())]
    Encrypted(PathBuf),
    #[error("{}: the passphrase is not that of this key", .0.display())]
    WrongPassphrase(PathBuf),
    #[error("{} takes more than 256 MiB of memory to open: encrypt it with a log_n of 18 or less", .0.display())]
    TooCostly(PathBuf),
    #[error("{} exists already, and is left as it is", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {}", .0.display(), io_words(*.1))]
    Unwritable(PathBuf, io::ErrorKind),
}

/// More than any key file needs; what is longer is no key file.
const MAX_KEY_FILE_BYTES: u64 = 1024;

/// Scrypt's work to open a key that is encrypted here, as a power of two: 64 MiB and some 100 ms, as NIP-49 suggests.
const LOG_N: u8 = 16;

/// Reads a key file that nobody but its owner can read, and that is not encrypted.
///
/// # Errors
/// [`KeyError`]; [`KeyError::Encrypted`] when it is.
pub fn read_key_file(path: &Path) -> Result<Keys, KeyError> {
    match read_key_text(path)? {
        KeyText::Plain(keys) => Ok(keys),
        KeyText::Encrypted(_) => Err(KeyError::Encrypted(path.to_owned())),
    }
}

/// Reads a key file; `passphrase` is used if the key is encrypted, and takes some 100 ms then.
///
/// # Errors
/// [`KeyError`].
pub fn open_key_file(path: &Path, passphrase: &Secret) -> Result<Keys, KeyError> {
    let encrypted = match read_key_text(path)? {
        KeyText::Plain(keys) => return Ok(keys),
        KeyText::Encrypted(encrypted) => encrypted,
    };
    encrypted.decrypt(passphrase.expose()).map(Keys::new).map_err(|error| match error {
        nip49::Error::LogNTooBig { .. } => KeyError::TooCostly(path.to_owned()),
        nip49::Error::ChaCha20Poly1305(_) => KeyError::WrongPassphrase(path.to_owned()),
        _ => KeyError::NotAKey(path.to_owned()),
    })
}

/// Writes a key to a new file, encrypted (NIP-49).
///
/// # Errors
/// [`KeyError::Exists`] and [`KeyError::Unwritable`].
pub fn encrypt_key_file(keys: &Keys, passphrase: &Secret, path: &Path) -> Result<(), KeyError> {
    let encrypted = EncryptedSecretKey::new(keys.secret_key(), passphrase.expose(), LOG_N, KeySecurity::Unknown)
        .map_err(|_| ())
        .and_then(|encrypted| encrypted.to_bech32().map_err(|_| ()));
    // Nothing of this fails for a key and parameters that are good.
    let text = encrypted.map_err(|()| KeyError::Unwritable(path.to_owned(), io::ErrorKind::Other))?;
    write_new(path, &text)
}

enum KeyText {
    Plain(Keys),
    Encrypted(EncryptedSecretKey),
}

fn read_key_text(path: &Path) -> Result<KeyText, KeyError> {
    let unreadable = |error: io::Error| KeyError::Unreadable(path.to_owned(), error.kind());
    let file = File::open(path).map_err(unreadable)?;
    if is_open_to_others(&file.metadata().map_err(unreadable)?) {
        return Err(KeyError::OpenToOthers(path.to_owned()));
    }
    let mut text = String::new();
    match file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(KeyError::NotAKey(path.to_owned())),
        Err(error) => return Err(unreadable(error)),
    }
    let text = text.trim();
    if text.starts_with("ncryptsec1") {
        let encrypted = EncryptedSecretKey::from_bech32(text).map_err(|_| KeyError::NotAKey(path.to_owned()))?;
        return Ok(KeyText::Encrypted(encrypted));
    }
    if text.starts_with("npub1") {
        return Err(KeyError::Public(path.to_owned()));
    }
    SecretKey::parse(text).map(|key| KeyText::Plain(Keys::new(key))).map_err(|_| KeyError::NotAKey(path.to_owned()))
}

/// Makes a key and the file that holds it, readable by its owner alone. A file that is there is never touched.
///
/// # Errors
/// [`KeyError::Exists`] and [`KeyError::Unwritable`].
pub fn create_key_file(path: &Path) -> Result<Keys, KeyError> {
    let keys = Keys::generate();
    let Ok(nsec) = keys.secret_key().to_bech32();
    write_new(path, &nsec)?;
    Ok(keys)
}

/// Writes one line to a new file that only its owner can read.
fn write_new(path: &Path, line: &str) -> Result<(), KeyError> {
    let unwritable = |error: io::Error| KeyError::Unwritable(path.to_owned(), error.kind());
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(KeyError::Exists(path.to_owned())),
        Err(error) => return Err(unwritable(error)),
    };
    let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // A full disk: half a key must not be taken for a broken one at the next start.
        let _ = fs::remove_file(path);
        return Err(unwritable(error));
    }
    Ok(())
}

fn make_private_folder(path: &Path) -> Result<(), KeyError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path).map_err(|error| KeyError::Unwritable(path.to_owned(), error.kind()))
}

#[cfg(unix)]
pub(super) fn is_open_to_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.is_file() && metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
pub(super) fn is_open_to_others(_metadata: &fs::Metadata) -> bool {
    false
}
