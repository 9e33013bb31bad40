//! Records of each kind.

use std::collections::BTreeMap;

use tenantry::bypass::{
    AdminSession, AuditRecord, Ending, GrantEnd, Names, ParameterFormat, RecordedGrant,
    RecordedScope, SentParameter, SentText, shape,
};

/// A session of `ops_anna`.
pub fn admin(session: u32) -> AdminSession {
    AdminSession {
        who: "ops_anna".to_owned(),
        login: "ops_anna".to_owned(),
        client: "127.0.0.1:50412".to_owned(),
        session,
    }
}

fn grant() -> RecordedGrant {
    RecordedGrant {
        grant: "inc-123".to_owned(),
        reason: "INC-123: duplicate invoices".to_owned(),
        approved_by: "head-of-support".to_owned(),
        expires: "2026-12-01T00:00:00Z".parse().unwrap(),
        scope: RecordedScope {
            tenants: Names::Listed(vec!["acme".to_owned(), "globex".to_owned()]),
            tables: Names::ALL,
            verbs: vec!["select".to_owned()],
            max_rows: Some(100),
            as_tenant: None,
        },
    }
}

/// A statement under the grant `inc-123`, for acme and globex.
pub fn statement(session: u32, statement: SentText) -> AuditRecord {
    AuditRecord::Statement {
        admin: admin(session),
        grant: Some(grant()),
        sent: SentText::from("SELECT 1"),
        statement,
        parameters: vec![
            SentParameter::new(ParameterFormat::Text, None),
            SentParameter::new(ParameterFormat::Text, Some(b"it's")),
            SentParameter::new(ParameterFormat::Text, Some(b"\xff")),
            SentParameter::new(ParameterFormat::Binary, Some(b"\x00\x01")),
        ],
    }
}

/// How it ended.
pub fn outcome(statement: u64) -> AuditRecord {
    AuditRecord::Outcome {
        statement,
        rows: 5,
        ending: Ending::Tag("SELECT 5".to_owned()),
        duration_us: 1234,
        tenants: Names::Listed(vec!["acme".to_owned()]),
        changed: BTreeMap::from([("acme".to_owned(), 5)]),
    }
}

/// A tenant's statement that was refused.
pub fn tenant_refused(tenant: &str) -> AuditRecord {
    AuditRecord::TenantRefused {
        tenant: tenant.to_owned(),
        login: "legacy_app".to_owned(),
        client: "10.0.0.7:4711".to_owned(),
        sqlstate: "42501".to_owned(),
        code: Some("TN0004".to_owned()),
        shape: shape(
            b"SELECT 'secret' FROM ops_secrets WHERE id IN (1, 2)",
            "42501",
        ),
    }
}

/// One of each kind that the proxy writes.
pub fn each() -> Vec<AuditRecord> {
    let text = str::to_owned;
    vec![
        AuditRecord::ProxyStarted {
            version: text("0.1.0"),
            revision: text("r1"),
        },
        AuditRecord::AdminLoginRefused {
            login: text("ops_eve"),
            client: text("10.0.0.9:1"),
            database: text("main"),
            sqlstate: text("28P01"),
        },
        AuditRecord::AdminLogin {
            admin: admin(1),
            database: text("main"),
        },
        AuditRecord::GrantTaken {
            admin: admin(1),
            grant: grant(),
        },
        statement(1, SentText::from("SELECT * FROM invoices")),
        outcome(5),
        AuditRecord::Refused {
            admin: admin(1),
            grant: Some(text("inc-123")),
            statement: SentText::from(b"DROP\x1b[2J TABLE \xff".as_slice()),
            sqlstate: text("42501"),
            message: text("not in scope [TN0004]"),
        },
        AuditRecord::GrantEnded {
            admin: admin(1),
            grant: text("inc-123"),
            why: GrantEnd::Expired,
        },
        AuditRecord::ConfigChanged {
            by: text("SIGHUP"),
            changed: vec![text("grants/inc-123.toml")],
            previous: text("r1"),
            revision: text("r2"),
        },
        tenant_refused("acme"),
        AuditRecord::Dropped {
            records: 3,
            tenants: BTreeMap::from([(text("globex"), 3)]),
        },
        AuditRecord::ProxyStopped,
    ]
}
