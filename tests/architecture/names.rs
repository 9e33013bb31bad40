//! The paths that a Rust file names, found without a parser: comments and literals are blanked,
//! the rest is cut into words.

/// A path such as `crate::tenant::Policy`, and where it stands.
#[derive(Clone, Debug)]
pub struct Name {
    /// Its parts; `use a::{b, c}` gives two paths.
    pub path: Vec<String>,
    /// The line, counted from 1.
    pub line: usize,
    /// In how many `mod name { .. }` of the file it stands.
    pub nested: usize,
}

impl Name {
    /// Whether the path begins with these parts.
    pub fn begins_with(&self, parts: &[&str]) -> bool {
        self.path.len() >= parts.len() && parts.iter().zip(&self.path).all(|(a, b)| *a == b)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Word {
    text: String,
    line: usize,
}

/// Every path of a file.
pub fn of(text: &str) -> Vec<Name> {
    let words = words(&blanked(text));
    let mut names = Vec::new();
    let mut at = 0;
    // The depth of braces at which each nested module began.
    let mut modules: Vec<usize> = Vec::new();
    let mut depth = 0;
    while at < words.len() {
        let word = words[at].text.as_str();
        match word {
            "{" => {
                if at >= 2 && words[at - 2].text == "mod" {
                    modules.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                if modules.last() == Some(&depth) {
                    modules.pop();
                }
            }
            // A visibility imports nothing.
            "super" if at >= 2 && words[at - 1].text == "(" && words[at - 2].text == "pub" => {}
            _ if is_identifier(word) => {
                let first = names.len();
                at = path(&words, at, &[], &mut names);
                for name in &mut names[first..] {
                    name.nested = modules.len();
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    names
}

/// The lines of `static` items whose type, up to the `=`, holds one of these words; and of
/// `thread_local!`.
pub fn statics(text: &str, suspects: &[&str]) -> Vec<usize> {
    let words = words(&blanked(text));
    let mut lines = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let begins = |next: &Word| suspects.iter().any(|s| next.text.starts_with(s));
        let is_item = word.text == "static" && (at == 0 || words[at - 1].text != "'");
        let mut declared = words[at + 1..].iter().take_while(|next| next.text != "=");
        if (is_item && declared.any(begins)) || word.text == "thread_local" {
            lines.push(word.line);
        }
    }
    lines
}

/// Reads a path, or the branches of a `use` tree, and returns where it ends.
fn path(words: &[Word], mut at: usize, stem: &[String], names: &mut Vec<Name>) -> usize {
    let mut path = stem.to_vec();
    let line = words[at].line;
    loop {
        match words.get(at).map(|word| word.text.as_str()) {
            Some("{") if path.len() > stem.len() => {
                at += 1;
                while words.get(at).is_some_and(|word| word.text != "}") {
                    if is_identifier(&words[at].text) {
                        at = self::path(words, at, &path, names);
                    } else {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some(word) if is_identifier(word) || word == "*" => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => break,
        }
        if words.get(at).is_some_and(|word| word.text == "::") {
            at += 1;
        } else {
            break;
        }
    }
    names.push(Name {
        path,
        line,
        nested: 0,
    });
    at
}

fn is_identifier(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let alphanumeric = |c: char| c.is_alphanumeric() || c == '_';
            let length = if alphanumeric(first) {
                rest.find(|c| !alphanumeric(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (word, after) = rest.split_at(length);
            words.push(Word {
                text: word.to_owned(),
                line: number + 1,
            });
            rest = after.trim_start();
        }
    }
    words
}

/// The text with comments and literals taken out, lines kept.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_before = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '"' => quoted(rest),
            'r' | 'b' if !word_before => raw(rest).unwrap_or(0),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (gone, after) = rest.split_at(length);
            out.push(' ');
            out.extend(gone.chars().filter(|c| *c == '\n'));
            rest = after;
        }
    }
    out
}

/// The length of a string literal that begins here.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw string literal, if one begins here.
fn raw(text: &str) -> Option<usize> {
    let body = text.trim_start_matches('b').strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let close = inner
        .find(&end)
        .map_or(text.len(), |at| text.len() - inner.len() + at + end.len());
    Some(close)
}

/// The length of a character literal that begins here; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut inner = text.char_indices().skip(1);
    match (inner.next(), inner.next()) {
        (Some((_, '\\')), Some((at, _))) => {
            let after = at + 1;
            text[after..]
                .find('\'')
                .map_or(text.len(), |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}
