//! Plays a program, and finds the least of it that still shows a difference.

use std::fmt::{Display, Formatter};

use super::choices::Choices;
use super::data::{self, Foreign};
use super::play::{Answer, Session};
use super::program::{Program, views};
use super::schema::Schema;
use super::worlds::{Contents, Ground};
use super::{Counts, Seeds};

/// How often a failing program is played again to make it smaller.
const TRIES: usize = 40;

/// Where a program's answers part.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// Which of the program's seeds made the statement.
    at: usize,
    schema: String,
    statements: Vec<String>,
    what: String,
}

impl Difference {
    pub(super) fn what(&self) -> &str {
        &self.what
    }
}

impl Display for Difference {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "{}", self.schema)?;
        for statement in &self.statements {
            writeln!(out, "{statement};")?;
        }
        write!(out, "{}", self.what)
    }
}

/// Plays all of it, up to the first difference.
pub(super) fn play(ground: &Ground, seeds: &Seeds, counts: &mut Counts) -> Result<(), Difference> {
    let mut choices = Choices::new(&seeds.schema);
    let mut schema = Schema::new(&mut choices);
    schema.views = views(&schema, &mut choices, &seeds.views);
    let mut program = Program::default();
    let mut made_by = Vec::new();
    for (at, bytes) in seeds.statements.iter().enumerate() {
        program.append(&schema, bytes);
        made_by.resize(program.statements.len(), at);
    }
    let contents = contents(&schema, &program, &mut choices, &seeds.data);
    let began = std::time::Instant::now();
    let Some((mut clients, mut supervisors)) = ground.set_up(&contents) else {
        return Ok(());
    };
    counts.setting_up += began.elapsed();
    let digests = Digests::new(&schema);
    let foreign = digests.foreign(&mut supervisors);
    let mut before = Vec::new();
    for (statement, at) in program.statements.iter().zip(made_by) {
        before.push(statement.step.sql().to_owned());
        let played = one(&mut clients, statement, counts).and_then(|status| {
            let is_over = status == 'I';
            let reads = statement.command == "SELECT" && !statement.step.sql().contains("nextval");
            if is_over && !reads {
                digests.compare(&mut supervisors, &foreign)
            } else {
                Ok(())
            }
        });
        if let Err(what) = played {
            for client in &mut clients {
                client.roll_back();
            }
            return Err(Difference {
                at,
                schema: format!(
                    "{}\n-- of the shared one\n{}\n{}\n",
                    contents.private, contents.shared[0], contents.shared[1]
                ),
                statements: before,
                what: format!("{what}\n{:?}", statement.step),
            });
        }
    }
    for client in &mut clients {
        client.roll_back();
    }
    Ok(())
}

fn contents<'a>(
    schema: &'a Schema,
    program: &Program,
    choices: &mut Choices<'_>,
    bytes: &[u8],
) -> Contents<'a> {
    let sizes = data::sizes(schema, choices);
    let first = choices.of(&[Foreign::Poisoned, Foreign::Alike]);
    let second = choices.of(&[Foreign::Copied, Foreign::Gone, Foreign::Poisoned]);
    let literals = &program.literals;
    let foreign = |sort| data::foreign(schema, &sizes, sort, literals, bytes);
    let own = data::own(schema, &sizes, bytes, true);
    let analysed = if choices.chance(50) { "ANALYZE;" } else { "" };
    let shared = schema.shared();
    Contents {
        schema,
        private: format!(
            "{}{}{analysed}",
            schema.private(),
            data::own(schema, &sizes, bytes, false)
        ),
        shared: [
            format!("{shared}{own}{}", foreign(first)),
            // Others' rows stand before one's own.
            format!("{shared}{}{own}{analysed}", foreign(second)),
        ],
    }
}

/// One statement on all three; the state of the transaction that it leaves.
fn one(
    clients: &mut [Session],
    statement: &super::program::Statement,
    counts: &mut Counts,
) -> Result<char, String> {
    let count = counts.commands.entry(statement.command).or_default();
    count.played += 1;
    let found = clients[1].play(statement);
    if let Some(code) = found.refusal() {
        count.refused += 1;
        let (refusals, example) = counts.refusals.entry(code).or_default();
        *refusals += 1;
        *example = format!(
            "{} | {}",
            found.refusal_text(),
            statement.step.sql().chars().take(220).collect::<String>()
        );
        let other = clients[2].play(statement);
        if other != found {
            return Err(format!(
                "refused here, but not there\nfound {found:#?}\nother {other:#?}"
            ));
        }
        // What was refused fails a transaction, on all sides.
        if found.status == 'E' {
            for client in clients {
                client.roll_back();
            }
        }
        return Ok('I');
    }
    let wanted = clients[0].play(statement);
    let other = clients[2].play(statement);
    if let Some(code) = wanted.error() {
        count.errors += 1;
        *counts.errors.entry(code.to_owned()).or_default() += 1;
    }
    for (found, world) in [(&found, "first"), (&other, "second")] {
        if !found.is_as(&wanted) {
            return Err(shown(found, &wanted, world));
        }
    }
    Ok(wanted.status)
}

fn shown(found: &Answer, wanted: &Answer, world: &str) -> String {
    format!("in the {world} world found {found:#?}\nwanted {wanted:#?}")
}

/// Queries for what the databases hold.
struct Digests {
    private: String,
    own: String,
    foreign: String,
}

impl Digests {
    fn new(schema: &Schema) -> Self {
        let key = super::value::quoted(schema.tenants.keys()[0]);
        let tenant = schema.tenant_column;
        let rows = |filter: &str| -> String {
            let mut parts: Vec<String> = schema
                .tables
                .iter()
                .map(|table| {
                    let columns: Vec<&str> = table
                        .columns
                        .iter()
                        .map(|column| column.name.as_str())
                        .collect();
                    let row = format!("ROW({})::text", columns.join(", "));
                    format!(
                        "SELECT '{}', string_agg({row}, ' ' ORDER BY {row}) FROM {}{filter}",
                        table.bare(),
                        table.name
                    )
                })
                .collect();
            parts.push(
                "SELECT 'sequences', string_agg(sequencename || ' ' || last_value, ',' \
                 ORDER BY sequencename) FROM pg_sequences"
                    .to_owned(),
            );
            parts.join(" UNION ALL ")
        };
        let foreign: Vec<String> = schema
            .tables
            .iter()
            .map(|table| {
                let row = "ROW(x.*, x.ctid, x.xmin, x.xmax, x.tableoid)::text";
                format!(
                    "SELECT '{}', md5(string_agg({row}, ' ' ORDER BY {row})) FROM {} x \
                     WHERE {tenant} <> {key}",
                    table.bare(),
                    table.name
                )
            })
            .collect();
        Self {
            private: rows(""),
            own: rows(&format!(" WHERE {tenant} = {key}")),
            foreign: foreign.join(" UNION ALL "),
        }
    }

    fn foreign(&self, supervisors: &mut [Session]) -> Vec<Answer> {
        supervisors[1..]
            .iter_mut()
            .map(|supervisor| supervisor.query(&self.foreign))
            .collect()
    }

    fn compare(&self, supervisors: &mut [Session], foreign: &[Answer]) -> Result<(), String> {
        let found = self.foreign(supervisors);
        if found != foreign {
            return Err(format!(
                "rows of others have changed from {foreign:#?} to {found:#?}"
            ));
        }
        let wanted = supervisors[0].query(&self.private);
        for (supervisor, world) in supervisors[1..].iter_mut().zip(["first", "second"]) {
            let found = supervisor.query(&self.own);
            if found != wanted {
                return Err(format!("afterwards, {}", shown(&found, &wanted, world)));
            }
        }
        Ok(())
    }
}

/// Fewer statements, and simpler ones, as long as there is a difference.
pub(super) fn least(ground: &Ground, seeds: Seeds, difference: Difference) -> Difference {
    let mut tries = 0;
    let mut least = (seeds, difference);
    least.0.statements.truncate(least.1.at + 1);
    let mut attempt = |least: &mut (Seeds, Difference), seeds: Seeds| -> bool {
        tries += 1;
        if tries > TRIES {
            return false;
        }
        match play(ground, &seeds, &mut Counts::default()) {
            Ok(()) => false,
            Err(difference) => {
                let mut seeds = seeds;
                seeds.statements.truncate(difference.at + 1);
                *least = (seeds, difference);
                true
            }
        }
    };
    // Halves of the statements before, then each.
    let mut size = least.0.statements.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from + size < least.0.statements.len() {
            let mut seeds = least.0.clone();
            seeds.statements.drain(from..from + size);
            if !attempt(&mut least, seeds) {
                from += size;
            }
        }
        size /= 2;
    }
    // The first choices are the simplest: parts of the last statement, then of the schema.
    for part in [0, 1, 2] {
        let of = |seeds: &Seeds| match part {
            0 => seeds.statements.last().cloned().unwrap_or_default(),
            1 => seeds.schema.clone(),
            _ => seeds.views.clone(),
        };
        let mut size = 64;
        while size > 0 {
            let mut from = 0;
            while from < of(&least.0).len() {
                let mut bytes = of(&least.0);
                let until = bytes.len().min(from + size);
                if bytes[from..until].iter().any(|byte| *byte > 0) {
                    bytes[from..until].fill(0);
                    let mut seeds = least.0.clone();
                    match part {
                        0 => {
                            seeds.statements.pop();
                            seeds.statements.push(bytes);
                        }
                        1 => seeds.schema = bytes,
                        _ => seeds.views = bytes,
                    }
                    attempt(&mut least, seeds);
                }
                from += size;
            }
            size /= 4;
        }
    }
    least.1
}
