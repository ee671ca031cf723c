//! Why TLS ended: a reason to count, and words for the log.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::limits;
use crate::metrics::TlsFailure;

/// A connection that cannot go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SecureError {
    /// What rustls says.
    #[error("{}", words(.0))]
    Tls(#[from] Error),
    /// The peer sends and sends, and the handshake, or a message of it, does not end.
    #[error(
        "the handshake is longer than {} bytes",
        limits::TLS_HANDSHAKE_MAX_BYTES
    )]
    TooLong,
    /// More was sent with one key than it is good for.
    #[error("the connection's keys are used up")]
    UsedUp,
}

impl SecureError {
    /// What the metrics call it.
    #[must_use]
    pub fn reason(&self) -> TlsFailure {
        match self {
            Self::Tls(error) => reason(error),
            Self::TooLong | Self::UsedUp => TlsFailure::Protocol,
        }
    }
}

fn reason(error: &Error) -> TlsFailure {
    match error {
        Error::InvalidCertificate(why) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFailure::Name
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFailure::Expired,
            _ => TlsFailure::Untrusted,
        },
        Error::NoCertificatesPresented => TlsFailure::NoCertificate,
        Error::AlertReceived(_) => TlsFailure::Refused,
        _ => TlsFailure::Protocol,
    }
}

/// Words that help: rustls names the variant, an operator wants to know what to do.
fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate is signed by nobody who is trusted here".to_owned()
        }
        Error::NoCertificatesPresented => "no certificate was shown, and one is wanted".to_owned(),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "what came is no TLS; does the other side speak it at this port?".to_owned(),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::AlertReceived(alert) => alerted(*alert),
        other => other.to_string(),
    }
}

fn incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13 => {
            "the other side speaks neither TLS 1.2 nor 1.3".to_owned()
        }
        other => format!("nothing in common with the other side: {other:?}"),
    }
}

fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the other side wants a certificate of ours".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA => {
            format!("the other side does not trust our certificate ({alert:?})")
        }
        other => format!("the other side ended it: {other:?}"),
    }
}
