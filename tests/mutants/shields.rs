//! What can be done to a shield.

use pg_query::protobuf as pg;
use pg_query::{Node, NodeEnum};

use super::variants::{
    Context, Variants, conjuncts, is_test, joined, not, or, some, tests, truth, wrap,
};

/// Every variant of a shield, if this is one.
pub fn of(case: &pg::CaseExpr, context: &Context, found: &mut Variants) {
    let Some(Some(NodeEnum::CaseWhen(when))) = case.args.first().map(|when| &when.node) else {
        return;
    };
    let terms = conjuncts(&when.expr);
    if !terms
        .first()
        .is_some_and(|term| tested(term).is_some_and(|test| is_test(&test)))
    {
        return;
    }
    let result = when.result.clone().expect("a conjunct");
    found.push(("shield dropped", result.node.clone().expect("a conjunct")));
    let mut add = |kind: &'static str, change: &dyn Fn(&mut pg::CaseExpr, &mut pg::CaseWhen)| {
        let (mut case, mut when) = (case.clone(), (**when).clone());
        change(&mut case, &mut when);
        if let Some(first) = case.args.first_mut() {
            *first = wrap(NodeEnum::CaseWhen(Box::new(when)));
        }
        found.push((kind, NodeEnum::CaseExpr(Box::new(case))));
    };
    for (index, term) in terms.iter().enumerate() {
        let with = |term: Option<Node>| {
            let mut terms = terms.clone();
            match term {
                Some(term) => terms[index] = term,
                None => {
                    terms.remove(index);
                }
            }
            terms
        };
        if terms.len() > 1 {
            add("term of a shield dropped", &|_, when| {
                when.expr = joined(with(None));
            });
        }
        let mut put = |kind: &'static str, term: Node| {
            add(kind, &|_, when| {
                when.expr = joined(with(Some(term.clone())));
            });
        };
        for other in [
            pg::BoolTestType::IsTrue,
            pg::BoolTestType::IsNotTrue,
            pg::BoolTestType::IsFalse,
            pg::BoolTestType::IsUnknown,
            pg::BoolTestType::IsNotUnknown,
        ] {
            put("another test in a shield", as_test(term, other, None));
        }
        put("term of a shield negated", not(term.clone()));
        put(
            "term of a shield OR TRUE",
            or(vec![term.clone(), wrap(truth())]),
        );
        put("term of a shield is TRUE", wrap(truth()));
        let test = tested(term).expect("a term");
        put("term without IS NOT FALSE", test.clone());
        for (_, other) in tests(&test, context) {
            let kept = pg::BoolTestType::IsNotFalse;
            put(
                "another tenant in a shield",
                as_test(term, kept, Some(other)),
            );
        }
    }
    add("shield is TRUE", &|_, when| when.expr = some(truth()));
    add("shield with ELSE", &|case, _| {
        case.defresult = Some(result.clone());
    });
    add("shield with ELSE TRUE", &|case, _| {
        case.defresult = some(truth());
    });
    add("shield of a value", &|case, _| case.arg = some(truth()));
    add("shield with a second WHEN", &|case, _| {
        let mut second = (**when).clone();
        second.expr = some(truth());
        case.args.push(wrap(NodeEnum::CaseWhen(Box::new(second))));
    });
    add("shield of another conjunct", &|_, when| {
        when.result = some(truth());
    });
    add("shield turned around", &|_, when| {
        std::mem::swap(&mut when.expr, &mut when.result);
    });
}

/// What a term tests.
fn tested(term: &Node) -> Option<Node> {
    match &term.node {
        Some(NodeEnum::BooleanTest(test)) => test.arg.as_deref().cloned(),
        _ => None,
    }
}

fn as_test(term: &Node, kind: pg::BoolTestType, arg: Option<Node>) -> Node {
    let Some(NodeEnum::BooleanTest(test)) = &term.node else {
        panic!("a term of a shield");
    };
    let mut test = test.clone();
    test.booltesttype = kind.into();
    if let Some(arg) = arg {
        test.arg = Some(Box::new(arg));
    }
    wrap(NodeEnum::BooleanTest(test))
}
