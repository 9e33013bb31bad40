//! Names, and the common table expressions in scope.

use crate::isolate::refusal::Reason;

/// What a common table expression is called, and how many columns it has where that is known.
#[derive(Clone, Debug)]
pub(super) struct CteName {
    pub(super) name: String,
    pub(super) width: Option<usize>,
}

/// The common table expressions that a query level sees, inner ones last.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    ctes: Vec<CteName>,
}

impl Scope {
    pub(super) fn with(&self, cte: CteName) -> Self {
        let mut inner = self.clone();
        inner.ctes.push(cte);
        inner
    }

    /// The innermost common table expression of this name.
    pub(super) fn cte(&self, name: &str) -> Option<&CteName> {
        self.ctes.iter().rev().find(|cte| cte.name == name)
    }
}

/// How the parts of a dotted name are read.
pub(super) mod names {
    use super::Reason;
    use crate::sql;
    use crate::sql::ast::{ObjectName, ObjectNamePart};

    fn parts(name: &ObjectName) -> Result<Vec<String>, Reason> {
        let quoting = || Reason::ConstructNotSupported {
            construct: "this way of writing a name".to_owned(),
        };
        name.0
            .iter()
            .map(|part| match part {
                ObjectNamePart::Identifier(ident) => sql::fold(ident).map_err(|_foreign| quoting()),
                ObjectNamePart::Function(_) => Err(quoting()),
            })
            .collect()
    }

    /// A relation's, function's or type's name: schema, if any, and name.
    pub(in super::super) fn relation(
        name: &ObjectName,
    ) -> Result<(Option<String>, String), Reason> {
        let mut parts = parts(name)?.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None) => Ok((None, name)),
            (Some(schema), Some(name), None) => Ok((Some(schema), name)),
            (None | Some(_), ..) => Err(Reason::ConstructNotSupported {
                construct: "a name with a database in it".to_owned(),
            }),
        }
    }

    /// The last part.
    pub(in super::super) fn last(name: &ObjectName) -> Result<String, Reason> {
        relation(name).map(|(_, name)| name)
    }

    /// A name of one part.
    pub(in super::super) fn single(name: &ObjectName) -> Result<String, Reason> {
        match relation(name)? {
            (None, name) => Ok(name),
            (Some(_), _) => Err(Reason::ConstructNotSupported {
                construct: "a qualified name in this place".to_owned(),
            }),
        }
    }
}
