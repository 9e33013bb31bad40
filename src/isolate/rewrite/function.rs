//! Function calls: names are qualified, arguments rewritten.

use super::name::Scope;
use super::{Presence, Rewriter, Rewritten, composed, identifier, names};
use crate::catalog::Relation;
use crate::isolate::identity;
use crate::isolate::refusal::Reason;
use crate::isolate::template::SlotType;
use crate::sql;
use crate::sql::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

/// What looks like a call but is a construct of PostgreSQL's grammar (`func_expr_common_subexpr` and
/// the expressions beside it): it has no schema and cannot be replaced.
const CONSTRUCTS: [&str; 8] = [
    "array",
    "coalesce",
    "greatest",
    "grouping",
    "least",
    "nullif",
    "row",
    "xmlconcat",
];

/// Constructs of the grammar that are written without parentheses.
const VALUE_FUNCTIONS: [&str; 6] = [
    "current_date",
    "current_schema",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
];

impl Rewriter<'_> {
    /// `f(..)` with all that can stand around it.
    pub(super) fn function(&mut self, function: &mut Function, scope: &Scope) -> Rewritten<()> {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment,
            over,
        } = function;
        if *uses_odbc_syntax || !matches!(parameters, FunctionArguments::None) {
            return Err(self.construct("this form of function call"));
        }
        self.absent(Presence::of(null_treatment.as_ref()), "IGNORE NULLS")?;
        match args {
            FunctionArguments::None => return self.value_function(name),
            FunctionArguments::Subquery(query) => {
                if names::relation(name)? != (None, "array".to_owned()) {
                    return Err(self.construct("a bare query as an argument"));
                }
                self.query(query, scope)?;
            }
            FunctionArguments::List(list) => {
                let written = names::relation(name)?;
                if written.0.is_some() || !CONSTRUCTS.contains(&written.1.as_str()) {
                    self.function_name(name)?;
                }
                self.arguments(list, scope)?;
            }
        }
        self.sort_keys(within_group, scope)?;
        if let Some(filter) = filter {
            self.expression(filter, scope)?;
        }
        match over {
            Some(WindowType::WindowSpec(window)) => self.window(window, scope),
            Some(WindowType::NamedWindow(_)) | None => Ok(()),
        }
    }

    /// The schema of the one function of this name, where it takes rows of this table.
    pub(super) fn row_function(&self, name: &str, relation: &Relation) -> Option<String> {
        let row = relation.name.to_string();
        let mut named = self.classified.catalog().functions_named(name);
        let found = named.next().filter(|found| found.arguments == [row])?;
        named.next().is_none().then(|| found.schema.clone())
    }

    /// What takes the place of `c.f`, where that is a function called on a row.
    pub(super) fn column_notation(&mut self, parts: &[Ident]) -> Rewritten<Option<Expr>> {
        let [alias, name] = parts else {
            return Ok(None);
        };
        let (alias, name) = (identifier(alias)?, identifier(name)?);
        let Some(relation) = self.rows.get(&alias) else {
            return Ok(None);
        };
        if relation.column(&name).is_some() {
            return Ok(None);
        }
        let Some(schema) = self.row_function(&name, relation) else {
            return Ok(None);
        };
        let call = format!(
            "{}.{}({})",
            sql::quote(&schema),
            sql::quote(&name),
            sql::quote(&alias)
        );
        composed(sql::expression(&call)).map(Some)
    }

    /// What takes the place of a call that asks about the session, if it is one.
    pub(super) fn session_name(&mut self, function: &Function) -> Rewritten<Option<Expr>> {
        let (schema, name) = names::relation(&function.name)?;
        let asked = match (&function.args, schema.as_deref()) {
            (FunctionArguments::None, None) => identity::by_keyword(&name),
            (FunctionArguments::List(list), Some("pg_catalog") | None) if list.args.is_empty() => {
                identity::by_call(&name)
            }
            (_, _) => None,
        };
        self.session_name_of(asked, &name)
    }

    /// What takes the place of a word that asks about the session.
    pub(super) fn session_name_of(
        &mut self,
        asked: Option<SlotType>,
        name: &str,
    ) -> Rewritten<Option<Expr>> {
        let asked = asked.filter(|_| self.classified.scope().is_none());
        let Some(slot_type) = asked else {
            return Ok(None);
        };
        let slot = self.slot_of(slot_type);
        composed(sql::expression(&identity::named(&slot, name))).map(Some)
    }

    /// `CURRENT_DATE` and its kin.
    fn value_function(&self, name: &ObjectName) -> Rewritten<()> {
        let (schema, word) = names::relation(name)?;
        if schema.is_none() && VALUE_FUNCTIONS.contains(&word.as_str()) {
            return Ok(());
        }
        Err(self.refuse_at(name, Reason::FunctionNotAllowed { function: word }))
    }

    fn arguments(&mut self, list: &mut FunctionArgumentList, scope: &Scope) -> Rewritten<()> {
        let FunctionArgumentList {
            duplicate_treatment: _,
            args,
            clauses,
        } = list;
        for argument in args {
            self.function_argument(argument, scope)?;
        }
        for clause in clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => self.sort_keys(keys, scope)?,
                FunctionArgumentClause::Having(_)
                | FunctionArgumentClause::IgnoreOrRespectNulls(_)
                | FunctionArgumentClause::JsonNullClause(_)
                | FunctionArgumentClause::JsonReturningClause(_)
                | FunctionArgumentClause::Limit(_)
                | FunctionArgumentClause::OnOverflow(_)
                | FunctionArgumentClause::Separator(_)
                | FunctionArgumentClause::Where(_) => {
                    return Err(self.construct("this clause in a function call"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn function_argument(
        &mut self,
        argument: &mut FunctionArg,
        scope: &Scope,
    ) -> Rewritten<()> {
        let value = match argument {
            FunctionArg::Unnamed(value)
            | FunctionArg::Named {
                name: _,
                arg: value,
                operator: _,
            } => value,
            FunctionArg::ExprNamed { .. } => {
                return Err(self.construct("this form of a named argument"));
            }
        };
        match value {
            FunctionArgExpr::Expr(expression) => self.expression(expression, scope),
            FunctionArgExpr::QualifiedWildcard(name) => {
                let alias = names::last(name)?;
                *name = ObjectName::from(vec![sql::ident(&alias)]);
                Ok(())
            }
            FunctionArgExpr::Wildcard => Ok(()),
            FunctionArgExpr::WildcardWithOptions(_) => Err(self.construct("an option of *")),
        }
    }

    /// Qualifies a function's name: the system's own wins, as `pg_catalog` is searched first.
    pub(super) fn function_name(&mut self, name: &mut ObjectName) -> Rewritten<()> {
        let (schema, function) = names::relation(name)?;
        let catalog = self.classified.catalog();
        let system = catalog.system_functions.contains(&function);
        let schema = match schema {
            Some(schema) => schema,
            None if system => "pg_catalog".to_owned(),
            None => {
                let found = catalog.search_path.iter().find(|schema| {
                    catalog
                        .functions_named(&function)
                        .any(|f| f.schema == **schema)
                });
                match found {
                    Some(schema) => schema.clone(),
                    None => return Err(self.unknown_function(name, &function)),
                }
            }
        };
        if schema != "pg_catalog" && !self.classified.trusts_function(&schema, &function) {
            let extension = catalog
                .functions_named(&function)
                .any(|known| known.schema == schema && known.extension.is_some());
            if !extension {
                let function = format!("{schema}.{function}");
                return Err(self.refuse_at(name, Reason::FunctionNotAllowed { function }));
            }
        }
        *name = ObjectName::from(vec![sql::ident(&schema), sql::ident(&function)]);
        Ok(())
    }

    fn unknown_function(
        &self,
        name: &ObjectName,
        function: &str,
    ) -> crate::isolate::refusal::Refusal {
        // The argument types that PostgreSQL's message has are not known here.
        let message = format!("function {function} does not exist");
        self.refuse_at(
            name,
            Reason::AsPostgres {
                sqlstate: "42883",
                message,
            },
        )
    }

    /// A window definition.
    pub(super) fn window(&mut self, window: &mut WindowSpec, scope: &Scope) -> Rewritten<()> {
        let WindowSpec {
            window_name: _,
            partition_by,
            order_by,
            window_frame,
        } = window;
        partition_by
            .iter_mut()
            .try_for_each(|key| self.expression(key, scope))?;
        self.sort_keys(order_by, scope)?;
        let Some(WindowFrame {
            units: _,
            start_bound,
            end_bound,
        }) = window_frame
        else {
            return Ok(());
        };
        for bound in std::iter::once(start_bound).chain(end_bound.as_mut()) {
            match bound {
                WindowFrameBound::CurrentRow
                | WindowFrameBound::Preceding(None)
                | WindowFrameBound::Following(None) => {}
                WindowFrameBound::Preceding(Some(offset))
                | WindowFrameBound::Following(Some(offset)) => self.expression(offset, scope)?,
            }
        }
        Ok(())
    }
}
