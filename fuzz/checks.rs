//! What must hold for any input. The fuzz targets and the replay of their corpus on the stable
//! toolchain call the same functions.

use std::sync::LazyLock;

use bytes::BytesMut;
use tenantry::admitted::Admitted;
use tenantry::isolate::copying::Copying;
use tenantry::isolate::isolate;
use tenantry::protocol::frame::{Frame, HEADER_BYTES, Phase, client_frame};
use tenantry::protocol::frontend::FrontendMessage;
use tenantry::tenant::{Classified, TenantKey};

use crate::fixture;

static CLASSIFIED: LazyLock<Classified> = LazyLock::new(fixture::classified);

/// A statement is refused, or every place where it names a scoped table has the tenant's value. This
/// counts by a generic walk over PostgreSQL's tree, which shares nothing with the verifier's.
pub fn isolate_never_lets_a_table_through(input: &[u8]) {
    let Ok(statements) = isolate(input, &[], &CLASSIFIED) else {
        return;
    };
    for isolated in statements {
        let Admitted::Isolated(verified) = isolated.admitted else {
            panic!("only a grant's statement is bypassed")
        };
        let text = verified
            .with_tenant(&TenantKey::Integer(1))
            .expect("the key fits every table");
        let tree = pg_query::parse(&text, pg_query::ParserOptions::DEFAULT)
            .unwrap_or_else(|error| panic!("{error} in: {text}"));
        let tree = serde_json::to_value(&tree.protobuf).expect("a tree is JSON");
        let mut tables = 0;
        // The rows of a stream get it on their way.
        let mut tests = match verified.copying() {
            Some(Copying::In(_)) => 1,
            Some(Copying::Out) | None => 0,
        };
        count(&tree, &mut tables, &mut tests);
        assert!(
            tests >= tables,
            "{tables} tables, {tests} values of the tenant: {text}"
        );
    }
}

/// A table that is named and needs no value: of a lock that keeps nobody from anything and shows nothing,
/// and the target of a change of the row that a cursor stands at, whose query had a value.
fn needs_no_value(statement: &str, parts: &serde_json::Value, part: &str) -> bool {
    const ACCESS_SHARE: i64 = 1;
    match (statement, part) {
        ("LockStmt", "relations") => parts["mode"].as_i64() == Some(ACCESS_SHARE),
        // Syntax lets nothing stand beside CURRENT OF.
        ("UpdateStmt" | "DeleteStmt", "relation") => {
            let condition = &parts["where_clause"]["node"];
            condition.get("CurrentOfExpr").is_some()
        }
        _ => false,
    }
}

/// Counts the names of scoped tables, and the literals that are the tenant's value as the rewriter
/// spells it: `'1'::pg_catalog.int4`.
fn count(node: &serde_json::Value, tables: &mut usize, tests: &mut usize) {
    match node {
        serde_json::Value::Object(fields) => {
            if let Some(name) = fields.get("relname").and_then(|name| name.as_str())
                && fields.get("schemaname").and_then(|name| name.as_str()) == Some("public")
                && CLASSIFIED
                    .scoped()
                    .any(|(scoped, _)| scoped.is("public", name))
            {
                *tables += 1;
            }
            if fields.contains_key("type_name") && fields.contains_key("arg") {
                let cast = node.to_string();
                if cast.contains("\"sval\":\"1\"") && cast.contains("\"sval\":\"int4\"") {
                    *tests += 1;
                }
            }
            for (name, field) in fields {
                let counted = |part: &&String| !needs_no_value(name, field, part);
                match field.as_object() {
                    Some(parts) if parts.keys().any(|part| !counted(&part)) => {
                        let parts = parts.iter().filter(|(part, _)| counted(part));
                        parts.for_each(|(_, part)| count(part, tables, tests));
                    }
                    _ => count(field, tables, tests),
                }
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                count(item, tables, tests);
            }
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

/// A client's bytes are the frames that are read of them, whatever the chunks in which they come, and
/// a message is all of its frame. The first byte of the input is the chunks' size.
pub fn frames_are_all_of_the_bytes(input: &[u8]) {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let at_once = deframe(bytes, bytes.len().max(1));
    assert_eq!(
        at_once,
        deframe(bytes, usize::from(*size).max(1)),
        "chunks change nothing"
    );
    let (frames, _) = at_once;
    let mut rest = bytes;
    for frame in frames {
        let length = frame.body.len() + HEADER_BYTES;
        let (own, behind) = rest.split_at(length);
        assert_eq!(
            (own[0], &own[HEADER_BYTES..]),
            (frame.tag, &frame.body[..]),
            "its own bytes"
        );
        let told = u32::from_be_bytes([own[1], own[2], own[3], own[4]]);
        assert_eq!(
            usize::try_from(told),
            Ok(frame.body.len() + 4),
            "as long as it says"
        );
        rest = behind;
        let Ok(message) = FrontendMessage::read(&frame) else {
            continue;
        };
        let held = match &message {
            FrontendMessage::Query(sql) => sql.len() + 1,
            FrontendMessage::Parse {
                statement,
                sql,
                declared_types,
            } => statement.len() + sql.len() + 2 + 2 + 4 * declared_types.len(),
            FrontendMessage::Bind(bind) => {
                bind.portal.len()
                    + bind.statement.len()
                    + 2
                    + (2 + 2 * bind.parameter_formats.len())
                    + (2 + bind.values.len())
                    + bind.result_formats.len()
            }
            FrontendMessage::Close(..)
            | FrontendMessage::Copy
            | FrontendMessage::Describe(..)
            | FrontendMessage::Execute { .. }
            | FrontendMessage::Flush
            | FrontendMessage::FunctionCall
            | FrontendMessage::Sync
            | FrontendMessage::Terminate
            | FrontendMessage::TooLong { .. } => continue,
        };
        assert_eq!(
            held,
            frame.body.len(),
            "a message is all of its frame: {message:?}"
        );
    }
}

/// The frames, and whether a violation ended them: which one may depend on how much was there.
fn deframe(bytes: &[u8], chunk: usize) -> (Vec<Frame>, bool) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for chunk in bytes.chunks(chunk) {
        buffer.extend_from_slice(chunk);
        loop {
            match client_frame(&mut buffer, Phase::Conversation) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_violation) => return (frames, true),
            }
        }
    }
    (frames, false)
}
