//! Who shows a service-account token: the API server is asked, and its answer is held against the pod that is there.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};

/// The audience of tokens that are for us. A token for anything else, the API server included, is refused.
pub const AUDIENCE: &str = "exitgate";
/// A projected token has about 1 KiB.
const MAX_TOKEN: usize = 16 << 10;
const DEADLINE: Duration = Duration::from_secs(5);

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// A pod that has shown a token of its service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub namespace: String,
    pub service_account: String,
    pub pod: String,
    pub pod_uid: String,
    pub node: String,
    /// The id of the token, for records; never the token.
    pub credential: Option<String>,
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the token has {0} bytes; at most {MAX_TOKEN} are read")]
    TooLong(usize),
    #[error("the API server does not accept the token: {0}")]
    NotAuthenticated(String),
    #[error("the token is not for the audience {AUDIENCE}")]
    OtherAudience,
    #[error("{0:?} is not a service account")]
    NotAServiceAccount(String),
    #[error("the token is bound to no {0}; it must be a projected token of a pod")]
    Unbound(&'static str),
    #[error("the pod {namespace}/{pod} of the token is not there any more")]
    PodGone { namespace: String, pod: String },
    #[error("the pod {namespace}/{pod} runs on {found:?}, the token was given out for {token:?}")]
    OtherNode {
        namespace: String,
        pod: String,
        found: String,
        token: String,
    },
    /// Nobody can say; the caller may try again.
    #[error("the API server cannot be asked: {0}")]
    Unavailable(String),
}

/// Asks the API server about tokens.
#[derive(Clone)]
pub struct TokenReviewer {
    client: Client,
}

impl TokenReviewer {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The pod that shows this token.
    pub async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong(token.len()));
        }
        let asked = tokio::time::timeout(DEADLINE, self.ask(token)).await;
        asked.map_err(|_| TokenError::Unavailable(format!("no answer within {DEADLINE:?}")))?
    }

    async fn ask(&self, token: &str) -> Result<Caller, TokenError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: token.to_owned(),
            },
            ..TokenReview::default()
        };
        let unavailable = |error: kube::Error| TokenError::Unavailable(error.to_string());
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(unavailable)?.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            let why = status.error.unwrap_or_else(|| "no reason given".to_owned());
            return Err(TokenError::NotAuthenticated(why));
        }
        // A server that does not know audiences leaves them out, and would accept any token.
        if !status
            .audiences
            .unwrap_or_default()
            .iter()
            .any(|audience| audience == AUDIENCE)
        {
            return Err(TokenError::OtherAudience);
        }
        let caller = caller(status.user.unwrap_or_default())?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &caller.namespace);
        let gone = || TokenError::PodGone {
            namespace: caller.namespace.clone(),
            pod: caller.pod.clone(),
        };
        let pod = pods.get_opt(&caller.pod).await.map_err(unavailable)?;
        let pod = pod.ok_or_else(gone)?;
        let phase = pod.status.and_then(|status| status.phase);
        if pod.metadata.uid.as_deref() != Some(&caller.pod_uid)
            || matches!(phase.as_deref(), Some("Succeeded" | "Failed"))
        {
            return Err(gone());
        }
        let found = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        if found != caller.node {
            return Err(TokenError::OtherNode {
                namespace: caller.namespace,
                pod: caller.pod,
                found,
                token: caller.node,
            });
        }
        Ok(caller)
    }
}

/// The pod that the API server names.
fn caller(user: UserInfo) -> Result<Caller, TokenError> {
    let name = user.username.unwrap_or_default();
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let Some((namespace, service_account)) = account else {
        return Err(TokenError::NotAServiceAccount(name));
    };
    let in_group = user
        .groups
        .unwrap_or_default()
        .iter()
        .any(|group| group == "system:serviceaccounts");
    if !in_group || namespace.is_empty() || service_account.is_empty() {
        return Err(TokenError::NotAServiceAccount(name));
    }
    let extra = user.extra.unwrap_or_default();
    Ok(Caller {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod: only(&extra, POD_NAME).ok_or(TokenError::Unbound("pod"))?,
        pod_uid: only(&extra, POD_UID).ok_or(TokenError::Unbound("pod"))?,
        node: only(&extra, NODE_NAME).ok_or(TokenError::Unbound("node"))?,
        credential: only(&extra, CREDENTIAL),
    })
}

/// A claim that has exactly one value.
fn only(extra: &BTreeMap<String, Vec<String>>, key: &str) -> Option<String> {
    match extra.get(key).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Some(value.clone()),
        _ => None,
    }
}
