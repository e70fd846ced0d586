//! Credentials that the policy adds to a request.

use exitgate_policy::SecretValue;
use exitgate_policy::decide::Decision;
use exitgate_policy::reason::Reason as PolicyReason;

use crate::live::Live;
use crate::reason::Reason;
use crate::record::Record;

/// The fields to set, names in lower case. They go only where the origin's certificate is verified, and a secret that is
/// not there refuses the request.
pub(crate) fn fields<'a>(
    live: &'a Live,
    decision: &'a Decision,
    record: &mut Record,
) -> Result<Vec<(&'a str, &'a SecretValue)>, Reason> {
    record.fields.injected.clear();
    if !decision.inject.is_empty() && !record.origin_is_verified() {
        record.fields.detail =
            Some("a credential goes only where the origin's certificate is verified".to_owned());
        return Err(Reason::Policy(PolicyReason::InjectImpossible));
    }
    let mut fields = Vec::with_capacity(decision.inject.len());
    for injection in &decision.inject {
        let credential = format!("{}/{}", injection.namespace, injection.name);
        let value = live
            .credentials
            .value(&injection.namespace, &injection.name);
        let Some(value) = value else {
            record.fields.detail = Some(format!("EgressCredential {credential} has no value"));
            return Err(Reason::Policy(PolicyReason::CredentialUnavailable));
        };
        record.fields.injected.push(credential);
        fields.push((&*injection.header, value));
    }
    Ok(fields)
}
