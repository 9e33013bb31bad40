//! Check 1: the rewriter saw the words that PostgreSQL sees, and the server will see them too.
//!
//! A rewriter with a parser of its own must have seen words that begin and end where PostgreSQL's do,
//! and what it prints is compared as a tree (check 2). One that edits the client's words must send
//! exactly these words with exactly the edits that it names; it has PostgreSQL's own reading.
//!
//! In: texts. Out: how deeply the statement may nest, which bounds the stack that its tree takes.

use std::collections::BTreeMap;

use pg_query::protobuf::{ScanToken, Token};

use super::Claim;
use crate::isolate::refusal::{Reason, Refusal};
use crate::isolate::template::{Edit, Filling, Reading, Slot, SlotType};

/// Deeper statements are refused. The tree of a statement is at most a few times as deep.
pub(super) const NESTING_MAX: usize = 600;

/// Bind counts parameters in 16 bits; a few are kept for the tenant.
const PARAMETER_MAX: u32 = 65_535 - 8;

/// The first server whose lexer knows `0x1F` and `1_000`.
const INTEGER_FORMS_SINCE: u32 = 160_000;

/// The first server whose grammar has `JSON_OBJECT (`.
const JSON_OBJECT_SINCE: u32 = 160_000;

/// The first server to which a vertical tab is white space (`space` in scan.l).
const VERTICAL_TAB_SINCE: u32 = 160_000;

/// Compares the words and returns the bound of the statement's nesting.
pub(super) fn check(claim: &Claim<'_>) -> Result<usize, Refusal> {
    let server = claim.classified.catalog().server_version;
    let tokens = scan(claim.original)?;
    let counted = parameters(claim.original, &tokens)?;
    let first = words(&tokens).next().map(ScanToken::token);
    let highest = match first {
        // Its parameters are those of the statement that it names.
        Some(Token::Prepare) => 0,
        Some(_) | None => counted.keys().copied().max().unwrap_or(0),
    };
    readable(claim.original, &tokens, server)?;
    check_template(claim, highest)?;
    let rewritten = scan(&claim.template.text)?;
    if rewritten.len() != words(&rewritten).count() {
        return Err(unproved("the rewritten text holds a comment"));
    }
    readable(&claim.template.text, &rewritten, server)?;
    if server < JSON_OBJECT_SINCE {
        json_object_is_qualified(&rewritten)?;
    }
    let deepest = nesting(&tokens)?.max(nesting(&rewritten)?);
    match claim.reading {
        Reading::Parsed {
            tokens: seen,
            reprinted,
        } => {
            same_words(&tokens, seen)?;
            let reprinted =
                scan(reprinted).map_err(|_error| Refusal::from(Reason::PrintedDifferently))?;
            Ok(deepest.max(nesting(&reprinted)?))
        }
        Reading::Spliced { edits } => {
            edited(claim, &tokens, &rewritten, edits)?;
            Ok(deepest)
        }
    }
}

/// A rewriter's own tokenizer must have seen the same words.
fn same_words(tokens: &[ScanToken], seen: &[(usize, usize)]) -> Result<(), Refusal> {
    let mut seen = seen.iter();
    for token in words(tokens) {
        if seen.next() != Some(&span(token)?) {
            return Err(Refusal::at(Reason::LexersDisagree, span(token)?.0));
        }
    }
    if seen.next().is_some() {
        return Err(Reason::LexersDisagree.into());
    }
    Ok(())
}

/// The words to be sent must be the client's, with these edits in order.
fn edited(
    claim: &Claim<'_>,
    original: &[ScanToken],
    rewritten: &[ScanToken],
    edits: &[Edit],
) -> Result<(), Refusal> {
    let wrong = || unproved("the words of the client with the edits");
    let original: Vec<&ScanToken> = words(original).collect();
    let mut sent = rewritten.iter();
    let mut expect = |text: &str, token: &ScanToken| match sent.next() {
        Some(found)
            if found.token() == token.token()
                && slice(&claim.template.text, found)? == slice(text, token)? =>
        {
            Ok(())
        }
        Some(_) | None => Err(wrong()),
    };
    let mut at = 0;
    for edit in edits {
        let kept = original.get(at..edit.words.start).ok_or_else(wrong)?;
        for token in kept {
            expect(claim.original, token)?;
        }
        for token in scan(&edit.text)? {
            expect(&edit.text, &token)?;
        }
        at = edit.words.end;
        if at < edit.words.start {
            return Err(wrong());
        }
    }
    for token in original.get(at..).ok_or_else(wrong)? {
        expect(claim.original, token)?;
    }
    if sent.next().is_some() {
        return Err(wrong());
    }
    Ok(())
}

fn check_template(claim: &Claim<'_>, highest: u16) -> Result<(), Refusal> {
    let declared =
        u16::try_from(claim.declared_types.len()).map_err(|_error| Reason::ParameterNumber)?;
    if claim.template.client_parameters != highest.max(declared) {
        return Err(unproved("the number of the client's parameters"));
    }
    let types = &claim.template.tenant_parameters;
    let distinct: std::collections::BTreeSet<_> = types.iter().collect();
    if distinct.len() != types.len() {
        return Err(unproved("two tenant parameters of one type"));
    }
    Ok(())
}

/// How often each `$n` stands in a text.
pub(super) fn parameters(
    text: &str,
    tokens: &[ScanToken],
) -> Result<BTreeMap<u16, usize>, Refusal> {
    let mut counts = BTreeMap::new();
    for token in tokens.iter().filter(|token| token.token() == Token::Param) {
        let (start, _) = span(token)?;
        let number = slice(text, token)?
            .get(1..)
            .and_then(|digits| digits.parse::<u32>().ok())
            .filter(|number| (1..=PARAMETER_MAX).contains(number))
            .and_then(|number| u16::try_from(number).ok())
            .ok_or_else(|| Refusal::at(Reason::ParameterNumber, start))?;
        *counts.entry(number).or_insert(0) += 1;
    }
    Ok(counts)
}

/// Scans a text with PostgreSQL's own lexer.
pub(super) fn scan(text: &str) -> Result<Vec<ScanToken>, Refusal> {
    if let Some(at) = text.find('\0') {
        return Err(Refusal::at(Reason::WrongEncoding, at));
    }
    tokens(text).map_err(super::reading::syntax)
}

/// The tokens of a text without NUL. The library must not be asked about a text without any token: it
/// makes a slice from a null pointer.
pub(super) fn tokens(text: &str) -> Result<Vec<ScanToken>, pg_query::Error> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    if text.bytes().all(is_space) {
        return Ok(Vec::new());
    }
    pg_query::scan_tokens(text)
}

fn words(tokens: &[ScanToken]) -> impl Iterator<Item = &ScanToken> {
    tokens
        .iter()
        .filter(|token| !matches!(token.token(), Token::SqlComment | Token::CComment))
}

fn span(token: &ScanToken) -> Result<(usize, usize), Refusal> {
    let offset =
        |at: i32| usize::try_from(at).map_err(|_error| Refusal::from(Reason::LexersDisagree));
    Ok((offset(token.start)?, offset(token.end)?))
}

fn slice<'a>(text: &'a str, token: &ScanToken) -> Result<&'a str, Refusal> {
    let (start, end) = span(token)?;
    text.get(start..end)
        .ok_or_else(|| Reason::LexersDisagree.into())
}

/// No word may be one that another lexer, or another version's, would take apart.
fn readable(text: &str, tokens: &[ScanToken], server: u32) -> Result<(), Refusal> {
    let mut last_end = 0;
    for token in tokens {
        let kind = token.token();
        let (start, end) = span(token)?;
        let space = text.get(last_end..start).unwrap_or_default();
        if server < VERTICAL_TAB_SINCE && space.contains('\x0b') {
            let message = "syntax error at or near \"\x0b\"".to_owned();
            return Err(Refusal::at(Reason::Syntax { message }, last_end));
        }
        last_end = end;
        if kind == Token::Op {
            let operator = slice(text, token)?;
            if operator.contains("--") || operator.contains("/*") {
                return Err(Refusal::at(Reason::LexersDisagree, start));
            }
        }
        if matches!(kind, Token::Iconst | Token::Fconst) && server < INTEGER_FORMS_SINCE {
            let number = slice(text, token)?;
            let based = number
                .as_bytes()
                .get(1)
                .is_some_and(|b| b"xXoObB".contains(b));
            if based || number.contains('_') {
                let construct = format!("the number {number}");
                return Err(Refusal::at(
                    Reason::ConstructNotSupported { construct },
                    start,
                ));
            }
        }
    }
    Ok(())
}

/// To an older server `JSON_OBJECT` is a function's name like any other: without a schema it could be
/// one of the application's.
fn json_object_is_qualified(tokens: &[ScanToken]) -> Result<(), Refusal> {
    let kind = |index: Option<usize>| {
        let token = index.and_then(|index| tokens.get(index));
        token.map(ScanToken::token)
    };
    for (index, token) in tokens.iter().enumerate() {
        if token.token() == Token::JsonObject
            && kind(Some(index + 1)) == Some(Token::Ascii40)
            && kind(index.checked_sub(1)) != Some(Token::Ascii46)
        {
            return Err(unproved("the name of a function"));
        }
    }
    Ok(())
}

/// What is open at a point of the text, from the outside in.
#[derive(Default)]
struct Open {
    /// Words that may nest into one another: operators and keywords since the last separator.
    chained: usize,
    /// Joins and set operations, which nest to the left over separators.
    joined: usize,
}

/// A bound on how deeply the text's tree nests, found without recursion.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other word counts as one that nests"
)]
pub(super) fn nesting(tokens: &[ScanToken]) -> Result<usize, Refusal> {
    let mut open = vec![Open::default()];
    let mut deepest = 0;
    // The sum over `open` of what is counted in it.
    let mut depth = 0;
    for token in words(tokens) {
        let kind = token.token();
        if matches!(kind, Token::Ascii41 | Token::Ascii93 | Token::EndP) && open.len() > 1 {
            let closed = open.pop().unwrap_or_default();
            depth -= closed.chained + closed.joined + 1;
            continue;
        }
        let Some(innermost) = open.last_mut() else {
            continue;
        };
        match kind {
            Token::Ascii40 | Token::Ascii91 | Token::Case => {
                open.push(Open::default());
                depth += 1;
            }
            Token::Ascii44 | Token::And | Token::Or | Token::When | Token::Then | Token::Else => {
                depth -= innermost.chained;
                innermost.chained = 0;
            }
            // Each begins an expression of its own, beside those of the ones to its left.
            Token::Join | Token::Union | Token::Intersect | Token::Except => {
                depth -= innermost.chained;
                innermost.chained = 0;
                innermost.joined += 1;
                depth += 1;
            }
            Token::Ident
            | Token::Uident
            | Token::Iconst
            | Token::Fconst
            | Token::Sconst
            | Token::Usconst
            | Token::Bconst
            | Token::Xconst
            | Token::Param
            | Token::Ascii46
            | Token::Ascii59 => {}
            _ => {
                innermost.chained += 1;
                depth += 1;
            }
        }
        deepest = deepest.max(depth);
    }
    if deepest > NESTING_MAX {
        return Err(Reason::TooLarge {
            what: "nesting",
            limit: NESTING_MAX,
        }
        .into());
    }
    Ok(deepest)
}

/// Puts the tenant's key, the scope's keys or the session's names, as quoted literals in place of the slots, and scans the
/// result: it must
/// have the template's words, with one literal in place of each slot.
pub(super) fn fill(text: &str, slots: &[Slot], filling: Filling<'_>) -> Result<String, Refusal> {
    let mut filled = String::with_capacity(text.len() + slots.len() * 8);
    let mut from = 0;
    for slot in slots {
        let parameter = format!("${}", slot.number);
        let before = text.get(from..slot.offset);
        let here = text.get(slot.offset..slot.offset + parameter.len());
        let (Some(before), true) = (before, here == Some(parameter.as_str())) else {
            return Err(unproved("a slot that is not where it should be"));
        };
        filled.push_str(before);
        filled.push_str(&literal(slot.slot_type, filling)?);
        from = slot.offset + parameter.len();
    }
    filled.push_str(text.get(from..).unwrap_or_default());
    rescan(text, &filled, slots)?;
    Ok(filled)
}

pub(super) fn literal(slot_type: SlotType, filling: Filling<'_>) -> Result<String, Refusal> {
    let value = slot_type
        .text(filling)
        .map_err(|mismatch| unproved(&mismatch.to_string()))?;
    Ok(format!("'{}'", value.replace('\'', "''")))
}

fn rescan(template: &str, filled: &str, slots: &[Slot]) -> Result<(), Refusal> {
    let before = scan(template)?;
    let after = scan(filled)?;
    let mut waiting = slots.iter().map(|slot| slot.offset).peekable();
    if before.len() != after.len() {
        return Err(unproved("the words of the text with the tenant in it"));
    }
    for (old, new) in before.iter().zip(&after) {
        let is_slot = waiting.next_if_eq(&span(old)?.0).is_some();
        let fits = if is_slot {
            old.token() == Token::Param && new.token() == Token::Sconst
        } else {
            old.token() == new.token() && slice(template, old)? == slice(filled, new)?
        };
        if !fits {
            return Err(unproved("the words of the text with the tenant in it"));
        }
    }
    if waiting.next().is_some() {
        return Err(unproved("a slot that is not where it should be"));
    }
    Ok(())
}

fn unproved(what: &str) -> Refusal {
    Reason::Unproved {
        what: what.to_owned(),
    }
    .into()
}
