//! The types of columns, and values of them.

/// A column's type, as applications use them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Int4,
    Text,
    Int8,
    Numeric,
    Varchar,
    Bool,
    Timestamptz,
    Date,
    Uuid,
    Jsonb,
    Ints,
    Texts,
    Enum,
    Domain,
}

impl Kind {
    pub(super) const ALL: [Self; 14] = [
        Self::Int4,
        Self::Text,
        Self::Int8,
        Self::Numeric,
        Self::Varchar,
        Self::Bool,
        Self::Timestamptz,
        Self::Date,
        Self::Uuid,
        Self::Jsonb,
        Self::Ints,
        Self::Texts,
        Self::Enum,
        Self::Domain,
    ];

    /// How a column is declared.
    pub(super) fn declared(self) -> &'static str {
        match self {
            Self::Numeric => "numeric(10,2)",
            Self::Varchar => "varchar(20)",
            Self::Int4
            | Self::Text
            | Self::Int8
            | Self::Bool
            | Self::Timestamptz
            | Self::Date
            | Self::Uuid
            | Self::Jsonb
            | Self::Ints
            | Self::Texts
            | Self::Enum
            | Self::Domain => self.name(),
        }
    }

    /// What a cast names.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Int4 => "integer",
            Self::Text => "text",
            Self::Int8 => "bigint",
            Self::Numeric => "numeric",
            Self::Varchar => "varchar",
            Self::Bool => "boolean",
            Self::Timestamptz => "timestamptz",
            Self::Date => "date",
            Self::Uuid => "uuid",
            Self::Jsonb => "jsonb",
            Self::Ints => "integer[]",
            Self::Texts => "text[]",
            Self::Enum => "mood",
            Self::Domain => "points",
        }
    }

    /// Names for columns of it, the same in all tables; some need quotes.
    pub(super) fn columns(self) -> [&'static str; 2] {
        match self {
            Self::Int4 => ["qty", "n"],
            Self::Text => ["name", "note"],
            Self::Int8 => ["big", "total"],
            Self::Numeric => ["price", "amount"],
            Self::Varchar => ["code", "\"Label\""],
            Self::Bool => ["flag", "active"],
            Self::Timestamptz => ["created_at", "seen"],
            Self::Date => ["due", "day_of"],
            Self::Uuid => ["token", "ref"],
            Self::Jsonb => ["data", "attrs"],
            Self::Ints => ["nums", "marks"],
            Self::Texts => ["tags", "words"],
            Self::Enum => ["feels", "\"order\""],
            Self::Domain => ["score", "\"user\""],
        }
    }

    /// Values as an application stores and asks for them.
    pub(super) fn values(self) -> &'static [&'static str] {
        match self {
            Self::Int4 | Self::Domain => &["1", "2", "0", "3", "5", "7", "42"],
            Self::Int8 => &["1", "2", "0", "10", "5000000000", "-3"],
            Self::Numeric => &["1.00", "2.50", "0.00", "10.25", "-1.75", "99.99"],
            Self::Text => &[
                "a", "b", "Ada", "note 1", "", "O'Neil", "Zoë", "a%b", "x\\y",
            ],
            Self::Varchar => &["a", "b", "A-1", "new", "O'Neil", "50%"],
            Self::Bool => &["true", "false"],
            Self::Timestamptz => &[
                "2024-01-01 10:00:00+00",
                "2024-02-29 23:30:00+00",
                "2023-12-31 00:00:00+00",
            ],
            Self::Date => &["2024-01-01", "2024-02-29", "2023-12-31"],
            Self::Uuid => &[
                "00000000-0000-4000-8000-000000000001",
                "00000000-0000-4000-8000-000000000002",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            ],
            Self::Jsonb => &[
                "{}",
                "{\"k\": 1}",
                "{\"k\": \"a\", \"t\": [1, 2]}",
                "[1, \"b\"]",
                "null",
            ],
            Self::Ints => &["{}", "{1}", "{1,2}", "{2,NULL,7}"],
            Self::Texts => &["{}", "{a}", "{a,b}", "{b,NULL}"],
            Self::Enum => &["low", "mid", "high"],
        }
    }

    /// Values that break what is computed of them, for the rows of others.
    pub(super) fn poison(self) -> &'static [&'static str] {
        match self {
            Self::Int4 | Self::Domain => &["2147483647", "0"],
            Self::Int8 => &["9223372036854775807", "0", "-9223372036854775808"],
            Self::Numeric => &["99999999.99", "0.00", "NaN"],
            Self::Text => &["(", "a\\", "[", "99999999999", "CANARY-T2", "*", "a"],
            Self::Varchar => &["(", "a\\", "CANARY-T3", "%"],
            Self::Bool => &["true", "false"],
            Self::Timestamptz => &["infinity", "-infinity", "294276-12-31 00:00:00+00"],
            Self::Date => &["infinity", "-infinity", "5874897-12-31"],
            Self::Uuid => &["ffffffff-ffff-ffff-ffff-ffffffffffff"],
            Self::Jsonb => &["{\"k\": \"(\"}", "[]", "{\"t\": \"CANARY-T2\"}", "\"x\""],
            Self::Ints => &["{{1,2},{3,4}}", "[5:6]={1,2}", "{2147483647}"],
            Self::Texts => &["{{CANARY-T3,b}}", "{(}", "{}"],
            Self::Enum => &["high", "low"],
        }
    }

    /// The value with this number, different from those with other numbers.
    pub(super) fn distinct(self, number: usize) -> Option<String> {
        match self {
            Self::Int4 | Self::Int8 | Self::Domain => Some(number.to_string()),
            Self::Text | Self::Varchar => Some(format!("k{number}")),
            Self::Uuid => Some(format!("00000000-0000-4000-8000-{number:012}")),
            Self::Date => Some(format!("2024-01-{:02}", number % 28 + 1)),
            Self::Numeric
            | Self::Bool
            | Self::Timestamptz
            | Self::Jsonb
            | Self::Ints
            | Self::Texts
            | Self::Enum => None,
        }
    }

    /// Whether a literal of it needs no quotes.
    pub(super) fn is_bare(self) -> bool {
        matches!(
            self,
            Self::Int4 | Self::Int8 | Self::Numeric | Self::Bool | Self::Domain
        )
    }

    /// The binary format of a value, where it is simple.
    pub(super) fn binary(self, value: &str) -> Option<Vec<u8>> {
        match self {
            Self::Int4 | Self::Domain => Some(value.parse::<i32>().ok()?.to_be_bytes().to_vec()),
            Self::Int8 => Some(value.parse::<i64>().ok()?.to_be_bytes().to_vec()),
            Self::Text | Self::Varchar | Self::Enum => Some(value.as_bytes().to_vec()),
            Self::Bool => Some(vec![u8::from(value == "true")]),
            Self::Uuid => {
                let digits = value.replace('-', "");
                let number = u128::from_str_radix(&digits, 16).ok()?;
                Some(number.to_be_bytes().to_vec())
            }
            Self::Jsonb => Some([b"\x01", value.as_bytes()].concat()),
            Self::Numeric | Self::Timestamptz | Self::Date | Self::Ints | Self::Texts => None,
        }
    }
}

/// A literal in quotes.
pub(super) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
