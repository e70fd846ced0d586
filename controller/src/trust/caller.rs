//! Tokens of a cluster: who may be what.

use super::identity::Role;
use super::token::{Claims, TokenRefused, TokenVerifier, Verified};
use crate::kube::{Caller, TokenError, TokenReviewer};

/// Asks the API server about tokens. Pods of our gateways' service accounts may be node and pool gateways; any other pod
/// is at most its own sidecar.
pub struct GatewayTokens {
    reviewer: TokenReviewer,
    /// Namespace and service account of each.
    accounts: Vec<(String, String)>,
}

impl GatewayTokens {
    pub fn new(reviewer: TokenReviewer, accounts: Vec<(String, String)>) -> Self {
        Self { reviewer, accounts }
    }

    fn claims(&self, caller: Caller) -> Claims {
        let ours = self.accounts.iter().any(|(namespace, account)| {
            *namespace == caller.namespace && *account == caller.service_account
        });
        Claims {
            roles: if ours {
                vec![Role::Node, Role::Pool]
            } else {
                vec![Role::Sidecar]
            },
            namespace: caller.namespace,
            service_account: caller.service_account,
            pod: caller.pod,
            pod_uid: caller.pod_uid,
            node: caller.node,
        }
    }
}

impl TokenVerifier for GatewayTokens {
    fn verify<'a>(&'a self, token: &'a str) -> Verified<'a> {
        Box::pin(async move {
            match self.reviewer.verify(token).await {
                Ok(caller) => Ok(self.claims(caller)),
                Err(error @ TokenError::Unavailable(_)) => {
                    Err(TokenRefused::Unavailable(error.to_string()))
                }
                Err(error) => Err(TokenRefused::Refused(error.to_string())),
            }
        })
    }
}
