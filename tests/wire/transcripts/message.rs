//! The messages of a client, as transcripts write them.
//!
//! `-` stands for the empty name, `NULL` for a null; `\n`, `\t`, `\\`, `\x41` and `\s` (a space) for what they
//! stand for elsewhere. Counts: `23*65535` are as many types, `7*65535` as many values.

use super::super::raw::message;

/// What a line sends.
pub enum Sent {
    /// Bytes on the connection.
    Message(Vec<u8>),
    /// The first bytes of a connection, which are answered by one byte.
    Asks(Vec<u8>),
    /// The first bytes of a connection.
    Connects(Vec<u8>),
    /// A request to cancel what this client does.
    Cancels(String),
    /// The end of the connection.
    Leaves,
    /// Nothing, and an answer is awaited.
    Reads,
    /// Nothing for so many milliseconds.
    Waits(u64),
}

/// The bytes of one line.
pub fn sent(line: &str, user: &str, database: &str) -> Sent {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split(' ').filter(|word| !word.is_empty()).collect();
    let name = |at: usize| words.get(at).map_or(Vec::new(), |word| name(word));
    Sent::Message(match word {
        "Query" => message('Q', &terminated(bytes(rest))),
        _ if line.starts_with("Parse") => parse(line.strip_prefix("Parse").unwrap()),
        "Bind" => bind(&words),
        "DescribeStatement" => message('D', &[b"S", &terminated(name(0))[..]].concat()),
        "DescribePortal" => message('D', &[b"P", &terminated(name(0))[..]].concat()),
        "CloseStatement" => message('C', &[b"S", &terminated(name(0))[..]].concat()),
        "ClosePortal" => message('C', &[b"P", &terminated(name(0))[..]].concat()),
        "Execute" => {
            let rows: i32 = words.get(1).map_or(0, |rows| rows.parse().unwrap());
            message(
                'E',
                &[&terminated(name(0))[..], &rows.to_be_bytes()].concat(),
            )
        }
        "Sync" => message('S', b""),
        "Flush" => message('H', b""),
        "Terminate" => message('X', b""),
        "CopyData" => message('d', &bytes(rest)),
        "CopyDone" => message('c', b""),
        "CopyFail" => message('f', &terminated(bytes(rest))),
        // A message with this tag and body.
        "Tag" => message(
            words[0].chars().next().unwrap(),
            &words.get(1).map_or(Vec::new(), |body| bytes(body)),
        ),
        // Bytes as they are.
        "Bytes" => bytes(rest),
        "Startup" => return Sent::Connects(startup(&words, user, database)),
        "SSLRequest" => return Sent::Asks(untagged(80_877_103, b"")),
        "GSSENCRequest" => return Sent::Asks(untagged(80_877_104, b"")),
        "CancelRequest" => return Sent::Connects(untagged(80_877_102, &bytes(rest))),
        "CancelOf" => return Sent::Cancels(rest.to_owned()),
        "(leave)" => return Sent::Leaves,
        "(read)" => return Sent::Reads,
        "(wait)" => return Sent::Waits(rest.parse().unwrap()),
        other => panic!("{other}: no message"),
    })
}

fn name(word: &str) -> Vec<u8> {
    if word == "-" { Vec::new() } else { bytes(word) }
}

fn terminated(mut text: Vec<u8>) -> Vec<u8> {
    text.push(0);
    text
}

/// `name(type,type): text`
fn parse(rest: &str) -> Vec<u8> {
    let (head, text) = rest.split_once(':').unwrap();
    let (statement, types) = head.split_once('(').unwrap_or((head, ""));
    let types: Vec<u32> = repeated(types.trim_end_matches(')'), ',')
        .into_iter()
        .map(|number| number.parse().unwrap())
        .collect();
    let mut body = terminated(name(statement.trim()));
    body.extend(terminated(bytes(text.strip_prefix(' ').unwrap_or(text))));
    body.extend(u16::try_from(types.len()).unwrap().to_be_bytes());
    body.extend(types.iter().flat_map(|number| number.to_be_bytes()));
    message('P', &body)
}

/// `portal statement value|value in:0,1 out:0,1`
fn bind(words: &[&str]) -> Vec<u8> {
    let formats = |key: &str| -> Vec<u16> {
        let codes = words.iter().find_map(|word| word.strip_prefix(key));
        codes.map_or(Vec::new(), |codes| {
            codes.split(',').map(|code| code.parse().unwrap()).collect()
        })
    };
    let count = |count: usize| u16::try_from(count).unwrap().to_be_bytes();
    let (inward, outward) = (formats("in:"), formats("out:"));
    let is_values = |word: &&&str| !word.starts_with("in:") && !word.starts_with("out:");
    let values = words.get(2).filter(is_values).copied().unwrap_or_default();
    let values = repeated(values, '|');
    let mut body = terminated(words.first().map_or(Vec::new(), |word| name(word)));
    body.extend(terminated(
        words.get(1).map_or(Vec::new(), |word| name(word)),
    ));
    body.extend(count(inward.len()));
    body.extend(inward.iter().flat_map(|code| code.to_be_bytes()));
    body.extend(count(values.len()));
    for value in values {
        if value == "NULL" {
            body.extend((-1_i32).to_be_bytes());
            continue;
        }
        let value = if value == "''" {
            Vec::new()
        } else {
            bytes(&value)
        };
        body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value);
    }
    body.extend(count(outward.len()));
    body.extend(outward.iter().flat_map(|code| code.to_be_bytes()));
    message('B', &body)
}

fn repeated(text: &str, separator: char) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for one in text.split(separator) {
        match one.split_once('*').map(|(one, count)| (one, count.parse())) {
            Some((one, Ok(count))) => all.extend(std::iter::repeat_n(one.to_owned(), count)),
            Some(_) | None => all.push(one.to_owned()),
        }
    }
    all
}

/// `3.0 user=.. database=..`; without parameters the usual ones.
fn startup(words: &[&str], user: &str, database: &str) -> Vec<u8> {
    let (major, minor) = words[0].split_once('.').unwrap();
    let version = (major.parse::<u32>().unwrap() << 16) + minor.parse::<u32>().unwrap();
    let mut body = Vec::new();
    let usual = ["user=$user", "database=$database"];
    let is_named = |word: &&&str| {
        words[1..]
            .iter()
            .any(|own| own.split('=').next() == word.split('=').next())
    };
    let all = usual
        .iter()
        .filter(|word| !is_named(word))
        .chain(&words[1..]);
    for word in all {
        let (name, value) = word.split_once('=').unwrap();
        let value = match value {
            "$user" => user.as_bytes().to_vec(),
            "$database" => database.as_bytes().to_vec(),
            other => bytes(other),
        };
        body.extend(terminated(bytes(name)));
        body.extend(terminated(value));
    }
    body.push(0);
    untagged(version, &body)
}

pub fn untagged(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

/// What escapes stand for.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b's') => bytes.push(b' '),
            Some(b't') => bytes.push(b'\t'),
            Some(b'\\') => bytes.push(b'\\'),
            Some(b'x') => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
            }
            // So many of the byte behind the number: `\*5*a`.
            Some(b'*') => {
                let count: Vec<u8> = rest.by_ref().take_while(|byte| *byte != b'*').collect();
                let count: usize = std::str::from_utf8(&count).unwrap().parse().unwrap();
                bytes.extend(std::iter::repeat_n(rest.next().unwrap(), count));
            }
            other => panic!("{text}: {other:?} behind a backslash"),
        }
    }
    bytes
}
