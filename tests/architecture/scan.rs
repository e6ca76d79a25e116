//! Reads Rust source as far as the rules need it: paths, calls and where a panic may be, with comments, strings and test code left out.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    /// A string, byte string, character or number.
    Literal,
    /// `::` is one; everything else is a character of its own.
    Mark(&'static str),
    Char(char),
}

/// A path as written, its first segment resolved through the file's `use` lines: `["std", "fs", "read"]`. A glob ends in `"*"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    pub line: usize,
    pub segments: Vec<String>,
}

/// What the rules look at in one file.
#[derive(Debug, Default)]
pub struct Source {
    pub paths: BTreeSet<Path>,
    /// `.name(`: the line and the name.
    pub methods: Vec<(usize, String)>,
    /// `name!`: the line and the name.
    pub macros: Vec<(usize, String)>,
    /// Lines with a comment that begins with `invariant:` and says something.
    pub invariants: BTreeSet<usize>,
    /// Calls of `parse::something(` whose first argument is neither a literal nor a constant.
    pub spliced_launches: Vec<usize>,
    /// `#[cfg(test)] mod name;`: files that are test code.
    pub test_files: Vec<String>,
    /// `pub mod name`
    pub public_modules: Vec<String>,
}

/// Scans one file. `module` is its path in the crate (`["call", "machine"]`), for `self` and `super`.
pub fn scan(module: &[String], text: &str) -> Source {
    let (tokens, invariants) = tokens(text);
    let mut source = Source { invariants, ..Source::default() };
    let tokens = without_tests(&tokens, &mut source.test_files);
    let mut names = BTreeMap::new();
    let mut inline = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (line, token) = &tokens[at];
        match token {
            Token::Word(word) if word == "use" => {
                let mut prefix = Vec::new();
                at = use_tree(&tokens, at + 1, &mut prefix, module, &mut names, &mut source.paths);
                continue;
            }
            Token::Word(word) if word == "mod" && at > 0 && tokens[at - 1].1 == Token::Word("pub".into()) => {
                if let Some((_, Token::Word(name))) = tokens.get(at + 1) {
                    source.public_modules.push(name.clone());
                }
            }
            Token::Word(word) if at > 0 && tokens[at - 1].1 == Token::Char('.') => {
                if matches!(tokens.get(at + 1), Some((_, Token::Char('(') | Token::Mark("::")))) {
                    source.methods.push((*line, word.clone()));
                }
            }
            Token::Word(word) => {
                let mut segments = vec![word.clone()];
                while let (Some((_, Token::Mark("::"))), Some((_, Token::Word(next)))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    segments.push(next.clone());
                    at += 2;
                }
                if tokens.get(at + 1).is_some_and(|(_, token)| *token == Token::Char('!'))
                    && tokens.get(at + 2).is_some_and(|(_, token)| *token != Token::Char('='))
                {
                    source.macros.push((*line, segments[segments.len() - 1].clone()));
                }
                if segments.len() > 1 && segments[segments.len() - 2] == "parse" && !constant_argument(&tokens, at + 1)
                {
                    source.spliced_launches.push(*line);
                }
                inline.push(Path { line: *line, segments });
            }
            _ => {}
        }
        at += 1;
    }
    for path in inline {
        let segments = match names.get(&path.segments[0]) {
            Some(full) => [full, &path.segments[1..]].concat(),
            None => absolute(&path.segments, module),
        };
        // A name alone that no `use` brought in is a local one, or a type from a glob.
        let type_name = segments[0].starts_with(|c: char| c.is_ascii_uppercase());
        if segments.len() > 1 || type_name {
            source.paths.insert(Path { line: path.line, segments });
        }
    }
    source
}

/// Whether what opens at `at` is a call whose first argument is a literal or an UPPER_CASE constant; true when it is no call.
fn constant_argument(tokens: &[(usize, Token)], at: usize) -> bool {
    if tokens.get(at).is_none_or(|(_, token)| *token != Token::Char('(')) {
        return true;
    }
    let argument = tokens[at + 1..].iter().map(|(_, token)| token).find(|token| **token != Token::Char('&'));
    match argument {
        Some(Token::Literal) => true,
        Some(Token::Word(word)) => !word.chars().any(|c| c.is_ascii_lowercase()),
        _ => false,
    }
}

/// Reads one tree of a `use`; returns where it ends.
fn use_tree(
    tokens: &[(usize, Token)],
    mut at: usize,
    prefix: &mut Vec<String>,
    module: &[String],
    names: &mut BTreeMap<String, Vec<String>>,
    paths: &mut BTreeSet<Path>,
) -> usize {
    let depth = prefix.len();
    while let Some((line, token)) = tokens.get(at) {
        match token {
            Token::Word(word) if word == "as" => {
                if let Some((_, Token::Word(name))) = tokens.get(at + 1) {
                    names.insert(name.clone(), absolute(prefix, module));
                }
                at += 2;
            }
            Token::Word(word) => {
                if word != "self" || prefix.is_empty() {
                    prefix.push(word.clone());
                }
                at += 1;
                let more = tokens.get(at).map(|(_, token)| token);
                if more != Some(&Token::Mark("::")) {
                    let full = absolute(prefix, module);
                    if more != Some(&Token::Word("as".into())) {
                        names.insert(full[full.len() - 1].clone(), full.clone());
                    }
                    paths.insert(Path { line: *line, segments: full });
                }
            }
            Token::Char('*') => {
                prefix.push("*".into());
                paths.insert(Path { line: *line, segments: absolute(prefix, module) });
                at += 1;
            }
            Token::Mark("::") => at += 1,
            Token::Char('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| *token != Token::Char('}')) {
                    let mut branch = prefix.clone();
                    at = use_tree(tokens, at, &mut branch, module, names, paths);
                    if tokens.get(at).is_some_and(|(_, token)| *token == Token::Char(',')) {
                        at += 1;
                    }
                }
                at += 1;
            }
            _ => break,
        }
    }
    prefix.truncate(depth);
    at
}

/// `self` and `super` replaced by what they mean in `module`.
fn absolute(segments: &[String], module: &[String]) -> Vec<String> {
    let ups = segments.iter().take_while(|segment| *segment == "super").count();
    let from_here = ups > 0 || segments.first().is_some_and(|first| first == "self");
    if !from_here {
        return segments.to_vec();
    }
    let kept = module.len().saturating_sub(ups);
    let rest = if ups > 0 { &segments[ups..] } else { &segments[1..] };
    [&["crate".to_owned()], &module[..kept], rest].concat()
}

/// The tokens without items under `#[cfg(test)]` (and `cfg(all(test, ...))`); the whole file goes with `#![cfg(test)]`.
fn without_tests(tokens: &[(usize, Token)], test_files: &mut Vec<String>) -> Vec<(usize, Token)> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].1 != Token::Char('#') {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let inner = tokens.get(at + 1).is_some_and(|(_, token)| *token == Token::Char('!'));
        let open = at + 1 + usize::from(inner);
        let end = closing(tokens, open);
        if !test_attribute(&tokens[open.min(tokens.len())..end.min(tokens.len())]) {
            kept.extend_from_slice(&tokens[at..end.min(tokens.len())]);
            at = end;
            continue;
        }
        if inner {
            return Vec::new();
        }
        at = end;
        // The item: other attributes, then up to its block or semicolon.
        while at < tokens.len() {
            match &tokens[at].1 {
                Token::Char('#') => at = closing(tokens, at + 1),
                Token::Char('{') => {
                    at = closing(tokens, at);
                    break;
                }
                Token::Char(';') => {
                    if let [(_, Token::Word(word)), (_, Token::Word(name))] = &tokens[at - 2..at]
                        && word == "mod"
                    {
                        test_files.push(name.clone());
                    }
                    at += 1;
                    break;
                }
                Token::Char('(' | '[') => at = closing(tokens, at),
                _ => at += 1,
            }
        }
    }
    kept
}

fn test_attribute(attribute: &[(usize, Token)]) -> bool {
    let words: Vec<&str> = attribute
        .iter()
        .filter_map(|(_, token)| if let Token::Word(word) = token { Some(word.as_str()) } else { None })
        .collect();
    words == ["test"] || words == ["cfg", "test"] || words.starts_with(&["cfg", "all", "test"])
}

/// The index after what closes the bracket at `open`.
fn closing(tokens: &[(usize, Token)], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, (_, token)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Char('(' | '[' | '{') => depth += 1,
            Token::Char(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// Tokens with their lines, and the lines that have an `// invariant: ...` comment.
fn tokens(text: &str) -> (Vec<(usize, Token)>, BTreeSet<usize>) {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut invariants = BTreeSet::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let here = chars[at];
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        let start = at;
        match here {
            '/' if next == '/' => {
                at = (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len());
                let comment: String = chars[start + 2..at].iter().collect();
                if comment.trim().strip_prefix("invariant:").is_some_and(|why| !why.trim().is_empty()) {
                    invariants.insert(line);
                }
            }
            '/' if next == '*' => at = block_comment_end(&chars, at),
            '"' => at = string_end(&chars, at),
            'r' | 'b' | 'c' if string_prefix(&chars, at) => {
                at = prefixed_string_end(&chars, at);
                found.push((line, Token::Literal));
            }
            '\'' => {
                at = character_or_lifetime_end(&chars, at);
                if chars[at - 1] == '\'' {
                    found.push((line, Token::Literal));
                }
            }
            'r' if next == '#' => at += 2,
            _ if here.is_alphabetic() || here == '_' => {
                at = (at..chars.len()).find(|&i| !chars[i].is_alphanumeric() && chars[i] != '_').unwrap_or(chars.len());
                found.push((line, Token::Word(chars[start..at].iter().collect())));
            }
            _ if here.is_ascii_digit() => {
                at = (at..chars.len()).find(|&i| !chars[i].is_alphanumeric() && chars[i] != '_').unwrap_or(chars.len());
                found.push((line, Token::Literal));
            }
            ':' if next == ':' => {
                at += 2;
                found.push((line, Token::Mark("::")));
            }
            _ => {
                at += 1;
                if !here.is_whitespace() {
                    found.push((line, Token::Char(here)));
                }
            }
        }
        if here == '"' {
            found.push((line, Token::Literal));
        }
        line += chars[start..at].iter().filter(|&&c| c == '\n').count();
    }
    (found, invariants)
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// `at` is the opening quote.
fn string_end(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Whether `r"`, `r#"`, `b"`, `br#"`, `c"`, `b'` ... begins here.
fn string_prefix(chars: &[char], mut at: usize) -> bool {
    if at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') {
        return false;
    }
    let start = at;
    while at - start < 2 && matches!(chars.get(at), Some('r' | 'b' | 'c')) {
        at += 1;
    }
    while chars.get(at) == Some(&'#') {
        at += 1;
    }
    chars.get(at) == Some(&'"') || (chars[start] == 'b' && chars.get(start + 1) == Some(&'\''))
}

fn prefixed_string_end(chars: &[char], mut at: usize) -> usize {
    let mut raw = false;
    while matches!(chars.get(at), Some('r' | 'b' | 'c')) {
        raw |= chars[at] == 'r';
        at += 1;
    }
    if chars.get(at) == Some(&'\'') {
        return character_or_lifetime_end(chars, at);
    }
    if !raw {
        return string_end(chars, at);
    }
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    at += hashes + 1;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// `'a'`, `'\n'`, `'\''` end after the closing quote; of a lifetime only the quote is passed.
fn character_or_lifetime_end(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        return (at + 3..chars.len()).find(|&i| chars[i] == '\'').map_or(chars.len(), |i| i + 1);
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at + 1 }
}
