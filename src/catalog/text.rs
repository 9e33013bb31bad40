//! Names written as text: `nextval('public."Numbers"')`, and in expressions that the server shows.

/// The parts of a qualified name in a text, as `SplitIdentifierString()` of varlena.c reads it for
/// `regclass`; none if it is no such name, or a number.
pub fn qualified_name(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim_start_matches(is_space);
    let mut parts = Vec::new();
    loop {
        let (part, behind) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => plain(rest)?,
        };
        parts.push(cut(part));
        rest = behind.trim_start_matches(is_space);
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind.trim_start_matches(is_space),
            None if rest.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// `scanner_isspace()`
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

/// Up to the closing quote, in which two quotes are one.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (before, behind) = rest.split_once('"')?;
        name.push_str(before);
        match behind.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None if name.is_empty() => return None,
            None => return Some((name, behind)),
        }
    }
}

/// A name as it can be written in SQL, folded. PostgreSQL takes more here; nobody writes it.
fn plain(text: &str) -> Option<(String, &str)> {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    let end = text.find(|c| !goes_on(c)).unwrap_or(text.len());
    let (name, behind) = text.split_at_checked(end)?;
    let begins = name.chars().next()?;
    (!begins.is_ascii_digit() && begins != '$').then(|| (name.to_ascii_lowercase(), behind))
}

/// Names end behind 63 bytes, at a whole character (`truncate_identifier()`).
fn cut(mut name: String) -> String {
    const BYTES_MAX: usize = 63;
    let end = name.floor_char_boundary(BYTES_MAX);
    name.truncate(end);
    name
}

/// The first of the system's functions in an expression that run SQL from text, read files or change the
/// session. A default or a condition that calls one is not pure; `pg_depend` does not tell of them.
pub fn runs_text(expression: &str) -> Option<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = expression.split(|c| !is_word(c));
    words
        .find(|word| {
            let word = word.to_ascii_lowercase();
            ["_to_xml", "_to_xmlschema", "_to_xml_and_xmlschema"]
                .iter()
                .any(|ending| word.ends_with(ending))
                || [
                    "pg_read_",
                    "pg_ls_",
                    "lo_",
                    "ts_stat",
                    "ts_rewrite",
                    "set_config",
                ]
                .iter()
                .any(|beginning| word.starts_with(beginning))
        })
        .map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_regclass_reads_them() {
        for (text, expected) in [
            ("Orders", "orders"),
            (" public . \"Or\"\"ders\" ", "public|Or\"ders"),
            ("\"a.b\".c$1", "a.b|c$1"),
            ("Órders", "Órders"),
            (&"x".repeat(70), &"x".repeat(63)),
            ("", "-"),
            ("12", "-"),
            ("\"\"", "-"),
            ("a.", "-"),
            ("a b", "-"),
            ("\"a", "-"),
            ("a;b", "-"),
        ] {
            let found = qualified_name(text).map_or("-".to_owned(), |parts| parts.join("|"));
            assert_eq!(found, expected, "{text}");
        }
    }
}
