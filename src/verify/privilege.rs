//! Functions that ask what the server's role may do with an object: `has_schema_privilege` and its like.
//!
//! Nothing that they tell depends on a row. They fail where no object has the name, with the name in the
//! message; so in a condition they are called on the tenant's own rows only, like all that is not silent.
//! Not open are those that tell of databases, roles, relations and functions: a tenant does not see all of them.

use pg_query::NodeEnum;
use pg_query::protobuf as pg;

use super::identity;
use super::names::Listed;
use super::proof::{Checked, position, refuse};
use crate::isolate::refusal::Reason;

/// Refuses a call that asks for another role, or for the names that the client connected with: of those
/// the server knows nothing.
pub(super) fn asks_for_itself(listed: &Listed, call: &pg::FuncCall) -> Checked {
    if !listed.is("privilege") {
        return Ok(());
    }
    let is_of_session = |node: &NodeEnum| identity::asked(node).is_some();
    let names_session = call
        .args
        .iter()
        .any(|argument| argument.node.as_ref().is_some_and(is_of_session));
    if call.args.len() == 2 && !call.func_variadic && !names_session {
        return Ok(());
    }
    let function = format!("pg_catalog.{}", listed.name);
    let reason = Reason::FunctionNotAllowed { function };
    Err(refuse(reason, position((&call.location, &call.location))))
}
