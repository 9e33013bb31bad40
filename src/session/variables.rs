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
    /// What SET LOCAL made of the variables that Tenantry reads itself; of the others the server
    /// alone knows.
    local: Values,
    savepoints: Vec<Savepoint>,
    block: Block,
    custom: BTreeSet<String>,
}

/// Whether a transaction block is open.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Block {
    /// None is.
    #[default]
    Closed,
    /// It has failed: if it ends without a word, that was a COMMIT that could not be.
    Failed,
    /// One is.
    Open,
}

/// What a savepoint brings back.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Savepoint {
    name: String,
    current: Values,
    local: Values,
}

/// The variables that Tenantry reads itself; only an admin has them.
pub(super) const OWN_PREFIX: &str = "tenantry.";

/// Whether it is a setting of an application's own, whose name stays on a server connection. Those of
/// Tenantry stay as well, but no one is kept away by them: only admins' connections have them.
pub(super) fn is_custom(name: &str) -> bool {
    name.contains('.') && !name.starts_with(OWN_PREFIX)
}

impl Variables {
    /// The variables of a session that begins.
    pub fn new(initial: Values) -> Self {
        Self {
            custom: initial
                .keys()
                .filter(|name| is_custom(name))
                .cloned()
                .collect(),
            current: initial.clone(),
            committed: initial.clone(),
            initial,
            local: Values::new(),
            savepoints: Vec::new(),
            block: Block::Closed,
        }
    }

    /// The values that a server connection must have.
    pub fn current(&self) -> &Values {
        &self.current
    }

    /// The value of a variable that Tenantry reads itself, as a SET LOCAL or a SET left it.
    pub(super) fn own(&self, name: &str) -> Option<&str> {
        let value = self.local.get(name).or_else(|| self.current.get(name));
        value.map(String::as_str)
    }

    /// Whether a transaction block is open, as far as statements have completed.
    pub(super) fn in_block(&self) -> bool {
        self.block != Block::Closed
    }

    /// Whether the transaction block has failed: if nothing else ends it, it is rolled back.
    pub(super) fn has_failed(&self) -> bool {
        self.block == Block::Failed
    }

    /// The values that a variable has or that a rollback can bring back.
    pub(super) fn values_of(&self, name: &str) -> BTreeSet<String> {
        self.savepoints
            .iter()
            .flat_map(|savepoint| [&savepoint.current, &savepoint.local])
            .chain([&self.current, &self.committed, &self.local])
            .filter_map(|layer| layer.get(name).cloned())
            .collect()
    }

    /// The same with another value in one of them.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut variables = self.clone();
        variables.current.insert(name.to_owned(), value.to_owned());
        variables
    }

    /// Takes a value away from wherever a variable has it: nothing brings it back.
    pub(super) fn purge(&mut self, name: &str, value: &str) {
        let layers = self
            .savepoints
            .iter_mut()
            .flat_map(|savepoint| [&mut savepoint.current, &mut savepoint.local])
            .chain([&mut self.current, &mut self.committed, &mut self.local]);
        for layer in layers {
            if layer.get(name).is_some_and(|found| found == value) {
                layer.remove(name);
            }
        }
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

    /// The server makes a place for a setting of the application's own, by RESET as well.
    fn note_custom(&mut self, name: &str) {
        if is_custom(name) {
            self.custom.insert(name.to_owned());
        }
    }

    /// A statement has completed with this command tag.
    pub fn completed(&mut self, effect: &Effect, tag: &[u8]) {
        match effect {
            Effect::CloseCursor(_)
            | Effect::CopyIn(_)
            | Effect::Deallocate(_)
            | Effect::Hold(_)
            | Effect::None
            | Effect::Pin
            | Effect::Prepare(_)
            | Effect::Truncate => {}
            Effect::Clear | Effect::ResetAll => {
                self.current.clone_from(&self.initial);
                self.local.clear();
            }
            Effect::Begin => self.block = Block::Open,
            Effect::Commit if tag.starts_with(b"COMMIT") => self.commit(),
            Effect::Commit | Effect::Rollback => self.roll_back(),
            Effect::Chain => {
                if tag.starts_with(b"COMMIT") {
                    self.commit();
                } else {
                    self.roll_back();
                }
                self.block = Block::Open;
            }
            Effect::SetAll(values) => self.current.extend(values.iter().cloned()),
            Effect::Custom(name) => {
                self.custom.insert(name.clone());
            }
            Effect::Reset(name) => {
                self.note_custom(name);
                self.local.remove(name);
                match self.initial.get(name) {
                    Some(value) => self.current.insert(name.clone(), value.clone()),
                    None => self.current.remove(name),
                };
            }
            Effect::Savepoint(name) => self.savepoints.push(Savepoint {
                name: name.clone(),
                current: self.current.clone(),
                local: self.local.clone(),
            }),
            Effect::Release(name) => {
                if let Some(at) = self.savepoint(name) {
                    self.savepoints.truncate(at);
                }
            }
            Effect::RollbackTo(name) => {
                if let Some(at) = self.savepoint(name) {
                    self.savepoints.truncate(at + 1);
                    self.block = Block::Open;
                    if let Some(savepoint) = self.savepoints.last() {
                        self.current.clone_from(&savepoint.current);
                        self.local.clone_from(&savepoint.local);
                    }
                }
            }
            Effect::SetLocal(name, value) => {
                // Outside a block it has no effect, as the server warns.
                if self.in_block() {
                    self.local.insert(name.clone(), value.clone());
                }
            }
            Effect::Set(name, value) => {
                self.note_custom(name);
                self.local.remove(name);
                self.current.insert(name.clone(), value.clone());
            }
        }
    }

    /// The server reported an error. Outside a block that undoes the whole implicit transaction;
    /// inside, only what follows can.
    pub fn failed(&mut self) {
        if self.in_block() {
            self.block = Block::Failed;
        } else {
            self.roll_back();
        }
    }

    /// `ReadyForQuery` came.
    pub fn ready(&mut self, status: TransactionStatus) {
        match status {
            TransactionStatus::Failed => self.block = Block::Failed,
            TransactionStatus::InTransaction => self.block = Block::Open,
            TransactionStatus::Idle if self.block == Block::Failed => self.roll_back(),
            TransactionStatus::Idle => self.commit(),
        }
    }

    fn savepoint(&self, name: &str) -> Option<usize> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint.name == name)
    }

    fn commit(&mut self) {
        self.block = Block::Closed;
        self.savepoints.clear();
        self.local.clear();
        self.committed.clone_from(&self.current);
    }

    fn roll_back(&mut self) {
        self.block = Block::Closed;
        self.savepoints.clear();
        self.local.clear();
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
                "chain" => (Effect::Chain, b"COMMIT"),
                "failed-chain" => (Effect::Chain, b"ROLLBACK"),
                "reset-all" => (Effect::ResetAll, b"RESET"),
                "savepoint" => (Effect::Savepoint(name), b"SAVEPOINT"),
                "back" => (Effect::RollbackTo(name), b"ROLLBACK"),
                "release" => (Effect::Release(name), b"RELEASE"),
                "reset" => (Effect::Reset("x".into()), b"RESET"),
                "purge" => {
                    variables.purge("x", &name);
                    continue;
                }
                set => {
                    let (variable, value) = set.split_once('=').unwrap();
                    let value = value.to_owned();
                    match variable {
                        "local" => (Effect::SetLocal("x".into(), value), b"SET"),
                        _ => (Effect::Set("x".into(), value), b"SET"),
                    }
                }
            };
            variables.completed(&effect, tag);
        }
        variables.own("x").unwrap_or("none").to_owned()
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
            // A COMMIT that fails is no COMMIT.
            ("begin T x=1 T E I", "0"),
            ("begin T savepoint:a x=1 E T back:a T x=2 commit I", "2"),
            ("x=1 begin E T rollback I", "0"),
            ("begin x=1 savepoint:a x=2 back:a commit I", "1"),
            (
                "begin savepoint:a x=1 savepoint:a x=2 release:a back:a commit I",
                "0",
            ),
            ("x=1 I reset", "0"),
            ("x=1 I reset-all", "0"),
            ("x=1 I begin reset-all rollback", "1"),
            ("begin x=1 chain x=2 rollback I", "1"),
            ("begin x=1 chain E T rollback I", "1"),
            ("begin x=1 E failed-chain x=2 commit I", "2"),
            ("begin x=1 E failed-chain rollback I", "0"),
            // Outside a block it has no effect; in one it ends with it, and a savepoint undoes it.
            ("local=1 I", "0"),
            ("begin T local=1", "1"),
            ("begin T local=1 commit I", "0"),
            ("begin T local=1 E T rollback I", "0"),
            ("begin x=1 local=2", "2"),
            ("begin x=1 local=2 commit", "1"),
            ("begin local=1 x=2", "2"),
            ("begin local=1 reset", "0"),
            ("begin local=1 savepoint:a local=2 back:a", "1"),
            ("begin savepoint:a local=1 release:a", "1"),
            ("begin savepoint:a reset back:a", "0"),
            ("x=1 I begin reset rollback", "1"),
            // What was purged nothing brings back.
            ("x=1 I begin reset purge:1 rollback", "none"),
            (
                "x=1 I begin savepoint:a reset purge:1 back:a commit",
                "none",
            ),
            ("x=1 I begin local=2 purge:1", "2"),
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
