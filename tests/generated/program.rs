//! What a client sends: statements of every command, in both protocols, in transactions or alone.

use super::choices::Choices;
use super::expression::{Maker, Parameter};
use super::schema::{Schema, View};
use super::value::{Kind, quoted};

/// One message, or a few that belong together.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Query(String),
    Extended {
        sql: String,
        values: Vec<Parameter>,
        binary: bool,
    },
    CopyIn {
        sql: String,
        data: Vec<u8>,
    },
}

impl Step {
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Query(sql) | Self::Extended { sql, .. } | Self::CopyIn { sql, .. } => sql,
        }
    }
}

/// A step, with what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) command: &'static str,
    pub(super) step: Step,
    /// Whether its rows come in an order.
    pub(super) ordered: bool,
}

/// What a client sends.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) statements: Vec<Statement>,
    pub(super) literals: Vec<(Kind, String)>,
}

/// Views over the tables: queries whose columns are named.
pub(super) fn views(schema: &Schema, choices: &mut Choices<'_>, bytes: &[u8]) -> Vec<View> {
    let mut maker = Maker::new(schema, Choices::new(bytes));
    (0..choices.below(3))
        .map(|at| {
            let query = maker.select(1, &[], true);
            View {
                name: format!("view{at}"),
                columns: query.columns,
                definition: query.sql,
            }
        })
        // A window's last column has no name here.
        .filter(|view| !view.definition.contains(" AS o1"))
        // What a view shows of whole rows is what its owner put into it: the tenant column, too.
        .filter(|view| !shows_a_row(&view.definition))
        .collect()
}

fn shows_a_row(definition: &str) -> bool {
    let is_alias = |rest: &str| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit())
            .starts_with(')')
    };
    definition.split("to_jsonb(t").skip(1).any(is_alias)
}

impl Program {
    /// Appends what some bytes stand for.
    pub(super) fn append(&mut self, schema: &Schema, bytes: &[u8]) {
        let mut maker = Maker::new(schema, Choices::new(bytes));
        let statements = match maker.choices.weighted(&[84, 8, 4, 4]) {
            1 => transaction(&mut maker),
            2 => cursor(&mut maker),
            3 => prepared(&mut maker),
            _ => vec![statement(&mut maker)],
        };
        self.statements.extend(statements);
        self.literals.append(&mut maker.literals);
    }
}

fn alone(command: &'static str, sql: impl Into<String>) -> Statement {
    Statement {
        command,
        step: Step::Query(sql.into()),
        ordered: true,
    }
}

fn statement(maker: &mut Maker<'_>) -> Statement {
    let extended = maker.choices.chance(40);
    maker.parameters = extended.then(Vec::new);
    let mut ordered = false;
    let form = maker.choices.weighted(&[52, 10, 9, 6, 4, 4, 2, 3, 3, 3, 2]);
    let (command, sql) = match form {
        1 => ("INSERT", maker.insert()),
        2 => ("UPDATE", maker.update()),
        3 => ("DELETE", maker.delete()),
        4 => ("MERGE", maker.merge()),
        5 => ("WITH", maker.with_change()),
        6 => {
            maker.parameters = None;
            ("TRUNCATE", maker.truncate())
        }
        7 => {
            maker.parameters = None;
            let sql = maker.copy_out();
            return Statement {
                command: "COPY TO",
                step: Step::Query(sql),
                ordered: false,
            };
        }
        8 => {
            maker.parameters = None;
            let (sql, data) = maker.copy_in();
            return Statement {
                command: "COPY FROM",
                step: Step::CopyIn { sql, data },
                ordered: false,
            };
        }
        9 => ("SELECT", small(maker)),
        10 => ("several", several(maker)),
        _ => {
            let query = maker.query(2, &[], false);
            ordered = query.ordered;
            ("SELECT", query.sql)
        }
    };
    let step = match maker.parameters.take() {
        Some(values) if command != "several" => Step::Extended {
            sql,
            values,
            binary: maker.choices.chance(30),
        },
        _ => Step::Query(sql),
    };
    Statement {
        command,
        step,
        ordered,
    }
}

/// Several statements in one message.
fn several(maker: &mut Maker<'_>) -> String {
    maker.parameters = None;
    let one = maker.select(0, &[], false).sql;
    let other = match maker.choices.below(3) {
        0 => maker.insert(),
        1 => maker.update(),
        _ => maker.delete(),
    };
    format!("{other}; {one}")
}

/// What drivers and applications ask besides.
fn small(maker: &mut Maker<'_>) -> String {
    let (from, items) = maker.one_table();
    let sequence = maker.schema.tables.iter().find(|table| {
        matches!(
            table.columns[0].filled,
            super::schema::Filled::Serial | super::schema::Filled::ByDefaultAsIdentity
        )
    });
    match maker.choices.below(8) {
        7 => format!("SELECT random() < 2 FROM {from}"),
        0 => "SELECT 1".to_owned(),
        1 => format!("SELECT count(*) FROM {from}"),
        2 => format!("SELECT EXISTS (SELECT 1 FROM {from})"),
        3 => format!("SELECT {0}.* FROM {from} LIMIT 0", items[0].alias),
        4 => match sequence {
            Some(table) => format!("SELECT nextval('\"{}_id_seq\"')", table.bare()),
            None => "SELECT version() IS NULL".to_owned(),
        },
        5 => "SELECT current_date > '2020-01-01', now() IS NULL".to_owned(),
        _ => format!("SELECT count(*) FROM {from} WHERE false"),
    }
}

fn transaction(maker: &mut Maker<'_>) -> Vec<Statement> {
    let begin = maker.choices.of(&[
        "BEGIN",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "BEGIN READ ONLY",
    ]);
    let mut out = vec![alone("BEGIN", begin)];
    for _ in 0..1 + maker.choices.below(2) {
        out.push(statement(maker));
    }
    if maker.choices.chance(60) {
        out.push(alone("SAVEPOINT", "SAVEPOINT s"));
        out.push(statement(maker));
        let end = maker
            .choices
            .of(&["ROLLBACK TO SAVEPOINT s", "RELEASE s", "ROLLBACK TO s"]);
        out.push(alone("SAVEPOINT", end));
        out.push(statement(maker));
    }
    let (_, items) = maker.one_table();
    if maker.choices.chance(10) && items[0].is_table {
        let table = &maker.schema.tables[0];
        out.push(alone(
            "LOCK",
            format!("LOCK TABLE {} IN ACCESS SHARE MODE", table.name),
        ));
    }
    out.push(alone(
        "COMMIT",
        maker.choices.of(&["COMMIT", "ROLLBACK", "END"]),
    ));
    // A check that is put off is a pending trigger event: PostgreSQL refuses to truncate the table then
    // (55006), and the DELETE in its place goes on. What the tables hold is the same once it is checked.
    out.retain(|statement| {
        statement.command != "TRUNCATE" || !maker.schema.puts_off_checks(statement.step.sql())
    });
    out
}

fn cursor(maker: &mut Maker<'_>) -> Vec<Statement> {
    let mut out = vec![alone("BEGIN", "BEGIN")];
    let table = &maker.schema.tables[maker.choices.below(maker.schema.tables.len())];
    // A partition that the cursor does not read has no row that it stands at, as PostgreSQL has it.
    if maker.choices.chance(40) && table.has_own_rows() {
        let key: Vec<&str> = (0..table.key).map(|at| table.column(at)).collect();
        let set = table
            .writable()
            .into_iter()
            .filter(|at| *at >= table.key && table.unique != Some(*at))
            .map(|at| {
                let value = quoted(table.columns[at].kind.values()[0]);
                format!("{} = {value}", table.column(at))
            })
            .find(|_| true);
        out.push(alone(
            "DECLARE",
            format!(
                "DECLARE c CURSOR FOR SELECT * FROM {} ORDER BY {} FOR UPDATE",
                table.name,
                key.join(", ")
            ),
        ));
        out.push(alone("FETCH", "FETCH NEXT FROM c"));
        match set {
            Some(set) if maker.choices.chance(60) => out.push(alone(
                "CURRENT OF",
                format!("UPDATE {} SET {set} WHERE CURRENT OF c", table.name),
            )),
            _ => out.push(alone(
                "CURRENT OF",
                format!("DELETE FROM {} WHERE CURRENT OF c", table.name),
            )),
        }
    } else {
        let query = maker.query(1, &[], false);
        let scroll = maker.choices.of(&["", "SCROLL ", "NO SCROLL "]);
        out.push(alone(
            "DECLARE",
            format!("DECLARE c {scroll}CURSOR FOR {}", query.sql),
        ));
        if query.ordered {
            for _ in 0..2 {
                // Whether one may go back without SCROLL depends on the plan.
                let back = match scroll {
                    "SCROLL " => "FETCH BACKWARD 1 FROM c",
                    _ => "FETCH FORWARD 1 FROM c",
                };
                let fetch =
                    maker
                        .choices
                        .of(&["FETCH 2 FROM c", "FETCH NEXT c", "MOVE 1 FROM c", back]);
                out.push(alone("FETCH", fetch));
            }
        }
        let mut all = alone("FETCH", "FETCH ALL FROM c");
        all.ordered = query.ordered;
        out.push(all);
        out.push(alone("CLOSE", "CLOSE c"));
    }
    out.push(alone("COMMIT", maker.choices.of(&["COMMIT", "ROLLBACK"])));
    out
}

fn prepared(maker: &mut Maker<'_>) -> Vec<Statement> {
    maker.parameters = Some(Vec::new());
    let mut ordered = false;
    let sql = match maker.choices.below(4) {
        0 => maker.insert(),
        1 => maker.update(),
        2 => maker.delete(),
        _ => {
            let query = maker.query(1, &[], false);
            ordered = query.ordered;
            query.sql
        }
    };
    let values = maker.parameters.take().unwrap_or_default();
    let types: Vec<&str> = values.iter().map(|value| value.kind.name()).collect();
    let name = maker.choices.of(&["p", "q"]);
    let mut out = Vec::new();
    let declared = if types.is_empty() {
        String::new()
    } else {
        format!(" ({})", types.join(", "))
    };
    out.push(alone(
        "PREPARE",
        format!("PREPARE {name}{declared} AS {sql}"),
    ));
    let given: Vec<String> = values.iter().map(|value| quoted(&value.value)).collect();
    let given = if given.is_empty() {
        String::new()
    } else {
        format!(" ({})", given.join(", "))
    };
    for _ in 0..1 + maker.choices.below(2) {
        let mut execute = alone("EXECUTE", format!("EXECUTE {name}{given}"));
        execute.ordered = ordered;
        out.push(execute);
    }
    out.push(alone("DEALLOCATE", format!("DEALLOCATE {name}")));
    out
}
