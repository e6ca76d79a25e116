//! `callgate recordings`: what was recorded, also while the daemon runs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::arguments;
use super::text::{say, table, utc};
use super::{Exit, Failure, Outcome};
use crate::config::{self, Config, Problem};
use crate::gateway::RecordingFolder;
use crate::media;
use crate::media::recorder::{self, ExportError};
use crate::recording::{End, RecordingId, Side, Sidecar, rfc3339};
use crate::store::{self, KeptRecording, RecordingFilter, RecordingIndex};

#[derive(Debug, Args)]
pub struct RecordingsArgs {
    #[command(subcommand)]
    pub command: RecordingsCommand,
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "CALLGATE_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Prints JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum RecordingsCommand {
    /// Lists recordings, the newest first
    List {
        /// Only of this line
        #[arg(long, value_name = "NAME")]
        line: Option<String>,
        /// Only with this npub
        #[arg(long, value_name = "NPUB")]
        caller: Option<String>,
        /// Only what went on at this time or later, such as 2026-12-31 or 2026-12-31T18:00:00Z
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Only what began before this time; a date means its end
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Shows all that is known of a recording
    Show {
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Writes a recording to a plain MP4 file, which plays everywhere
    Export {
        #[arg(value_name = "ID")]
        id: String,
        /// The file; one that is there is replaced
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// From here on, since its beginning, such as 90s or 5m: from the keyframe before
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Up to here, since its beginning
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
    },
    /// Compares recordings with their sidecars: size and SHA-256. All of them when none is named
    Verify {
        #[arg(value_name = "ID")]
        ids: Vec<String>,
    },
    /// Deletes recordings
    Delete {
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}

pub(super) fn recordings(args: &RecordingsArgs) -> Outcome {
    let file = args.config.as_deref();
    let file = file.ok_or_else(|| Failure::words(Exit::Usage, "--config: which configuration? Give -c FILE"))?;
    let shelf = Shelf::open(config::load(file)?)?;
    match &args.command {
        RecordingsCommand::List { line, caller, from, to, limit } => {
            let moment = |option: &str, text: &Option<String>, read: fn(&str) -> Result<config::Millis, Problem>| {
                let wrong = |problem| Failure::words(Exit::Usage, format_args!("{option}: {problem}"));
                text.as_deref().map(read).transpose().map_err(wrong)
            };
            let caller = caller.as_deref().map(|text| arguments::public_key("--caller", text)).transpose()?;
            let filter = RecordingFilter {
                line: line.clone(),
                caller: caller.map(|key| crate::gateway::npub(&key)),
                from: moment("--from", from, config::parse_since)?,
                to: moment("--to", to, config::parse_moment)?,
                before: None,
            };
            list(&shelf, &filter, *limit, args.json)
        }
        RecordingsCommand::Show { id } => show(&shelf, id, args.json),
        RecordingsCommand::Export { id, out, from, to } => {
            export(&shelf, id, out, [("--from", from), ("--to", to)], args.json)
        }
        RecordingsCommand::Verify { ids } => verify(&shelf, ids, args.json),
        RecordingsCommand::Delete { ids } => delete(&shelf, ids),
    }
}

/// The recordings of a configuration.
struct Shelf {
    config: Config,
    /// None when no daemon ever ran.
    index: Option<RecordingIndex>,
    folder: RecordingFolder,
}

impl Shelf {
    fn open(config: Config) -> Result<Self, Failure> {
        let index = RecordingIndex::open(&config.data_dir)?;
        let folder = RecordingFolder::at(config.recording.directory.clone());
        Ok(Self { config, index, folder })
    }

    fn find(&self, id: &str) -> Result<KeptRecording, Failure> {
        let none = || Failure::words(Exit::NoInput, format_args!("there is no recording {}", id.escape_debug()));
        let id: RecordingId = id.parse().map_err(|_| none())?;
        let found = match &self.index {
            Some(index) => index.recording(id)?,
            None => None,
        };
        found.ok_or_else(none)
    }

    fn list(&self, filter: &RecordingFilter, limit: usize) -> Result<Vec<KeptRecording>, Failure> {
        match &self.index {
            Some(index) => Ok(index.recordings(filter, limit)?),
            None => Ok(Vec::new()),
        }
    }
}

fn list(shelf: &Shelf, filter: &RecordingFilter, limit: usize, json: bool) -> Outcome {
    let recordings = shelf.list(filter, limit)?;
    if json {
        say(serde_json::json!({ "recordings": recordings }));
    } else if recordings.is_empty() {
        say("no recordings");
    } else {
        let rows: Vec<_> = recordings.iter().map(row).collect();
        say(table(["ID", "STARTED (UTC)", "LINE", "WITH", "LASTED", "TRACKS", "SIZE", "ENDED"], &rows));
    }
    Ok(Exit::Success)
}

fn row(recording: &KeptRecording) -> [String; 8] {
    let sidecar = &recording.sidecar;
    let lasted = sidecar.ended.map(|ended| format!("{:.1} s", ended.since(sidecar.started) as f64 / 1000.0));
    [
        sidecar.id.to_string(),
        utc(sidecar.started.0),
        sidecar.line.clone(),
        // Enough to tell people apart; `--json` has all of it.
        sidecar.caller.as_deref().map_or_else(|| "-".to_owned(), |caller| caller.chars().take(16).collect()),
        lasted.unwrap_or_else(|| "-".to_owned()),
        tracks(sidecar),
        format!("{:.1} MB", sidecar.bytes as f64 / 1e6),
        sidecar.end.word().to_owned(),
    ]
}

/// `H264, PCMU`; what the caller sent behind a `<`.
fn tracks(sidecar: &Sidecar) -> String {
    let shown = sidecar.tracks.iter().map(|track| match track.side {
        Side::Line => track.codec.clone(),
        Side::Caller => format!("<{}", track.codec),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn show(shelf: &Shelf, id: &str, json: bool) -> Outcome {
    let found = shelf.find(id)?;
    if json {
        say(serde_json::json!(found));
        return Ok(Exit::Success);
    }
    let sidecar = &found.sidecar;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows = [
        ["id".to_owned(), sidecar.id.to_string()],
        ["line".to_owned(), sidecar.line.clone()],
        ["line's npub".to_owned(), sidecar.line_npub.clone()],
        ["with".to_owned(), or_dash(&sidecar.caller)],
        ["session".to_owned(), or_dash(&sidecar.session)],
        ["part".to_owned(), sidecar.part.to_string()],
        ["started".to_owned(), rfc3339(sidecar.started)],
        ["ended".to_owned(), or_dash(&sidecar.ended.map(rfc3339))],
        ["how it ended".to_owned(), sidecar.end.word().to_owned()],
        ["tracks".to_owned(), tracks(sidecar)],
        ["bytes".to_owned(), sidecar.bytes.to_string()],
        ["SHA-256".to_owned(), or_dash(&sidecar.sha256)],
        ["file".to_owned(), shelf.folder.path(&found.file).display().to_string()],
    ];
    say(table(["WHAT", "IS"], &rows));
    Ok(Exit::Success)
}

fn export(shelf: &Shelf, id: &str, out: &Path, clip: [(&str, &Option<String>); 2], json: bool) -> Outcome {
    let read = |(option, text): (&str, &Option<String>)| {
        let wrong = |problem| Failure::words(Exit::Usage, format_args!("{option}: {problem}"));
        text.as_deref().map(config::parse_offset).transpose().map_err(wrong)
    };
    let [from, to] = clip.map(read);
    let (from, to) = (from?.unwrap_or_default(), to?);
    if to.is_some_and(|to| to <= from) {
        return Err(Failure::words(Exit::Usage, "--to: must be later than --from"));
    }
    let found = shelf.find(id)?;
    // Pictures are passed on; G.711 becomes Opus, for which GStreamer is there.
    media::init().map_err(|error| Failure::new(Exit::Unavailable, error))?;
    recorder::export(&shelf.folder.path(&found.file), from, to, out).map_err(|error| {
        let exit = match error {
            ExportError::Read(_) | ExportError::Empty => Exit::NoInput,
            ExportError::Write(_) => Exit::CannotCreate,
            ExportError::Encoder => Exit::Software,
        };
        Failure::new(exit, error)
    })?;
    if json {
        say(serde_json::json!({ "id": found.sidecar.id, "out": out }));
    } else {
        say(format_args!("recording {} is in {}", found.sidecar.id, out.display()));
    }
    Ok(Exit::Success)
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// It has no digest yet: it is in progress, or being finished.
    Unfinished,
    /// Its size or its digest is another.
    Changed,
    /// Its media or its sidecar cannot be read.
    Unreadable,
}

impl Verdict {
    fn words(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unfinished => "not finished yet",
            Self::Changed => "not what was recorded",
            Self::Unreadable => "cannot be read",
        }
    }
}

fn verify(shelf: &Shelf, ids: &[String], json: bool) -> Outcome {
    let recordings = if ids.is_empty() {
        shelf.list(&RecordingFilter::default(), usize::MAX)?
    } else {
        ids.iter().map(|id| shelf.find(id)).collect::<Result<_, _>>()?
    };
    let verdicts: Vec<_> = recordings.iter().map(|recording| (recording, verdict(shelf, recording))).collect();
    if json {
        let verdict = |(recording, verdict): &(&KeptRecording, Verdict)| serde_json::json!({ "id": recording.sidecar.id, "file": recording.file, "verdict": verdict });
        say(serde_json::json!({ "recordings": verdicts.iter().map(verdict).collect::<Vec<_>>() }));
    } else if verdicts.is_empty() {
        say("no recordings");
    } else {
        let row = |(recording, verdict): &(&KeptRecording, Verdict)| {
            [recording.sidecar.id.to_string(), recording.file.clone(), verdict.words().to_owned()]
        };
        say(table(["ID", "FILE", "IS"], &verdicts.iter().map(row).collect::<Vec<_>>()));
    }
    let bad = verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Changed | Verdict::Unreadable));
    Ok(if bad { Exit::Failed } else { Exit::Success })
}

/// By the sidecar itself, not by what the index has of it.
fn verdict(shelf: &Shelf, recording: &KeptRecording) -> Verdict {
    let Ok(sidecar) = shelf.folder.sidecar(&recording.file) else { return Verdict::Unreadable };
    let Some(sha256) = &sidecar.sha256 else { return Verdict::Unfinished };
    match shelf.folder.digest(&recording.file) {
        Ok((bytes, digest)) if bytes == sidecar.bytes && digest == *sha256 => Verdict::Good,
        Ok(_) => Verdict::Changed,
        Err(_) => Verdict::Unreadable,
    }
}

fn delete(shelf: &Shelf, ids: &[String]) -> Outcome {
    let recordings: Vec<KeptRecording> = ids.iter().map(|id| shelf.find(id)).collect::<Result<_, _>>()?;
    let runs = store::is_in_use(&shelf.config.data_dir);
    for recording in recordings {
        let id = recording.sidecar.id;
        let unfinished = recording.sidecar.end == End::Open || recording.sidecar.sha256.is_none();
        if runs && unfinished {
            return Err(Failure::words(
                Exit::Unavailable,
                format_args!("recording {id} is in progress, or being finished"),
            ));
        }
        let failed = |error| Failure::words(Exit::IoError, format_args!("recording {id} cannot be deleted: {error}"));
        shelf.folder.delete(&recording.file).map_err(failed)?;
        if let Some(index) = &shelf.index {
            index.forget_recording(id)?;
        }
        say(format_args!("recording {id} is deleted"));
    }
    Ok(Exit::Success)
}
