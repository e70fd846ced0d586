//! What a token proves.

use std::fmt;
use std::pin::Pin;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::identity::Role;

/// What a token proves of its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What the caller may be.
    pub roles: Vec<Role>,
    pub namespace: String,
    pub service_account: String,
    pub pod: String,
    pub pod_uid: String,
    pub node: String,
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// It proves nothing.
    #[error("{0}")]
    Refused(String),
    /// Nobody can say; the caller may try again.
    #[error("{0}")]
    Unavailable(String),
}

/// What a verifier answers.
pub type Verified<'a> = Pin<Box<dyn Future<Output = Result<Claims, TokenRefused>> + Send + 'a>>;

/// Says what a token proves.
pub trait TokenVerifier: Send + Sync {
    fn verify<'a>(&'a self, token: &'a str) -> Verified<'a>;
}

/// One token for one caller: for a controller and its gateway in one process, on loopback.
pub struct StaticToken {
    token: String,
    claims: Claims,
}

impl StaticToken {
    /// A token that nobody can guess, for a gateway of the EgressGateway's whole fleet.
    pub fn generate() -> Result<Self, TokenRefused> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| TokenRefused::Unavailable("the system has no random bytes".to_owned()))?;
        let digits = bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16));
        Ok(Self::new(
            digits.collect(),
            Claims {
                roles: vec![Role::Pool],
                namespace: "default".to_owned(),
                service_account: "exitgate".to_owned(),
                pod: "local".to_owned(),
                pod_uid: "local".to_owned(),
                node: "local".to_owned(),
            },
        ))
    }

    /// This token proves these claims.
    pub fn new(token: String, claims: Claims) -> Self {
        Self { token, claims }
    }

    /// The token, for the one who is to show it.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken")
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

impl TokenVerifier for StaticToken {
    fn verify<'a>(&'a self, token: &'a str) -> Verified<'a> {
        let same = verify_slices_are_equal(self.token.as_bytes(), token.as_bytes()).is_ok();
        let answer = if same && !self.token.is_empty() {
            Ok(self.claims.clone())
        } else {
            Err(TokenRefused::Refused("the token is not known".to_owned()))
        };
        Box::pin(std::future::ready(answer))
    }
}
