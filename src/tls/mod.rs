//! TLS on each of the three sides, by rustls: what it needs from files, and what it makes of bytes.
//!
//! ```text
//! material   files → certificates, keys, authorities, ready for handshakes    (control plane)
//!   files    PEM, JKS and PKCS#12, told apart by their first bytes       jks, der
//!   bundle   secure connect bundles
//!   verify   who is trusted: a chain, a name, or anybody
//! secure     records in → plain bytes out, plain bytes in → records out       (pure)
//!   records  where records end                                      failure  reasons and words
//! probe      one handshake that waits, for the check before the start
//! ```
//! A shard drives [`Secure`] by hand, without a thread or a task: the ring moves records, and
//! everything behind it sees plain bytes. Only a handshake touches what shards have in common, the
//! keys of session tickets; a running connection shares nothing.
//!
//! The kernel's own TLS is not used: for small requests it takes more instructions than rustls
//! does, counted in `benches/README.md`, "Kernel TLS".

pub mod bundle;
mod der;
mod failure;
mod files;
mod jks;
pub mod material;
pub mod probe;
#[cfg(test)]
mod record_tests;
mod records;
mod secure;
#[cfg(test)]
mod tests;
mod verify;

pub use failure::SecureError;
pub use material::{Listener, Material, Outgoing};
pub use secure::{Received, Secure};
