//! What a statement asks about its session: the database that the client connected to, and its login.
//!
//! The server would tell the proxy's own. In the place of the call stands `(SELECT slot AS name)`: a
//! sub-select gives a column of the result the name that the call gives it, wherever it stands
//! (`FigureColname`).

use pg_query::protobuf as pg;
use pg_query::protobuf::SqlValueFunctionOp as Op;
use pg_query::{Node, NodeEnum};

use super::from::nothing_else;
use super::proof::{Checked, Proof, differs, path, refuse, unsupported};
use crate::isolate::refusal::Reason;
use crate::isolate::template::SlotType;

/// What is asked, and how a column with the answer is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    slot_type: SlotType,
    /// The name of the function or keyword.
    pub(super) name: &'static str,
}

/// What an expression asks about the session, if it does nothing else.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other expression is compared as what it is"
)]
pub(super) fn asked(node: &NodeEnum) -> Option<Asked> {
    let (slot_type, name) = match node {
        NodeEnum::FuncCall(call) => {
            let plain = pg::FuncCall {
                funcname: call.funcname.clone(),
                funcformat: pg::CoercionForm::CoerceExplicitCall.into(),
                location: call.location,
                ..pg::FuncCall::default()
            };
            match path(&call.funcname)?.as_slice() {
                _ if **call != plain => return None,
                // PostgreSQL looks in pg_catalog first.
                ["current_database"] | ["pg_catalog", "current_database"] => {
                    (SlotType::Database, "current_database")
                }
                ["pg_catalog", "current_user"] => (SlotType::Login, "current_user"),
                ["pg_catalog", "session_user"] => (SlotType::Login, "session_user"),
                _ => return None,
            }
        }
        NodeEnum::SqlvalueFunction(function) => keyword(function.op)?,
        _ => return None,
    };
    Some(Asked { slot_type, name })
}

fn keyword(op: i32) -> Option<(SlotType, &'static str)> {
    match Op::try_from(op) {
        Ok(Op::SvfopCurrentCatalog) => Some((SlotType::Database, "current_catalog")),
        Ok(Op::SvfopCurrentRole) => Some((SlotType::Login, "current_role")),
        Ok(Op::SvfopCurrentUser) => Some((SlotType::Login, "current_user")),
        Ok(Op::SvfopSessionUser) => Some((SlotType::Login, "session_user")),
        Ok(Op::SvfopUser) => Some((SlotType::Login, "user")),
        Ok(
            Op::SqlvalueFunctionOpUndefined
            | Op::SvfopCurrentDate
            | Op::SvfopCurrentSchema
            | Op::SvfopCurrentTime
            | Op::SvfopCurrentTimeN
            | Op::SvfopCurrentTimestamp
            | Op::SvfopCurrentTimestampN
            | Op::SvfopLocaltime
            | Op::SvfopLocaltimeN
            | Op::SvfopLocaltimestamp
            | Op::SvfopLocaltimestampN,
        )
        | Err(_) => None,
    }
}

impl Proof<'_> {
    /// Recognises `(SELECT slot AS name)` in the place of what asks about the session.
    pub(super) fn named(&mut self, asked: Asked, rewritten: &Node, at: Option<usize>) -> Checked {
        let Some(NodeEnum::SubLink(link)) = &rewritten.node else {
            let function = asked.name.to_owned();
            return Err(refuse(Reason::FunctionNotAllowed { function }, at));
        };
        let wrong = || differs("the name of the session");
        if self.executes > 0 {
            return Err(unsupported(&format!(
                "{} as an argument of EXECUTE",
                asked.name
            )));
        }
        if self.classified().scope().is_some() {
            return Err(wrong());
        }
        let target = link
            .subselect
            .as_ref()
            .and_then(|query| match &query.node {
                Some(NodeEnum::SelectStmt(select)) => select.target_list.first(),
                Some(_) | None => None,
            })
            .ok_or_else(wrong)?;
        if **link != only_target(target, link.location) {
            return Err(wrong());
        }
        let Some(NodeEnum::ResTarget(target)) = &target.node else {
            return Err(wrong());
        };
        let pg::ResTarget {
            name,
            indirection,
            val: Some(slot),
            location: _,
        } = &**target
        else {
            return Err(wrong());
        };
        if name != asked.name || !indirection.is_empty() {
            return Err(wrong());
        }
        self.slot(slot, asked.slot_type)
    }
}

/// The sub-select that has this target, and nothing else.
fn only_target(target: &Node, location: i32) -> pg::SubLink {
    let select = pg::SelectStmt {
        target_list: vec![target.clone()],
        ..nothing_else()
    };
    pg::SubLink {
        sub_link_type: pg::SubLinkType::ExprSublink.into(),
        subselect: Some(Box::new(Node {
            node: Some(NodeEnum::SelectStmt(Box::new(select))),
        })),
        location,
        ..pg::SubLink::default()
    }
}
