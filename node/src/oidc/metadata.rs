//! What a provider says of itself (OpenID Connect Discovery 1.0), and whether it may be used. It knows no network.

use serde::Deserialize;

use super::settings::check_url;
use crate::api::json;

/// Where a provider says it, behind its issuer.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// The way of PKCE that is used.
const S256: &str = "S256";

/// What is needed of a provider's document; the rest is not looked at.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    issuer: String,
    /// Where browsers are sent to sign in.
    pub authorization_endpoint: String,
    /// Where codes are redeemed.
    pub token_endpoint: String,
    /// Where its public keys are.
    pub jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
}

/// Why a provider's document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It is no such document.
    #[error("the discovery document cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It is another provider's.
    #[error("the discovery document is of the issuer {0:?}")]
    OtherIssuer(String),
    /// Secrets would be sent where they are seen.
    #[error("{field}: {why}")]
    Endpoint {
        /// Which.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// Codes would not be protected.
    #[error("the provider does not offer PKCE with S256")]
    NoPkce,
}

/// The URL of a provider's document.
#[must_use]
pub fn well_known(issuer: &str) -> String {
    format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'))
}

impl Metadata {
    /// Reads a provider's document.
    ///
    /// # Errors
    ///
    /// [`Unfit`].
    pub fn parse(bytes: &[u8], issuer: &str) -> Result<Self, Unfit> {
        let said: Self = json::read(bytes)?;
        if said.issuer != issuer {
            return Err(Unfit::OtherIssuer(said.issuer));
        }
        let endpoints = [
            ("authorization_endpoint", &said.authorization_endpoint),
            ("token_endpoint", &said.token_endpoint),
            ("jwks_uri", &said.jwks_uri),
        ];
        for (field, url) in endpoints {
            check_url(url).map_err(|why| Unfit::Endpoint { field, why })?;
            if issuer.starts_with("https:") && !url.starts_with("https:") {
                return Err(Unfit::Endpoint { field, why: "https, as the issuer" });
            }
        }
        if said.code_challenge_methods_supported.as_ref().is_some_and(|all| !all.iter().any(|one| one == S256)) {
            return Err(Unfit::NoPkce);
        }
        Ok(said)
    }

    /// Whether the node says its secret in the body, because the provider does not take it in the header.
    #[must_use]
    pub fn takes_secret_in_body_alone(&self) -> bool {
        let offered = |method: &str| {
            self.token_endpoint_auth_methods_supported.as_ref().is_some_and(|all| all.iter().any(|one| one == method))
        };
        offered("client_secret_post") && !offered("client_secret_basic")
    }

    /// Whether what comes back names this provider (RFC 9207): always, if it says that it always does.
    #[must_use]
    pub fn is_named_by(&self, iss: Option<&str>) -> bool {
        match iss {
            Some(iss) => iss == self.issuer,
            None => self.authorization_response_iss_parameter_supported != Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://idp.example/town";

    fn parse(field: &str, value: Value) -> Result<Metadata, String> {
        let mut document = json!({
            "issuer": ISSUER, "authorization_endpoint": "https://idp.example/authorize",
            "token_endpoint": "https://idp.example/token", "jwks_uri": "https://idp.example/keys", "more": [1],
        });
        document[field] = value;
        Metadata::parse(document.to_string().as_bytes(), ISSUER).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn a_document_is_its_issuers_and_its_endpoints_are_safe() {
        assert_eq!(well_known(ISSUER), "https://idp.example/town/.well-known/openid-configuration");
        assert_eq!(well_known("https://idp.example/"), "https://idp.example/.well-known/openid-configuration");
        assert!(parse("more", Value::Null).is_ok());
        let table = [
            ("issuer", json!("https://idp.example/town/"), "issuer"),
            ("issuer", Value::Null, "cannot be read"),
            ("authorization_endpoint", json!("http://idp.example/authorize"), "authorization_endpoint"),
            ("token_endpoint", json!("http://127.0.0.1/token"), "token_endpoint: https, as the issuer"),
            ("jwks_uri", json!("file:///etc/keys"), "jwks_uri"),
            ("code_challenge_methods_supported", json!(["plain"]), "PKCE"),
        ];
        for (field, value, said) in table {
            let error = parse(field, value.clone()).unwrap_err();
            assert!(error.contains(said), "{field} {value}: {error}");
        }
    }

    #[test]
    fn who_always_names_itself_is_not_believed_without() {
        let silent = parse("more", Value::Null).unwrap();
        let named = parse("authorization_response_iss_parameter_supported", json!(true)).unwrap();
        for (iss, by_silent, by_named) in
            [(None, true, false), (Some(ISSUER), true, true), (Some("https://mallory.example"), false, false)]
        {
            assert_eq!((silent.is_named_by(iss), named.is_named_by(iss)), (by_silent, by_named), "{iss:?}");
        }
    }

    #[test]
    fn the_secret_goes_where_the_provider_takes_it() {
        let methods = |value| parse("token_endpoint_auth_methods_supported", value).unwrap();
        assert!(!methods(Value::Null).takes_secret_in_body_alone());
        assert!(!methods(json!(["client_secret_basic", "client_secret_post"])).takes_secret_in_body_alone());
        assert!(methods(json!(["client_secret_post"])).takes_secret_in_body_alone());
    }
}
