//! The session variables of one client: what it has set, and what a rollback undoes.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::Effect;
use super::housekeeping::Housekeeping;
use crate::protocol::backend::TransactionStatus;

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

    /// `ReadyForQuery` came.
    pub fn ready(&mut self, status: TransactionStatus) {
        self.in_block = match status {
            TransactionStatus::Failed | TransactionStatus::InTransaction => true,
            TransactionStatus::Idle => {
                self.commit();
                false
            }
        };
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

    /// Plays steps and gives the value of `x`, which is 0 at first: `x=1` and `reset` are statements,
    /// `E` is an error, `I` and `T` are `ReadyForQuery`.
    fn after(steps: &str) -> String {
        let mut variables = Variables::new(Values::from([("x".into(), "0".into())]));
        for step in steps.split(' ') {
            let (step, name) = step.split_once(':').unwrap_or((step, ""));
            let name = name.to_owned();
            let (effect, tag): (Effect, &[u8]) = match step {
                "E" => {
                    variables.failed();
                    continue;
                }
                "I" | "T" => {
                    variables.ready(if step == "I" {
                        TransactionStatus::Idle
                    } else {
                        TransactionStatus::InTransaction
                    });
                    continue;
                }
                "begin" => (Effect::Begin, b"BEGIN"),
                "commit" => (Effect::Commit, b"COMMIT"),
                "failed-commit" => (Effect::Commit, b"ROLLBACK"),
                "rollback" => (Effect::Rollback, b"ROLLBACK"),
                "savepoint" => (Effect::Savepoint(name), b"SAVEPOINT"),
                "back" => (Effect::RollbackTo(name), b"ROLLBACK"),
                "release" => (Effect::Release(name), b"RELEASE"),
                "reset" => (Effect::Reset("x".into()), b"RESET"),
                set => {
                    let (_, value) = set.split_once('=').unwrap();
                    (Effect::Set("x".into(), value.into()), b"SET")
                }
            };
            variables.completed(&effect, tag);
        }
        variables.current()["x"].clone()
    }

    #[test]
    fn what_is_rolled_back_is_forgotten() {
        for (steps, expected) in [
            ("x=1 I", "1"),
            ("x=1 E I", "0"),
            ("x=1 I E I", "1"),
            ("begin T x=1 T rollback I", "0"),
            ("begin T x=1 T commit I", "1"),
            ("begin T x=1 E T failed-commit I", "0"),
            ("begin x=1 commit E I", "1"),
            ("x=1 begin E T rollback I", "0"),
            ("begin x=1 savepoint:a x=2 back:a commit I", "1"),
            (
                "begin savepoint:a x=1 savepoint:a x=2 release:a back:a commit I",
                "0",
            ),
            ("x=1 I reset", "0"),
        ] {
            assert_eq!(after(steps), expected, "{steps}");
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
