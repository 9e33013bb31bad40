//! The configuration parameters that clients may set and show.

/// Which values a parameter may be set to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Values {
    /// Any that the server takes.
    Any,
    /// None: it can only be shown.
    None,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// The path that names are resolved along, as it is.
    SearchPath,
}

/// A configuration parameter that clients may show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Variable {
    /// Its name, in lower case.
    pub(super) name: &'static str,
    /// What it may be set to.
    pub(super) values: Values,
}

/// What applications keep for themselves: `app.anything`.
pub(super) const CUSTOM_PREFIX: &str = "app.";

const fn any(name: &'static str) -> Variable {
    Variable {
        name,
        values: Values::Any,
    }
}

const fn shown(name: &'static str) -> Variable {
    Variable {
        name,
        values: Values::None,
    }
}

const fn one_of(name: &'static str, values: &'static [&'static str]) -> Variable {
    Variable {
        name,
        values: Values::OneOf(values),
    }
}

/// The list. Planner costs, `enable_*`, roles, what changes parsing and what prints trees are not in
/// it.
pub(super) const VARIABLES: &[Variable] = &[
    shown("all"),
    any("application_name"),
    one_of("array_nulls", &["on", "true", "yes", "1"]),
    one_of("backslash_quote", &["safe_encoding"]),
    shown("block_size"),
    any("bytea_output"),
    any("check_function_bodies"),
    one_of("client_encoding", &["utf8", "utf-8", "unicode"]),
    one_of(
        "client_min_messages",
        &["notice", "warning", "error", "fatal", "panic"],
    ),
    any("datestyle"),
    one_of("default_tablespace", &[""]),
    shown("default_text_search_config"),
    any("default_transaction_deferrable"),
    any("default_transaction_isolation"),
    any("default_transaction_read_only"),
    one_of("default_with_oids", &["off", "false", "no", "0"]),
    any("escape_string_warning"),
    any("extra_float_digits"),
    any("idle_in_transaction_session_timeout"),
    any("idle_session_timeout"),
    shown("in_hot_standby"),
    shown("integer_datetimes"),
    any("intervalstyle"),
    shown("is_superuser"),
    any("jit"),
    shown("lc_collate"),
    shown("lc_ctype"),
    shown("lc_messages"),
    any("lc_monetary"),
    any("lc_numeric"),
    any("lc_time"),
    any("lock_timeout"),
    shown("max_identifier_length"),
    shown("max_index_keys"),
    // Off only makes an error of what policies would hide.
    any("row_security"),
    Variable {
        name: "search_path",
        values: Values::SearchPath,
    },
    shown("server_encoding"),
    shown("server_version"),
    shown("server_version_num"),
    one_of("standard_conforming_strings", &["on", "true", "yes", "1"]),
    any("statement_timeout"),
    any("synchronize_seqscans"),
    any("timezone"),
    any("transaction_deferrable"),
    any("transaction_isolation"),
    any("transaction_read_only"),
    any("transaction_timeout"),
    any("xmloption"),
];
