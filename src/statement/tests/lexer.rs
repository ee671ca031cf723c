//! Tokens, one rule of the grammar at a time.

use crate::statement::{Lexer, TokenKind, TokenKind::*};

fn kinds(text: &str) -> Vec<TokenKind> {
    Lexer::new(text).map(|token| token.kind).collect()
}

fn words(text: &str) -> Vec<&str> {
    Lexer::new(text).map(|token| token.span.of(text)).collect()
}

#[test]
fn comments_and_white_space_yield_nothing() {
    let text = " -- a\n// b\r/* c */\tx/**/--";
    assert_eq!(words(text), ["x"]);
    assert_eq!(kinds("/* a /* b */ x"), [Word]);
    assert_eq!(kinds("a --1\n-1"), [Word, Integer]);
}

#[test]
fn a_comment_mark_in_a_string_or_name_is_none() {
    assert_eq!(
        kinds("'--' \"/*\" $$//$$ 1"),
        [Text, QuotedName, Text, Integer]
    );
}

#[test]
fn strings() {
    assert_eq!(words("'it''s' 'x'"), ["'it''s'", "'x'"]);
    assert_eq!(words("$$it's$x$$y"), ["$$it's$x$$", "y"]);
    assert_eq!(kinds("'' $$$$ '''' '\n'"), [Text, Text, Text, Text]);
    assert_eq!(words("\"a\"\"b\"\"\" \"\""), ["\"a\"\"b\"\"\"", "\"\""]);
}

#[test]
fn what_never_ends_covers_the_rest() {
    for text in ["'a", "'a''", "\"a", "$$a$", "/* a", "'é"] {
        assert_eq!(kinds(text), [Unterminated], "{text}");
    }
    assert_eq!(kinds("a /* 'b"), [Word, Unterminated]);
    assert_eq!(kinds("/*/"), [Unterminated]);
}

#[test]
fn numbers() {
    assert_eq!(kinds("1 -1 1.5 -1.5e10 1. 1e+5 1E5"), {
        [Integer, Integer, Float, Float, Float, Float, Float]
    });
    assert_eq!(kinds("1..2"), [Integer, Range, Integer]);
    assert_eq!(kinds("1.5..2.5"), [Float, Range, Float]);
    assert_eq!(kinds("1...2"), [Float, Range, Integer]);
    assert_eq!(kinds("0x 0xDEADbeef 0XFF"), [Hex, Hex, Hex]);
    assert_eq!(words("a-1"), ["a", "-1"]);
    assert_eq!(words("1e"), ["1", "e"]);
}

#[test]
fn uuids() {
    let text = "12345678-1234-1234-1234-123456789abc abcdef00-1234-1234-1234-123456789abc";
    assert_eq!(kinds(text), [Uuid, Uuid]);
    assert_eq!(kinds("1e345678-1234-1234-1234-123456789abc"), [Uuid]);
    assert_eq!(kinds("abcdef00"), [Word]);
    assert_eq!(words("abcdef00-1"), ["abcdef00", "-1"]);
}

#[test]
fn durations() {
    let text = "1h30m -2mo 89d 10us 7µs 3Y2MO P1Y2M3DT4H5M6S PT10S P3W -P1Y \
        P0001-02-03T04:05:06";
    assert_eq!(kinds(text), [Duration; 11]);
    assert_eq!(kinds("P P1 PT Px p1y"), [Word; 5]);
}

#[test]
fn operators() {
    let text = "? : , . .. ; ( ) [ ] { } = != < <= > >= + += - -= * / %";
    let all = [
        Question,
        Colon,
        Comma,
        Dot,
        Range,
        Semicolon,
        OpenParen,
        CloseParen,
        OpenBracket,
        CloseBracket,
        OpenBrace,
        CloseBrace,
        Equal,
        NotEqual,
        Less,
        LessEqual,
        Greater,
        GreaterEqual,
        Plus,
        PlusEqual,
        Minus,
        MinusEqual,
        Star,
        Slash,
        Percent,
    ];
    assert_eq!(kinds(text), all);
}

#[test]
fn junk_is_one_character_at_a_time() {
    assert_eq!(words("é!$\u{a0}#"), ["é", "!", "$", "\u{a0}", "#"]);
    assert_eq!(kinds("é!$\u{a0}#"), [Junk; 5]);
    assert_eq!(kinds("\0\u{b}_a"), [Junk, Junk, Junk, Word]);
}
