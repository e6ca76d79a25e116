//! Where a recording lies, relative to the recording folder.
//!
//! A template is the operator's; what is put into its places may be a stranger's. Nothing put in can add a folder, leave the recording
//! folder, hide the file, or grow a name beyond what file systems take.

use std::fmt::Write as _;
use std::str::FromStr;

use time::OffsetDateTime;

use super::{Format, RecordingId};
use crate::call::Millis;

/// The template when the configuration has none.
pub const DEFAULT_TEMPLATE: &str = "{line}/{date}/{time}-{caller}-{session}";

/// The longest name of a file or folder, in bytes: file systems take 255, and a part's number, endings and that of a file being written follow.
pub const MAX_COMPONENT: usize = 200;
/// The longest value in a place, in bytes: an npub has 63.
const MAX_VALUE: usize = 64;
/// The longest template, in bytes.
const MAX_TEMPLATE: usize = 256;
/// How many names a template may have between its slashes.
const MAX_DEPTH: usize = 8;

/// What follows a media file's name in that of its sidecar.
pub const SIDECAR_ENDING: &str = ".json";
/// What follows a media file's name in that of its poster.
pub const POSTER_ENDING: &str = ".jpg";

/// Where recordings lie: names with places for what is known of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The names between slashes, each in pieces.
    components: Vec<Vec<Piece>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Line,
    Date,
    Time,
    Caller,
    Session,
    Id,
}

/// What is known of a recording when its file is named. Each text may be anything.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    pub id: RecordingId,
    pub line: &'a str,
    /// None when nobody called.
    pub caller: Option<&'a str>,
    /// None when nobody called.
    pub session: Option<&'a str>,
    pub started: Millis,
}

/// Why a template is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("it is empty, or longer than {MAX_TEMPLATE} bytes")]
    Length,
    #[error("it has more than {MAX_DEPTH} names between its slashes")]
    Depth,
    #[error(
        "a name in it is empty, `.` or `..`, begins with a dot, or ends with one: it must stay inside the recording folder"
    )]
    Component,
    #[error("it may hold letters, digits, spaces, `-`, `_`, `.`, `/` and places such as {{line}}")]
    Character,
    #[error("{{{0}}} is not one of {{line}}, {{date}}, {{time}}, {{caller}}, {{session}}, {{id}}")]
    Place(String),
    #[error("a brace is not closed")]
    Brace,
    #[error("its last name needs {{time}}, {{session}} or {{id}}, or all recordings have one name")]
    SameName,
}

impl Default for Template {
    fn default() -> Self {
        use Piece::{Place as P, Text};
        let dash = || Text("-".to_owned());
        Self {
            components: vec![
                vec![P(Place::Line)],
                vec![P(Place::Date)],
                vec![P(Place::Time), dash(), P(Place::Caller), dash(), P(Place::Session)],
            ],
        }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() || text.len() > MAX_TEMPLATE {
            return Err(TemplateError::Length);
        }
        let components: Vec<_> = text.split('/').map(component).collect::<Result<_, _>>()?;
        if components.len() > MAX_DEPTH {
            return Err(TemplateError::Depth);
        }
        let tells_apart = |piece: &Piece| matches!(piece, Piece::Place(Place::Time | Place::Session | Place::Id));
        if !components.last().is_some_and(|last| last.iter().any(tells_apart)) {
            return Err(TemplateError::SameName);
        }
        Ok(Self { components })
    }
}

fn component(text: &str) -> Result<Vec<Piece>, TemplateError> {
    if text.is_empty() || text.starts_with(['.', ' ']) || text.ends_with(['.', ' ']) {
        return Err(TemplateError::Component);
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (plain, behind) = match rest.split_once('{') {
            Some((plain, behind)) => (plain, Some(behind)),
            None => (rest, None),
        };
        if !plain.chars().all(|c| is_harmless(c) || c == ' ') {
            return Err(TemplateError::Character);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        rest = match behind {
            Some(behind) => {
                let (name, rest) = behind.split_once('}').ok_or(TemplateError::Brace)?;
                pieces.push(Piece::Place(place(name)?));
                rest
            }
            None => "",
        };
    }
    Ok(pieces)
}

fn place(name: &str) -> Result<Place, TemplateError> {
    Ok(match name {
        "line" => Place::Line,
        "date" => Place::Date,
        "time" => Place::Time,
        "caller" => Place::Caller,
        "session" => Place::Session,
        "id" => Place::Id,
        other => return Err(TemplateError::Place(other.chars().take(20).filter(|c| !c.is_control()).collect())),
    })
}

impl Template {
    /// The path of a recording without its file's ending: relative, names of [`MAX_COMPONENT`] bytes at most with `/` between them.
    pub fn path(&self, names: &Names<'_>) -> String {
        let components: Vec<String> = self.components.iter().map(|pieces| filled(pieces, names)).collect();
        components.join("/")
    }
}

fn filled(pieces: &[Piece], names: &Names<'_>) -> String {
    let mut name = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => name.push_str(text),
            Piece::Place(place) => name.push_str(&value(*place, names)),
        }
    }
    whole(&name)
}

fn value(place: Place, names: &Names<'_>) -> String {
    let (date, (hour, minute, second)) = match moment(names.started) {
        Some(moment) => (moment.date().to_string(), moment.to_hms()),
        None => ("9999-12-31".to_owned(), (0, 0, 0)),
    };
    match place {
        Place::Line => tamed(names.line),
        Place::Date => date,
        Place::Time => format!("{hour:02}{minute:02}{second:02}"),
        Place::Caller => tamed(names.caller.unwrap_or("nobody")),
        Place::Session => tamed(names.session.unwrap_or("none")),
        Place::Id => names.id.to_string(),
    }
}

fn moment(at: Millis) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(at.0 / 1000).ok()?).ok()
}

/// Letters and digits of any script, and what is no trouble in a file's name.
fn is_harmless(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// A text from outside as a part of a name: no separator, no control or invisible character, not too long.
fn tamed(text: &str) -> String {
    let mut tame = String::new();
    for c in text.chars() {
        let c = if is_harmless(c) { c } else { '_' };
        if tame.len() + c.len_utf8() > MAX_VALUE {
            break;
        }
        tame.push(c);
    }
    if tame.is_empty() { "_".to_owned() } else { tame }
}

/// A name that any file system takes: Windows, and shares of it, have names that mean a device, and forget dots and spaces at the end.
fn whole(name: &str) -> String {
    let mut whole = String::new();
    if is_device(name) || name.starts_with(['.', '-']) {
        whole.push('_');
    }
    for c in name.chars() {
        // No run of dots, whatever stands beside what.
        let c = if c == '.' && whole.ends_with('.') { '_' } else { c };
        if whole.len() + c.len_utf8() > MAX_COMPONENT {
            break;
        }
        whole.push(c);
    }
    let kept = whole.trim_end_matches(['.', ' ']).len();
    whole.truncate(kept);
    if whole.is_empty() { "_".to_owned() } else { whole }
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = |prefix| {
        stem.strip_prefix(prefix).is_some_and(|number: &str| {
            let mut digits = number.chars();
            matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
        })
    };
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt")
}

/// The path of a recording whose own is taken by another one; `number` from 2 on.
pub fn another(path: &str, number: u32) -> String {
    let mut path = path.to_owned();
    // Writing to a string does not fail.
    let _ = write!(path, "-{number}");
    path
}

/// The path of a recording's part, as media calls it: the first has the recording's own.
pub fn part(path: &str, number: u32) -> String {
    if number <= 1 { path.to_owned() } else { format!("{path}.{number}") }
}

/// The media file of a path without an ending.
pub fn media_file(path: &str, format: Format) -> String {
    format!("{path}.{}", format.extension())
}

/// The sidecar of a media file.
pub fn sidecar_of(media: &str) -> String {
    format!("{media}{SIDECAR_ENDING}")
}

/// The poster of a media file.
pub fn poster_of(media: &str) -> String {
    format!("{media}{POSTER_ENDING}")
}

/// The media file whose sidecar this is; None when no sidecar is called so.
pub fn media_of(sidecar: &str) -> Option<&str> {
    let media = sidecar.strip_suffix(SIDECAR_ENDING)?;
    [Format::Mkv, Format::Mp4]
        .iter()
        .any(|format| media.ends_with(&format!(".{}", format.extension())))
        .then_some(media)
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    /// A moment of 2024-05-01 12:34:56 UTC.
    const MAY: Millis = Millis(1_714_566_896_789);

    fn names<'a>(line: &'a str, caller: Option<&'a str>, session: Option<&'a str>) -> Names<'a> {
        Names { id: RecordingId(7), line, caller, session, started: MAY }
    }

    fn path(line: &str, caller: &str, session: &str) -> String {
        Template::default().path(&names(line, Some(caller), Some(session)))
    }

    #[test]
    fn a_template_is_filled_in() {
        assert_eq!(path("door", "npub1abc", "s-1"), "door/2024-05-01/123456-npub1abc-s-1");
        let nobody = Template::default().path(&names("door", None, None));
        assert_eq!(nobody, "door/2024-05-01/123456-nobody-none");
        let own: Template = "cams/{line} of {date}/{id}".parse().unwrap();
        assert_eq!(own.path(&names("door", None, None)), "cams/door of 2024-05-01/r7");
        assert_eq!(DEFAULT_TEMPLATE.parse(), Ok(Template::default()));
    }

    #[test]
    fn a_template_that_leads_outside_or_tells_nothing_apart_is_refused() {
        for (text, error) in [
            ("", TemplateError::Length),
            ("/{id}", TemplateError::Component),
            ("../{id}", TemplateError::Component),
            ("{line}/../{id}", TemplateError::Component),
            ("{line}//{id}", TemplateError::Component),
            ("{line}/{id}/", TemplateError::Component),
            (".hidden/{id}", TemplateError::Component),
            ("{line}/{id}.", TemplateError::Component),
            ("{line}\\{id}", TemplateError::Character),
            ("{line}\n{id}", TemplateError::Character),
            ("{line}:{id}", TemplateError::Character),
            ("{nmae}", TemplateError::Place("nmae".to_owned())),
            ("{line", TemplateError::Brace),
            ("a}{id}", TemplateError::Character),
            ("{session}/{line}", TemplateError::SameName),
            ("a/b/c/d/e/f/g/h/{id}", TemplateError::Depth),
        ] {
            assert_eq!(text.parse::<Template>(), Err(error), "{text}");
        }
    }

    #[test]
    fn hostile_names_stay_one_harmless_name_each() {
        for (hostile, shown) in [
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("..", ".."),
            ("", "_"),
            ("a/b\\c", "a_b_c"),
            ("nul\0\u{7f}\u{1b}[2J", "nul____2J"),
            ("{session}", "_session_"),
            ("\u{202e}gpj.exe\u{200b}", "_gpj.exe_"),
            ("größe 門", "größe_門"),
            ("C:\\x", "C__x"),
        ] {
            assert_eq!(tamed(hostile), shown, "{hostile:?}");
        }
        assert_eq!(path("..", "..", ".."), "_._/2024-05-01/123456-._-._");
        assert_eq!(path(".bashrc", "a", "b"), "_.bashrc/2024-05-01/123456-a-b");
        assert_eq!(path("-rf", "a", "b"), "_-rf/2024-05-01/123456-a-b");
        assert_eq!(path("x...", "a", "b."), "x._/2024-05-01/123456-a-b");
        assert_eq!(path("x.", "a", "b"), "x/2024-05-01/123456-a-b");
        for device in ["CON", "nul", "aux.mkv", "Com1", "lpt9.txt", "COM²"] {
            assert!(path(device, "a", "b").starts_with('_'), "{device}");
        }
        assert!(path("console", "a", "b").starts_with("console/"));
        let long = path(&"門".repeat(100), &"é".repeat(150), &"x".repeat(300));
        assert!(long.split('/').all(|name| name.len() <= MAX_COMPONENT), "{long}");
        assert!(long.ends_with(&"x".repeat(MAX_VALUE)));
    }

    #[test]
    fn what_lies_beside_a_recording_is_found_by_its_name() {
        let media = media_file(&part("a/b", 1), Format::Mkv);
        assert_eq!(media, "a/b.mkv");
        assert_eq!(media_file(&part(&another("a/b", 2), 3), Format::Mp4), "a/b-2.3.mp4");
        assert_eq!((sidecar_of(&media), poster_of(&media)), ("a/b.mkv.json".to_owned(), "a/b.mkv.jpg".to_owned()));
        assert_eq!(media_of("a/b.mkv.json"), Some("a/b.mkv"));
        assert_eq!(media_of("a/b.json"), None);
        assert_eq!(media_of("a/b.mkv"), None);
    }

    /// What people type to break out, between what anybody types.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "\\PC{0,20}",
            any::<char>().prop_map(String::from),
            prop::sample::select(vec![
                "../",
                "..",
                "/",
                "\\",
                ".",
                "\0",
                "\n",
                "{line}",
                "{",
                "}",
                "~",
                "-",
                " ",
                "CON",
                "nul.",
                "%2e%2e%2f",
                "\u{202e}",
                "\u{2215}",
                "\u{ff0f}",
                "\u{2024}\u{2024}/",
                "C:",
                "$(x)",
                "`x`",
                "a\u{301}",
            ])
            .prop_map(str::to_owned),
            (1usize..300).prop_map(|n| "x".repeat(n)),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn template() -> impl Strategy<Value = Template> {
        prop::sample::select(vec![
            DEFAULT_TEMPLATE,
            "{session}",
            "{line}{caller}{session}{line}{caller}{session}{time}",
            "{caller}/{session}/{line}/{id}",
            "a b/{session}.{caller}",
        ])
        .prop_map(|text| text.parse().unwrap())
    }

    proptest! {
        #[test]
        fn no_name_from_outside_leaves_the_recording_folder_or_breaks_the_template(
            template in template(), line in hostile(), caller in hostile(), session in hostile(), at in any::<u64>(),
        ) {
            let names = Names { id: RecordingId(at), line: &line, caller: Some(&caller), session: Some(&session), started: Millis(at) };
            let path = template.path(&names);

            let parts: Vec<_> = Path::new(&path).components().collect();
            prop_assert_eq!(parts.len(), template.components.len(), "a name between slashes each: {}", path);
            prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{}", path);
            for name in path.split('/') {
                prop_assert!(!name.is_empty() && name.len() <= MAX_COMPONENT);
                prop_assert!(!name.starts_with(['.', '-', ' ']) && !name.ends_with(['.', ' ']), "{}", name);
                prop_assert!(name.chars().all(|c| is_harmless(c) || c == ' '), "{:?}", name);
                prop_assert!(!name.contains(".."), "{}", name);
                prop_assert!(!is_device(name), "{}", name);
            }
            // Its companions fit too.
            let media = media_file(&part(&another(&path, u32::MAX), u32::MAX), Format::Mkv);
            prop_assert!(sidecar_of(&media).split('/').all(|name| name.len() <= 255));
        }
    }
}
