//! RESULT of PREPARE (§4.2.5.4).

use super::metadata::{self, ColumnDef, Metadata, MetadataHead};
use super::result::ResultKind;
use crate::error::{DecodeError, EncodeError};
use crate::primitive::{Reader, Writer};
use crate::version::Version;

/// The answer to PREPARE, checked to its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared<'a> {
    /// The whole message, beginning with the kind.
    pub raw: &'a [u8],
    /// Id for EXECUTE and BATCH.
    pub id: &'a [u8],
    /// v5: id of the result's columns.
    pub result_metadata_id: Option<&'a [u8]>,
    /// The bind markers; from v4 on with [`Metadata::pk_indices`].
    pub bind: Metadata<'a>,
    /// The columns of the rows that the statement will give; none if it gives no rows.
    pub result: Metadata<'a>,
}

impl<'a> Prepared<'a> {
    /// Offset of the id's bytes in the message, behind kind and length.
    pub const ID_AT: usize = ResultKind::LEN + 2;

    /// Reads the message of a RESULT whose kind is [`ResultKind::Prepared`].
    ///
    /// # Errors
    /// Malformed, or bytes left over.
    pub fn parse(message: &'a [u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        reader.int()?; // the kind
        let id = reader.short_bytes()?;
        let result_metadata_id = match version {
            Version::V3 | Version::V4 => None,
            Version::V5 => Some(reader.short_bytes()?),
        };
        let bind = Metadata::read(&mut reader, version >= Version::V4)?;
        let result = Metadata::read(&mut reader, false)?;
        reader.finish()?;
        Ok(Self {
            raw: message,
            id,
            result_metadata_id,
            bind,
            result,
        })
    }

    /// Appends the message without the bind markers whose indices are in `hidden` (ascending), so
    /// that the client does not see values that a proxy binds itself. All else stays as it is. The
    /// partition key is named only if the client still binds all its parts.
    ///
    /// # Errors
    /// An index that is not there or out of order. `out` is then as before.
    pub fn hide_binds(&self, out: &mut Vec<u8>, hidden: &[u16]) -> Result<(), EncodeError> {
        let count = self.bind.columns().len();
        let ascending = hidden.windows(2).all(|pair| pair.first() < pair.last());
        if let Some(&last) = hidden.last()
            && (!ascending || usize::from(last) >= count)
        {
            return Err(EncodeError::NoSuchValue {
                index: last.into(),
                count,
            });
        }
        out.extend_from_slice(self.raw.get(..self.bind.start).unwrap_or_default());
        self.bind.encode_without(out, hidden);
        out.extend_from_slice(self.raw.get(self.bind.end..).unwrap_or_default());
        Ok(())
    }
}

/// What [`encode`] writes.
#[derive(Clone, Copy, Debug)]
pub struct PreparedDef<'a> {
    /// Id for EXECUTE and BATCH.
    pub id: &'a [u8],
    /// Id of the result's columns; left out before v5.
    pub result_metadata_id: &'a [u8],
    /// Index of the bind marker of each part of the partition key; left out in v3.
    pub pk_indices: &'a [u16],
    /// The bind markers.
    pub bind: &'a [ColumnDef<'a>],
    /// The columns of the rows that the statement will give.
    pub result: &'a [ColumnDef<'a>],
}

/// Appends the message.
pub fn encode(w: &mut Writer<'_>, version: Version, prepared: &PreparedDef<'_>) {
    ResultKind::Prepared.encode(w);
    w.short_bytes(prepared.id);
    if version >= Version::V5 {
        w.short_bytes(prepared.result_metadata_id);
    }
    let pk_indices = (version >= Version::V4).then_some(prepared.pk_indices);
    metadata::encode(
        w,
        &MetadataHead {
            pk_indices,
            ..MetadataHead::default()
        },
        prepared.bind,
    );
    let no_metadata = prepared.result.is_empty(); // as Cassandra marks it
    let head = MetadataHead {
        no_metadata,
        ..MetadataHead::default()
    };
    metadata::encode(w, &head, prepared.result);
}
