//! Tokens of CQL 3.4, as Cassandra's `Lexer.g` (3.11 to 5.0) cuts them.
//!
//! The lexer allocates nothing and cannot fail: what the grammar does not know is a
//! [`TokenKind::Junk`] token, and a literal, quoted name or comment that never ends is a
//! [`TokenKind::Unterminated`] one. Comments and white space yield no token.
//!
//! Three choices differ from the server's lexer, all in texts that the server refuses, or that a
//! parser cannot tell apart: a line comment may end with the text, `expr(` is two tokens, and
//! `-NaN` is two tokens.

/// A range of bytes of the statement's text; both ends lie on character boundaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset of the byte after the last one.
    pub end: u32,
}

impl Span {
    /// The bytes of `text` that the span covers; empty when the span is not of that text.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or("")
    }
}

/// What a token is. Keywords are [`Word`](TokenKind::Word)s: the grammar allows most as names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// An unquoted identifier, or a keyword.
    Word,
    /// `"…"`, with `""` for a quote inside.
    QuotedName,
    /// `'…'` with `''` for a quote inside, or `$$…$$`.
    Text,
    /// Digits, with a `-` in front when there is one.
    Integer,
    /// A number with a point or an exponent.
    Float,
    /// `1h30m`, or ISO 8601 with a capital `P`.
    Duration,
    /// `0x…`.
    Hex,
    /// 8-4-4-4-12 hexadecimal digits.
    Uuid,
    /// `?`
    Question,
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// `..`
    Range,
    /// `;`
    Semicolon,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
    /// `[`
    OpenBracket,
    /// `]`
    CloseBracket,
    /// `{`
    OpenBrace,
    /// `}`
    CloseBrace,
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `+`
    Plus,
    /// `+=`
    PlusEqual,
    /// `-`
    Minus,
    /// `-=`
    MinusEqual,
    /// `*`
    Star,
    /// `/`
    Slash,
    /// `%`
    Percent,
    /// One character that no rule of the grammar begins with.
    Junk,
    /// A string, quoted name or block comment without its end; it covers the rest of the text.
    Unterminated,
    /// After the last token. Never yielded by the iterator; parsers use it for "no more".
    End,
}

/// A token: its kind, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is, quotes included.
    pub span: Span,
}

/// Iterator over the tokens of a text. Copying it is a cheap way to look ahead.
#[derive(Clone, Copy, Debug)]
pub struct Lexer<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning of `text`. Text behind the first 4 GiB is not looked at (an envelope
    /// holds 256 MiB at most).
    pub fn new(text: &'a str) -> Self {
        let length = text.len().min(u32::MAX as usize);
        Self {
            bytes: &text.as_bytes()[..length],
            position: 0,
        }
    }

    fn at(&self, offset: usize) -> u8 {
        self.bytes.get(self.position + offset).copied().unwrap_or(0)
    }

    /// Skips white space and comments. An unterminated block comment comes back as its start.
    fn skip_blank(&mut self) -> Option<usize> {
        loop {
            match (self.at(0), self.at(1)) {
                (b' ' | b'\t' | b'\n' | b'\r', _) => self.position += 1,
                (b'-', b'-') | (b'/', b'/') => {
                    let rest = &self.bytes[self.position..];
                    let end = rest.iter().position(|&b| b == b'\n' || b == b'\r');
                    self.position += end.map_or(rest.len(), |end| end + 1);
                }
                (b'/', b'*') => {
                    let start = self.position;
                    let rest = &self.bytes[start + 2..];
                    match rest.windows(2).position(|pair| pair == b"*/") {
                        Some(end) => self.position = start + 2 + end + 2,
                        None => return Some(start),
                    }
                }
                _ => return None,
            }
        }
    }

    /// Length of the token at the current position, which is not blank and not the end.
    fn measure(&self) -> (TokenKind, usize) {
        use TokenKind::*;
        let rest = &self.bytes[self.position..];
        match self.at(0) {
            b'a'..=b'z' | b'A'..=b'Z' => word(rest),
            b'0'..=b'9' => number(rest),
            b'\'' => quoted(rest, b'\'', Text),
            b'"' => quoted(rest, b'"', QuotedName),
            b'$' if self.at(1) == b'$' => match rest[2..].windows(2).position(|p| p == b"$$") {
                Some(end) => (Text, end + 4),
                None => (Unterminated, rest.len()),
            },
            b'-' => match self.at(1) {
                b'0'..=b'9' => number(rest),
                b'=' => (MinusEqual, 2),
                b'P' if iso_duration(&rest[1..]) > 0 => (Duration, 1 + iso_duration(&rest[1..])),
                _ => (Minus, 1),
            },
            b'.' if self.at(1) == b'.' => (Range, 2),
            b'+' if self.at(1) == b'=' => (PlusEqual, 2),
            b'<' if self.at(1) == b'=' => (LessEqual, 2),
            b'>' if self.at(1) == b'=' => (GreaterEqual, 2),
            b'!' if self.at(1) == b'=' => (NotEqual, 2),
            other => match single(other) {
                Some(kind) => (kind, 1),
                None => (Junk, character_length(rest)),
            },
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let unterminated = self.skip_blank();
        let start = self.position;
        if start >= self.bytes.len() {
            return None;
        }
        let (kind, length) = match unterminated {
            Some(_) => (TokenKind::Unterminated, self.bytes.len() - start),
            None => self.measure(),
        };
        self.position = start + length;
        Some(Token {
            kind,
            span: span(start, self.position),
        })
    }
}

/// A span of two offsets into a text that [`Lexer::new`] has cut to 4 GiB.
fn span(start: usize, end: usize) -> Span {
    let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    Span {
        start: narrow(start),
        end: narrow(end),
    }
}

fn single(byte: u8) -> Option<TokenKind> {
    use TokenKind::*;
    Some(match byte {
        b'?' => Question,
        b':' => Colon,
        b',' => Comma,
        b'.' => Dot,
        b';' => Semicolon,
        b'(' => OpenParen,
        b')' => CloseParen,
        b'[' => OpenBracket,
        b']' => CloseBracket,
        b'{' => OpenBrace,
        b'}' => CloseBrace,
        b'=' => Equal,
        b'<' => Less,
        b'>' => Greater,
        b'+' => Plus,
        b'*' => Star,
        b'/' => Slash,
        b'%' => Percent,
        _ => return None,
    })
}

/// Bytes of the UTF-8 character that `rest` begins with.
fn character_length(rest: &[u8]) -> usize {
    let more = rest[1..].iter().take_while(|&&byte| byte & 0xc0 == 0x80);
    1 + more.count()
}

fn count(rest: &[u8], of: impl Fn(u8) -> bool) -> usize {
    rest.iter().take_while(|&&byte| of(byte)).count()
}

fn digits(rest: &[u8]) -> usize {
    count(rest, |byte| byte.is_ascii_digit())
}

/// A string or quoted name; the quote is doubled inside.
fn quoted(rest: &[u8], quote: u8, kind: TokenKind) -> (TokenKind, usize) {
    let mut length = 1;
    while let Some(end) = rest[length..].iter().position(|&byte| byte == quote) {
        length += end + 1;
        if rest.get(length) != Some(&quote) {
            return (kind, length);
        }
        length += 1;
    }
    (TokenKind::Unterminated, rest.len())
}

/// An identifier, unless it is a UUID or an ISO duration that begins with a letter.
fn word(rest: &[u8]) -> (TokenKind, usize) {
    let length = count(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if length == 8 && is_uuid(rest) {
        return (TokenKind::Uuid, 36);
    }
    if rest[0] == b'P' {
        let duration = iso_duration(rest);
        if duration >= length {
            return (TokenKind::Duration, duration);
        }
    }
    (TokenKind::Word, length)
}

fn is_uuid(rest: &[u8]) -> bool {
    let dash = |index| matches!(index, 8 | 13 | 18 | 23);
    rest.len() >= 36
        && rest[..36]
            .iter()
            .enumerate()
            .all(|(index, byte)| match dash(index) {
                true => *byte == b'-',
                false => byte.is_ascii_hexdigit(),
            })
}

/// Integer, float, duration, blob or a UUID that begins with a digit; `rest` begins with a digit
/// or with a `-` and a digit.
fn number(rest: &[u8]) -> (TokenKind, usize) {
    if is_uuid(rest) {
        return (TokenKind::Uuid, 36);
    }
    if rest[0] == b'0' && matches!(rest.get(1), Some(b'x' | b'X')) {
        return (
            TokenKind::Hex,
            2 + count(&rest[2..], |byte| byte.is_ascii_hexdigit()),
        );
    }
    let sign = usize::from(rest[0] == b'-');
    let whole = sign + digits(&rest[sign..]);
    let duration = unit_duration(&rest[sign..]);
    if duration > 0 {
        return (TokenKind::Duration, sign + duration);
    }
    let mut length = whole;
    // `1..2` is a range between integers; `1...2` one that begins with the float `1.`
    let points = count(&rest[whole..], |byte| byte == b'.');
    if points == 1 || points >= 3 {
        length += 1;
        if points == 1 {
            length += digits(&rest[length..]);
        }
    }
    if matches!(rest.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(&rest[length + 1 + sign..]);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    (
        if length > whole {
            TokenKind::Float
        } else {
            TokenKind::Integer
        },
        length,
    )
}

/// Length of `12mo3d…`, or 0. The whole run of letters and digits must be of that form.
fn unit_duration(rest: &[u8]) -> usize {
    let mut length = 0;
    loop {
        let number = digits(&rest[length..]);
        let unit = unit(&rest[length + number..]);
        if number == 0 || unit == 0 {
            break;
        }
        length += number + unit;
    }
    match rest.get(length) {
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_' => 0,
        _ => length,
    }
}

fn unit(rest: &[u8]) -> usize {
    let lower = |index: usize| rest.get(index).map_or(0, u8::to_ascii_lowercase);
    match (lower(0), lower(1)) {
        (b'm', b'o' | b's') | (b'u' | b'n', b's') => 2,
        (b'y' | b'w' | b'd' | b'h' | b'm' | b's', _) => 1,
        (0xc2, 0xb5) if lower(2) == b's' => 3, // the micro sign
        _ => 0,
    }
}

/// Length of an ISO 8601 duration in any of the grammar's three forms, or 0.
fn iso_duration(rest: &[u8]) -> usize {
    const ALTERNATIVE: &[u8] = b"P0000-00-00T00:00:00";
    let alternative = rest.len() >= ALTERNATIVE.len()
        && rest.iter().zip(ALTERNATIVE).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        });
    if alternative {
        return ALTERNATIVE.len();
    }
    let week = digits(&rest[1..]);
    if week > 0 && rest.get(1 + week) == Some(&b'W') {
        return 2 + week;
    }
    let date = designators(&rest[1..], b"YMD");
    let time = match rest.get(1 + date) {
        Some(b'T') => designators(&rest[2 + date..], b"HMS"),
        _ => 0,
    };
    match (date, time) {
        (0, 0) => 0,
        (date, 0) => 1 + date,
        (date, time) => 2 + date + time,
    }
}

/// Length of `<digits>U…` with each unit at most once and in the order given.
fn designators(rest: &[u8], units: &[u8]) -> usize {
    let mut length = 0;
    for unit in units {
        let number = digits(&rest[length..]);
        if number > 0 && rest.get(length + number) == Some(unit) {
            length += number + 1;
        }
    }
    length
}
