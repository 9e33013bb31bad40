//! What the words of a statement tell before its tree is looked at.
//!
//! The predicate form needs to know that nothing else in the statement refers to a table or to its
//! tenant column. Counting words answers that without a model of name spaces; where it is in doubt,
//! the fence, which needs no such knowledge, is used.

use std::collections::{BTreeMap, BTreeSet};

use crate::sql::{Lexeme, Lexemes, Token};

/// How one name is used in a statement.
#[derive(Clone, Debug, Default)]
struct Use {
    /// How often it stands without a dot behind it.
    bare: usize,
    /// How often of these it is a table's name in FROM or of a change: nothing in an expression.
    ranges: usize,
    /// What stands behind it and a dot: a name, or `*`.
    qualifies: Vec<String>,
    /// The functions that it is the one argument of.
    given_to: Vec<String>,
}

/// The words of one statement.
#[derive(Clone, Debug)]
pub(super) struct Words {
    uses: BTreeMap<String, Use>,
    as_alias: BTreeSet<String>,
    leading: Vec<String>,
}

impl Words {
    /// Counts the words.
    pub(super) fn of(lexemes: &Lexemes) -> Self {
        let mut words = Self {
            uses: BTreeMap::new(),
            as_alias: BTreeSet::new(),
            leading: lexemes.iter().take(3).filter_map(Lexeme::name).collect(),
        };
        let mut aliases: BTreeMap<String, usize> = BTreeMap::new();
        let all: Vec<&Lexeme> = lexemes.iter().collect();
        for (at, lexeme) in all.iter().enumerate() {
            let Some(name) = lexeme.name() else { continue };
            let behind = all.get(at + 1).map(|next| &next.token);
            let before = at
                .checked_sub(1)
                .and_then(|at| all.get(at))
                .and_then(|l| l.name());
            if before.as_deref() == Some("as") {
                *aliases.entry(name.clone()).or_default() += 1;
            }
            let entry = words.uses.entry(name).or_default();
            if behind == Some(&Token::Period) {
                let qualified = all
                    .get(at + 2)
                    .map(|next| next.name().unwrap_or_else(|| next.token.to_string()));
                entry.qualifies.push(qualified.unwrap_or_default());
            } else {
                entry.bare += 1;
                entry.ranges += usize::from(is_range(&all, at));
                let is_argument = behind == Some(&Token::RParen)
                    && at >= 2
                    && all.get(at - 1).map(|open| &open.token) == Some(&Token::LParen);
                let function = all.get(at.saturating_sub(2)).and_then(|word| word.name());
                entry.given_to.extend(function.filter(|_| is_argument));
            }
        }
        for (name, count) in aliases {
            let uses = words.uses.get(&name);
            if uses.is_some_and(|uses| uses.bare == count && uses.qualifies.is_empty()) {
                words.as_alias.insert(name);
            }
        }
        words
    }

    /// Whether the name occurs at all.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.uses.contains_key(name)
    }

    /// Whether the name occurs, but otherwise than right behind AS.
    pub(super) fn refers_to(&self, name: &str) -> bool {
        self.mentions(name) && !self.as_alias.contains(name)
    }

    /// Whether the name is used as range entries' and otherwise only to qualify something, or as the one argument
    /// of one of these functions.
    pub(super) fn only_qualifies(&self, name: &str, given_to: impl Fn(&String) -> bool) -> bool {
        self.uses.get(name).is_some_and(|uses| {
            let given = uses.given_to.iter().filter(|name| given_to(name)).count();
            uses.bare == given + 1 || (uses.ranges > 0 && uses.bare == given + uses.ranges)
        })
    }

    /// What the name qualifies.
    pub(super) fn qualified_by(&self, name: &str) -> &[String] {
        self.uses
            .get(name)
            .map_or(&[], |uses| uses.qualifies.as_slice())
    }

    /// The command's name, as far as it can be told from the first words.
    pub(super) fn command(&self) -> String {
        const TWO: [&str; 9] = [
            "alter", "create", "drop", "comment", "import", "prepare", "reassign", "refresh",
            "security",
        ];
        let mut leading = self.leading.iter().map(|word| word.to_ascii_uppercase());
        let first = leading.next().unwrap_or_else(|| "this command".to_owned());
        match leading.next() {
            Some(second) if TWO.contains(&first.to_ascii_lowercase().as_str()) => {
                format!("{first} {second}")
            }
            Some(_) | None => first,
        }
    }
}

/// Whether the name at a place is a table's, as `FROM name` and `JOIN schema.name` show.
fn is_range(all: &[&Lexeme], at: usize) -> bool {
    let back = |steps: usize| at.checked_sub(steps).and_then(|at| all.get(at));
    let word = |steps: usize| back(steps).and_then(|lexeme| lexeme.name());
    let is_qualified = back(1).is_some_and(|before| before.token == Token::Period);
    let start = if is_qualified { 3 } else { 1 };
    match word(start).as_deref() {
        Some("join" | "update" | "into" | "using") => true,
        // IS DISTINCT FROM compares.
        Some("from") => word(start + 1).as_deref() != Some("distinct"),
        Some(_) | None => false,
    }
}
