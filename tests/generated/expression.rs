//! Expressions and conditions over what is in scope.

use super::choices::Choices;
use super::schema::Schema;
use super::value::{Kind, quoted};

/// Something that FROM names.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) alias: String,
    pub(super) columns: Vec<(String, Kind)>,
    /// Whether it is a table of the tenant's.
    pub(super) is_table: bool,
}

/// A parameter's type and value.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) kind: Kind,
    pub(super) value: String,
}

/// Makes statements over a schema.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    pub(super) schema: &'a Schema,
    pub(super) choices: Choices<'a>,
    /// The constants that were used.
    pub(super) literals: Vec<(Kind, String)>,
    /// In the extended protocol, what constants became parameters.
    pub(super) parameters: Option<Vec<Parameter>>,
    /// Queries of WITH that can be named.
    pub(super) with: Vec<Item>,
    names: usize,
}

/// Comparison operators.
const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

impl<'a> Maker<'a> {
    pub(super) fn new(schema: &'a Schema, choices: Choices<'a>) -> Self {
        Self {
            schema,
            choices,
            literals: Vec::new(),
            parameters: None,
            with: Vec::new(),
            names: 0,
        }
    }

    /// A name that is not used yet.
    pub(super) fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    /// A constant, or a parameter in its place. One that is not `typed` takes its type from where it stands.
    pub(super) fn literal(&mut self, kind: Kind, typed: bool) -> String {
        let value = self.choices.of(kind.values()).to_owned();
        self.literals.push((kind, value.clone()));
        let cast = format!("::{}", kind.name());
        if let Some(parameters) = &mut self.parameters
            && parameters.len() < 8
            && self.choices.chance(60)
        {
            parameters.push(Parameter { kind, value });
            let cast = if typed { cast.as_str() } else { "" };
            return format!("${}{cast}", parameters.len());
        }
        if kind.is_bare() {
            return if value.starts_with('-') {
                format!("({value})")
            } else {
                value
            };
        }
        let cast = if typed { cast.as_str() } else { "" };
        format!("{}{cast}", quoted(&value))
    }

    /// A column of a type.
    pub(super) fn column(&mut self, kind: Kind, scope: &[Item]) -> Option<String> {
        let fits = |other: Kind| other == kind || (kind == Kind::Int4 && other == Kind::Domain);
        let found: Vec<String> = scope
            .iter()
            .flat_map(|item| {
                let columns = item.columns.iter().filter(|(_, other)| fits(*other));
                columns.map(|(name, _)| format!("{}.{name}", item.alias))
            })
            .collect();
        if found.is_empty() {
            return None;
        }
        let at = self.choices.below(found.len());
        Some(found[at].clone())
    }

    /// Any column, with its type.
    pub(super) fn any_column(&mut self, scope: &[Item]) -> Option<(String, Kind)> {
        let all: Vec<(String, Kind)> = scope
            .iter()
            .flat_map(|item| {
                let columns = item.columns.iter();
                columns.map(|(name, kind)| (format!("{}.{name}", item.alias), *kind))
            })
            .collect();
        if all.is_empty() {
            return None;
        }
        let at = self.choices.below(all.len());
        Some(all[at].clone())
    }

    /// An expression of a type.
    pub(super) fn expression(&mut self, kind: Kind, scope: &[Item], depth: usize) -> String {
        if depth == 0 || !self.choices.chance(35) {
            return match self.column(kind, scope) {
                Some(column) if !self.choices.chance(15) => column,
                _ => self.literal(kind, true),
            };
        }
        let depth = depth - 1;
        if self.choices.chance(25) {
            return self.choice(kind, scope, depth);
        }
        match kind {
            Kind::Int4 | Kind::Domain => self.integer(scope, depth),
            Kind::Int8 => self.bigint(scope, depth),
            Kind::Numeric => self.numeric(scope, depth),
            Kind::Text => self.text(scope, depth),
            Kind::Bool => format!("({})", self.condition(scope, depth)),
            Kind::Timestamptz => self.timestamp(scope, depth),
            Kind::Date => self.date(scope, depth),
            Kind::Jsonb => self.json(scope, depth),
            Kind::Ints => self.integers(scope, depth),
            Kind::Texts => self.texts(scope, depth),
            Kind::Varchar | Kind::Uuid | Kind::Enum => self.choice(kind, scope, depth),
        }
    }

    /// What every type has.
    fn choice(&mut self, kind: Kind, scope: &[Item], depth: usize) -> String {
        let one = self.expression(kind, scope, depth);
        match self.choices.below(5) {
            0 => {
                let other = self.literal(kind, true);
                format!("coalesce({one}, {other})")
            }
            1 => {
                let other = self.expression(kind, scope, 0);
                let condition = self.condition(scope, depth);
                format!("CASE WHEN {condition} THEN {one} ELSE {other} END")
            }
            2 => {
                let other = self.literal(kind, true);
                format!("nullif({one}, {other})")
            }
            3 if depth > 0 => self.scalar(kind, scope, depth),
            _ => format!("CASE WHEN {one} IS NULL THEN NULL ELSE {one} END"),
        }
    }

    fn integer(&mut self, scope: &[Item], depth: usize) -> String {
        let form = self.choices.below(11);
        if form < 6 {
            let one = self.expression(Kind::Int4, scope, depth);
            let other = self.expression(Kind::Int4, scope, 0);
            return match form {
                0 => format!("{one} + {other}"),
                1 => format!("({one} - {other})"),
                2 => format!("abs({one})"),
                3 => format!("{one} % 5"),
                4 => format!("{one} / 2"),
                _ => format!("greatest({one}, {other})"),
            };
        }
        let text = self.expression(Kind::Text, scope, depth);
        match form {
            6 => format!("length({text})"),
            7 => format!("position('a' in {text})"),
            8 => {
                let array = self.expression(Kind::Ints, scope, depth);
                format!("cardinality({array})")
            }
            9 => {
                let at = self.expression(Kind::Date, scope, depth);
                format!("extract(month FROM {at})::integer")
            }
            _ => {
                let array = self.expression(Kind::Ints, scope, depth);
                format!("({array})[1]")
            }
        }
    }

    fn bigint(&mut self, scope: &[Item], depth: usize) -> String {
        let one = self.expression(Kind::Int4, scope, depth);
        match self.choices.below(3) {
            0 => format!("{one}::bigint"),
            1 => {
                let big = self.expression(Kind::Int8, scope, depth);
                format!("({big} % 1000 + {one})")
            }
            _ => self.count(scope),
        }
    }

    /// How many rows of a table there are, for the row at hand or at all.
    fn count(&mut self, scope: &[Item]) -> String {
        let inner = self.inner(scope);
        format!("(SELECT count(*) FROM {inner})")
    }

    /// One value of one row of a table: the greatest.
    fn scalar(&mut self, kind: Kind, scope: &[Item], depth: usize) -> String {
        let (from, items) = self.one_table();
        let all: Vec<Item> = items.iter().chain(scope).cloned().collect();
        let value = self.expression(kind, &all, depth - 1);
        let condition = self.condition(&all, depth - 1);
        format!("(SELECT {value} FROM {from} WHERE {condition} ORDER BY 1 DESC LIMIT 1)")
    }

    /// FROM and WHERE of a query below another.
    pub(super) fn inner(&mut self, scope: &[Item]) -> String {
        let (from, items) = self.one_table();
        let all: Vec<Item> = items.iter().chain(scope).cloned().collect();
        let condition = self.condition(&all, 0);
        format!("{from} WHERE {condition}")
    }

    fn numeric(&mut self, scope: &[Item], depth: usize) -> String {
        let one = self.expression(Kind::Numeric, scope, depth);
        let whole = self.expression(Kind::Int4, scope, 0);
        match self.choices.below(4) {
            0 => format!("({one} + {whole})"),
            1 => format!("round({one}, 1)"),
            2 => format!("{one} * 2"),
            _ => format!("{whole}::numeric(10,2)"),
        }
    }

    fn text(&mut self, scope: &[Item], depth: usize) -> String {
        let form = self.choices.below(14);
        let one = self.expression(Kind::Text, scope, depth);
        match form {
            0 => format!("upper({one})"),
            1 => format!("lower({one})"),
            2 => {
                let other = self.expression(Kind::Varchar, scope, 0);
                format!("({one} || {other})")
            }
            3 => format!("substr({one}, 1, 2)"),
            4 => format!("replace({one}, 'a', 'b')"),
            5 => format!("concat({one}, '-', 1)"),
            6 => format!("trim({one})"),
            7 => format!("md5({one})"),
            8..13 => {
                let kind = self.choices.of(&Kind::ALL);
                let value = self.expression(kind, scope, depth);
                match kind {
                    Kind::Jsonb => format!("({value} ->> 'k')"),
                    Kind::Date | Kind::Timestamptz => format!("to_char({value}, 'YYYY-MM')"),
                    Kind::Texts => format!("array_to_string({value}, ',')"),
                    Kind::Int4
                    | Kind::Text
                    | Kind::Int8
                    | Kind::Numeric
                    | Kind::Varchar
                    | Kind::Bool
                    | Kind::Uuid
                    | Kind::Ints
                    | Kind::Enum
                    | Kind::Domain => format!("({value})::text"),
                }
            }
            _ => format!("left({one}, 3)"),
        }
    }

    fn timestamp(&mut self, scope: &[Item], depth: usize) -> String {
        let one = self.expression(Kind::Timestamptz, scope, depth);
        match self.choices.below(3) {
            0 => format!("({one} + interval '1 day')"),
            1 => format!("date_trunc('month', {one})"),
            _ => {
                let day = self.expression(Kind::Date, scope, depth);
                format!("({day})::timestamptz")
            }
        }
    }

    fn date(&mut self, scope: &[Item], depth: usize) -> String {
        let one = self.expression(Kind::Date, scope, depth);
        if self.choices.chance(50) {
            let at = self.expression(Kind::Timestamptz, scope, depth);
            format!("({at})::date")
        } else {
            format!("({one} + 1)")
        }
    }

    fn json(&mut self, scope: &[Item], depth: usize) -> String {
        let form = self.choices.below(5);
        let tables: Vec<&Item> = scope.iter().filter(|item| item.is_table).collect();
        if form == 4 && !tables.is_empty() {
            let at = self.choices.below(tables.len());
            return format!("to_jsonb({})", tables[at].alias);
        }
        let one = self.expression(Kind::Jsonb, scope, depth);
        match form {
            0 => format!("({one} -> 'k')"),
            1 => {
                let text = self.expression(Kind::Text, scope, depth);
                format!("jsonb_build_object('k', {text})")
            }
            2 => format!("({one} || '{{\"z\": 1}}'::jsonb)"),
            _ => {
                let kind = self.choices.of(&Kind::ALL);
                let value = self.expression(kind, scope, depth);
                format!("to_jsonb({value})")
            }
        }
    }

    fn integers(&mut self, scope: &[Item], depth: usize) -> String {
        let one = self.expression(Kind::Int4, scope, depth);
        match self.choices.below(3) {
            0 => format!("ARRAY[{one}, 1]"),
            1 => {
                let array = self.expression(Kind::Ints, scope, depth);
                format!("array_append({array}, {one})")
            }
            _ => {
                let (from, items) = self.one_table();
                let all: Vec<Item> = items.iter().chain(scope).cloned().collect();
                let value = self.expression(Kind::Int4, &all, 0);
                format!("ARRAY(SELECT {value} FROM {from} ORDER BY 1)")
            }
        }
    }

    fn texts(&mut self, scope: &[Item], depth: usize) -> String {
        let one = self.expression(Kind::Text, scope, depth);
        match self.choices.below(2) {
            0 => format!("ARRAY[{one}, 'z']"),
            _ => format!("string_to_array({one}, ' ')"),
        }
    }

    /// A condition: what AND and OR join.
    pub(super) fn condition(&mut self, scope: &[Item], depth: usize) -> String {
        let mut out = self.test(scope, depth);
        while self.choices.chance(35) {
            let operator = self.choices.of(&["AND", "AND", "OR"]);
            let test = self.test(scope, depth);
            out = match operator {
                "OR" => format!("({out} OR {test})"),
                _ => format!("{out} AND {test}"),
            };
        }
        out
    }

    fn test(&mut self, scope: &[Item], depth: usize) -> String {
        let Some((column, kind)) = self.any_column(scope) else {
            return "true".to_owned();
        };
        let form = self.choices.weighted(&[34, 8, 7, 5, 16, 8, 6, 6, 4, 6]);
        match form {
            0 => {
                let operator = self.choices.of(&COMPARISONS);
                let other = self.literal(kind, kind == Kind::Jsonb);
                format!("{column} {operator} {other}")
            }
            1 => {
                let not = self.choices.of(&["", "NOT "]);
                format!("{column} IS {not}NULL")
            }
            2 => {
                let (one, other) = (self.literal(kind, false), self.literal(kind, false));
                let not = self.choices.of(&["", "NOT "]);
                format!("{column} {not}IN ({one}, {other})")
            }
            3 => {
                let (one, other) = (self.literal(kind, false), self.literal(kind, false));
                format!("{column} BETWEEN {one} AND {other}")
            }
            4 => self.of_kind(&column, kind, scope, depth),
            5 => {
                let operator = self.choices.of(&COMPARISONS);
                match self.column(kind, scope) {
                    Some(other) => format!("{column} {operator} {other}"),
                    None => format!("{column} IS NULL"),
                }
            }
            6 if depth > 0 => {
                let not = self.choices.of(&["", "NOT "]);
                let inner = self.inner(scope);
                format!("{not}EXISTS (SELECT 1 FROM {inner})")
            }
            7 if depth > 0 => {
                let (from, items) = self.one_table();
                let Some(inner) = self.column(kind, &items) else {
                    return format!("{column} IS NOT NULL");
                };
                let condition = self.condition(&items, 0);
                let operator = self.choices.of(&["IN", "= ANY", "NOT IN", "<= ALL"]);
                format!("{column} {operator} (SELECT {inner} FROM {from} WHERE {condition})")
            }
            8 if depth > 0 => {
                let test = self.test(scope, depth - 1);
                format!("NOT ({test})")
            }
            9 if depth > 0 => {
                let operator = self.choices.of(&COMPARISONS);
                let (one, other) = (
                    self.expression(kind, scope, depth),
                    self.expression(kind, scope, 0),
                );
                format!("{one} {operator} {other}")
            }
            _ => format!("{column} IS NOT DISTINCT FROM {column}"),
        }
    }

    /// A test that only this type has.
    fn of_kind(&mut self, column: &str, kind: Kind, scope: &[Item], depth: usize) -> String {
        match kind {
            Kind::Text | Kind::Varchar => match self.choices.below(8) {
                0 => format!("{column} LIKE 'a%'"),
                1 => format!("{column} ILIKE '%A%'"),
                2 => format!("lower({column}) = 'ada'"),
                3 => format!("length({column}) > 2"),
                4 => format!("{column} ~ '^[a-n]'"),
                5 => format!("{column} NOT LIKE '%1'"),
                6 => format!("starts_with({column}, 'a')"),
                _ => {
                    let other = self.expression(Kind::Text, scope, depth);
                    format!("{column} || '' = {other}")
                }
            },
            Kind::Bool => column.to_owned(),
            Kind::Jsonb => match self.choices.below(5) {
                0 => format!("{column} ->> 'k' = 'a'"),
                1 => format!("{column} ? 'k'"),
                2 => format!("{column} @> '{{\"k\": 1}}'"),
                3 => format!("jsonb_typeof({column}) = 'object'"),
                _ => format!("({column} #>> '{{t,0}}') = '1'"),
            },
            Kind::Ints => match self.choices.below(3) {
                0 => format!("1 = ANY ({column})"),
                1 => format!("{column} @> '{{1}}'"),
                _ => format!("cardinality({column}) > 1"),
            },
            Kind::Texts => match self.choices.below(3) {
                0 => format!("'a' = ANY ({column})"),
                1 => format!("{column} && '{{a,z}}'"),
                _ => format!("array_length({column}, 1) = 2"),
            },
            Kind::Timestamptz => match self.choices.below(3) {
                0 => format!("{column} < now()"),
                1 => format!("date_trunc('day', {column}) = '2024-01-01'"),
                _ => format!("{column} > now() - interval '100 years'"),
            },
            Kind::Date => match self.choices.below(3) {
                0 => format!("extract(year FROM {column}) = 2024"),
                1 => format!("{column} <= current_date"),
                _ => format!("{column} + 1 > '2024-01-01'"),
            },
            Kind::Int4 | Kind::Int8 | Kind::Domain => match self.choices.below(4) {
                0 => format!("{column} % 2 = 1"),
                1 => format!("{column} = ANY (ARRAY[1, 2])"),
                2 => format!("abs({column}) > 1"),
                _ => format!("({column}, 1) > (1, 0)"),
            },
            Kind::Numeric => match self.choices.below(2) {
                0 => format!("round({column}) = 2"),
                _ => format!("{column} * 2 > 3"),
            },
            Kind::Uuid => format!("{column}::text LIKE '0%'"),
            Kind::Enum => format!("{column} >= 'mid'"),
        }
    }
}
