//! Identifiers: folding, truncation and quoting as PostgreSQL does them.

use sqlparser::ast::Ident;

/// `NAMEDATALEN - 1`: longer identifiers are cut at this many bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Words that cannot be used bare as a column's or a table's name: those of `pg_get_keywords()`
/// that are not "unreserved", of all versions up to 18.
const RESERVED: [&str; 164] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "merge_action",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// An identifier written otherwise than PostgreSQL has it, such as with backquotes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ForeignQuotes;

/// The name that an identifier stands for: unquoted ones are folded, ASCII letters only, as
/// `downcase_truncate_identifier` does in a UTF-8 database; both kinds are cut at 63 bytes.
pub fn fold(ident: &Ident) -> Result<String, ForeignQuotes> {
    let name = match ident.quote_style {
        None => ident.value.to_ascii_lowercase(),
        Some('"') => ident.value.replace("\"\"", "\""),
        Some(_) => return Err(ForeignQuotes),
    };
    Ok(truncate(name))
}

fn truncate(mut name: String) -> String {
    let mut end = NAME_BYTES_MAX;
    if name.len() > end {
        // As pg_mbcliplen(): never in the middle of a character.
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
    }
    name
}

/// A name as SQL text, quoted where it must be.
pub fn quote(name: &str) -> String {
    let plain = name.bytes().enumerate().all(|(at, byte)| match byte {
        b'a'..=b'z' | b'_' => true,
        b'0'..=b'9' => at > 0,
        _ => false,
    });
    if plain && !name.is_empty() && RESERVED.binary_search(&name).is_err() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A name as an identifier of the tree.
pub fn ident(name: &str) -> Ident {
    let quoted = quote(name);
    if quoted == name {
        Ident::new(name)
    } else {
        Ident::with_quote('"', name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_is_ascii_and_cuts_at_63_bytes() {
        assert_eq!(fold(&Ident::new("\u{d3}rders")).unwrap(), "\u{d3}rders");
        assert_eq!(fold(&Ident::new("Orders")).unwrap(), "orders");
        assert_eq!(fold(&Ident::with_quote('"', "a\"\"B")).unwrap(), "a\"B");
        assert_eq!(fold(&Ident::with_quote('`', "a")), Err(ForeignQuotes));
        let long = format!("{}\u{e9}", "a".repeat(62));
        assert_eq!(fold(&Ident::new(long)).unwrap(), "a".repeat(62));
    }

    #[test]
    fn reserved_words_are_sorted_and_quoted() {
        assert!(RESERVED.is_sorted());
        assert_eq!(quote("order"), "\"order\"");
        assert_eq!(quote("orders"), "orders");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote("\u{e9}"), "\"\u{e9}\"");
    }
}
