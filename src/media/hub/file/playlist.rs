//! Which files a programme is, in which order.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use url::Url;

use crate::media::{FileError, FileFault};

/// Files that a folder or playlist may have: what is beyond is not played.
const MAX_FILES: usize = 10_000;
/// Bytes of a playlist that are read.
const MAX_PLAYLIST: u64 = 1 << 20;
/// What is played out of a folder.
const ENDINGS: &[&str] = &[
    "mp4", "m4v", "mov", "mkv", "webm", "ts", "m2ts", "mp3", "m4a", "aac", "ogg", "oga", "ogv", "opus", "wav", "flac",
];

/// The files of a programme in their order: the file itself, those of a folder by name, or those that a playlist names.
///
/// # Errors
/// What is wrong with `path`.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |fault| FileError { file: path.to_owned(), fault };
    let metadata = fs::metadata(path).map_err(|error| failed(fault_of(&error)))?;
    let files = if metadata.is_dir() {
        in_folder(path).map_err(|error| failed(fault_of(&error)))?
    } else if has_ending(path, &["m3u", "m3u8"]) {
        let mut text = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(MAX_PLAYLIST).read_to_end(&mut text));
        read.map_err(|error| failed(fault_of(&error)))?;
        named(&String::from_utf8_lossy(&text), path.parent().unwrap_or(Path::new("/")))
    } else {
        vec![path.to_owned()]
    };
    if files.is_empty() { Err(failed(FileFault::NothingToPlay)) } else { Ok(files) }
}

/// Whether a file can be read at all, looked at before GStreamer does: a pipe or a device would hold it up.
///
/// # Errors
/// What is wrong with it.
pub(super) fn look_at(file: &Path) -> Result<(), FileFault> {
    let metadata = fs::metadata(file).map_err(|error| fault_of(&error))?;
    if !metadata.is_file() {
        return Err(FileFault::NoFile);
    }
    if metadata.len() == 0 {
        return Err(FileFault::Empty);
    }
    fs::File::open(file).map(drop).map_err(|error| fault_of(&error))
}

fn fault_of(error: &std::io::Error) -> FileFault {
    match error.kind() {
        ErrorKind::NotFound => FileFault::Missing,
        kind => FileFault::Unreadable(kind),
    }
}

fn in_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| has_ending(path, ENDINGS) && !is_hidden(path) && path.is_file())
        .take(MAX_FILES)
        .collect();
    files.sort();
    Ok(files)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    endings.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The local files that a playlist names, each on a line; comments and addresses of other places are passed over.
fn named(text: &str, folder: &Path) -> Vec<PathBuf> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.contains('\0'))
        .filter_map(|line| match line.split_once("://") {
            Some(("file", _)) => Url::parse(line).ok()?.to_file_path().ok(),
            Some(_) => {
                tracing::warn!("a playlist names something that is no local file: it is passed over");
                None
            }
            None => Some(folder.join(line)),
        })
        .take(MAX_FILES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_played_by_name_and_only_what_can_be() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.mp4", "a.MP3", "notes.txt", ".hidden.mp4", "c.webm"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::create_dir(folder.path().join("d.mp4")).unwrap();
        let files = files(folder.path()).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.MP3", "b.mp4", "c.webm"]);
    }

    #[test]
    fn a_playlist_is_played_in_its_order_from_its_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.m3u8");
        let text = "\u{feff}#EXTM3U\r\n#EXTINF:5,Second\r\nb.mp4\r\n\r\n/srv/a.mp4\nfile:///srv/c%20d.mp4\nhttps://h/e.mp4\nb.mp4\n";
        fs::write(&list, text).unwrap();
        let b = folder.path().join("b.mp4");
        assert_eq!(files(&list), Ok(vec![b.clone(), "/srv/a.mp4".into(), "/srv/c d.mp4".into(), b]));
    }

    #[test]
    fn what_cannot_be_played_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let fault = |path: &Path| files(path).unwrap_err().fault;
        assert_eq!(fault(&folder.path().join("a.mp4")), FileFault::Missing);
        assert_eq!(fault(folder.path()), FileFault::NothingToPlay);
        let empty = folder.path().join("empty.mp4");
        fs::write(&empty, "").unwrap();
        assert_eq!(look_at(&empty), Err(FileFault::Empty));
        assert_eq!(look_at(Path::new("/dev/zero")), Err(FileFault::NoFile));
        assert_eq!(look_at(&folder.path().join("a.mp4")), Err(FileFault::Missing));
    }
}
