//! Settings of a role or a database, and those that a tenant's own functions make.

use libtest_mimic::Trial;

use super::proxy::{Proxy, Settings};
use super::raw::shape;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("wire::a_databases_settings_change_no_text", || {
            defaults();
            Ok(())
        }),
        Trial::test("wire::what_a_function_leaves_is_not_seen", || {
            unseen();
            Ok(())
        }),
    ]
}

/// What a text means is settled before the role's and the database's own settings are asked.
fn defaults() {
    let proxy = Proxy::start(Settings::default());
    let name = proxy.database.name();
    for (setting, value) in [
        ("standard_conforming_strings", "off"),
        ("transform_null_equals", "on"),
        ("array_nulls", "off"),
        ("backslash_quote", "on"),
        ("client_min_messages", "debug5"),
    ] {
        let sql = format!("ALTER DATABASE \"{name}\" SET {setting} = {value}");
        proxy.database.execute(&sql);
    }
    let mut raw = proxy.raw();
    assert_eq!(raw.rows("SELECT length('\\')"), ["1"]);
    assert_eq!(raw.rows("SELECT (1 = NULL) IS NULL"), ["t"]);
    assert_eq!(raw.rows("SELECT ('{NULL}'::text[])[1] IS NULL"), ["t"]);
    assert_eq!(raw.rows("SHOW client_min_messages"), ["notice"]);
    let sql = "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'";
    assert_eq!(shape(&raw.query(sql)), "E:42501 Z:I");
}

/// A function of the tenant's own sets variables, out of the gate's sight; the next client of the
/// connection does not see them. One that would change how texts are read ends the connection.
fn unseen() {
    let proxy = Proxy::start(Settings {
        pool_size: 1,
        tenant: "user = \"postgres\"\npassword = { file = \"secret\" }",
        ..Settings::default()
    });
    proxy.database.execute(
        "CREATE FUNCTION leave(name text, value text) RETURNS text LANGUAGE plpgsql
         AS $$ BEGIN RETURN set_config(name, value, false); END $$",
    );
    for (name, value, look) in [
        ("search_path", "pg_temp", "SHOW search_path"),
        ("statement_timeout", "12345", "SHOW statement_timeout"),
        ("DateStyle", "German", "SELECT date '2024-02-01'"),
        (
            "app.who",
            "x",
            "SELECT coalesce(current_setting('app.who', true), '')",
        ),
    ] {
        let before = proxy.raw().rows(look);
        let mut first = proxy.raw();
        let left = first.rows(&format!("SELECT leave('{name}', '{value}')"));
        assert_eq!(left.len(), 1, "{name}");
        assert_ne!(first.rows(look), before, "{name}");
        drop(first);
        assert_eq!(proxy.raw().rows(look), before, "{name}");
    }
    let mut first = proxy.raw();
    first.query("SELECT leave('standard_conforming_strings', 'off')");
    assert_eq!(proxy.raw().rows("SELECT length('\\')"), ["1"]);
}
