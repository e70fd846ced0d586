//! Why TLS with an origin did not come about.

use std::io;

use rustls::{
    AlertDescription, Error as TlsError, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

use crate::reason::{OriginReason, Reason};

/// TLS with an origin that did not come about. Its text is the record's detail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct OriginFailure {
    reason: Reason,
    detail: String,
}

impl OriginFailure {
    pub(super) fn new(reason: impl Into<Reason>, detail: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            detail: detail.into(),
        }
    }

    /// For the client, the record and the metric.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    pub(super) fn origin_reason(&self) -> OriginReason {
        match self.reason {
            Reason::Origin(reason) => reason,
            _ => OriginReason::TlsFailed,
        }
    }

    /// What a failed read from an origin after its handshake says about that handshake: with TLS 1.3 a server refuses
    /// a client only then.
    pub fn of_read(error: &io::Error) -> Option<Self> {
        match tls_error(error)? {
            TlsError::AlertReceived(AlertDescription::CertificateRequired) => Some(Self::new(
                OriginReason::ClientCertificateRequired,
                WANTS_CERTIFICATE,
            )),
            _ => None,
        }
    }
}

const WANTS_CERTIFICATE: &str = "the origin asks for a client certificate; set spec.tls.upstreams[].clientCertificate for this host, or \
     `tls: {mode: Passthrough}` in its rule so that the client can show its own";

/// Which client certificate a handshake could offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The origin did not ask.
    No,
    /// It asked and one is configured.
    Answered,
    /// It asked and there is none.
    Unanswered,
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

/// A handshake that the verifier did not end.
pub(super) fn of_handshake(error: &io::Error, asked: Asked) -> OriginFailure {
    let tls = tls_error(error);
    let reason = tls.map_or(OriginReason::TlsFailed, tls_reason);
    match (reason, asked) {
        (OriginReason::TlsVersion | OriginReason::Alpn, _) | (_, Asked::No) => {}
        // Servers have many ways to say that they want one: an alert of some kind, or just the end.
        (_, Asked::Unanswered) => {
            return OriginFailure::new(OriginReason::ClientCertificateRequired, WANTS_CERTIFICATE);
        }
        (_, Asked::Answered) => {
            return OriginFailure::new(
                OriginReason::TlsFailed,
                format!(
                    "the origin did not take the configured client certificate ({})",
                    said(error, tls)
                ),
            );
        }
    }
    OriginFailure::new(reason, said(error, tls))
}

fn tls_reason(error: &TlsError) -> OriginReason {
    match error {
        TlsError::AlertReceived(AlertDescription::ProtocolVersion)
        | TlsError::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => OriginReason::TlsVersion,
        TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)
        | TlsError::PeerMisbehaved(
            PeerMisbehaved::SelectedUnofferedApplicationProtocol
            | PeerMisbehaved::UnsolicitedEncryptedExtension,
        ) => OriginReason::Alpn,
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            OriginReason::ClientCertificateRequired
        }
        // The only message of a server that gets as long is the one with its certificates.
        TlsError::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        )
        | TlsError::InvalidCertificate(_) => OriginReason::Invalid,
        _ => OriginReason::TlsFailed,
    }
}

fn said(error: &io::Error, tls: Option<&TlsError>) -> String {
    match tls {
        Some(TlsError::AlertReceived(alert)) => {
            let mut words = String::from("the origin ended the handshake with the alert ");
            for (at, c) in format!("{alert:?}").char_indices() {
                if c.is_ascii_uppercase() && at > 0 {
                    words.push('_');
                }
                words.push(c.to_ascii_lowercase());
            }
            words
        }
        Some(TlsError::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        )) => "the origin's certificates are over 64 KiB".to_owned(),
        Some(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "what the origin sent is not TLS".to_owned()
        }
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the origin closed the connection during the handshake".to_owned()
        }
        None => format!("the handshake broke off: {error}"),
    }
}
