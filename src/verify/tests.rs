//! Pairs of statements, as a client writes them and as they are sent, from `pairs.txt`.

mod via;

use std::fmt::Write;

use super::{Claim, Pattern, verify};
use crate::catalog::{Catalog, Indexed, Oid, RelationName, oid};
use crate::isolate::refusal::Refusal;
use crate::isolate::template::{Edit, Reading, Slot, SlotType, Template};
use crate::tenant::{
    Classified, Policy, TablePolicy, TenantKey, TenantType, TrustedTrigger, Unlisted,
};

const CATALOG: &str = include_str!("../../tests/cases/catalog.json");
const PAIRS: &str = include_str!("tests/pairs.txt");

fn classified() -> Classified {
    let mut catalog: Catalog = serde_json::from_str(CATALOG).unwrap();
    let customers = RelationName::new("public", "customers");
    for relation in &mut catalog.relations {
        if relation.name == customers {
            relation.indexed = ["lower(email)", "(prefs ->> 'indexed'::text)"]
                .map(|expression| Indexed {
                    expression: expression.to_owned(),
                    type_oid: oid::TEXT,
                    collation: 100,
                })
                .to_vec();
        }
    }
    catalog.relations.extend(via::relations());
    let trigger = |name: &str, table: &str| TrustedTrigger {
        name: name.to_owned(),
        table: RelationName::new("public", table),
    };
    let policy = Policy {
        tenant_column: "tenant_id".to_owned(),
        unlisted: Unlisted::ByColumn,
        tables: [
            (
                RelationName::new("public", "countries"),
                TablePolicy::Shared { writable: false },
            ),
            via::policy(),
        ]
        .into(),
        trusted_functions: [
            "public.fmt_money(numeric)",
            "public.cust_label(public.customers)",
        ]
        .map(str::to_owned)
        .to_vec(),
        trusted_triggers: vec![
            trigger("orders_audit", "orders"),
            trigger("customers_touch", "customers"),
        ],
        explain_costs: false,
    };
    Classified::new(catalog, policy)
}

/// The text with `{int4}` as slots.
fn template(original: &str, sent: &str, declared: usize) -> Template {
    let highest = pg_query::scan_tokens(original)
        .unwrap_or_default()
        .iter()
        .filter(|token| token.token() == pg_query::protobuf::Token::Param)
        .filter_map(|token| {
            let (start, end) = (token.start + 1, token.end);
            original
                .get(usize::try_from(start).unwrap()..usize::try_from(end).unwrap())
                .unwrap()
                .parse::<u16>()
                .ok()
        })
        .max()
        .unwrap_or(0)
        .max(u16::try_from(declared).unwrap());
    let types = [
        TenantType::Int2,
        TenantType::Int4,
        TenantType::Int8,
        TenantType::Text,
        TenantType::Uuid,
    ];
    let mut template = Template {
        text: String::new(),
        client_parameters: highest,
        tenant_parameters: Vec::new(),
        slots: Vec::new(),
    };
    let mut rest = sent;
    while let Some((before, after)) = rest.split_once('{') {
        let marked = after.split_once('}').and_then(|(name, after)| {
            let one = types.iter().map(|kind| SlotType::One(*kind));
            let any = types.iter().map(|kind| SlotType::Any(*kind));
            let found = match name {
                "database" => SlotType::Database,
                "login" => SlotType::Login,
                _ => one.chain(any).find(|kind| kind.name() == name)?,
            };
            Some((found, after))
        });
        template.text.push_str(before);
        let Some((slot_type, after)) = marked else {
            template.text.push('{');
            rest = after;
            continue;
        };
        let known = template
            .tenant_parameters
            .iter()
            .position(|t| *t == slot_type);
        let index = known.unwrap_or_else(|| {
            template.tenant_parameters.push(slot_type);
            template.tenant_parameters.len() - 1
        });
        let number = highest + 1 + u16::try_from(index).unwrap();
        template.slots.push(Slot {
            offset: template.text.len(),
            number,
            slot_type,
        });
        write!(template.text, "${number}::pg_catalog.{}", slot_type.name()).unwrap();
        rest = after;
    }
    template.text.push_str(rest);
    template
}

fn outcome(
    original: &str,
    sent: &str,
    declared: &[Oid],
) -> Result<super::VerifiedStatement, Refusal> {
    let template = template(original, sent, declared.len());
    let tokens = tokens(original);
    verify(&Claim {
        original,
        reading: &Reading::Parsed {
            tokens,
            reprinted: original.to_owned(),
        },
        template: &template,
        declared_types: declared,
        classified: &classified(),
    })
}

/// The same, as if the text sent were one edit of the whole original.
fn outcome_spliced(original: &str, sent: &str) -> Result<super::VerifiedStatement, Refusal> {
    let template = template(original, sent, 0);
    let edit = Edit {
        words: 0..tokens(original).len(),
        text: template.text.clone(),
    };
    verify(&Claim {
        original,
        reading: &Reading::Spliced { edits: vec![edit] },
        template: &template,
        declared_types: &[],
        classified: &classified(),
    })
}

fn tokens(original: &str) -> Vec<(usize, usize)> {
    pg_query::scan_tokens(original)
        .unwrap_or_default()
        .iter()
        .filter(|token| {
            !matches!(
                token.token(),
                pg_query::protobuf::Token::SqlComment | pg_query::protobuf::Token::CComment
            )
        })
        .map(|token| {
            (
                usize::try_from(token.start).unwrap(),
                usize::try_from(token.end).unwrap(),
            )
        })
        .collect()
}

/// `< original`, `? declared types`, `> sent` (`> =` for the original; `~ sent` where it is spliced), `@
/// parameters` of an executed statement that are patterns of LIKE, `! part of the refusal`.
#[test]
fn pairs_are_accepted_or_refused_as_they_should() {
    let mut faults = Vec::new();
    let mut checked = 0;
    for block in PAIRS.split("\n\n") {
        let field = |mark: &str| {
            let lines = block.lines().filter_map(|line| line.strip_prefix(mark));
            lines.collect::<Vec<_>>().join("\n")
        };
        let (original, sent, refused) = (field("< "), field("> "), field("! "));
        let spliced = field("~ ");
        if original.is_empty() {
            continue;
        }
        let declared: Vec<Oid> = field("? ")
            .split_whitespace()
            .map(|type_oid| type_oid.parse().unwrap())
            .collect();
        let sent = if sent == "=" { original.clone() } else { sent };
        let got = if spliced.is_empty() {
            outcome(&original, &sent, &declared)
        } else {
            outcome_spliced(&original, &spliced)
        };
        let patterns: Vec<Pattern> = field("@ ")
            .split_whitespace()
            .map(|number| Pattern::like(number.parse().unwrap(), '\\'))
            .collect();
        let got = got.and_then(|verified| {
            let can = verified.can_execute(patterns.iter());
            can.map(|()| verified)
        });
        checked += 1;
        match (&got, refused.is_empty()) {
            (Ok(_), true) => {}
            (Err(refusal), false) if refusal.to_string().contains(&refused) => {}
            (Ok(_), false) => {
                faults.push(format!("accepted, not {refused}:\n  {original}\n  {sent}"));
            }
            (Err(refusal), _) => faults.push(format!(
                "{refusal} at {:?}, not {refused:?}:\n  {original}\n  {sent}",
                refusal.position
            )),
        }
    }
    assert!(checked > 100, "{checked} pairs only");
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn the_tenant_is_put_into_its_slots_only() {
    let sent = "SELECT '$1', id FROM (SELECT key, value FROM public.settings \
                WHERE settings.tenant_id OPERATOR(pg_catalog.=) {int4}) AS settings";
    let original = "SELECT '$1', id FROM settings";
    let proved = outcome(original, &sent.replace("id FROM", "key FROM"), &[]);
    assert!(proved.is_err());
    let original = "SELECT '$1', key FROM settings";
    let proved = outcome(original, &sent.replace("id FROM", "key FROM"), &[]).unwrap();
    let filled = proved.with_tenant(&TenantKey::Integer(-7)).unwrap();
    assert_eq!(filled, proved.text().replace("$1::", "'-7'::"));
    assert!(proved.with_tenant(&TenantKey::Text("x".into())).is_err());
}

#[test]
fn words_must_agree() {
    let template = template("SELECT 1", "SELECT 1", 0);
    let claim = |original: &'static str, tokens: &'static [(usize, usize)]| {
        verify(&Claim {
            original,
            reading: &Reading::Parsed {
                tokens: tokens.to_vec(),
                reprinted: "SELECT 1".to_owned(),
            },
            template: &template,
            declared_types: &[],
            classified: &classified(),
        })
        .map_err(|refusal| refusal.code())
        .map(|_| ())
    };
    assert_eq!(claim("SELECT 1", &[(0, 6), (7, 8)]), Ok(()));
    assert_eq!(claim("SELECT /* 2 */ 1", &[(0, 6), (15, 16)]), Ok(()));
    assert_eq!(claim("SELECT 1", &[(0, 6), (7, 8), (8, 9)]), Err("TN1003"));
    assert_eq!(claim("SELECT 1", &[(0, 6)]), Err("TN1003"));
    assert_eq!(claim("SELECT 2", &[(0, 6), (7, 8)]), Err("TN1005"));
    assert_eq!(claim("SELECT \0", &[(0, 6), (7, 8)]), Err("TN1001"));
    assert_eq!(claim("SELECT '", &[(0, 6), (7, 8)]), Err("TN1002"));
    assert_eq!(
        claim("SELECT FROM FROM", &[(0, 6), (7, 11), (12, 16)]),
        Err("TN1002")
    );
    assert_eq!(claim("", &[]), Err("TN9001"));
    assert_eq!(claim(" \t\r\n\u{b}\u{c}", &[]), Err("TN9001"));
    assert_eq!(claim("-- nothing", &[]), Err("TN9001"));
    assert_eq!(claim("SELECT $0", &[(0, 6), (7, 9)]), Err("TN1007"));
    assert_eq!(claim("SELECT $65530", &[(0, 6), (7, 13)]), Err("TN1007"));
    assert_eq!(claim("SELECT 0x1F", &[(0, 6), (7, 11)]), Err("TN1004"));
}

#[test]
fn edits_must_be_named() {
    let claim = |sent: &str, edits: &[(std::ops::Range<usize>, &str)]| {
        let edits = edits.iter().map(|(words, text)| Edit {
            words: words.clone(),
            text: (*text).to_owned(),
        });
        verify(&Claim {
            original: "SELECT /* 1 */ now(), 'a'\n'b'",
            reading: &Reading::Spliced {
                edits: edits.collect(),
            },
            template: &template("SELECT 1", sent, 0),
            declared_types: &[],
            classified: &classified(),
        })
        .map_err(|refusal| refusal.to_string())
        .map(|_| ())
    };
    let wrong = Err(
        "the isolation of this statement could not be proved: the words of the client with the \
         edits [TN9001]"
            .to_owned(),
    );
    let sent = "SELECT pg_catalog.now() , 'a'\n'b'";
    let replaced = || (1..2, "pg_catalog.now");
    let inserted = || (1..1, "pg_catalog.");
    assert_eq!(claim(sent, &[replaced()]), Ok(()));
    assert_eq!(claim(sent, &[inserted()]), Ok(()));
    assert_eq!(claim(sent, &[]), wrong);
    let merged = "SELECT pg_catalog.now() , 'ab'";
    assert_eq!(claim(merged, &[inserted()]), wrong);
    assert_eq!(claim(sent, &[replaced(), (6..6, "x")]), wrong);
    assert_eq!(claim(sent, &[replaced(), inserted()]), wrong);
    assert_eq!(claim(sent, &[replaced(), (9..9, "")]), wrong);
    let (from, to) = (2, 1);
    assert_eq!(claim(sent, &[(from..to, "pg_catalog.now")]), wrong);
}

#[test]
fn deep_statements_are_refused_without_harm() {
    for (text, deep) in [
        (
            format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
            true,
        ),
        (format!("SELECT 1{}", "+1".repeat(50_000)), true),
        (format!("SELECT {} true", "NOT ".repeat(5_000)), true),
        (format!("SELECT {}1", "- ".repeat(5_000)), true),
        (format!("SELECT 1{}", " UNION SELECT 1".repeat(5_000)), true),
        (format!("SELECT 1{}", "+1".repeat(400)), false),
        (
            format!("SELECT 1{}", "::pg_catalog.int4".repeat(300)),
            false,
        ),
        (
            format!("SELECT {}1{}", "(SELECT ".repeat(250), ")".repeat(250)),
            false,
        ),
        (
            format!("SELECT 1 WHERE true{}", " OR true".repeat(5_000)),
            false,
        ),
        (format!("SELECT 1{}", ", 1".repeat(1_600)), false),
    ] {
        let code = outcome(&text, &text, &[]).map(|_| ()).map_err(|r| r.code());
        let start: String = text.chars().take(40).collect();
        assert_eq!(code, if deep { Err("TN1006") } else { Ok(()) }, "{start}");
    }
}

/// What recurses over rows of every tenant is looked at before it is bound.
#[test]
fn what_is_bound_is_looked_at() {
    for (condition, value) in [
        ("prefs @> $1", "[".repeat(101)),
        ("prefs <@ $1::jsonb", "[".repeat(101)),
        ("notes LIKE $1", "%e".repeat(201)),
        ("notes LIKE $1 ESCAPE ''", "%e".repeat(201)),
        ("notes LIKE '%' || $1 || '%'", "%e".repeat(201)),
    ] {
        let test = "customers.tenant_id OPERATOR(pg_catalog.=) {int4}";
        let sent = condition.replace("::jsonb", "::pg_catalog.jsonb");
        let verified = outcome(
            &format!("SELECT id FROM customers WHERE {condition}"),
            &format!("SELECT id FROM public.customers WHERE {sent} AND {test}"),
            &[],
        )
        .unwrap();
        let is_refused = |pattern: &Pattern| pattern.fault(value.as_bytes()).is_some();
        assert!(verified.patterns().iter().any(is_refused), "{condition}");
    }
}
