//! Reading a log, to be looked at. What is broken is shown as well: [`super::verify()`] judges it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::path::Path;

use super::chain::Entry;
use super::files::{self, Missing, Names};
use super::walk::read_line;
use crate::bypass::{AdminSession, AuditRecord, Timestamp};

/// Which records are wanted: those that fit everything that is given.
#[derive(Clone, Debug)]
pub struct Filter {
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Of this login.
    pub who: Option<String>,
    /// That concern this tenant.
    pub tenant: Option<String>,
    /// Under this grant.
    pub grant: Option<String>,
}

/// Everything.
pub const NO_FILTER: Filter = Filter {
    since: None,
    who: None,
    tenant: None,
    grant: None,
};

/// A line of a log.
#[derive(Debug)]
pub enum Line<'a> {
    /// A record.
    Record {
        /// As it is written, without the line feed.
        text: &'a str,
    },
    /// Something else.
    Unreadable {
        /// How long it is.
        bytes: usize,
    },
}

/// Shows the records that fit, the oldest first.
pub fn show(
    file: &Path,
    filter: &Filter,
    visit: &mut dyn FnMut(Line<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let names = Names::new(file).map_err(io::Error::other)?;
    let list = names.list()?;
    if list.is_empty() {
        let message = format!("{}: there is no log", file.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    let mut statements = BTreeSet::new();
    let mut line = Vec::new();
    for path in list {
        let file: File = files::open(&path, Missing::Fails, OpenOptions::new().read(true))
            .map_err(io::Error::other)?;
        let mut reader = BufReader::new(file);
        while read_line(&mut reader, &mut line)? {
            let bytes = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = std::str::from_utf8(bytes).ok();
            let entry = text.and_then(|text| Some((text, serde_json::from_str(text).ok()?)));
            match entry {
                Some((text, entry)) if filter.wants(&entry, &mut statements) => {
                    visit(Line::Record { text })?;
                }
                Some(_) => {}
                None => visit(Line::Unreadable { bytes: bytes.len() })?,
            }
        }
    }
    Ok(())
}

impl Filter {
    /// An outcome is wanted if its statement is, and so is what undoes one.
    fn wants(&self, entry: &Entry, statements: &mut BTreeSet<u64>) -> bool {
        let wanted = if let AuditRecord::Outcome { statement, .. } = &entry.record {
            statements.contains(statement)
        } else if let AuditRecord::Undone {
            statements: undone, ..
        } = &entry.record
        {
            undone.iter().any(|number| statements.contains(number))
        } else {
            self.wants_record(&entry.record)
        };
        if wanted && matches!(entry.record, AuditRecord::Statement { .. }) {
            statements.insert(entry.seq);
        }
        wanted && self.since.is_none_or(|since| entry.time >= since)
    }

    fn wants_record(&self, record: &AuditRecord) -> bool {
        let about = About::of(record);
        let fits = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let concerns = |tenant: &String| about.tenants.iter().any(|names| names.contains(tenant));
        fits(&self.who, about.who)
            && fits(&self.grant, about.grant)
            && self.tenant.as_ref().is_none_or(concerns)
    }
}

/// What a record can be found by.
#[derive(Default)]
struct About<'a> {
    who: Option<&'a str>,
    grant: Option<&'a str>,
    tenants: Option<Tenants<'a>>,
}

enum Tenants<'a> {
    One(&'a str),
    Scope(&'a crate::bypass::Names),
    Some(Vec<&'a str>),
}

impl Tenants<'_> {
    fn contains(&self, tenant: &str) -> bool {
        match self {
            Self::One(name) => *name == tenant,
            Self::Scope(names) => names.contains(tenant),
            Self::Some(names) => names.contains(&tenant),
        }
    }
}

impl<'a> About<'a> {
    fn of(record: &'a AuditRecord) -> Self {
        match record {
            AuditRecord::Statement {
                admin,
                grant: Some(grant),
                ..
            }
            | AuditRecord::GrantTaken { admin, grant } => Self {
                who: Some(&admin.who),
                grant: Some(&grant.grant),
                tenants: Some(Tenants::Scope(&grant.scope.tenants)),
            },
            AuditRecord::GrantEnded { admin, grant, .. } => Self::admin(admin, Some(grant)),
            AuditRecord::Refused { admin, grant, .. } => Self::admin(admin, grant.as_deref()),
            AuditRecord::AdminLogin { admin, .. }
            | AuditRecord::Statement {
                admin, grant: None, ..
            } => Self::admin(admin, None),
            AuditRecord::AdminLoginRefused { login, .. } => Self {
                who: Some(login),
                ..Self::default()
            },
            AuditRecord::TenantRefused { login, tenant, .. } => Self {
                who: Some(login),
                tenants: Some(Tenants::One(tenant)),
                ..Self::default()
            },
            AuditRecord::Dropped { tenants, .. } => Self {
                tenants: Some(Tenants::Some(tenants.keys().map(String::as_str).collect())),
                ..Self::default()
            },
            AuditRecord::ConfigChanged { .. }
            | AuditRecord::Outcome { .. }
            | AuditRecord::ProxyStarted { .. }
            | AuditRecord::ProxyStopped
            | AuditRecord::Recovered { .. }
            | AuditRecord::Rotated { .. }
            | AuditRecord::Sealed { .. }
            | AuditRecord::Undone { .. } => Self::default(),
        }
    }

    fn admin(admin: &'a AdminSession, grant: Option<&'a str>) -> Self {
        Self {
            who: Some(&admin.who),
            grant,
            tenants: None,
        }
    }
}
