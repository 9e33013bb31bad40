//! Queries.

use super::expression::{Item, Maker};
use super::schema::LOOKUP;
use super::value::Kind;

/// A query, with what is known of its result.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) sql: String,
    pub(super) columns: Vec<(String, Kind)>,
    /// Whether it says in which order its rows come, up to rows that are the same.
    pub(super) ordered: bool,
}

impl Maker<'_> {
    /// A table, view, lookup table or query of WITH.
    pub(super) fn relation(&mut self) -> (String, Item) {
        let schema = self.schema;
        let with = self.with.len();
        let views = schema.views.len();
        let at = self
            .choices
            .weighted(&[75, 8, 8.min(views * 8), 20.min(with * 20)]);
        let mut only = true;
        let (name, columns, is_table) = match at {
            1 => {
                let columns = LOOKUP
                    .iter()
                    .map(|(name, kind)| ((*name).to_owned(), *kind));
                ("kinds".to_owned(), columns.collect(), true)
            }
            2 => {
                let view = &schema.views[self.choices.below(views)];
                (view.name.clone(), view.columns.clone(), false)
            }
            3 => {
                let item = self.with[self.choices.below(with)].clone();
                (item.alias, item.columns, false)
            }
            _ => {
                let table = &schema.tables[self.choices.below(schema.tables.len())];
                only = table.has_own_rows();
                (table.name.clone(), table.visible(), true)
            }
        };
        let name = match self.choices.weighted(&[80, 10, 5]) {
            1 if is_table => format!("public.{name}"),
            2 if is_table && only => format!("ONLY {name}"),
            _ => name,
        };
        let alias = self.name("t");
        let text = match self.choices.below(2) {
            0 => format!("{name} {alias}"),
            _ => format!("{name} AS {alias}"),
        };
        let item = Item {
            alias,
            columns,
            is_table,
        };
        (text, item)
    }

    /// FROM with one relation.
    pub(super) fn one_table(&mut self) -> (String, Vec<Item>) {
        let (text, item) = self.relation();
        (text, vec![item])
    }

    /// What may stand between the commas of FROM.
    fn item(&mut self, beside: &[Item], depth: usize) -> (String, Item) {
        let alias = self.name("s");
        match self.choices.weighted(&[75, 10, 5, 4, 6]) {
            1 if depth > 0 => {
                let query = self.query(depth - 1, &[], true);
                let item = Item {
                    alias: alias.clone(),
                    columns: query.columns,
                    is_table: false,
                };
                (format!("({}) AS {alias}", query.sql), item)
            }
            2 => {
                let (one, other) = (
                    self.literal(Kind::Int4, true),
                    self.literal(Kind::Text, true),
                );
                let item = Item {
                    alias: alias.clone(),
                    columns: vec![("v".to_owned(), Kind::Int4), ("w".to_owned(), Kind::Text)],
                    is_table: false,
                };
                (
                    format!("(VALUES ({one}, {other}), (3, 'a')) AS {alias} (v, w)"),
                    item,
                )
            }
            3 => {
                let item = Item {
                    alias: alias.clone(),
                    columns: vec![("g".to_owned(), Kind::Int4)],
                    is_table: false,
                };
                (format!("generate_series(1, 3) AS {alias} (g)"), item)
            }
            4 if depth > 0 && !beside.is_empty() => {
                let query = self.query(depth - 1, beside, true);
                let item = Item {
                    alias: alias.clone(),
                    columns: query.columns,
                    is_table: false,
                };
                (format!("LATERAL ({}) AS {alias}", query.sql), item)
            }
            _ => self.relation(),
        }
    }

    /// FROM: its text and what it brings into scope.
    fn tables(&mut self, depth: usize, outer: &[Item]) -> (String, Vec<Item>) {
        let (mut text, first) = self.item(&[], depth);
        let mut items = vec![first];
        let more = self.choices.weighted(&[55, 30, 15]);
        // Behind a comma, ON sees nothing of what stands before it.
        let mut seen = 0;
        for _ in 0..more {
            let kind = self.choices.of(&[
                "JOIN",
                "LEFT JOIN",
                "LEFT JOIN",
                "RIGHT JOIN",
                "FULL JOIN",
                "CROSS JOIN",
                "USING",
                ",",
            ]);
            // What a lateral item names must not be on the nullable side.
            let beside: Vec<Item> = match kind {
                "JOIN" | "LEFT JOIN" | "CROSS JOIN" => items.clone(),
                _ => Vec::new(),
            };
            let (joined, item) = self.item(&beside, depth);
            if kind == "," {
                seen = items.len();
            }
            text = self.join(kind, &text, &joined, &items[seen..], &item, outer, depth);
            items.push(item);
        }
        (text, items)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "both sides of a join, and what is around it"
    )]
    fn join(
        &mut self,
        kind: &str,
        left: &str,
        joined: &str,
        items: &[Item],
        item: &Item,
        outer: &[Item],
        depth: usize,
    ) -> String {
        let pairs: Vec<(String, String)> = items
            .iter()
            .flat_map(|other| {
                other.columns.iter().flat_map(move |(name, kind)| {
                    let same = item.columns.iter().filter(move |(_, right)| right == kind);
                    same.map(move |(right, _)| {
                        (
                            format!("{}.{name}", other.alias),
                            format!("{}.{right}", item.alias),
                        )
                    })
                })
            })
            .collect();
        let shared = item.columns.iter().map(|(name, _)| name).find(|name| {
            let with = |other: &&Item| other.columns.iter().any(|(own, _)| own == *name);
            items.iter().filter(with).count() == 1
        });
        match kind {
            "," => format!("{left}, {joined}"),
            "USING" if shared.is_some_and(|name| same_kind(name, items, item)) => {
                let name = shared.expect("it was found");
                format!("{left} JOIN {joined} USING ({name})")
            }
            "CROSS JOIN" | "USING" => format!("{left} CROSS JOIN {joined}"),
            _ if pairs.is_empty() => format!("{left} CROSS JOIN {joined}"),
            _ => {
                let (one, other) = &pairs[self.choices.below(pairs.len())];
                let mut on = format!("{one} = {other}");
                if kind != "FULL JOIN" && self.choices.chance(35) {
                    let all: Vec<Item> = items.iter().chain([item]).chain(outer).cloned().collect();
                    let more = self.condition(&all, depth.min(1));
                    on = format!("{on} AND {more}");
                }
                format!("{left} {kind} {joined} ON {on}")
            }
        }
    }

    /// A query. One that is `named` has a different name for each of its columns.
    pub(super) fn query(&mut self, depth: usize, outer: &[Item], named: bool) -> Query {
        match self.choices.weighted(&[80, 10, 10]) {
            1 if depth > 0 => self.set_operation(depth, outer),
            2 if depth > 0 => self.with_query(depth, outer, named),
            _ => self.select(depth, outer, named),
        }
    }

    fn set_operation(&mut self, depth: usize, outer: &[Item]) -> Query {
        let kinds: Vec<Kind> = (0..1 + self.choices.below(3))
            .map(|_| self.choices.of(&Kind::ALL))
            .collect();
        let mut sql = self.select_of(&kinds, outer, depth - 1);
        for _ in 0..1 + self.choices.below(2) {
            let operator = self.choices.of(&[
                "UNION ALL",
                "UNION",
                "EXCEPT",
                "INTERSECT",
                "EXCEPT ALL",
                "INTERSECT ALL",
            ]);
            let other = self.select_of(&kinds, outer, depth - 1);
            sql = match self.choices.below(2) {
                0 => format!("{sql} {operator} {other}"),
                _ => format!("({sql}) {operator} ({other})"),
            };
        }
        let columns: Vec<(String, Kind)> = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| (format!("u{}", at + 1), *kind))
            .collect();
        self.in_order(sql, columns)
    }

    /// A simple query with these types.
    pub(super) fn select_of(&mut self, kinds: &[Kind], outer: &[Item], depth: usize) -> String {
        let (from, items) = self.one_table();
        let scope: Vec<Item> = items.iter().chain(outer).cloned().collect();
        let list: Vec<String> = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| {
                let value = self.expression(*kind, &scope, depth);
                format!("{value} AS u{}", at + 1)
            })
            .collect();
        let condition = self.condition(&scope, depth);
        format!("SELECT {} FROM {from} WHERE {condition}", list.join(", "))
    }

    fn with_query(&mut self, depth: usize, outer: &[Item], named: bool) -> Query {
        let before = self.with.len();
        let mut parts = Vec::new();
        let mut recursive = "";
        for _ in 0..1 + self.choices.below(2) {
            let name = self.name("w");
            let materialized = self
                .choices
                .of(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
            let query = if self.choices.chance(15) {
                recursive = "RECURSIVE ";
                // A domain would be an error here, but a masked column has its base type, and is none.
                let base = self.select_of(&[Kind::Int4], &[], 0);
                Query {
                    sql: format!(
                        "SELECT b.u1::integer AS u1 FROM ({base}) AS b \
                         UNION SELECT {name}.u1 + 1 FROM {name} WHERE {name}.u1 < 4"
                    ),
                    columns: vec![("u1".to_owned(), Kind::Int4)],
                    ordered: false,
                }
            } else {
                self.select(depth - 1, &[], true)
            };
            parts.push(format!("{name} AS {materialized}({})", query.sql));
            self.with.push(Item {
                alias: name,
                columns: query.columns,
                is_table: false,
            });
        }
        let mut query = self.select(depth - 1, outer, named);
        query.sql = format!("WITH {recursive}{} {}", parts.join(", "), query.sql);
        self.with.truncate(before);
        query
    }

    pub(super) fn select(&mut self, depth: usize, outer: &[Item], named: bool) -> Query {
        let (from, items) = self.tables(depth, outer);
        let scope: Vec<Item> = items.iter().chain(outer).cloned().collect();
        let filter = if self.choices.chance(75) {
            format!(" WHERE {}", self.condition(&scope, depth))
        } else {
            String::new()
        };
        match self.choices.weighted(&[44, 14, 16, 8, 8, 10]) {
            1 if !named => {
                let stars = match self.choices.below(3) {
                    0 => "*".to_owned(),
                    1 => format!("{}.*", items[0].alias),
                    _ => format!("{}.*, 1 AS one", items[items.len() - 1].alias),
                };
                Query {
                    sql: format!("SELECT {stars} FROM {from}{filter}"),
                    columns: Vec::new(),
                    ordered: false,
                }
            }
            2 => self.grouped(&from, &filter, &scope, depth),
            3 => {
                let (list, columns) = self.aggregates(&scope, depth);
                let sql = format!("SELECT {list} FROM {from}{filter}");
                self.in_order(sql, columns)
            }
            4 => {
                let (list, columns) = self.list(&scope, depth, true);
                let sql = format!("SELECT DISTINCT {list} FROM {from}{filter}");
                self.in_order(sql, columns)
            }
            5 => self.windows(&from, &filter, &scope, depth),
            _ => {
                let (list, columns) = self.list(&scope, depth, named);
                let sql = format!("SELECT {list} FROM {from}{filter}");
                let mut query = self.in_order(sql, columns);
                if !named && self.choices.chance(8) && items.iter().any(|item| item.is_table) {
                    let lock = self
                        .choices
                        .of(&["UPDATE", "SHARE", "NO KEY UPDATE", "KEY SHARE"]);
                    let of = items.iter().find(|item| item.is_table).expect("a table");
                    query.sql = format!("{} FOR {lock} OF {}", query.sql, of.alias);
                }
                query
            }
        }
    }

    /// A target list.
    fn list(&mut self, scope: &[Item], depth: usize, named: bool) -> (String, Vec<(String, Kind)>) {
        let mut columns = Vec::new();
        let mut parts = Vec::new();
        for at in 0..1 + self.choices.below(4) {
            let (value, kind) = match self.any_column(scope) {
                Some(column) if !self.choices.chance(30) => column,
                _ => {
                    let kind = self.choices.of(&Kind::ALL);
                    (self.expression(kind, scope, depth + 1), kind)
                }
            };
            let name = format!("x{}", at + 1);
            parts.push(if named || self.choices.chance(30) {
                format!("{value} AS {name}")
            } else {
                value
            });
            columns.push((name, kind));
        }
        (parts.join(", "), columns)
    }

    fn aggregate(&mut self, scope: &[Item], depth: usize) -> (String, Kind) {
        let Some((column, kind)) = self.any_column(scope) else {
            return ("count(*)".to_owned(), Kind::Int8);
        };
        match self.choices.below(9) {
            0 => ("count(*)".to_owned(), Kind::Int8),
            1 => (format!("count(DISTINCT {column})"), Kind::Int8),
            2 => {
                let value = self.expression(Kind::Int4, scope, depth);
                (format!("sum({value})"), Kind::Int8)
            }
            3 => {
                let value = self.expression(Kind::Text, scope, depth);
                (format!("max({value})"), Kind::Text)
            }
            4 => {
                let value = self.expression(Kind::Int4, scope, depth);
                (format!("array_agg({value} ORDER BY {value})"), Kind::Ints)
            }
            5 => {
                let value = self.expression(Kind::Text, scope, depth);
                (
                    format!("string_agg({value}, ',' ORDER BY {value})"),
                    Kind::Text,
                )
            }
            6 => {
                let condition = self.condition(scope, 0);
                (format!("count(*) FILTER (WHERE {condition})"), Kind::Int8)
            }
            7 => (
                format!("jsonb_agg({column} ORDER BY {column})"),
                Kind::Jsonb,
            ),
            _ => {
                let numeric = matches!(kind, Kind::Int4 | Kind::Int8 | Kind::Numeric);
                if numeric {
                    (format!("avg({column})"), Kind::Numeric)
                } else {
                    let condition = self.condition(scope, 0);
                    (format!("bool_or({condition})"), Kind::Bool)
                }
            }
        }
    }

    fn aggregates(&mut self, scope: &[Item], depth: usize) -> (String, Vec<(String, Kind)>) {
        let mut parts = Vec::new();
        let mut columns = Vec::new();
        for at in 0..1 + self.choices.below(3) {
            let (value, kind) = self.aggregate(scope, depth);
            let name = format!("a{}", at + 1);
            parts.push(format!("{value} AS {name}"));
            columns.push((name, kind));
        }
        (parts.join(", "), columns)
    }

    fn grouped(&mut self, from: &str, filter: &str, scope: &[Item], depth: usize) -> Query {
        let mut keys = Vec::new();
        let mut columns = Vec::new();
        for at in 0..1 + self.choices.below(2) {
            let Some((key, kind)) = self.any_column(scope) else {
                continue;
            };
            if !keys.contains(&key) {
                columns.push((format!("k{}", at + 1), kind));
                keys.push(key);
            }
        }
        let mut list: Vec<String> = keys
            .iter()
            .zip(&columns)
            .map(|(key, (name, _))| format!("{key} AS {name}"))
            .collect();
        let (aggregates, more) = self.aggregates(scope, depth.min(1));
        columns.extend(more);
        list.push(aggregates);
        let grouping = match self.choices.weighted(&[80, 10, 10]) {
            1 => format!("ROLLUP ({})", keys.join(", ")),
            2 => format!("GROUPING SETS (({}), ())", keys.join(", ")),
            _ => keys.join(", "),
        };
        let having = match self.choices.below(4) {
            2 => " HAVING count(*) > 1".to_owned(),
            3 => format!(" HAVING max({0}::text) >= 'a' OR count({0}) = 0", keys[0]),
            _ => String::new(),
        };
        let sql = format!(
            "SELECT {} FROM {from}{filter} GROUP BY {grouping}{having}",
            list.join(", ")
        );
        self.in_order(sql, columns)
    }

    fn windows(&mut self, from: &str, filter: &str, scope: &[Item], depth: usize) -> Query {
        let (mut list, columns) = self.list(scope, depth, true);
        let partition = match self.any_column(scope) {
            Some((column, _)) if self.choices.chance(60) => format!("PARTITION BY {column} "),
            _ => String::new(),
        };
        let order = match self.any_column(scope) {
            Some((column, _)) => format!("ORDER BY {column}"),
            None => String::new(),
        };
        let call = self.choices.of(&[
            "count(*)",
            "rank()",
            "dense_rank()",
            "percent_rank()",
            "min(1)",
        ]);
        let (over, behind) = match self.choices.below(2) {
            0 => (format!("({partition}{order})"), String::new()),
            _ => ("w".to_owned(), format!(" WINDOW w AS ({partition}{order})")),
        };
        list = format!("{list}, {call} OVER {over} AS o1");
        let mut all = columns.clone();
        all.push(("o1".to_owned(), Kind::Int8));
        let query = self.in_order(format!("SELECT {list} FROM {from}{filter}{behind}"), all);
        // The type of the last is of no use to others.
        Query { columns, ..query }
    }

    /// Adds ORDER BY, and perhaps a limit, which an order makes the same for all.
    pub(super) fn in_order(&mut self, sql: String, columns: Vec<(String, Kind)>) -> Query {
        if !self.choices.chance(45) || columns.is_empty() {
            return Query {
                sql,
                columns,
                ordered: false,
            };
        }
        let places: Vec<String> = (1..=columns.len())
            .map(|at| {
                let how = self.choices.of(&["", "", " DESC", " NULLS FIRST"]);
                format!("{at}{how}")
            })
            .collect();
        let limit = match self.choices.below(8) {
            3 => " LIMIT 3",
            4 => " LIMIT 2 OFFSET 1",
            5 => " OFFSET 1",
            6 => " FETCH FIRST 2 ROWS ONLY",
            // PostgreSQL 15 takes the clause over into what it makes of max and min, which fails then.
            7 if !sql.contains("max(") && !sql.contains("min(") => " FETCH FIRST 2 ROWS WITH TIES",
            _ => "",
        };
        Query {
            sql: format!("{sql} ORDER BY {}{limit}", places.join(", ")),
            columns,
            ordered: true,
        }
    }
}

/// Whether a column of this name has one type on both sides.
fn same_kind(name: &str, items: &[Item], item: &Item) -> bool {
    let of = |item: &Item| {
        let mut columns = item.columns.iter();
        columns.find(|(own, _)| own == name).map(|(_, kind)| *kind)
    };
    items.iter().any(|other| of(other) == of(item))
}
