//! What an operator says about the identity provider: the section `[oidc]` of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The route to which a provider sends a browser back; `redirect_url` ends with it.
pub const CALLBACK: &str = "/v1/sessions/oidc/callback";

/// Longest URL of a provider, in bytes.
pub const MAX_URL_BYTES: usize = 500;

/// Longest name of a client or an audience, in bytes.
pub const MAX_NAME_BYTES: usize = 200;

/// Where operators sign in, and whose JWTs their machines may show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The provider's name for itself: `iss` of all that it signs, to the letter.
    pub issuer: String,
    /// This node's name at the provider.
    pub client_id: String,
    /// A file with the secret of that name, mode 600. Without it the node is a public client, and PKCE alone protects codes.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// The callback of this node as browsers reach it.
    pub redirect_url: String,
    /// What `aud` of a machine's JWT must name; without it no JWT is taken.
    #[serde(default)]
    pub audience: Option<String>,
    /// What is asked for at sign-in.
    #[serde(default = "scopes")]
    pub scopes: String,
    /// How long ago somebody may have proved to the provider who they are, in seconds; 0 for anew each time. Not asked for
    /// unless it is said.
    #[serde(default)]
    pub max_age_secs: Option<u32>,
    /// How somebody must have proved it (`acr`), such as a level with a second factor. What the provider says must be this.
    #[serde(default)]
    pub acr: Option<String>,
    /// A file with the certificates (PEM) of a private authority, which alone is trusted for the provider then.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn scopes() -> String {
    "openid profile".to_owned()
}

/// Checks a URL to which secrets or browsers are sent: over TLS, or to this machine alone.
///
/// # Errors
///
/// What it must be, in words for an operator.
pub fn check_url(text: &str) -> Result<(), &'static str> {
    let Ok(url) = reqwest::Url::parse(text) else { return Err("a URL begins with https:// and a host") };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if host.is_empty() || !(url.scheme() == "https" || url.scheme() == "http" && is_loopback) {
        return Err("https, or http to a loopback address such as 127.0.0.1");
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('#') {
        return Err("a URL of a provider has no user and no #");
    }
    if text.len() > MAX_URL_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("at most 500 bytes of visible ASCII");
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl Settings {
    /// Checks each value.
    ///
    /// # Errors
    ///
    /// The field, and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        check_url(&self.issuer).map_err(|why| ("oidc.issuer", why))?;
        if self.issuer.contains('?') {
            return Err(("oidc.issuer", "an issuer has no ?"));
        }
        if !is_name(&self.client_id) {
            return Err(("oidc.client_id", "1 to 200 bytes of visible ASCII"));
        }
        check_url(&self.redirect_url).map_err(|why| ("oidc.redirect_url", why))?;
        if !self.redirect_url.ends_with(CALLBACK) || self.redirect_url.contains('?') {
            return Err(("oidc.redirect_url", "it ends with /v1/sessions/oidc/callback"));
        }
        match &self.audience {
            Some(audience) if !is_name(audience) => {
                return Err(("oidc.audience", "1 to 200 bytes of visible ASCII"));
            }
            // What a person got at sign-in would be a machine's key.
            Some(audience) if *audience == self.client_id => {
                return Err(("oidc.audience", "another name than oidc.client_id"));
            }
            _ => {}
        }
        if self.acr.as_ref().is_some_and(|acr| !is_name(acr)) {
            return Err(("oidc.acr", "1 to 200 bytes of visible ASCII: one value"));
        }
        let mut words = self.scopes.split(' ');
        if self.scopes.len() > MAX_URL_BYTES || !words.clone().all(is_name) || !words.any(|word| word == "openid") {
            return Err(("oidc.scopes", "words parted by single spaces, openid among them"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings for a provider on this machine.
    pub(crate) fn settings() -> Settings {
        Settings {
            issuer: "http://127.0.0.1:9000".into(),
            client_id: "voucher-node".into(),
            client_secret_file: None,
            redirect_url: "http://127.0.0.1:7101/v1/sessions/oidc/callback".into(),
            audience: Some("vouchers".into()),
            scopes: scopes(),
            max_age_secs: None,
            acr: None,
            ca_file: None,
        }
    }

    /// Puts a value in its field.
    type Set = fn(&mut Settings, String);

    #[test]
    fn a_value_that_cannot_be_is_named() {
        assert_eq!(settings().check(), Ok(()));
        let table: [(&str, Set, &[&str]); 6] = [
            ("oidc.acr", |s, v| s.acr = Some(v), &["", "one two", "级"]),
            (
                "oidc.issuer",
                |s, v| s.issuer = v,
                &[
                    "",
                    "idp",
                    "http://idp.example",
                    "http://localhost:9000",
                    "ftp://127.0.0.1",
                    "https://u:p@idp.example",
                    "https://idp.example#x",
                    "https://idp.example?x",
                    "https://idp.example/a b",
                ],
            ),
            ("oidc.client_id", |s, v| s.client_id = v, &["", "a b", "号"]),
            (
                "oidc.redirect_url",
                |s, v| s.redirect_url = v,
                &[
                    "https://node.example",
                    "http://node.example/v1/sessions/oidc/callback",
                    "https://node.example/v1/sessions/oidc/callback/",
                    "https://node.example/?/v1/sessions/oidc/callback",
                ],
            ),
            ("oidc.audience", |s, v| s.audience = Some(v), &["", "a b", "voucher-node"]),
            ("oidc.scopes", |s, v| s.scopes = v, &["", "profile", "openid  profile", "openid\tprofile"]),
        ];
        for (field, set, values) in table {
            for value in values {
                let mut settings = settings();
                set(&mut settings, (*value).to_owned());
                assert_eq!(settings.check().map_err(|(named, _)| named), Err(field), "{value}");
            }
        }
        for issuer in ["https://idp.example/realms/town", "https://idp.example/", "http://[::1]:9000"] {
            assert_eq!(Settings { issuer: issuer.into(), ..settings() }.check(), Ok(()), "{issuer}");
        }
    }
}
