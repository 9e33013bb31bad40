//! Reading TOML: each value with its place, each fault collected, no key unread.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Effect, Fault, Object, Place};

/// Where faults are collected.
#[derive(Debug, Default)]
pub(super) struct Findings(RefCell<Vec<Fault>>);

impl Findings {
    /// Notes a fault.
    pub(super) fn add(&self, fault: Fault) {
        self.0.borrow_mut().push(fault);
    }

    /// All of them.
    pub(super) fn into_inner(self) -> Vec<Fault> {
        self.0.into_inner()
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    file: PathBuf,
    text: String,
    /// Where each line ends, in bytes.
    lines: Vec<usize>,
}

/// So many faults in the syntax of one file are told: it is no TOML then.
const SYNTAX_FAULTS_MAX: usize = 20;

impl Source {
    /// A file that was read, by its path relative to the configuration directory.
    pub(super) fn new(file: &Path, text: String) -> Self {
        Self {
            file: file.to_owned(),
            lines: text.match_indices('\n').map(|(end, _)| end).collect(),
            text,
        }
    }

    /// The file as a place.
    pub(super) fn whole(&self) -> Place {
        Place {
            file: self.file.clone(),
            line: None,
        }
    }

    /// Parses the file; what is wrong with its syntax is noted, and nothing of it is used then.
    pub(super) fn parse(
        &self,
        findings: &Findings,
        effect: &Effect,
    ) -> Option<Spanned<DeTable<'_>>> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        for error in errors.iter().take(SYNTAX_FAULTS_MAX) {
            findings.add(Fault {
                place: self.place(error.span().map_or(0, |span| span.start)),
                message: format!("syntax: {}", error.message()),
                remedy: "The format is TOML: https://toml.io".to_owned(),
                effect: effect.clone(),
            });
        }
        errors.is_empty().then_some(table)
    }

    fn place(&self, offset: usize) -> Place {
        Place {
            file: self.file.clone(),
            line: Some(self.lines.partition_point(|end| *end < offset) + 1),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What a table's faults are written to, and what they stop.
#[derive(Clone, Debug)]
pub(super) struct Context<'a> {
    pub(super) source: &'a Source,
    pub(super) findings: &'a Findings,
    pub(super) effect: Effect,
}

impl Context<'_> {
    /// Notes a fault.
    pub(super) fn fault(
        &self,
        place: Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.add(Fault {
            place,
            message: message.into(),
            remedy: remedy.into(),
            effect: self.effect.clone(),
        });
    }

    /// Notes that what a key asks for does not exist yet, and stops the object that would be less
    /// safe without it.
    pub(super) fn not_supported(&self, place: Place, what: &str, object: Object) {
        self.findings.add(Fault {
            place,
            message: format!("not supported yet: {what}"),
            remedy: "It is not served, because leaving this out could let more through.".to_owned(),
            effect: Effect::NotSupportedYet(object),
        });
    }
}

/// One table of a file. It remembers which keys were asked for.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) context: Context<'a>,
    /// What it is called in messages: `[pool]`; empty for the file itself.
    title: String,
    place: Place,
    entries: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

type Entry<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> Table<'a> {
    /// A whole file.
    pub(super) fn file(context: Context<'a>, entries: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            place: context.source.whole(),
            context,
            title: String::new(),
            entries: entries.get_ref(),
            asked: Vec::new(),
        }
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// From now on faults of this table stop this object only.
    pub(super) fn stops(&mut self, object: Object) {
        self.context.effect = Effect::Stops(object);
    }

    /// Notes a fault.
    pub(super) fn fault(
        &self,
        place: Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.context.fault(place, message, remedy);
    }

    /// Notes that what a key asks for does not exist yet, and stops the object that would be less
    /// safe without it.
    pub(super) fn not_supported(&self, place: Place, what: &str, object: Object) {
        self.context.not_supported(place, what, object);
    }

    /// Notes that a key has no effect yet.
    pub(super) fn no_effect(&mut self, key: &'static str, what: &str) {
        if let Some(entry) = self.entry(key) {
            self.context.findings.add(Fault {
                place: self.place_of(entry),
                message: format!("not supported yet: {what}"),
                remedy: "The key is accepted and has no effect.".to_owned(),
                effect: Effect::Nothing,
            });
        }
    }

    /// A text.
    pub(super) fn string(&mut self, key: &'static str) -> Option<Placed<String>> {
        let entry = self.entry(key)?;
        let text = entry.get_ref().as_str().filter(|text| !text.is_empty());
        self.expect(key, entry, text.map(str::to_owned), "a text")
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<Placed<String>> {
        self.demand(key, example);
        self.string(key)
    }

    /// Notes a fault if the key is missing.
    pub(super) fn demand(&mut self, key: &'static str, example: &str) {
        if self.entry(key).is_none() {
            let what = self.named(key);
            self.fault(
                self.place(),
                format!("{what} is missing"),
                format!("For example: {example}"),
            );
        }
    }

    /// A text with a form of its own.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Placed<T>> {
        let entry = self.entry(key)?;
        let value = entry.get_ref().as_str().and_then(parse);
        self.expect(key, entry, value, wanted)
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<Placed<T>> {
        let words: Vec<String> = choices
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        self.parsed(key, &format!("one of {}", words.join(", ")), |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value)
        })
    }

    /// A whole number.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Option<Placed<u64>> {
        let entry = self.entry(key)?;
        let value = whole_number(entry.get_ref())
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| bounds.contains(number));
        let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.expect(key, entry, value, &wanted)
    }

    /// Yes or no; no where it is missing.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<Placed<bool>> {
        let entry = self.entry(key)?;
        self.expect(key, entry, entry.get_ref().as_bool(), "true or false")
    }

    /// A list of texts.
    pub(super) fn strings(&mut self, key: &'static str) -> Option<Vec<Placed<String>>> {
        let entry = self.entry(key)?;
        let items = entry.get_ref().as_array().map(|array| {
            array
                .iter()
                .map(|item| {
                    Some(Placed {
                        value: item.get_ref().as_str()?.to_owned(),
                        place: self.place_of(item),
                    })
                })
                .collect::<Option<Vec<_>>>()
        });
        let list = self.expect(key, entry, items.flatten(), "a list of texts");
        list.map(|list| list.value)
    }

    /// A value of any type, for those that have several.
    pub(super) fn any(&mut self, key: &'static str) -> Option<Placed<&'a DeValue<'a>>> {
        let entry = self.entry(key)?;
        Some(Placed {
            value: entry.get_ref(),
            place: self.place_of(entry),
        })
    }

    /// A table within this one.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Self> {
        let entry = self.entry(key)?;
        let title = format!("[{key}]");
        let inner = self.inner(title, entry);
        if inner.is_none() {
            self.expect(key, entry, None::<()>, "a table");
        }
        inner
    }

    /// `[[key]]`, each time that it occurs.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let title = format!("[[{key}]]");
        let inner = entry.get_ref().as_array().and_then(|array| {
            let inner = array.iter().map(|item| self.inner(title.clone(), item));
            inner.collect::<Option<Vec<_>>>()
        });
        if inner.is_none() {
            self.expect(
                key,
                entry,
                None::<()>,
                &format!("a table, begun with {title}"),
            );
        }
        inner.unwrap_or_default()
    }

    /// Every entry, where the keys are names: as a table.
    pub(super) fn named_tables(self) -> Vec<(Placed<String>, Option<Self>)> {
        let title = self.title.trim_matches(['[', ']']).to_owned();
        self.named_entries()
            .map(|(name, entry)| {
                let title = format!("[{title}.\"{}\"]", name.value);
                let inner = self.inner(title.clone(), entry);
                if inner.is_none() {
                    let message = format!("{title} must be a table");
                    self.fault(
                        name.place.clone(),
                        message,
                        format!("Begin it with {title}"),
                    );
                }
                (name, inner)
            })
            .collect()
    }

    /// Every entry, where the keys are names: as a text, with numbers and truth values spelled out.
    pub(super) fn named_texts(self) -> Vec<(Placed<String>, String)> {
        let mut texts = Vec::new();
        for (name, entry) in self.named_entries() {
            match entry.get_ref() {
                DeValue::String(text) => texts.push((name, text.clone().into_owned())),
                DeValue::Integer(number) => texts.push((name, number.to_string())),
                DeValue::Float(number) => texts.push((name, number.to_string())),
                DeValue::Boolean(value) => texts.push((name, value.to_string())),
                DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => self.fault(
                    name.place.clone(),
                    format!("{} must be a text or a number", self.named(&name.value)),
                    format!("For example: {} = \"..\"", name.value),
                ),
            }
        }
        texts
    }

    /// Notes each key that nobody asked for.
    pub(super) fn finish(self) {
        for (name, _) in self.named_entries() {
            if self.asked.contains(&name.value.as_str()) {
                continue;
            }
            let near = nearest(&name.value, &self.asked);
            let remedy = near.map_or_else(
                || format!("Known here: {}.", self.asked.join(", ")),
                |near| format!("Did you mean \"{near}\"?"),
            );
            self.fault(
                name.place.clone(),
                format!("unknown key {}", self.named(&name.value)),
                remedy,
            );
        }
    }

    fn named_entries(&self) -> impl Iterator<Item = (Placed<String>, Entry<'a>)> {
        self.entries.iter().map(|(key, value)| {
            let name = Placed {
                value: key.get_ref().clone().into_owned(),
                place: self.context.source.place(key.span().start),
            };
            (name, value)
        })
    }

    fn inner(&self, title: String, entry: Entry<'a>) -> Option<Self> {
        Some(Self {
            context: self.context.clone(),
            title,
            place: self.place_of(entry),
            entries: entry.get_ref().as_table()?,
            asked: Vec::new(),
        })
    }

    fn entry(&mut self, key: &'static str) -> Option<Entry<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let mut entries = self.entries.iter();
        entries
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| value)
    }

    fn expect<T>(
        &self,
        key: &str,
        entry: Entry<'_>,
        value: Option<T>,
        wanted: &str,
    ) -> Option<Placed<T>> {
        let place = self.place_of(entry);
        let Some(value) = value else {
            let found = shown(entry.get_ref());
            self.fault(
                place,
                format!("{} is {found}", self.named(key)),
                format!("It must be {wanted}."),
            );
            return None;
        };
        Some(Placed { value, place })
    }

    fn place_of(&self, entry: &Spanned<DeValue<'_>>) -> Place {
        self.context.source.place(entry.span().start)
    }

    fn named(&self, key: &str) -> String {
        if self.title.is_empty() {
            format!("\"{key}\"")
        } else {
            format!("\"{key}\" in {}", self.title)
        }
    }
}

/// An integer as TOML writes it, in any of its bases.
pub(super) fn whole_number(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A value for a message. Long ones and tables are not repeated.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.is_empty() => "empty".to_owned(),
        DeValue::String(text) if text.len() <= 60 => format!("\"{text}\""),
        DeValue::String(_) => "a long text".to_owned(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The word that somebody who wrote `name` may have meant.
pub(super) fn nearest<'a>(name: &str, words: &[&'a str]) -> Option<&'a str> {
    let distances = words.iter().map(|word| (edits(name, word), *word));
    let (distance, word) = distances.min()?;
    (distance <= 2.min(name.len() / 2)).then_some(word)
}

/// The Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, from) in a.chars().enumerate() {
        let mut next = vec![at + 1];
        for (left, to) in row.windows(2).zip(&b) {
            let [above_left, above] = left else { continue };
            let before = next.last().copied().unwrap_or(0);
            let replaced = above_left + usize::from(from != *to);
            next.push(replaced.min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
