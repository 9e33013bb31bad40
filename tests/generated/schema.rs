//! Schemas as applications have them, printed twice: as the private database has them, and with a
//! tenant column in each table and key.

use std::fmt::Write as _;

use super::choices::Choices;
use super::value::{Kind, quoted};

/// How the value of a column comes about if the statement gives none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Filled {
    Not,
    Default,
    Serial,
    ByDefaultAsIdentity,
    AlwaysAsIdentity,
    /// From another column of the table.
    Generated(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    /// As it is written.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) not_null: bool,
    pub(super) filled: Filled,
}

/// A foreign key of one column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    pub(super) column: usize,
    /// The table's place, possibly its own.
    pub(super) to: usize,
    action: Action,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Nothing,
    Cascade,
    SetNull,
    Deferred,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Partitions {
    None,
    ByKeyHash,
    ByKeyRange,
    ByTenant,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// How many of the first columns are the primary key.
    pub(super) key: usize,
    pub(super) unique: Option<usize>,
    pub(super) references: Vec<Reference>,
    /// Before which column the tenant's stands.
    tenant_at: usize,
    tenant_first_in_key: bool,
    partitions: Partitions,
    index: Option<usize>,
    index_has_tenant: bool,
    checked: bool,
}

#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) columns: Vec<(String, Kind)>,
    pub(super) definition: String,
}

/// Whose rows there are, and of what type their keys are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tenants {
    Integer,
    Bigint,
    Text,
    Uuid,
}

impl Tenants {
    fn type_name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Bigint => "bigint",
            Self::Text => "text",
            Self::Uuid => "uuid",
        }
    }

    /// The keys: one's own first.
    pub(super) fn keys(self) -> [&'static str; 4] {
        match self {
            Self::Integer => ["1", "2", "3", "7"],
            Self::Bigint => ["5000000001", "1", "705032705", "-1"],
            Self::Text => ["acme", "acme ", "Acme", "o'neil \\"],
            Self::Uuid => [
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
                "00000000-0000-0000-0000-000000000000",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
            ],
        }
    }

    /// One's own key as a tenant's file has it.
    pub(super) fn declared(self) -> String {
        match self {
            Self::Integer | Self::Bigint => self.keys()[0].to_owned(),
            Self::Text | Self::Uuid => format!("\"{}\"", self.keys()[0]),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) tenants: Tenants,
    pub(super) tenant_column: &'static str,
    pub(super) tables: Vec<Table>,
    pub(super) views: Vec<View>,
}

/// The shared table that everybody reads: its columns.
pub(super) const LOOKUP: [(&str, Kind); 2] = [("code", Kind::Varchar), ("name", Kind::Text)];

/// What is the same in all schemas.
const COMMON: &str = "CREATE TYPE mood AS ENUM ('low', 'mid', 'high');
CREATE DOMAIN points AS integer CHECK (VALUE > -1000);
CREATE TABLE kinds (code varchar(20) PRIMARY KEY, name text NOT NULL);
INSERT INTO kinds VALUES ('a', 'Ada'), ('b', 'b'), ('new', 'note 1'), ('A-1', '');
";

const TABLES: [&str; 5] = ["items", "people", "\"Events\"", "notes", "lines"];

impl Schema {
    /// Tables without views, which are queries over them.
    pub(super) fn new(choices: &mut Choices<'_>) -> Self {
        let tenants = choices.of(&[
            Tenants::Integer,
            Tenants::Bigint,
            Tenants::Text,
            Tenants::Uuid,
        ]);
        let tenant_column = choices.of(&["tenant_id", "org", "\"Owner\""]);
        let mut tables: Vec<Table> = Vec::new();
        for at in 0..2 + choices.below(4) {
            let table = Table::new(choices, at, &tables);
            tables.push(table);
        }
        Self {
            tenants,
            tenant_column,
            tables,
            views: Vec::new(),
        }
    }

    /// Whether a statement ends with the name of a table whose foreign keys are checked at the end of a
    /// transaction.
    pub(super) fn puts_off_checks(&self, statement: &str) -> bool {
        self.tables.iter().any(|table| {
            let mut references = table.references.iter();
            references.any(|reference| reference.action == Action::Deferred)
                && statement.ends_with(&format!(" {}", table.name))
        })
    }

    /// The private database.
    pub(super) fn private(&self) -> String {
        self.print(None)
    }

    /// The shared one.
    pub(super) fn shared(&self) -> String {
        self.print(Some(self.tenant_column))
    }

    fn print(&self, tenant: Option<&str>) -> String {
        let mut out = COMMON.to_owned();
        for table in &self.tables {
            table.print(&mut out, tenant, self);
        }
        for view in &self.views {
            let names: Vec<&str> = view.columns.iter().map(|(name, _)| name.as_str()).collect();
            writeln!(
                out,
                "CREATE VIEW {} ({}) AS {};",
                view.name,
                names.join(", "),
                view.definition
            )
            .expect("a string");
        }
        out
    }
}

impl Table {
    fn new(choices: &mut Choices<'_>, at: usize, before: &[Self]) -> Self {
        let (mut columns, key) = key(choices);
        let mut references = Vec::new();
        for _ in 0..1 + choices.below(5) {
            let kind = choices.of(&Kind::ALL);
            let name = choices.of(&kind.columns()).to_owned();
            if columns.iter().all(|column| column.name != name) {
                columns.push(Column {
                    name,
                    kind,
                    not_null: choices.chance(25),
                    filled: if choices.chance(25) {
                        Filled::Default
                    } else {
                        Filled::Not
                    },
                });
            }
        }
        let plain = columns.len();
        for (to, parent) in before.iter().enumerate() {
            if parent.key == 1 && choices.chance(55) {
                references.push(Reference {
                    column: columns.len(),
                    to,
                    action: choices.of(&[
                        Action::Nothing,
                        Action::Cascade,
                        Action::SetNull,
                        Action::Deferred,
                    ]),
                });
                columns.push(reference(parent, choices.chance(20)));
            }
        }
        if key == 1 && choices.chance(20) {
            references.push(Reference {
                column: columns.len(),
                to: at,
                action: choices.of(&[Action::Nothing, Action::Cascade]),
            });
            let mut column = columns[0].clone();
            column.name = String::from("parent");
            column.not_null = false;
            column.filled = Filled::Not;
            columns.push(column);
        }
        if let Some(generated) = generated(&columns)
            && choices.chance(30)
        {
            columns.push(generated);
        }
        let integer_key = matches!(columns[0].kind, Kind::Int4 | Kind::Int8);
        let partitions = match choices.weighted(&[70, 10, 10, 10]) {
            1 => Partitions::ByKeyHash,
            2 if integer_key => Partitions::ByKeyRange,
            3 => Partitions::ByTenant,
            _ => Partitions::None,
        };
        let unique = (key..plain).find(|at| columns[*at].kind.distinct(0).is_some());
        Self {
            name: TABLES[at].to_owned(),
            key,
            unique: unique.filter(|_| partitions == Partitions::None && choices.chance(40)),
            references,
            tenant_at: choices.below(columns.len() + 1),
            tenant_first_in_key: !choices.chance(30),
            partitions,
            index: choices.chance(40).then(|| choices.below(plain)),
            index_has_tenant: choices.chance(60),
            checked: choices.chance(30),
            columns,
        }
    }

    /// A column's name.
    pub(super) fn column(&self, at: usize) -> &str {
        &self.columns[at].name
    }

    /// The columns' names and types.
    pub(super) fn visible(&self) -> Vec<(String, Kind)> {
        self.columns
            .iter()
            .map(|column| (column.name.clone(), column.kind))
            .collect()
    }

    /// Whether ONLY finds its rows. A table with partitions for tenants has none of its own, though the
    /// private one has no partitions.
    pub(super) fn has_own_rows(&self) -> bool {
        self.partitions != Partitions::ByTenant
    }

    /// Its name without quotes.
    pub(super) fn bare(&self) -> String {
        self.name.replace('"', "")
    }

    fn print(&self, out: &mut String, tenant: Option<&str>, schema: &Schema) {
        let bare = self.bare();
        let mut parts: Vec<String> = self.columns.iter().map(Column::print).collect();
        if let Some(tenant) = tenant {
            let column = format!("{tenant} {} NOT NULL", schema.tenants.type_name());
            parts.insert(self.tenant_at, column);
        }
        let with_tenant = |columns: &str| match tenant {
            Some(tenant) if self.tenant_first_in_key => format!("{tenant}, {columns}"),
            Some(tenant) => format!("{columns}, {tenant}"),
            None => columns.to_owned(),
        };
        let names: Vec<&str> = self.columns[..self.key]
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        parts.push(format!(
            "CONSTRAINT \"{bare}_pkey\" PRIMARY KEY ({})",
            with_tenant(&names.join(", "))
        ));
        if let Some(unique) = self.unique {
            parts.push(format!(
                "CONSTRAINT \"{bare}_once\" UNIQUE ({})",
                with_tenant(self.column(unique))
            ));
        }
        for reference in &self.references {
            let column = self.column(reference.column);
            let parent = schema.tables.get(reference.to).unwrap_or(self);
            let parent_columns = match tenant {
                Some(tenant) => format!("{tenant}, {}", parent.column(0)),
                None => parent.column(0).to_owned(),
            };
            let own = match tenant {
                Some(tenant) => format!("{tenant}, {column}"),
                None => column.to_owned(),
            };
            let action = match reference.action {
                Action::Nothing => String::new(),
                Action::Cascade => " ON DELETE CASCADE ON UPDATE CASCADE".to_owned(),
                Action::SetNull if tenant.is_some() => format!(" ON DELETE SET NULL ({column})"),
                Action::SetNull => " ON DELETE SET NULL".to_owned(),
                Action::Deferred => " DEFERRABLE INITIALLY DEFERRED".to_owned(),
            };
            parts.push(format!(
                "CONSTRAINT \"{bare}_{}\" FOREIGN KEY ({own}) REFERENCES {} ({parent_columns}){action}",
                column.replace('"', ""),
                parent.name
            ));
        }
        if self.checked {
            let column = self.column(0);
            parts.push(format!(
                "CONSTRAINT \"{bare}_check\" CHECK ({column} IS NOT NULL)"
            ));
        }
        let of_parts = self.partitions(tenant, schema);
        let by = of_parts.first().map_or("", |(by, _)| by.as_str());
        writeln!(
            out,
            "CREATE TABLE {} (\n  {}\n){by};",
            self.name,
            parts.join(",\n  ")
        )
        .expect("a string");
        for (at, (_, values)) in of_parts.iter().enumerate() {
            writeln!(
                out,
                "CREATE TABLE \"{bare}_p{at}\" PARTITION OF {} {values};",
                self.name
            )
            .expect("a string");
        }
        if let Some(index) = self.index {
            let column = self.column(index);
            let columns = match tenant {
                Some(tenant) if self.index_has_tenant => format!("{tenant}, {column}"),
                _ => column.to_owned(),
            };
            writeln!(
                out,
                "CREATE INDEX \"{bare}_index\" ON {} ({columns});",
                self.name
            )
            .expect("a string");
        }
        for column in &self.columns {
            if matches!(
                column.filled,
                Filled::Serial | Filled::ByDefaultAsIdentity | Filled::AlwaysAsIdentity
            ) {
                writeln!(
                    out,
                    "SELECT setval(pg_get_serial_sequence('{}', '{}'), 1000);",
                    self.name, column.name
                )
                .expect("a string");
            }
        }
    }

    /// How it is partitioned, with the values of each partition.
    fn partitions(&self, tenant: Option<&str>, schema: &Schema) -> Vec<(String, String)> {
        let column = self.column(0);
        match (self.partitions, tenant) {
            (Partitions::None, _) | (Partitions::ByTenant, None) => Vec::new(),
            (Partitions::ByKeyHash, _) => (0..2)
                .map(|at| {
                    (
                        format!(" PARTITION BY HASH ({column})"),
                        format!("FOR VALUES WITH (MODULUS 2, REMAINDER {at})"),
                    )
                })
                .collect(),
            (Partitions::ByKeyRange, _) => ["FOR VALUES FROM (0) TO (3)", "DEFAULT"]
                .iter()
                .map(|values| {
                    (
                        format!(" PARTITION BY RANGE ({column})"),
                        (*values).to_owned(),
                    )
                })
                .collect(),
            (Partitions::ByTenant, Some(tenant)) => {
                let own = quoted(schema.tenants.keys()[0]);
                [format!("FOR VALUES IN ({own})"), "DEFAULT".to_owned()]
                    .into_iter()
                    .map(|values| (format!(" PARTITION BY LIST ({tenant})"), values))
                    .collect()
            }
        }
    }

    /// The columns that an INSERT may give values for.
    pub(super) fn writable(&self) -> Vec<usize> {
        (0..self.columns.len())
            .filter(|at| !matches!(self.columns[*at].filled, Filled::Generated(_)))
            .collect()
    }

    /// Whether a value for the column needs OVERRIDING SYSTEM VALUE.
    pub(super) fn always_identity(&self) -> bool {
        self.columns
            .iter()
            .any(|column| column.filled == Filled::AlwaysAsIdentity)
    }

    /// What the column refers to.
    pub(super) fn reference(&self, column: usize) -> Option<Reference> {
        self.references
            .iter()
            .copied()
            .find(|reference| reference.column == column)
    }
}

impl Column {
    fn print(&self) -> String {
        let type_name = if self.filled == Filled::Serial {
            if self.kind == Kind::Int8 {
                "bigserial"
            } else {
                "serial"
            }
        } else {
            self.kind.declared()
        };
        let mut out = format!("{} {type_name}", self.name);
        if self.not_null {
            out.push_str(" NOT NULL");
        }
        match self.filled {
            Filled::Not | Filled::Serial => {}
            Filled::Default => {
                let value = quoted(self.kind.values()[0]);
                write!(out, " DEFAULT {value}").expect("a string");
            }
            Filled::ByDefaultAsIdentity => out.push_str(" GENERATED BY DEFAULT AS IDENTITY"),
            Filled::AlwaysAsIdentity => out.push_str(" GENERATED ALWAYS AS IDENTITY"),
            Filled::Generated(from) => {
                write!(out, " GENERATED ALWAYS AS ({from}) STORED").expect("a string");
            }
        }
        out
    }
}

/// The columns of a primary key, and how many they are.
fn key(choices: &mut Choices<'_>) -> (Vec<Column>, usize) {
    let column = |name: &str, kind, filled| Column {
        name: name.to_owned(),
        kind,
        not_null: true,
        filled,
    };
    let integer = choices.of(&[Kind::Int4, Kind::Int8]);
    match choices.weighted(&[30, 20, 10, 5, 10, 10, 15]) {
        0 => (vec![column("id", integer, Filled::Not)], 1),
        1 => (vec![column("id", integer, Filled::Serial)], 1),
        2 => (vec![column("id", integer, Filled::ByDefaultAsIdentity)], 1),
        3 => (vec![column("id", integer, Filled::AlwaysAsIdentity)], 1),
        4 => (vec![column("id", Kind::Uuid, Filled::Not)], 1),
        5 => (vec![column("key", Kind::Text, Filled::Not)], 1),
        _ => {
            let first = column("id", integer, Filled::Not);
            let second = column("line", Kind::Int4, Filled::Not);
            (vec![first, second], 2)
        }
    }
}

/// A column that refers to the key of another table.
fn reference(parent: &Table, not_null: bool) -> Column {
    Column {
        name: format!("{}_ref", parent.bare().to_lowercase()),
        kind: parent.columns[0].kind,
        not_null,
        filled: Filled::Not,
    }
}

/// A column that is computed from one of these.
fn generated(columns: &[Column]) -> Option<Column> {
    let has = |name: &str| columns.iter().any(|column| column.name == name);
    let (name, kind, from) = if has("qty") {
        ("twice", Kind::Int8, "qty::bigint * 2")
    } else if has("name") {
        ("upper_name", Kind::Text, "upper(name)")
    } else {
        return None;
    };
    Some(Column {
        name: name.to_owned(),
        kind,
        not_null: false,
        filled: Filled::Generated(from),
    })
}
