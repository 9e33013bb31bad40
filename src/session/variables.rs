//! The session variables of one client: what it has set, and what a rollback undoes.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::Effect;
use super::housekeeping::Housekeeping;

/// Names in lower case, with values as SHOW prints them.
pub(super) type Values = BTreeMap<String, String>;

/// The client's session variables through its transactions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Variables {
    /// What RESET gives: the tenant's settings, and what the client said at startup.
    initial: Values,
    current: Values,
    /// As the last committed transaction left them.
    committed: Values,
    savepoints: Vec<(String, Values)>,
    in_block: bool,
    custom: BTreeSet<String>,
}

impl Variables {
    /// The variables of a session that begins.
    pub fn new(initial: Values) -> Self {
        Self {
            custom: initial
                .keys()
                .filter(|name| name.contains('.'))
                .cloned()
                .collect(),
            current: initial.clone(),
            committed: initial.clone(),
            initial,
            savepoints: Vec::new(),
            in_block: false,
        }
    }

    /// The values that a server connection must have.
    pub fn current(&self) -> &Values {
        &self.current
    }

    /// The names of an application's own settings that this client has ever used.
    pub fn custom(&self) -> &BTreeSet<String> {
        &self.custom
    }

    /// What brings a server connection with these values to the client's.
    pub fn task(&self, known: &Values) -> Option<Housekeeping> {
        let reset: Vec<String> = known
            .keys()
            .filter(|name| !self.current.contains_key(*name))
            .cloned()
            .collect();
        let set: Vec<(String, String)> = self
            .current
            .iter()
            .filter(|(name, value)| known.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        (!reset.is_empty() || !set.is_empty()).then_some(Housekeeping::Variables { reset, set })
    }

    /// A statement has completed with this command tag.
    pub fn completed(&mut self, effect: &Effect, tag: &[u8]) {
        match effect {
            Effect::None | Effect::Pin => {}
            Effect::Clear => self.current.clone_from(&self.initial),
            Effect::Begin => self.in_block = true,
            Effect::Commit if tag.starts_with(b"COMMIT") => self.commit(),
            Effect::Commit | Effect::Rollback => self.roll_back(),
            Effect::Custom(name) => {
                self.custom.insert(name.clone());
            }
            Effect::Reset(name) => {
                match self.initial.get(name) {
                    Some(value) => self.current.insert(name.clone(), value.clone()),
                    None => self.current.remove(name),
                };
            }
            Effect::Savepoint(name) => self.savepoints.push((name.clone(), self.current.clone())),
            Effect::Release(name) => {
                if let Some(at) = self.savepoint(name) {
                    self.savepoints.truncate(at);
                }
            }
            Effect::RollbackTo(name) => {
                if let Some(at) = self.savepoint(name) {
                    self.savepoints.truncate(at + 1);
                    if let Some((_, values)) = self.savepoints.last() {
                        self.current.clone_from(values);
                    }
                }
            }
            Effect::Set(name, value) => {
                if name.contains('.') {
                    self.custom.insert(name.clone());
                }
                self.current.insert(name.clone(), value.clone());
            }
        }
    }

    /// The server reported an error. Outside a block that undoes the whole implicit transaction;
    /// inside, only what follows can.
    pub fn failed(&mut self) {
        if !self.in_block {
            self.roll_back();
        }
    }

    /// ReadyForQuery came.
    pub fn ready(&mut self, in_block: bool) {
        if !in_block {
            self.commit();
        }
        self.in_block = in_block;
    }

    fn savepoint(&self, name: &str) -> Option<usize> {
        self.savepoints
            .iter()
            .rposition(|(candidate, _)| candidate == name)
    }

    fn commit(&mut self) {
        self.in_block = false;
        self.savepoints.clear();
        self.committed.clone_from(&self.current);
    }

    fn roll_back(&mut self) {
        self.in_block = false;
        self.savepoints.clear();
        self.current.clone_from(&self.committed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: &str) -> (Effect, &'static [u8]) {
        (Effect::Set("x".into(), value.into()), b"SET")
    }

    /// Plays `steps`; `E` is an error, `I` and `T` are ReadyForQuery.
    fn after(steps: &[(Effect, &'static [u8])]) -> Option<String> {
        let mut variables = Variables::new(Values::from([("x".into(), "0".into())]));
        for (effect, tag) in steps {
            match *tag {
                b"E" => variables.failed(),
                b"I" => variables.ready(false),
                b"T" => variables.ready(true),
                tag => variables.completed(effect, tag),
            }
        }
        variables.current().get("x").cloned()
    }

    #[test]
    fn what_is_rolled_back_is_forgotten() {
        let error = (Effect::None, &b"E"[..]);
        let idle = (Effect::None, &b"I"[..]);
        let block = (Effect::None, &b"T"[..]);
        let begin = (Effect::Begin, &b"BEGIN"[..]);
        let commit = (Effect::Commit, &b"COMMIT"[..]);
        let failed_commit = (Effect::Commit, &b"ROLLBACK"[..]);
        let rollback = (Effect::Rollback, &b"ROLLBACK"[..]);
        let savepoint = |name: &str| (Effect::Savepoint(name.into()), &b"SAVEPOINT"[..]);
        let back_to = |name: &str| (Effect::RollbackTo(name.into()), &b"ROLLBACK"[..]);
        let release = |name: &str| (Effect::Release(name.into()), &b"RELEASE"[..]);
        let reset = (Effect::Reset("x".into()), &b"RESET"[..]);
        let cases: Vec<(Vec<(Effect, &'static [u8])>, &str)> = vec![
            (vec![set("1"), idle.clone()], "1"),
            (vec![set("1"), error.clone(), idle.clone()], "0"),
            (
                vec![set("1"), idle.clone(), error.clone(), idle.clone()],
                "1",
            ),
            (
                vec![
                    begin.clone(),
                    block.clone(),
                    set("1"),
                    block.clone(),
                    rollback.clone(),
                    idle.clone(),
                ],
                "0",
            ),
            (
                vec![
                    begin.clone(),
                    block.clone(),
                    set("1"),
                    block.clone(),
                    commit.clone(),
                    idle.clone(),
                ],
                "1",
            ),
            (
                vec![
                    begin.clone(),
                    block.clone(),
                    set("1"),
                    error.clone(),
                    block.clone(),
                    failed_commit,
                    idle.clone(),
                ],
                "0",
            ),
            (
                vec![
                    begin.clone(),
                    set("1"),
                    commit.clone(),
                    error.clone(),
                    idle.clone(),
                ],
                "1",
            ),
            (
                vec![
                    set("1"),
                    begin.clone(),
                    error.clone(),
                    block.clone(),
                    rollback,
                    idle.clone(),
                ],
                "0",
            ),
            (
                vec![
                    begin.clone(),
                    set("1"),
                    savepoint("a"),
                    set("2"),
                    back_to("a"),
                    commit.clone(),
                    idle.clone(),
                ],
                "1",
            ),
            (
                vec![
                    begin.clone(),
                    savepoint("a"),
                    set("1"),
                    savepoint("a"),
                    set("2"),
                    release("a"),
                    back_to("a"),
                    commit.clone(),
                    idle.clone(),
                ],
                "0",
            ),
            (vec![set("1"), idle.clone(), reset, idle], "0"),
        ];
        for (steps, expected) in cases {
            assert_eq!(after(&steps).as_deref(), Some(expected), "{steps:?}");
        }
    }

    #[test]
    fn a_server_connection_is_brought_into_line() {
        let variables = Variables::new(Values::from([("x".into(), "1".into())]));
        let known = Values::from([("x".into(), "0".into()), ("y".into(), "2".into())]);
        assert_eq!(
            variables.task(&known),
            Some(Housekeeping::Variables {
                reset: vec!["y".into()],
                set: vec![("x".into(), "1".into())],
            })
        );
        assert_eq!(variables.task(variables.current()), None);
    }
}
