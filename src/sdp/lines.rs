//! Bytes to lines: sizes, printable ASCII, and the two levels of a session description (RFC 8866 section 5).

use super::{MAX_SDP, SdpReject};

/// Bytes of one line. Real clients stay under 300.
const MAX_LINE: usize = 2048;

/// Lines of an SDP: a Chromium offer with ten m-lines has about 1200.
const MAX_LINES: usize = 2000;

/// m-lines: each refused one costs a section of the answer.
const MAX_MEDIA: usize = 16;

/// `letter=value`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// 1-based.
    pub number: usize,
    pub letter: u8,
    pub value: &'a str,
}

impl<'a> Line<'a> {
    /// Name and value of an `a=` line; the value is empty when there is none.
    pub fn attribute(&self) -> Option<(&'a str, &'a str)> {
        (self.letter == b'a').then(|| self.value.split_once(':').unwrap_or((self.value, "")))
    }

    pub fn reject(&self, what: &'static str) -> SdpReject {
        SdpReject { line: self.number, what }
    }
}

/// The lines before the first `m=`, and those of each m-line (its `m=` first).
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    pub session: Vec<Line<'a>>,
    pub media: Vec<Vec<Line<'a>>>,
}

/// Splits a text into lines and levels; CRLF or LF.
pub(super) fn blocks(text: &str) -> Result<Blocks<'_>, SdpReject> {
    let whole = |what| SdpReject { line: 0, what };
    if text.len() > MAX_SDP {
        return Err(whole("longer than 32 KiB"));
    }
    let mut blocks = Blocks { session: Vec::new(), media: Vec::new() };
    for (index, raw) in text.trim_end_matches(['\r', '\n']).split('\n').enumerate() {
        let number = index + 1;
        let line = read_line(number, raw.strip_suffix('\r').unwrap_or(raw))?;
        if number > MAX_LINES {
            return Err(line.reject("too many lines"));
        }
        if (number == 1) != (line.letter == b'v') || (number == 1 && line.value != "0") {
            return Err(line.reject("v=0 must be the first line, and only that"));
        }
        if line.letter == b'm' {
            if blocks.media.len() == MAX_MEDIA {
                return Err(line.reject("more than 16 m-lines"));
            }
            blocks.media.push(Vec::new());
        }
        let allowed: &[u8] = if blocks.media.is_empty() { b"vosiuepcbtrzka" } else { b"micbka" };
        if !allowed.contains(&line.letter) {
            return Err(line.reject("a line of a type that has no place here"));
        }
        blocks.media.last_mut().unwrap_or(&mut blocks.session).push(line);
    }
    if blocks.media.is_empty() {
        return Err(whole("it has no m-line"));
    }
    Ok(blocks)
}

fn read_line(number: usize, raw: &str) -> Result<Line<'_>, SdpReject> {
    let reject = |what| SdpReject { line: number, what };
    if raw.len() > MAX_LINE {
        return Err(reject("a line longer than 2048 bytes"));
    }
    if !raw.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(reject("a byte that is not printable ASCII"));
    }
    match raw.as_bytes() {
        [letter @ b'a'..=b'z', b'=', ..] => Ok(Line { number, letter: *letter, value: &raw[2..] }),
        _ => Err(reject("not a line of the form letter=value")),
    }
}

/// RFC 8866 `token`, at most `max` bytes.
pub(super) fn is_token(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte))
}

/// RFC 8839 `ice-char`s.
pub(super) fn is_ice(text: &str, sizes: std::ops::RangeInclusive<usize>) -> bool {
    sizes.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

/// A decimal number: digits only (`str::parse` also takes a sign).
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_line_endings_and_both_levels_are_read() {
        let text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\ns=-\r\na=x:1\nm=audio 9 p 0\r\na=mid:0\r\n\r\n";
        let blocks = blocks(text).unwrap();
        assert_eq!(blocks.session.len(), 4);
        assert_eq!(blocks.session[3].attribute(), Some(("x", "1")));
        assert_eq!(blocks.media.len(), 1);
        assert_eq!(blocks.media[0][1].number, 6);
    }

    #[test]
    fn each_broken_form_is_refused_at_its_line() {
        let line = |text: &str| blocks(text).unwrap_err().line;
        assert_eq!(line(""), 1);
        assert_eq!(line("o=-\nv=0\nm=audio"), 1);
        assert_eq!(line("v=0\nv=0\nm=audio"), 2);
        assert_eq!(line("v=0\n\nm=audio"), 2);
        assert_eq!(line("v=0\ns=caf\u{e9}\nm=audio"), 2);
        assert_eq!(line("v=0\ns=a\tb\nm=audio"), 2);
        assert_eq!(line("v=0\ns=a\rb\nm=audio"), 2);
        assert_eq!(line("v=0\nm=audio\nt=0 0"), 3);
        assert_eq!(line("v=0\nq=1\nm=audio"), 2);
        assert_eq!(line("v=0\ns=-"), 0);
        assert_eq!(line(&format!("v=0\ns={}\nm=audio", "x".repeat(2050))), 2);
        assert_eq!(line(&format!("v=0\n{}", "a=x\n".repeat(2500))), 2001);
        assert_eq!(line(&format!("v=0\n{}", "m=audio\n".repeat(17))), 18);
        assert_eq!(line(&"x".repeat(MAX_SDP + 1)), 0);
    }

    #[test]
    fn numbers_have_digits_only() {
        assert_eq!(number::<u8>("255"), Some(255));
        assert_eq!(number::<u8>("256"), None);
        assert_eq!(number::<u8>("+1"), None);
        assert_eq!(number::<u8>(""), None);
    }
}
