//! As much of the native protocol (v3 and v4) as the lab needs, on its own: the gauge must not
//! share the bugs of what it measures. Section numbers are those of `native_protocol_v4.spec`.

/// Bytes of a header (2): version, flags, stream, opcode, length of the body.
pub(crate) const HEADER_BYTES: usize = 9;

/// Opcodes (2.4).
pub(crate) mod opcode {
    pub(crate) const ERROR: u8 = 0x00;
    pub(crate) const STARTUP: u8 = 0x01;
    pub(crate) const READY: u8 = 0x02;
    pub(crate) const OPTIONS: u8 = 0x05;
    pub(crate) const SUPPORTED: u8 = 0x06;
    pub(crate) const QUERY: u8 = 0x07;
    pub(crate) const RESULT: u8 = 0x08;
    pub(crate) const PREPARE: u8 = 0x09;
    pub(crate) const EXECUTE: u8 = 0x0A;
    pub(crate) const REGISTER: u8 = 0x0B;
    pub(crate) const BATCH: u8 = 0x0D;
}

/// One request or response, still in the receive buffer.
pub(crate) struct Envelope<'a> {
    pub(crate) version: u8,
    pub(crate) stream: [u8; 2],
    pub(crate) opcode: u8,
    pub(crate) body: &'a [u8],
}

impl Envelope<'_> {
    /// The number of the stream.
    pub(crate) fn stream(&self) -> i16 {
        i16::from_be_bytes(self.stream)
    }
}

/// The first envelope of `bytes` and what follows it; `None` if it is not complete.
pub(crate) fn split(bytes: &[u8]) -> Option<(Envelope<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let &[version, _flags, s0, s1, opcode, l0, l1, l2, l3] = header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let (body, rest) = rest.split_at_checked(length)?;
    Some((
        Envelope {
            version,
            stream: [s0, s1],
            opcode,
            body,
        },
        rest,
    ))
}

/// Appends an envelope to `out`.
pub(crate) fn put_envelope(
    out: &mut Vec<u8>,
    version: u8,
    stream: [u8; 2],
    opcode: u8,
    body: &[u8],
) {
    out.extend_from_slice(&[version, 0]);
    out.extend_from_slice(&stream);
    out.push(opcode);
    out.extend_from_slice(&length(body).to_be_bytes());
    out.extend_from_slice(body);
}

/// `[string]` (3): a length of two bytes.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_short(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// `[long string]` (3): a length of four bytes.
pub(crate) fn put_long_string(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// `[bytes]` (3).
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length(bytes).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// `[short bytes]` (3).
pub(crate) fn put_short_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_short(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// `[short]` (3).
pub(crate) fn put_short(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}

/// `[int]` (3).
pub(crate) fn put_int(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Takes a `[long string]` off the front of a body.
pub(crate) fn take_long_string(body: &[u8]) -> Option<&str> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    std::str::from_utf8(rest.get(..u32::from_be_bytes(*length) as usize)?).ok()
}

/// Takes `[short bytes]` off the front of a body.
pub(crate) fn take_short_bytes(body: &[u8]) -> Option<&[u8]> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
