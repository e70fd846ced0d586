//! The settings for opening TLS. Files are the business of who reads them.

use std::{collections::HashSet, time::Duration};

use super::{At, Compiler};
use crate::{
    model::{
        Custody, Inspection, MAX_AUTHORITY_LIFETIME, NameConstraints, TlsAuthority, TlsSettings,
    },
    name::Name,
};

/// Shorter lives would have the gateway busy with its own CA.
const MIN_AUTHORITY_LIFETIME: Duration = Duration::from_secs(10);

impl Compiler {
    pub(super) fn tls(&mut self, at: &At, tls: &TlsSettings) {
        match &tls.authority {
            None if tls.inspection == Inspection::On => self.error(
                &at.field("authority"),
                "is required where inspection is On: make a root with `exitgate ca init ca/`, then write authority: {certFile: ca/ca.pem, keyFile: ca/ca-key.pem}",
            ),
            None => {}
            Some(authority) => self.authority(&at.field("authority"), authority),
        }
        let mut names = HashSet::new();
        for (index, entry) in tls.upstreams.iter().enumerate() {
            let at = at.field("upstreams").item(index);
            if entry.name.is_empty() || !names.insert(&entry.name) {
                self.error(
                    &at.field("name"),
                    "every entry has a name of its own, by which records and metrics call it",
                );
            }
            if entry.hosts.is_empty() {
                self.error(
                    &at.field("hosts"),
                    "is empty, so the entry is for no host; name them",
                );
            }
            self.hosts(&at.field("hosts"), &entry.hosts, true);
            if entry.insecure_skip_verify {
                self.warn(
                    &at.field("insecureSkipVerify"),
                    "any certificate is taken: whoever sits between can read and change everything, and no credential is injected",
                );
            }
            if entry.ca_file.is_none()
                && entry.client_certificate.is_none()
                && !entry.insecure_skip_verify
            {
                self.warn(
                    &at,
                    "the entry changes nothing but to keep later ones from its hosts: it has neither caFile nor clientCertificate",
                );
            }
        }
    }

    fn authority(&mut self, at: &At, authority: &TlsAuthority) {
        if let Some(lifetime) = authority.lifetime
            && !(MIN_AUTHORITY_LIFETIME..=MAX_AUTHORITY_LIFETIME).contains(&lifetime.0)
        {
            self.error(
                &at.field("lifetime"),
                format!("{lifetime} is not a life of the gateway's own CA; write 10s to 24h"),
            );
        }
        let excluded = at.field("excluded");
        if !authority.excluded.is_empty() && authority.constraints == NameConstraints::Auto {
            self.error(
                &excluded,
                "has a meaning only beside constraints: ExclusionsOnly",
            );
        }
        for (index, text) in authority.excluded.iter().enumerate() {
            if let Err(error) = Name::parse(text.as_bytes()) {
                let message = format!(
                    "\"{text}\" is not a domain: {error}; write x.io for it and everything below it"
                );
                self.error(&excluded.item(index), message);
            }
        }
        if authority.custody != Custody::PerGateway
            && (authority.constraints != NameConstraints::Auto || authority.lifetime.is_some())
        {
            self.warn(
                at,
                "constraints and lifetime are those of a gateway's own CA, which exists only under custody: PerGateway",
            );
        }
    }
}
