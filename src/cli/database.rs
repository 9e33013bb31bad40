//! `tenantry check --database`: what the databases are like, each with its remedy.

use std::io;

use super::{Outcome, Terminal, block_on};
use crate::config::{Config, Isolation, Upstream};
use crate::isolate::{Finding, findings};
use crate::sql::quote;
use crate::tenant::{Class, Classified};
use crate::upstream::{Survey, introspect, survey};

/// Looks at the database of each upstream that has shared tenants.
pub(super) fn check(config: &Config, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for upstream in config.upstreams.values().filter(|it| is_shared(config, it)) {
        let asked = block_on(async {
            let catalog = introspect(upstream).await?;
            Ok::<_, crate::upstream::IntrospectError>((catalog, survey(upstream).await?))
        })?;
        let (catalog, survey) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                writeln!(
                    terminal.err,
                    "tenantry: upstream {}: {error}",
                    upstream.name
                )?;
                return Ok(Outcome::CannotConnect);
            }
        };
        let classified = Classified::new(catalog, config.policy.clone());
        let mut found = findings(&classified);
        found.extend(of_role(&survey));
        found.extend(of_indexes(&survey, &classified));
        for finding in &found {
            writeln!(
                terminal.out,
                "{}: {}: {}\n    {}",
                upstream.name, finding.subject, finding.message, finding.remedy
            )?;
        }
        writeln!(
            terminal.out,
            "{}: {} findings in the database {}",
            upstream.name,
            found.len(),
            survey.database
        )?;
        if !found.is_empty() {
            outcome = Outcome::Findings;
        }
    }
    Ok(outcome)
}

fn is_shared(config: &Config, upstream: &Upstream) -> bool {
    config
        .tenants
        .values()
        .any(|tenant| match &tenant.isolation {
            Isolation::Shared { upstream: own, .. } => *own == upstream.name,
            Isolation::Database { .. } => false,
        })
}

/// What the role could do if a statement ever got past the proxy.
fn of_role(survey: &Survey) -> Vec<Finding> {
    let (role, database) = (quote(&survey.role), quote(&survey.database));
    let about = |message: String, remedy: String| Finding {
        subject: format!("role {role}"),
        message,
        remedy,
    };
    let mut found = Vec::new();
    for attribute in &survey.attributes {
        found.push(about(
            format!("it has {attribute}"),
            format!("ALTER ROLE {role} NO{attribute};"),
        ));
    }
    for member in &survey.memberships {
        found.push(about(
            format!("it is a member of {member}"),
            format!("REVOKE {member} FROM {role};"),
        ));
    }
    if let Some(first) = survey.owned.first() {
        found.push(about(
            format!(
                "it owns {} relations, such as {first}, or may become their owner",
                survey.owned.len()
            ),
            format!(
                "REASSIGN OWNED BY {role} TO another role, and grant it what the application needs."
            ),
        ));
    }
    for schema in &survey.creates_in {
        found.push(about(
            format!("it may create objects in the schema {schema}"),
            format!(
                "REVOKE CREATE ON SCHEMA {} FROM {role}, PUBLIC;",
                quote(schema)
            ),
        ));
    }
    for privilege in &survey.privileges {
        found.push(about(
            format!("it has {privilege} on the database"),
            format!("REVOKE {privilege} ON DATABASE {database} FROM {role}, PUBLIC;"),
        ));
    }
    found
}

/// Indexes that are read for all tenants where one is asked for.
fn of_indexes(survey: &Survey, classified: &Classified) -> Vec<Finding> {
    let indexes = survey.indexes.iter();
    indexes
        .filter_map(|index| {
            let table = classified
                .catalog()
                .relation(&index.table.schema, &index.table.name)?;
            let Class::Scoped(scoped) = classified.class(table) else {
                return None;
            };
            let own = scoped.tenant_column()?;
            if index.columns.iter().any(|column| column == own) {
                return None;
            }
            let others = index.columns.iter().map(String::as_str);
            let columns: Vec<String> = std::iter::once(own).chain(others).map(quote).collect();
            Some(Finding {
                subject: index.table.to_string(),
                message: format!(
                    "the index {} lacks the tenant column: it finds the rows of every tenant",
                    index.name
                ),
                remedy: format!(
                    "CREATE INDEX ON {}.{} ({});",
                    quote(&index.table.schema),
                    quote(&index.table.name),
                    columns.join(", ")
                ),
            })
        })
        .collect()
}
