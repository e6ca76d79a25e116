//! `[recording]`: where recordings lie, and how much of them is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Table;
use super::{Problem, scalar};
use crate::recording::{Format, Retention, Template};

/// How much the disk has left when a recording ends, unless the file says otherwise.
pub const DEFAULT_FLOOR: u64 = 1_000_000_000;

/// How long a file of a recording is unless the file says otherwise.
pub const DEFAULT_SEGMENT: Duration = Duration::from_secs(3600);

/// The shortest file: with shorter ones there would be more names than media.
const SHORTEST_SEGMENT: Duration = Duration::from_secs(10);

/// `[recording]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    pub directory: PathBuf,
    pub format: Format,
    /// A file longer than this is followed by another.
    pub segment: Duration,
    pub path: Template,
    pub retention: Retention,
    /// When the disk has less left, in bytes, recordings end.
    pub floor: u64,
}

impl Recording {
    /// As it is when a file does not mention it.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            directory: data_dir.join("recordings"),
            format: Format::default(),
            segment: DEFAULT_SEGMENT,
            path: Template::default(),
            retention: Retention::default(),
            floor: DEFAULT_FLOOR,
        }
    }
}

pub(super) fn recording(table: &Table<'_>, data_dir: &Path) -> Recording {
    let usual = Recording::new(data_dir);
    let directory = table.get("directory").and_then(|value| {
        let path = value.path()?;
        if path.exists() && !path.is_dir() {
            value.refuse(Problem::NotAFolder(path));
            return None;
        }
        Some(path)
    });
    let size = |name| table.get(name).and_then(|value| value.parse(scalar::size));
    let floor = size("floor").unwrap_or(usual.floor);
    let keep_free = table.get("keep_free").and_then(|value| {
        let free = value.parse(scalar::size)?;
        // Recordings would end before the oldest had to go.
        if free < floor {
            value.refuse(Problem::BelowFloor);
        }
        Some(free)
    });
    Recording {
        directory: directory.unwrap_or(usual.directory),
        format: table.get("format").and_then(|value| value.parse(scalar::format)).unwrap_or_default(),
        segment: table.get("segment").and_then(|value| value.parse(segment)).unwrap_or(usual.segment),
        path: table
            .get("path")
            .and_then(|value| value.parse(|text| text.parse().map_err(Problem::Template)))
            .unwrap_or_default(),
        retention: Retention {
            age: table.get("keep_for").and_then(|value| value.parse(scalar::parse_lifetime)),
            size: size("keep_size"),
            free: keep_free,
        },
        floor,
    }
}

fn segment(text: &str) -> Result<Duration, Problem> {
    scalar::duration(text).ok().filter(|segment| *segment >= SHORTEST_SEGMENT).ok_or(Problem::Segment)
}
