//! Envelopes to and from the bytes of one connection: version and compression.

use std::io::{self, Read};

use twinring_cql::decoder::{DecodeLimits, split};
use twinring_cql::envelope::response_message;
use twinring_cql::frame::{Encoder, Format};
use twinring_cql::{Compression, EncodeError, Flags, HEADER_LEN, Opcode, Version, Writer, encode};

/// Longest answer taken, in bytes.
const ANSWER_MAX_BYTES: u32 = 64 << 20;
/// Read at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// One answer of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) stream: i16,
    pub(crate) opcode: Opcode,
    pub(crate) message: &'a [u8],
}

/// Encodes the requests and cuts the answers of one connection.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) version: Version,
    /// Of requests; in force after STARTUP.
    sending: Compression,
    /// Of answers; the one to STARTUP may be compressed already.
    receiving: Compression,
    /// The frames of v5; `None` before they are in force.
    frames: Option<(Format, Encoder)>,
    /// Encoded envelopes that no frame holds yet.
    unframed: Vec<u8>,
    /// Received and not yet cut: frames, and the envelopes out of them.
    received: Vec<u8>,
    envelopes: Vec<u8>,
    chunk: Vec<u8>,
    /// Bodies before or after compression.
    body: Vec<u8>,
}

impl Codec {
    /// For a connection whose STARTUP will ask for `compression`.
    pub(crate) fn new(version: Version, compression: Compression) -> Codec {
        Codec {
            version,
            sending: Compression::None,
            receiving: compression,
            frames: None,
            unframed: Vec::new(),
            received: Vec::new(),
            envelopes: Vec::new(),
            chunk: Vec::new(),
            body: Vec::new(),
        }
    }

    /// After the answer to STARTUP: what STARTUP asked for is in force.
    pub(crate) fn established(&mut self) {
        if self.version < Version::V5 {
            self.sending = self.receiving;
            return;
        }
        let format = match self.receiving {
            Compression::None => Format::Plain,
            _ => Format::Lz4,
        };
        // From here on frames are compressed, not bodies.
        self.receiving = Compression::None;
        self.frames = Some((format, Encoder::new(format)));
    }

    /// Appends a request to `out`, or to what [`Codec::seal`] will append.
    ///
    /// # Errors
    /// Something is too long for its length field.
    pub(crate) fn request(
        &mut self,
        out: &mut Vec<u8>,
        stream: i16,
        opcode: Opcode,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), EncodeError> {
        let version = self.version;
        if self.frames.is_some() {
            let out = &mut self.unframed;
            return encode::envelope(out, version, Flags::NONE, stream, opcode, body);
        }
        if self.sending == Compression::None {
            return encode::envelope(out, version, Flags::NONE, stream, opcode, body);
        }
        self.body.clear();
        encode::envelope(
            &mut self.body,
            version,
            Flags::COMPRESSION,
            stream,
            opcode,
            body,
        )?;
        let start = out.len();
        let (header, body) = self.body.split_at(HEADER_LEN.min(self.body.len()));
        out.extend_from_slice(header);
        self.sending.compress(body, out)?;
        encode::patch_length(out, start)
    }

    /// Bytes that wait for [`Codec::seal`].
    pub(crate) fn unsealed(&self) -> usize {
        self.unframed.len()
    }

    /// Appends the frames of what was encoded; nothing before v5.
    pub(crate) fn seal(&mut self, out: &mut Vec<u8>) {
        if let Some((_, encoder)) = &mut self.frames {
            encoder.encode(&self.unframed, out);
            self.unframed.clear();
        }
    }

    /// Reads once; 0 is the end of the connection.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.chunk.resize(READ_BYTES, 0);
        let count = from.read(&mut self.chunk)?;
        let read = self.chunk.get(..count).unwrap_or_default();
        self.received.extend_from_slice(read);
        Ok(count)
    }

    /// Whether a read that brought so many bytes may have left some.
    pub(crate) fn was_full(count: usize) -> bool {
        count == READ_BYTES
    }

    /// Hands out each whole answer.
    ///
    /// # Errors
    /// Bytes that are no answer, and those of `take`.
    pub(crate) fn each(
        &mut self,
        mut take: impl FnMut(Answer<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let bytes = match self.frames {
            Some((format, _)) => {
                self.open_frames(format)?;
                &mut self.envelopes
            }
            None => &mut self.received,
        };
        let limits = DecodeLimits::responses(ANSWER_MAX_BYTES);
        let mut at = 0;
        while let Some(envelope) = split(bytes.get(at..).unwrap_or_default(), &limits)? {
            at += envelope.raw.len();
            let header = envelope.header;
            let body = if header.flags.contains(Flags::COMPRESSION) {
                let most = usize::try_from(ANSWER_MAX_BYTES)?;
                self.body.clear();
                self.receiving
                    .decompress(envelope.body, &mut self.body, most)?;
                &self.body
            } else {
                envelope.body
            };
            take(Answer {
                stream: header.stream,
                opcode: header.opcode,
                message: response_message(header.flags, body)?.message,
            })?;
        }
        bytes.drain(..at);
        Ok(())
    }

    /// Takes the envelopes out of all whole frames.
    fn open_frames(&mut self, format: Format) -> anyhow::Result<()> {
        let mut at = 0;
        while let Some(frame) = format.split(self.received.get(at..).unwrap_or_default())? {
            at += frame.len;
            let payload = frame.open(&mut self.body)?;
            self.envelopes.extend_from_slice(payload);
        }
        self.received.drain(..at);
        Ok(())
    }
}

/// In its connection's place while that looks at an answer.
impl Default for Codec {
    fn default() -> Codec {
        Codec::new(Version::V4, Compression::None)
    }
}
