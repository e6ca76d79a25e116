//! What a line says of how its file is played.

use super::reader::Table;
use super::{Doubt, Problem, scalar};
use crate::endpoint::{After, Endpoint, Start};

/// The keys of a line that mean something for a file only.
const KEYS: [&str; 3] = ["loop", "start", "after"];

/// The line's endpoint, played as its other keys say; what contradicts itself is reported.
pub(super) fn played(table: &Table<'_>, endpoint: Option<Endpoint>, keep_warm: bool) -> Option<Endpoint> {
    let start = table.get("start").and_then(|value| value.parse(scalar::start));
    let after = table.get("after").and_then(|value| value.parse(scalar::after));
    let repeats = table.get("loop").and_then(|value| value.flag());
    let mut programme = match endpoint? {
        Endpoint::File(programme) => programme,
        other => {
            KEYS.iter().filter_map(|key| table.get(key)).for_each(|value| value.refuse(Problem::OnlyForFiles));
            return Some(other);
        }
    };
    if let (Some(repeats), Some(after)) = (repeats, after)
        && repeats != (after == After::Loop)
    {
        table.refuse("loop", Problem::LoopAfter);
    }
    programme.start = start.unwrap_or_default();
    programme.after = after.unwrap_or(if repeats == Some(true) { After::Loop } else { After::default() });
    if keep_warm && programme.start == Start::Own {
        table.warn("keep_warm", Doubt::NothingToKeepWarm);
    }
    // Told and not refused: it may come later, and other lines do not wait for it.
    if !programme.path.exists() {
        table.warn("play", Doubt::NothingToPlay(programme.path.clone()));
    }
    Some(Endpoint::File(programme))
}
