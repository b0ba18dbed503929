//! A desk: a clerk of one institution who calls its node.

use serde_json::{Value, json};

use super::client::{Answer, As, CallError, Client};

/// A desk.
#[derive(Clone)]
pub(super) struct Desk {
    client: Client,
    /// Whose desk.
    pub(super) institution: String,
    operator: String,
}

impl Desk {
    /// A desk of an institution, with its clerk.
    #[must_use]
    pub(super) fn new(client: &Client, institution: &str, operator: &str) -> Self {
        Self { client: client.clone(), institution: institution.to_owned(), operator: operator.to_owned() }
    }

    /// GETs from the institution's own node.
    ///
    /// # Errors
    ///
    /// Nobody answers; a refusal is an answer.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.client.get(As::Operator(&self.operator), &self.institution, path).await
    }

    /// POSTs to the institution's own node.
    ///
    /// # Errors
    ///
    /// As above.
    pub(super) async fn post(&self, path: &str, body: Value) -> Result<Answer, CallError> {
        self.client.post(As::Operator(&self.operator), &self.institution, path, &body).await
    }

    /// POSTs what a second person must consent to, and has that person do it: the last answer of the two.
    ///
    /// # Errors
    ///
    /// As above.
    pub(super) async fn post_with(&self, second: &Self, path: &str, body: Value) -> Result<Answer, CallError> {
        let asked = self.post(path, body).await?;
        if asked.status == 202 { second.consent(&asked).await } else { Ok(asked) }
    }

    /// Consents to what somebody else has asked for.
    ///
    /// # Errors
    ///
    /// As above.
    pub(super) async fn consent(&self, asked: &Answer) -> Result<Answer, CallError> {
        let path = format!("/v1/approvals/{}/consent", asked.text("/approval")?);
        self.post(&path, json!({ "request": asked.text("/request")? })).await
    }

    /// The same POST twice, as after a lost answer: both answers.
    ///
    /// # Errors
    ///
    /// As above.
    pub(super) async fn post_twice(&self, path: &str, body: Value) -> Result<[Answer; 2], CallError> {
        let key = uuid::Uuid::new_v4().to_string();
        let who = As::Operator(&self.operator);
        let first = self.client.post_as(who, &self.institution, path, &body, &key).await?;
        let again = self.client.post_as(who, &self.institution, path, &body, &key).await?;
        Ok([first, again])
    }
}
