//! The three parties of every conversation.

use std::fmt;

/// Which party a connection, a byte count or an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Side {
    /// The application's driver.
    Client = 0,
    /// The cluster that decides: its answers are what the client sees.
    Source = 1,
    /// The cluster that receives every applied write a second time.
    Target = 2,
}

impl Side {
    /// How many sides there are, for arrays indexed by [`Side::index`].
    pub const COUNT: usize = 3;
    /// All sides, in the order of their indexes.
    pub const ALL: [Self; Self::COUNT] = [Self::Client, Self::Source, Self::Target];

    /// Position in arrays of [`Side::COUNT`] elements.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word used in logs, metrics and messages: `client`, `source` or `target`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_order_agree() {
        for (at, side) in Side::ALL.into_iter().enumerate() {
            assert_eq!(side.index(), at, "{side}");
        }
    }
}
