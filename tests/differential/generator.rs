//! Random statements over the fixture's tables, as an application might write them.

use proptest::prelude::*;

/// What a column can be compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sort {
    Number,
    Text,
}

/// A table and the columns that statements use.
#[derive(Clone, Copy, Debug)]
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Sort)],
}

const TABLES: [Table; 7] = [
    Table {
        name: "customers",
        columns: &[
            ("id", Sort::Number),
            ("name", Sort::Text),
            ("email", Sort::Text),
            ("notes", Sort::Text),
        ],
    },
    Table {
        name: "orders",
        columns: &[
            ("id", Sort::Number),
            ("customer_id", Sort::Number),
            ("memo", Sort::Text),
            ("code", Sort::Text),
        ],
    },
    Table {
        name: "order_items",
        columns: &[
            ("order_id", Sort::Number),
            ("line_no", Sort::Number),
            ("qty", Sort::Number),
            ("remark", Sort::Text),
        ],
    },
    Table {
        name: "public.products",
        columns: &[
            ("id", Sort::Number),
            ("sku", Sort::Text),
            ("title", Sort::Text),
        ],
    },
    Table {
        name: "categories",
        columns: &[
            ("id", Sort::Number),
            ("parent_id", Sort::Number),
            ("name", Sort::Text),
        ],
    },
    Table {
        name: "settings",
        columns: &[("key", Sort::Text), ("value", Sort::Text)],
    },
    Table {
        name: "countries",
        columns: &[("code", Sort::Text), ("name", Sort::Text)],
    },
];

/// A table under an alias.
#[derive(Clone, Debug)]
struct Entry {
    table: Table,
    alias: String,
}

/// A choice, to be taken modulo what there is to choose from.
type Choice = u8;

/// A query of one to three tables, possibly below others.
pub(super) fn query() -> impl Strategy<Value = String> {
    let plain = select().boxed();
    prop_oneof![
        6 => plain.clone(),
        1 => (select_of_one(), select_of_one(), prop_oneof![Just("UNION"), Just("UNION ALL"), Just("EXCEPT"), Just("INTERSECT")])
            .prop_map(|(left, right, operator)| format!("{left} {operator} {right}")),
        1 => plain.clone().prop_map(|inner| format!("SELECT count(*) FROM ({inner}) AS inner_query")),
        1 => (plain.clone(), select_of_one())
            .prop_map(|(cte, outer)| format!("WITH cte AS ({cte}) {outer}")),
        1 => (plain, select_of_one())
            .prop_map(|(outer, scalar)| format!("SELECT ({scalar} ORDER BY 1 LIMIT 1) AS first, rest.* FROM ({outer}) AS rest")),
    ]
}

/// A query whose single column is a number.
fn select_of_one() -> impl Strategy<Value = String> {
    (0..5_usize, condition_parts(), any::<bool>()).prop_map(|(at, parts, aliased)| {
        let table = TABLES[at];
        let entry = Entry {
            table,
            alias: if aliased {
                "z".to_owned()
            } else {
                bare(table.name).to_owned()
            },
        };
        let from = if aliased {
            format!("{} z", table.name)
        } else {
            table.name.to_owned()
        };
        let column = table.columns[0].0;
        let condition = condition(&parts, &[entry]);
        format!("SELECT {column} FROM {from} WHERE {condition}")
    })
}

fn bare(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The parts of a condition, as choices.
type ConditionParts = Vec<(Choice, Choice, Choice, Choice)>;

fn condition_parts() -> impl Strategy<Value = ConditionParts> {
    prop::collection::vec(any::<(Choice, Choice, Choice, Choice)>(), 1..4)
}

fn select() -> impl Strategy<Value = String> {
    (
        prop::collection::vec((0..TABLES.len(), any::<bool>()), 1..4),
        prop::collection::vec((any::<Choice>(), condition_parts()), 3),
        condition_parts(),
        any::<(Choice, Choice, Choice)>(),
    )
        .prop_map(|(tables, joins, parts, (targets, grouping, order))| {
            let entries: Vec<Entry> = tables
                .iter()
                .enumerate()
                .map(|(at, (table, same))| Entry {
                    table: TABLES[*table],
                    // Now and then two tables of different levels share a name.
                    alias: if *same {
                        format!("t{at}")
                    } else {
                        format!("o{at}")
                    },
                })
                .collect();
            let from = from(&entries, &joins);
            let condition = condition(&parts, &entries);
            let (list, group) = target_list(&entries, targets, grouping);
            let order = if order % 3 == 0 { " ORDER BY 1" } else { "" };
            format!("SELECT {list} FROM {from} WHERE {condition}{group}{order}")
        })
}

fn from(entries: &[Entry], joins: &[(Choice, ConditionParts)]) -> String {
    let mut text = format!("{} {}", entries[0].table.name, entries[0].alias);
    for (at, entry) in entries.iter().enumerate().skip(1) {
        let (kind, parts) = &joins[at - 1];
        let item = format!("{} AS {}", entry.table.name, entry.alias);
        let on = condition(parts, &entries[..=at]);
        text = match kind % 7 {
            0 => format!("{text} JOIN {item} ON {on}"),
            1 | 2 => format!("{text} LEFT JOIN {item} ON {on}"),
            3 => format!("{text} RIGHT JOIN {item} ON {on}"),
            // PostgreSQL joins FULL only on merge- or hash-joinable conditions.
            4 => format!(
                "{text} FULL JOIN {item} ON {}",
                equality(&entries[at - 1], entry)
            ),
            5 => format!("{text} CROSS JOIN {item}"),
            _ => format!(
                "{text} LEFT JOIN LATERAL (SELECT * FROM {} WHERE {}) AS {} ON true",
                entry.table.name,
                condition(
                    parts,
                    &[Entry {
                        table: entry.table,
                        alias: bare(entry.table.name).to_owned()
                    }]
                ),
                entry.alias
            ),
        };
    }
    text
}

fn equality(left: &Entry, right: &Entry) -> String {
    let common = left.table.columns.iter().find_map(|(name, sort)| {
        let other = right
            .table
            .columns
            .iter()
            .find(|(_, other)| other == sort)?;
        Some((*name, other.0))
    });
    let (one, other) = common.expect("every table has a text");
    format!("{}.{one} = {}.{other}", left.alias, right.alias)
}

fn target_list(entries: &[Entry], choice: Choice, grouping: Choice) -> (String, String) {
    let first = &entries[0];
    let column = |entry: &Entry, at: Choice| {
        let columns = entry.table.columns;
        format!(
            "{}.{}",
            entry.alias,
            columns[usize::from(at) % columns.len()].0
        )
    };
    match choice % 6 {
        0 => ("*".to_owned(), String::new()),
        1 => (format!("{}.*", first.alias), String::new()),
        2 => {
            let key = column(first, grouping);
            (
                format!("{key}, count(*) AS n"),
                format!(" GROUP BY {key} HAVING count(*) > {}", grouping % 2),
            )
        }
        3 => (
            "count(*) AS n, count(DISTINCT ".to_owned() + &column(first, grouping) + ")",
            String::new(),
        ),
        4 => (
            format!("DISTINCT {}", column(first, grouping)),
            String::new(),
        ),
        _ => {
            let last = entries.last().expect("at least one");
            (
                format!(
                    "{}, coalesce(upper({}::text), '-')",
                    column(first, grouping),
                    column(last, choice / 6)
                ),
                String::new(),
            )
        }
    }
}

fn condition(parts: &[(Choice, Choice, Choice, Choice)], entries: &[Entry]) -> String {
    let mut text = String::new();
    for (at, (which, column, kind, value)) in parts.iter().enumerate() {
        if at > 0 {
            text.push_str(if value % 3 == 0 { " OR " } else { " AND " });
        }
        let entry = &entries[usize::from(*which) % entries.len()];
        let (name, sort) = entry.table.columns[usize::from(*column) % entry.table.columns.len()];
        text.push_str(&comparison(
            &format!("{}.{name}", entry.alias),
            sort,
            entries,
            (*kind, *value),
        ));
    }
    text
}

fn comparison(
    column: &str,
    sort: Sort,
    entries: &[Entry],
    (kind, value): (Choice, Choice),
) -> String {
    const TEXTS: [&str; 6] = [
        "Ada",
        "memo 2",
        "CANARY-T2-memo 1",
        "theme",
        "DE",
        "SKU-001",
    ];
    let literal = match sort {
        Sort::Number => (value % 9).to_string(),
        Sort::Text => format!("'{}'", TEXTS[usize::from(value) % TEXTS.len()]),
    };
    let operator = ["=", "<>", "<", ">=", ">"][usize::from(value) % 5];
    match kind % 8 {
        0 | 1 => format!("{column} {operator} {literal}"),
        2 => format!(
            "{column} IS {}NULL",
            if value % 2 == 0 { "NOT " } else { "" }
        ),
        3 => format!("{column} IN ({literal}, {literal})"),
        4 if sort == Sort::Text => format!("{column} LIKE 'm%'"),
        4 => format!("{column} BETWEEN 1 AND {literal}"),
        5 => format!("NOT ({column} {operator} {literal})"),
        6 if sort == Sort::Number => {
            format!(
                "{column} IN (SELECT s.customer_id FROM orders s WHERE s.customer_id = {column})"
            )
        }
        6 => format!("EXISTS (SELECT 1 FROM customers s WHERE s.name {operator} {column})"),
        _ => entries
            .last()
            .and_then(|last| {
                let same = last
                    .table
                    .columns
                    .iter()
                    .find(|(_, other)| *other == sort)?;
                Some(format!("{column} {operator} {}.{}", last.alias, same.0))
            })
            .unwrap_or_else(|| "true".to_owned()),
    }
}
