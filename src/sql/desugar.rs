//! Constructs that the parser does not know, written as others that PostgreSQL's grammar reads as
//! the very same tree. That they are the same is not taken on trust: the verifier compares the tree
//! of what is printed with the tree of the client's text.

use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::token::{Lexeme, Lexemes};

/// The tokens for the parser: `TABLE t` as a query becomes `SELECT * FROM t`, as `simple_select` in
/// gram.y reads it.
pub(super) fn desugar(lexemes: &Lexemes) -> Vec<TokenWithSpan> {
    let all: Vec<&Lexeme> = lexemes.iter().collect();
    let mut tokens = Vec::with_capacity(all.len() + 2);
    for (at, lexeme) in all.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| all.get(at)).copied();
        if is_bare(lexeme, "TABLE") && begins_query(before) {
            let spanned = |token| TokenWithSpan {
                token,
                span: lexeme.spanned().span,
            };
            tokens.push(spanned(Token::make_keyword("SELECT")));
            tokens.push(spanned(Token::Mul));
            tokens.push(spanned(Token::make_keyword("FROM")));
        } else {
            tokens.push(lexeme.spanned());
        }
    }
    tokens
}

fn is_bare(lexeme: &Lexeme, keyword: &str) -> bool {
    matches!(&lexeme.token, Token::Word(Word { value, quote_style: None, keyword: _ })
        if value.eq_ignore_ascii_case(keyword))
}

/// Whether a query can stand behind this token. `CREATE TABLE`, `LOCK TABLE` and the like do not
/// count; where TABLE stands first but is no query, PostgreSQL refuses the text.
fn begins_query(before: Option<&Lexeme>) -> bool {
    let Some(before) = before else { return true };
    before.token == Token::LParen
        || ["UNION", "ALL", "DISTINCT", "EXCEPT", "INTERSECT"]
            .iter()
            .any(|word| is_bare(before, word))
}

#[cfg(test)]
mod tests {
    use crate::sql;

    #[test]
    fn table_as_a_query_is_read() {
        for (sql, printed) in [
            ("TABLE orders", "SELECT * FROM orders"),
            (
                "(table a) UNION ALL TABLE b",
                "(SELECT * FROM a) UNION ALL SELECT * FROM b",
            ),
            ("SELECT 'a'\n'b'", "SELECT 'ab'"),
        ] {
            let parsed = sql::parse(sql.as_bytes()).unwrap();
            assert_eq!(parsed[0].tree.to_string(), printed);
        }
        assert!(sql::parse(b"SELECT 'a' 'b' 'c'").is_err());
    }
}
