//! The paging state: where the last page ended. Opaque to clients, checked when it comes back.

use crate::node::error::{CqlError, CqlResult};
use crate::node::store::PartitionKey;

/// The last row that a page gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PagePosition {
    pub(crate) key: PartitionKey,
    /// `None` after the row of a partition that has only statics.
    pub(crate) row: Option<Vec<u8>>,
    /// Rows that LIMIT still allows.
    pub(crate) left: u64,
    /// Rows of this partition given so far.
    pub(crate) in_partition: u64,
}

const VERSION: u8 = 1;

impl PagePosition {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.key.token.to_be_bytes());
        out.extend_from_slice(&self.left.to_be_bytes());
        out.extend_from_slice(&self.in_partition.to_be_bytes());
        out.extend_from_slice(
            &u32::try_from(self.key.bytes.len())
                .unwrap_or(0)
                .to_be_bytes(),
        );
        out.extend_from_slice(&self.key.bytes);
        if let Some(row) = &self.row {
            out.push(1);
            out.extend_from_slice(row);
        }
        out
    }

    pub(crate) fn decode(state: &[u8]) -> CqlResult<PagePosition> {
        PagePosition::try_decode(state)
            .ok_or_else(|| CqlError::protocol("Invalid value for the paging state"))
    }

    fn try_decode(state: &[u8]) -> Option<PagePosition> {
        let (version, rest) = state.split_first()?;
        let (token, rest) = rest.split_first_chunk::<8>()?;
        let (left, rest) = rest.split_first_chunk::<8>()?;
        let (in_partition, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (bytes, rest) = rest.split_at_checked(len)?;
        let row = match rest.split_first() {
            None => None,
            Some((1, row)) => Some(row.to_vec()),
            Some(_) => return None,
        };
        (*version == VERSION).then(|| PagePosition {
            key: PartitionKey {
                token: i64::from_be_bytes(*token),
                bytes: bytes.into(),
            },
            row,
            left: u64::from_be_bytes(*left),
            in_partition: u64::from_be_bytes(*in_partition),
        })
    }
}
