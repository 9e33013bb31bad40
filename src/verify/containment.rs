//! Containment of `jsonb` values, which recurses as deep as both of them are.
//!
//! PostgreSQL fails where that is too deep, which tells that another tenant's value is as deep as what it
//! was compared with. So one side must be a constant that is not deep: a literal is looked at here, and of
//! a parameter note is taken for the session, which looks at it in Bind.

use pg_query::{Node, NodeEnum};

use super::constants::literal;
use super::pattern::{Pattern, Wanted};
use super::proof::{Proof, path};
use super::silent::{Clause, location};
use super::types::{OPAQUE, Typed, Value};
use crate::catalog::oid;

/// The operators that recurse.
pub(super) const CONTAINMENTS: [&str; 2] = ["<@", "@>"];

/// A constant that nests deeper is not looked for.
pub(super) const DEPTH_MAX: usize = 100;

/// Whether an operator is the containment of `jsonb` values.
pub(super) fn is_of_trees(operator: &str, left: &Value, right: &Value) -> bool {
    CONTAINMENTS.contains(&operator) && left.oid == oid::JSONB && right.oid == oid::JSONB
}

/// How deep the arrays and objects of a JSON text nest.
pub(super) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'[' | b'{' if !is_quoted => depth += 1,
            b']' | b'}' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl Proof<'_> {
    /// `@>` or `<@`, of whatever types.
    pub(super) fn silent_containment(
        &mut self,
        operator: &str,
        operands: (&Node, &Node),
        node: &Node,
        clause: Clause,
    ) -> Typed {
        let left = self.silent(operands.0, clause)?;
        let right = self.silent(operands.1, clause)?;
        let of_jsonb = |value: &Value| matches!(value.oid, oid::JSONB | oid::UNKNOWN);
        let is_jsonb = left.oid == oid::JSONB || right.oid == oid::JSONB;
        let is_shallow = is_jsonb
            && of_jsonb(&left)
            && of_jsonb(&right)
            && (self.is_shallow(operands.0) || self.is_shallow(operands.1));
        if !is_shallow {
            return self.operate(operator, left, right, node);
        }
        let left = self.taken_for_jsonb(left);
        let right = self.taken_for_jsonb(right);
        let found = self.comparison(operator, &left, &right, location(node));
        if self.is_strict_operator(operator) {
            self.strictly(found, &[left, right], OPAQUE)
        } else {
            found
        }
    }

    fn taken_for_jsonb(&mut self, value: Value) -> Value {
        if value.oid == oid::UNKNOWN {
            self.taken(value, oid::JSONB)
        } else {
            value
        }
    }

    /// Whether this is a constant that is not deep, or one that the session looks at.
    fn is_shallow(&mut self, node: &Node) -> bool {
        let node = plain_constant(node);
        if let Some(text) = literal(node) {
            return depth(text.as_bytes()) <= DEPTH_MAX;
        }
        let Some(NodeEnum::ParamRef(parameter)) = &node.node else {
            return false;
        };
        let Ok(value) = self.parameter(*parameter) else {
            return false;
        };
        let number = u16::try_from(parameter.number).ok();
        match number.filter(|_| self.binds && matches!(value.oid, oid::JSONB | oid::UNKNOWN)) {
            Some(number) => {
                let wanted = Wanted::Tree;
                self.patterns.insert(Pattern { number, wanted });
                true
            }
            None => false,
        }
    }
}

/// What is cast to `jsonb`, or not cast at all.
pub(super) fn plain_constant(node: &Node) -> &Node {
    let Some(NodeEnum::TypeCast(cast)) = &node.node else {
        return node;
    };
    let (Some(argument), Some(name)) = (&cast.arg, &cast.type_name) else {
        return node;
    };
    let is_jsonb = matches!(
        path(&name.names).as_deref(),
        Some(["pg_catalog", "jsonb"] | ["jsonb"])
    );
    if is_jsonb && name.typmods.is_empty() && name.array_bounds.is_empty() {
        argument
    } else {
        node
    }
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn the_depth_of_a_text_is_never_less_than_its_value_s() {
        for (text, wanted) in [
            ("1", 0),
            ("[]", 1),
            (r#"[{"a": []}, [[1]]]"#, 3),
            (r#"["]]]", [1]]"#, 2),
            (r#"["\"]]", [[]]]"#, 3),
            (r#"["\\", [[]]]"#, 3),
        ] {
            assert_eq!(depth(text.as_bytes()), wanted, "{text}");
        }
    }
}
