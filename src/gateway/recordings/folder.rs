//! The recording folder. Everything here blocks, for as long as its disk likes: async tasks call it on a thread for that.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use crate::call::Millis;
use crate::recording::{
    Format, MAX_COMPONENT, MAX_SIDECAR_BYTES, MayRecord, POSTER_ENDING, SIDECAR_ENDING, Sidecar, another, may_start,
    media_file, media_of, poster_of, sidecar_of,
};
use crate::store::KeptRecording;

/// How deep recordings may lie: one level more than templates can have.
const MAX_DEPTH: usize = 9;
/// How many recordings of one name are told apart by a number.
const MAX_SAME_NAME: u32 = 10_000;
/// What follows a file's name while it is written.
const UNFINISHED: &str = ".tmp";

/// Why a recording does not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("the disk has {free} bytes left, and a recording begins with {needed} or more")]
    BelowFloor { free: u64, needed: u64 },
    #[error("the recording folder cannot be used: {0}")]
    Disk(#[from] io::Error),
}

#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Held while a name is looked for: two recordings that begin in one second may want the same.
    naming: Mutex<()>,
}

impl Folder {
    /// The folder is not looked at.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root, naming: Mutex::default() }
    }

    /// Makes the folder if it is not there. Only at the start: a disk that was unmounted meanwhile must not be taken for an empty folder.
    pub(super) fn make(&self) -> io::Result<()> {
        make_folder(&self.root)
    }

    /// A file of the folder. `file` is a path that came out of a template or of [`Folder::look`].
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// How many bytes the disk has left for us.
    pub(super) fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.root)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Takes a name for a recording by writing its sidecar: `path`, or with a number behind it. Returns the name without its ending.
    pub(super) fn claim(&self, path: &str, format: Format, sidecar: &Sidecar, floor: u64) -> Result<String, NoPlace> {
        if let MayRecord::BelowFloor { free, needed } = may_start(self.free()?, floor) {
            return Err(NoPlace::BelowFloor { free, needed });
        }
        if let Some(parent) = self.path(path).parent() {
            make_folder(parent)?;
        }
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 1..=MAX_SAME_NAME {
            let name = if number == 1 { path.to_owned() } else { another(path, number) };
            let file = media_file(&name, format);
            if !self.is_taken(&file)? && !self.is_taken(&sidecar_of(&file))? {
                self.write_sidecar(&file, sidecar)?;
                return Ok(name);
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists).into())
    }

    fn is_taken(&self, file: &str) -> io::Result<bool> {
        match fs::symlink_metadata(self.path(file)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a media file's sidecar: whoever reads it, after a power cut too, finds the one before or this one.
    pub(super) fn write_sidecar(&self, file: &str, sidecar: &Sidecar) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(sidecar)?;
        text.push(b'\n');
        self.write(&sidecar_of(file), &text)
    }

    pub(super) fn write_poster(&self, file: &str, jpeg: &[u8]) -> io::Result<()> {
        self.write(&poster_of(file), jpeg)
    }

    fn write(&self, file: &str, content: &[u8]) -> io::Result<()> {
        let (path, unfinished) = (self.path(file), self.path(&format!("{file}{UNFINISHED}")));
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            new.write_all(content)?;
            new.sync_all()?;
            fs::rename(&unfinished, &path)
        })();
        if written.is_err() {
            // A full disk: what is half written only takes room.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// What a recording takes on the disk.
    pub(super) fn disk_bytes(&self, file: &str) -> u64 {
        let size = |file: &str| fs::metadata(self.path(file)).map_or(0, |metadata| metadata.len());
        size(file) + size(&sidecar_of(file)) + size(&poster_of(file))
    }

    /// Size and SHA-256 of a media file, in hex.
    pub(crate) fn digest(&self, file: &str) -> io::Result<(u64, String)> {
        digest(&self.path(file))
    }

    /// A media file's sidecar.
    pub(crate) fn sidecar(&self, file: &str) -> io::Result<Sidecar> {
        self.read_sidecar(&sidecar_of(file))
    }

    /// When a media file was last written to.
    pub(super) fn written_at(&self, file: &str) -> Option<Millis> {
        let modified = fs::metadata(self.path(file)).and_then(|metadata| metadata.modified()).ok()?;
        let since = modified.duration_since(UNIX_EPOCH).ok()?;
        Some(Millis(u64::try_from(since.as_millis()).ok()?))
    }

    /// Deletes a recording. Its sidecar goes last: if something fails it is still known.
    pub(crate) fn delete(&self, file: &str) -> io::Result<()> {
        for file in [file.to_owned(), poster_of(file), sidecar_of(file)] {
            match fs::remove_file(self.path(&file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Folders that are empty now; one that is not refuses.
        let mut folder = Path::new(file).parent();
        while let Some(inner) = folder.filter(|inner| !inner.as_os_str().is_empty()) {
            if fs::remove_dir(self.root.join(inner)).is_err() {
                break;
            }
            folder = inner.parent();
        }
        Ok(())
    }

    /// Every recording that has a sidecar. What cannot be read is told in the log and left alone.
    pub(super) fn look(&self) -> io::Result<Vec<KeptRecording>> {
        let mut found = Vec::new();
        self.look_into("", 0, &mut found)?;
        Ok(found)
    }

    fn look_into(&self, folder: &str, depth: usize, found: &mut Vec<KeptRecording>) -> io::Result<()> {
        for entry in fs::read_dir(self.path(folder))? {
            let entry = entry?;
            // Names of ours are all of it; another program's need not be.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            // Links are not followed: they lead outside.
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < MAX_DEPTH {
                if let Err(error) = self.look_into(&path, depth + 1, found) {
                    tracing::warn!(folder = path, %error, "a folder of recordings cannot be read");
                }
            } else if kind.is_file() {
                if is_left_over(&path) {
                    let _ = fs::remove_file(self.path(&path));
                } else if let Some(media) = media_of(&path) {
                    match self.read_sidecar(&path) {
                        Ok(sidecar) => found.push(KeptRecording {
                            sidecar,
                            file: media.to_owned(),
                            disk_bytes: self.disk_bytes(media),
                            poster: self.is_taken(&poster_of(media)).unwrap_or(false),
                        }),
                        Err(error) => tracing::warn!(sidecar = path, %error, "a sidecar cannot be read"),
                    }
                }
            }
        }
        Ok(())
    }

    fn read_sidecar(&self, path: &str) -> io::Result<Sidecar> {
        let mut text = String::new();
        File::open(self.path(path))?.take(MAX_SIDECAR_BYTES).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// A sidecar or a poster that a process died over.
fn is_left_over(path: &str) -> bool {
    let file = path.strip_suffix(UNFINISHED);
    file.is_some_and(|file| file.strip_suffix(POSTER_ENDING).is_some() || file.strip_suffix(SIDECAR_ENDING).is_some())
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Size and SHA-256 of a file, in hex.
fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&piece[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Templates' names leave room for what follows them.
const _: () = assert!(MAX_COMPONENT + "-4294967295.4294967295.mkv.json.tmp".len() <= 255);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{End, RecordingId, SIDECAR_VERSION};

    fn sidecar(id: u64) -> Sidecar {
        Sidecar {
            version: SIDECAR_VERSION,
            id: RecordingId(id),
            line: "door".into(),
            line_npub: "npub1line".into(),
            caller: None,
            session: None,
            part: 1,
            started: Millis(id),
            ended: None,
            tracks: Vec::new(),
            bytes: 0,
            sha256: None,
            end: End::Open,
        }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(place.path().join("recordings"));
        folder.make().unwrap();
        (place, folder)
    }

    #[test]
    fn two_recordings_of_one_name_lie_beside_each_other() {
        let (_place, folder) = folder();
        assert_eq!(folder.claim("a/b", Format::Mkv, &sidecar(1), 0).unwrap(), "a/b");
        assert_eq!(folder.claim("a/b", Format::Mkv, &sidecar(2), 0).unwrap(), "a/b-2");
        fs::write(folder.path("a/c.mkv"), "somebody's").unwrap();
        assert_eq!(folder.claim("a/c", Format::Mkv, &sidecar(3), 0).unwrap(), "a/c-2");
    }

    #[test]
    fn sidecars_are_found_wherever_they_lie_and_nothing_else_is() {
        let (place, folder) = folder();
        let name = folder.claim("a/b/c", Format::Mkv, &sidecar(1), 0).unwrap();
        fs::write(folder.path(&format!("{name}.mkv")), "media").unwrap();
        fs::write(folder.path("a/notes.json"), "{}").unwrap();
        fs::write(folder.path("a/bad.mkv.json"), "{").unwrap();
        fs::write(folder.path("a/x.mkv.json.tmp"), "{").unwrap();
        fs::write(folder.path("a/mine.tmp"), "{").unwrap();
        std::os::unix::fs::symlink(place.path(), folder.path("a/out")).unwrap();
        fs::write(place.path().join("outside.mkv.json"), serde_json::to_string(&sidecar(9)).unwrap()).unwrap();

        let found = folder.look().unwrap();

        assert_eq!(found.len(), 1);
        assert_eq!((found[0].file.as_str(), &found[0].sidecar), ("a/b/c.mkv", &sidecar(1)));
        assert!(found[0].disk_bytes > 5);
        assert!(!folder.path("a/x.mkv.json.tmp").exists() && folder.path("a/mine.tmp").exists());
    }

    #[test]
    fn a_deleted_recording_leaves_nothing_and_others_are_left_alone() {
        let (_place, folder) = folder();
        for (id, name) in [(1, "a/b/c"), (2, "a/d")] {
            folder.claim(name, Format::Mkv, &sidecar(id), 0).unwrap();
            fs::write(folder.path(&format!("{name}.mkv")), "media").unwrap();
            fs::write(folder.path(&poster_of(&format!("{name}.mkv"))), "jpeg").unwrap();
        }

        folder.delete("a/b/c.mkv").unwrap();

        assert!(!folder.path("a/b").exists());
        assert!(folder.path("a/d.mkv").exists() && folder.path("a/d.mkv.json").exists());
        folder.delete("a/b/c.mkv").unwrap();
        assert!(folder.path("").exists());
    }

    #[test]
    fn below_its_floor_a_disk_takes_no_recording_and_a_folder_that_is_gone_is_not_made() {
        let (place, folder) = folder();
        assert!(matches!(
            folder.claim("a/b", Format::Mkv, &sidecar(1), u64::MAX),
            Err(NoPlace::BelowFloor { needed: u64::MAX, .. })
        ));
        assert!(!folder.path("a").exists());
        fs::remove_dir_all(place.path().join("recordings")).unwrap();
        assert!(matches!(folder.claim("a/b", Format::Mkv, &sidecar(1), 0), Err(NoPlace::Disk(_))));
        assert!(!folder.path("a").exists());
    }

    #[test]
    fn a_digest_is_that_of_the_whole_file() {
        let (_place, folder) = folder();
        fs::write(folder.path("x"), "abc").unwrap();
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(folder.digest("x").unwrap(), (3, sha.to_owned()));
    }
}
