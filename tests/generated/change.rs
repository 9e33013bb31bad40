//! Statements that change rows, and COPY.

use super::expression::{Item, Maker};
use super::schema::Table;
use super::value::Kind;

/// How a table's own columns are named in RETURNING and WHERE.
fn item(table: &Table, alias: &str) -> Item {
    Item {
        alias: alias.to_owned(),
        columns: table.visible(),
        is_table: true,
    }
}

impl Maker<'_> {
    fn table(&mut self) -> &Table {
        let schema = self.schema;
        &schema.tables[self.choices.below(schema.tables.len())]
    }

    /// Of the target's columns only, where there are `others`: which of their rows is met first is not said.
    fn returning(&mut self, scope: &[Item], others: &str) -> String {
        match self.choices.below(4) {
            1 if others.is_empty() => " RETURNING *".to_owned(),
            1 | 2 => {
                let alias = &scope[0].alias;
                format!(" RETURNING {alias}.*")
            }
            3 => {
                let (column, _) = self.any_column(scope).expect("tables have columns");
                let kind = self.choices.of(&Kind::ALL);
                let value = self.expression(kind, scope, 1);
                format!(" RETURNING {column}, {value} AS r")
            }
            _ => String::new(),
        }
    }

    /// The columns that an INSERT names: those that need a value, and some others.
    fn chosen(&mut self, table: &Table) -> Vec<usize> {
        use super::schema::Filled;
        let writable = table.writable();
        writable
            .into_iter()
            .filter(|at| {
                let column = &table.columns[*at];
                let filled = column.filled != Filled::Not;
                let always = column.filled == Filled::AlwaysAsIdentity;
                let keep = (column.not_null || *at < table.key) && !filled;
                keep || (!always && !self.choices.chance(30))
            })
            .collect()
    }

    /// A value for a new row: most often one that fits.
    fn new_value(&mut self, table: &Table, at: usize) -> String {
        let column = &table.columns[at];
        if at < table.key || table.unique == Some(at) {
            let number = self.choices.of(&[21, 22, 23, 1, 24, 2, 25, 26, 27]);
            let value = column.kind.distinct(number).expect("keys have these");
            return if column.kind.is_bare() {
                value
            } else {
                super::value::quoted(&value)
            };
        }
        if let Some(reference) = table.reference(at) {
            let parent = self.schema.tables.get(reference.to);
            let kind = parent.map_or(column.kind, |parent| parent.columns[0].kind);
            let number = self.choices.of(&[1, 2, 1, 3, 99]);
            let value = kind.distinct(number).expect("keys have these");
            return if kind.is_bare() {
                value
            } else {
                super::value::quoted(&value)
            };
        }
        match self.choices.below(10) {
            9 if !column.not_null => "NULL".to_owned(),
            8 if self.parameters.is_none() => "DEFAULT".to_owned(),
            _ => self.literal(column.kind, false),
        }
    }

    pub(super) fn insert(&mut self) -> String {
        let table = self.table().clone();
        let chosen = self.chosen(&table);
        let alias = if self.choices.chance(20) { "ins" } else { "" };
        let into = if alias.is_empty() {
            table.name.clone()
        } else {
            format!("{} AS {alias}", table.name)
        };
        let names: Vec<&str> = chosen.iter().map(|at| table.column(*at)).collect();
        let target = if alias.is_empty() {
            table.name.as_str()
        } else {
            alias
        };
        let scope = [item(&table, target)];
        let source = match self.choices.weighted(&[55, 20, 20, 5]) {
            // Each column may be left out.
            0..=2 if chosen.is_empty() => "DEFAULT VALUES".to_owned(),
            0 => {
                let row = self.row(&table, &chosen);
                format!("({}) VALUES {row}", names.join(", "))
            }
            1 => {
                let rows: Vec<String> = (0..2 + self.choices.below(2))
                    .map(|_| self.row(&table, &chosen))
                    .collect();
                format!("({}) VALUES {}", names.join(", "), rows.join(", "))
            }
            2 => {
                let select = self.source(&table, &chosen);
                format!("({}) {select}", names.join(", "))
            }
            _ => "DEFAULT VALUES".to_owned(),
        };
        let conflict = self.conflict(&table, &scope);
        let returning = self.returning(&scope, "");
        format!("INSERT INTO {into} {source}{conflict}{returning}")
    }

    fn row(&mut self, table: &Table, chosen: &[usize]) -> String {
        let values: Vec<String> = chosen.iter().map(|at| self.new_value(table, *at)).collect();
        format!("({})", values.join(", "))
    }

    /// A query for new rows, in an order that is the same everywhere.
    fn source(&mut self, table: &Table, chosen: &[usize]) -> String {
        let (from, items) = self.one_table();
        let list: Vec<String> = chosen
            .iter()
            .map(|at| {
                let kind = table.columns[*at].kind;
                if *at < table.key && kind.is_bare() {
                    match self.column(kind, &items) {
                        Some(column) => format!("{column} + 100"),
                        None => "77".to_owned(),
                    }
                } else if *at < table.key || table.reference(*at).is_some() {
                    self.new_value(table, *at)
                } else {
                    self.expression(kind, &items, 1)
                }
            })
            .collect();
        let places: Vec<String> = (1..=chosen.len()).map(|at| at.to_string()).collect();
        let condition = self.condition(&items, 1);
        let order = if places.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", places.join(", "))
        };
        format!(
            "SELECT {} FROM {from} WHERE {condition}{order}",
            list.join(", ")
        )
    }

    fn conflict(&mut self, table: &Table, scope: &[Item]) -> String {
        let key: Vec<&str> = (0..table.key).map(|at| table.column(at)).collect();
        let key = key.join(", ");
        let form = self.choices.weighted(&[60, 10, 10, 14, 6]);
        let set = |maker: &mut Self| {
            let free = free_columns(table);
            let Some(at) = free.first() else {
                return "NOTHING".to_owned();
            };
            let at = free[maker.choices.below(free.len())].max(*at);
            let name = table.column(at);
            let value = match maker.choices.below(3) {
                0 => format!("excluded.{name}"),
                1 => format!("{}.{name}", scope[0].alias),
                _ => maker.literal(table.columns[at].kind, false),
            };
            let filter = if maker.choices.chance(30) {
                format!(" WHERE {}", maker.condition(scope, 1))
            } else {
                String::new()
            };
            format!("UPDATE SET {name} = {value}{filter}")
        };
        match form {
            1 => " ON CONFLICT DO NOTHING".to_owned(),
            2 => format!(" ON CONFLICT ({key}) DO NOTHING"),
            3 => {
                let set = set(self);
                format!(" ON CONFLICT ({key}) DO {set}")
            }
            4 => {
                let set = set(self);
                format!(
                    " ON CONFLICT ON CONSTRAINT \"{}_pkey\" DO {set}",
                    table.bare()
                )
            }
            _ => String::new(),
        }
    }

    /// `a = .., b = ..` of the target's own columns.
    fn set(&mut self, table: &Table, scope: &[Item]) -> Option<String> {
        let free = free_columns(table);
        if free.is_empty() {
            return None;
        }
        let first = free[self.choices.below(free.len())];
        let value = self.expression(table.columns[first].kind, scope, 1);
        let mut set = format!("{} = {value}", table.column(first));
        let second = free[self.choices.below(free.len())];
        if second != first {
            let value = if table.reference(second).is_some() {
                self.new_value(table, second)
            } else {
                self.literal(table.columns[second].kind, false)
            };
            set = format!("{set}, {} = {value}", table.column(second));
        }
        Some(set)
    }

    pub(super) fn update(&mut self) -> String {
        let table = self.table().clone();
        let (name, target) = self.target(&table);
        let own = [item(&table, &target)];
        let only = self.only(&table);
        let Some(set) = self.set(&table, &own) else {
            return self.delete();
        };
        let (from, condition) = self.others("FROM", &own);
        let returning = self.returning(&own, &from);
        format!("UPDATE {only}{name} SET {set}{from} WHERE {condition}{returning}")
    }

    pub(super) fn delete(&mut self) -> String {
        let table = self.table().clone();
        let (name, target) = self.target(&table);
        let own = [item(&table, &target)];
        let only = self.only(&table);
        let (using, condition) = self.others("USING", &own);
        let returning = self.returning(&own, &using);
        format!("DELETE FROM {only}{name}{using} WHERE {condition}{returning}")
    }

    fn only(&mut self, table: &Table) -> &'static str {
        if table.has_own_rows() && self.choices.chance(5) {
            "ONLY "
        } else {
            ""
        }
    }

    fn target(&mut self, table: &Table) -> (String, String) {
        if self.choices.chance(30) {
            (format!("{} AS z", table.name), "z".to_owned())
        } else {
            (table.name.clone(), table.name.clone())
        }
    }

    /// Other tables of an UPDATE or DELETE, and the condition.
    fn others(&mut self, word: &str, own: &[Item]) -> (String, String) {
        if !self.choices.chance(25) {
            return (String::new(), self.condition(own, 1));
        }
        let (from, items) = self.one_table();
        let all: Vec<Item> = items.iter().chain(own).cloned().collect();
        let condition = self.condition(&all, 1);
        (format!(" {word} {from}"), condition)
    }

    pub(super) fn merge(&mut self) -> String {
        let table = self.table().clone();
        let key: Vec<&str> = (0..table.key).map(|at| table.column(at)).collect();
        let own = [item(&table, "m")];
        let free = free_columns(&table);
        let chosen = self.chosen_with_key(&table);
        let rows: Vec<String> = [1, 21, 2]
            .iter()
            .map(|number| {
                let values: Vec<String> = (0..table.key)
                    .map(|at| {
                        let kind = table.columns[at].kind;
                        let value = kind.distinct(*number).expect("keys have these");
                        format!("{}::{}", super::value::quoted(&value), kind.name())
                    })
                    .collect();
                format!("({})", values.join(", "))
            })
            .collect();
        let on: Vec<String> = key
            .iter()
            .map(|name| format!("m.{name} = s.{name}"))
            .collect();
        let mut out = format!(
            "MERGE INTO {} AS m USING (VALUES {}) AS s ({}) ON {}",
            table.name,
            rows.join(", "),
            key.join(", "),
            on.join(" AND ")
        );
        let condition = if self.choices.chance(40) {
            format!(" AND {}", self.condition(&own, 0))
        } else {
            String::new()
        };
        if !free.is_empty() && self.choices.chance(70) {
            let at = free[self.choices.below(free.len())];
            let value = self.expression(table.columns[at].kind, &own, 1);
            out = format!(
                "{out} WHEN MATCHED{condition} THEN UPDATE SET {} = {value}",
                table.column(at)
            );
        } else {
            let action = self.choices.of(&["DELETE", "DO NOTHING"]);
            out = format!("{out} WHEN MATCHED{condition} THEN {action}");
        }
        // Which row of the source comes first is the plan's choice: what is inserted could meet, or not, what the
        // same statement takes away; and what it refers to could be there still, or not.
        let refers_to_itself = table.references.iter().any(|reference| {
            let to = self.schema.tables.get(reference.to);
            to.is_some_and(|to| to.name == table.name)
        });
        if self.choices.chance(70) && table.unique.is_none() && !refers_to_itself {
            let names: Vec<&str> = chosen.iter().map(|at| table.column(*at)).collect();
            let values: Vec<String> = chosen
                .iter()
                .map(|at| {
                    if *at < table.key {
                        format!("s.{}", table.column(*at))
                    } else {
                        self.new_value(&table, *at)
                    }
                })
                .collect();
            let overriding = if table.always_identity() {
                "OVERRIDING SYSTEM VALUE "
            } else {
                ""
            };
            out = format!(
                "{out} WHEN NOT MATCHED THEN INSERT ({}) {overriding}VALUES ({})",
                names.join(", "),
                values.join(", ")
            );
        }
        out
    }

    fn chosen_with_key(&mut self, table: &Table) -> Vec<usize> {
        let chosen = self.chosen(table);
        (0..table.key)
            .chain(chosen.into_iter().filter(|at| *at >= table.key))
            .collect()
    }

    /// A change within WITH, whose rows are read.
    pub(super) fn with_change(&mut self) -> String {
        let (change, table) = match self.choices.below(3) {
            0 => {
                let table = self.table().clone();
                let chosen = self.chosen(&table);
                let names: Vec<&str> = chosen.iter().map(|at| table.column(*at)).collect();
                let row = self.row(&table, &chosen);
                (
                    format!(
                        "INSERT INTO {} ({}) VALUES {row}",
                        table.name,
                        names.join(", ")
                    ),
                    table,
                )
            }
            1 => {
                let table = self.table().clone();
                let own = [item(&table, &table.name)];
                let condition = self.condition(&own, 1);
                (
                    format!("DELETE FROM {} WHERE {condition}", table.name),
                    table,
                )
            }
            _ => {
                let table = self.table().clone();
                let own = [item(&table, &table.name)];
                let condition = self.condition(&own, 1);
                match self.set(&table, &own) {
                    Some(set) => (
                        format!("UPDATE {} SET {set} WHERE {condition}", table.name),
                        table,
                    ),
                    None => (
                        format!("DELETE FROM {} WHERE {condition}", table.name),
                        table,
                    ),
                }
            }
        };
        let item = item(&table, "changed");
        self.with.push(Item {
            is_table: false,
            ..item
        });
        let query = self.select(1, &[], false);
        self.with.clear();
        format!("WITH changed AS ({change} RETURNING *) {}", query.sql)
    }

    pub(super) fn truncate(&mut self) -> String {
        let table = self.table().clone();
        let word = self.choices.of(&["TABLE ", ""]);
        format!("TRUNCATE {word}{}", table.name)
    }

    pub(super) fn copy_out(&mut self) -> String {
        let options = self.choices.of(&[
            "",
            " WITH (FORMAT csv, HEADER)",
            " WITH (FORMAT binary)",
            " WITH (NULL 'nil', DELIMITER '|')",
            " CSV",
        ]);
        if self.choices.chance(40) {
            let query = self.query(1, &[], true);
            return format!("COPY ({}) TO STDOUT{options}", query.sql);
        }
        let table = self.table().clone();
        let names: Vec<&str> = table
            .writable()
            .into_iter()
            .filter(|_| self.choices.chance(70))
            .map(|at| table.column(at))
            .collect();
        if names.is_empty() {
            format!("COPY {} TO STDOUT{options}", table.name)
        } else {
            format!(
                "COPY {} ({}) TO STDOUT{options}",
                table.name,
                names.join(", ")
            )
        }
    }

    /// COPY FROM with its lines.
    pub(super) fn copy_in(&mut self) -> (String, Vec<u8>) {
        let table = self.table().clone();
        let all = self.choices.chance(30);
        let chosen = if all {
            table.writable()
        } else {
            self.chosen_with_key(&table)
        };
        let csv = self.choices.chance(50);
        let mut data = String::new();
        for number in 0..1 + self.choices.below(3) {
            let fields: Vec<String> = chosen
                .iter()
                .map(|at| {
                    let column = &table.columns[*at];
                    let value = if *at < table.key || table.unique == Some(*at) {
                        column.kind.distinct(31 + number).expect("keys have these")
                    } else if table.reference(*at).is_some() {
                        column.kind.distinct(1).expect("keys have these")
                    } else {
                        self.choices.of(column.kind.values()).to_owned()
                    };
                    if csv {
                        format!("\"{}\"", value.replace('"', "\"\""))
                    } else {
                        value.replace('\\', "\\\\")
                    }
                })
                .collect();
            data.push_str(&fields.join(if csv { "," } else { "\t" }));
            data.push('\n');
        }
        let names: Vec<&str> = chosen.iter().map(|at| table.column(*at)).collect();
        let columns = if all {
            String::new()
        } else {
            format!(" ({})", names.join(", "))
        };
        let options = if csv { " WITH (FORMAT csv)" } else { "" };
        (
            format!("COPY {}{columns} FROM STDIN{options}", table.name),
            data.into_bytes(),
        )
    }
}

/// Columns whose change cannot clash with other rows, whatever the order.
fn free_columns(table: &Table) -> Vec<usize> {
    table
        .writable()
        .into_iter()
        .filter(|at| {
            let always = table.columns[*at].filled == super::schema::Filled::AlwaysAsIdentity;
            *at >= table.key && table.unique != Some(*at) && !always
        })
        .collect()
}
