//! Reading a TOML document with its positions: every accessor either returns a value or has reported why not.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::UNTIL;
use super::schema::{Section, Since};
use super::secret::read_value_file;
use super::{ConfigError, ConfigWarning, Doubt, PassphraseSource, Place, Problem, scalar};
use crate::call::Millis;

/// A configuration is a few kilobytes; what is longer is something else (`/dev/zero`).
pub(super) const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// The file being read, and what was found wrong so far.
pub(super) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    /// With the byte at which each lies, so that they can be told in the file's order.
    errors: RefCell<Vec<(usize, ConfigError)>>,
    warnings: RefCell<Vec<ConfigWarning>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, errors: RefCell::default(), warnings: RefCell::default() }
    }

    pub(super) fn place(&self, at: Option<usize>, key: &str) -> Place {
        Place { file: self.file.to_owned(), line: at.map(|at| self.line_at(at)), key: key.to_owned() }
    }

    pub(super) fn line_at(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
    }

    pub(super) fn refuse(&self, at: Option<usize>, key: &str, problem: Problem) {
        let error = ConfigError { place: self.place(at, key), problem };
        self.errors.borrow_mut().push((at.unwrap_or(self.text.len()), error));
    }

    pub(super) fn warn(&self, at: Option<usize>, key: &str, doubt: Doubt) {
        self.warnings.borrow_mut().push(ConfigWarning { place: self.place(at, key), doubt });
    }

    /// A path of the file: relative ones start at the file's own folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// All errors in the file's order, and the warnings.
    pub(super) fn finish(self) -> (Vec<ConfigError>, Vec<ConfigWarning>) {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|(at, _)| *at);
        (errors.into_iter().map(|(_, error)| error).collect(), self.warnings.into_inner())
    }
}

/// A table of the file, held against its section of the schema.
pub(super) struct Table<'a> {
    doc: &'a Document<'a>,
    section: &'static Section,
    /// What stands before a key's name when it is told: `nostr.`, `line "driveway": `.
    prefix: String,
    at: Option<usize>,
    values: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Refuses every key that the section does not have, or not yet.
    pub(super) fn open(
        doc: &'a Document<'a>,
        section: &'static Section,
        prefix: String,
        at: Option<usize>,
        values: &'a DeTable<'a>,
    ) -> Self {
        for (name, _) in values {
            let at = Some(name.span().start);
            let name = name.get_ref().as_ref();
            let key = format!("{prefix}{}", name.escape_debug());
            match section.key(name).map(|key| key.since) {
                Some(Since::Now) => {}
                Some(Since::Later) => doc.refuse(at, &key, Problem::NotInThisVersion),
                None => doc.refuse(at, &key, Problem::UnknownKey { nearest: section.nearest(name) }),
            }
        }
        Self { doc, section, prefix, at, values }
    }

    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        debug_assert!(self.section.key(name).is_some_and(|key| key.since == Since::Now), "{name} is not in the schema");
        let value = self.values.get(name)?;
        Some(Value { doc: self.doc, key: self.key(name), at: value.span().start, value: value.get_ref() })
    }

    /// Reports a missing key, at the table's own line.
    pub(super) fn require(&self, name: &str) -> Option<Value<'a>> {
        let value = self.get(name);
        if value.is_none() {
            let about = self.section.key(name).map_or("", |key| key.about);
            self.refuse(name, Problem::Missing(about));
        }
        value
    }

    /// Says that something is wrong with a key that may not be there.
    pub(super) fn refuse(&self, name: &str, problem: Problem) {
        self.doc.refuse(self.at, &self.key(name), problem);
    }

    pub(super) fn warn(&self, name: &str, doubt: Doubt) {
        self.doc.warn(self.at, &self.key(name), doubt);
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// A value of the file, and where it stands.
pub(super) struct Value<'a> {
    doc: &'a Document<'a>,
    key: String,
    at: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    pub(super) fn refuse(&self, problem: Problem) {
        self.doc.refuse(Some(self.at), &self.key, problem);
    }

    pub(super) fn warn(&self, doubt: Doubt) {
        self.doc.warn(Some(self.at), &self.key, doubt);
    }

    pub(super) fn line(&self) -> usize {
        self.doc.line_at(self.at)
    }

    fn mistyped<T>(&self, expected: &'static str) -> Option<T> {
        self.refuse(Problem::Type(expected));
        None
    }

    /// Any string may also be `env:NAME` or `file:PATH`.
    pub(super) fn text(&self) -> Option<String> {
        let DeValue::String(text) = self.value else { return self.mistyped("a string") };
        if let Some(name) = text.strip_prefix("env:") {
            let value = std::env::var(name).ok();
            if value.is_none() {
                self.refuse(Problem::EnvUnset(name.escape_debug().to_string()));
            }
            return value;
        }
        // An address may well begin so: `file:///srv/welcome.mp4`.
        match text.strip_prefix("file:") {
            Some(path) if !path.starts_with("//") => {
                read_value_file(&self.doc.resolve(path)).map_err(|problem| self.refuse(problem)).ok()
            }
            _ => Some(text.to_string()),
        }
    }

    pub(super) fn parse<T>(&self, parse: impl FnOnce(&str) -> Result<T, Problem>) -> Option<T> {
        let text = self.text()?;
        parse(&text).map_err(|problem| self.refuse(problem)).ok()
    }

    /// A path in the file system; relative ones start at the configuration's folder.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.text()?;
        if text.is_empty() {
            return self.mistyped("a path");
        }
        if text.starts_with("nsec1") || (text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit())) {
            self.refuse(Problem::SecretForAPath);
            return None;
        }
        Some(self.doc.resolve(&text))
    }

    /// Read as it stands, and never for what it names: the passphrase itself is no value of the configuration.
    pub(super) fn passphrase_source(&self) -> Option<PassphraseSource> {
        let DeValue::String(text) = self.value else { return self.mistyped("a string") };
        let folder = self.doc.resolve("");
        PassphraseSource::parse(text, &folder).map_err(|problem| self.refuse(problem)).ok()
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match self.value {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.refuse(Problem::Range(*range.start(), *range.end()));
        }
        number
    }

    /// A moment, as TOML writes it, with quotes around it or without.
    pub(super) fn moment(&self) -> Option<Millis> {
        let moment = match self.value {
            DeValue::Datetime(datetime) => scalar::moment(datetime),
            DeValue::String(_) => scalar::moment_in(&self.text()?),
            _ => return self.mistyped(UNTIL),
        };
        moment.map_err(|problem| self.refuse(problem)).ok()
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.mistyped("true or false"),
        }
    }

    pub(super) fn list(&self) -> Option<Vec<Value<'a>>> {
        self.list_as("a list: [ ... ]")
    }

    /// A list that is complained about in these words when it is none.
    pub(super) fn list_as(&self, expected: &'static str) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(values) = self.value else { return self.mistyped(expected) };
        let element = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Value {
            doc: self.doc,
            key: format!("{}[{index}]", self.key),
            at: value.span().start,
            value: value.get_ref(),
        };
        Some(values.iter().enumerate().map(element).collect())
    }

    /// Every element that can be read; those that cannot are reported.
    pub(super) fn list_of<T>(&self, mut parse: impl FnMut(&str) -> Result<T, Problem>) -> Vec<T> {
        self.list().unwrap_or_default().iter().filter_map(|value| value.parse(&mut parse)).collect()
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    pub(super) fn table(&self, section: &'static Section) -> Option<Table<'a>> {
        self.table_called(section, format!("{}.", self.key))
    }

    pub(super) fn table_called(&self, section: &'static Section, prefix: String) -> Option<Table<'a>> {
        let DeValue::Table(values) = self.value else { return self.mistyped("a table") };
        Some(Table::open(self.doc, section, prefix, Some(self.at), values))
    }

    /// The name that a table of this list gives itself, unread as yet: to call it by when something in it is wrong.
    pub(super) fn name_inside(&self) -> Option<&'a str> {
        let DeValue::Table(values) = self.value else { return None };
        values.get("name").and_then(|name| name.get_ref().as_str())
    }
}
