//! A desk: a clerk of one institution who calls its node.

use serde_json::Value;

use super::client::{Answer, As, CallError, Client};

/// A desk.
#[derive(Clone)]
pub struct Desk {
    client: Client,
    /// Whose desk.
    pub institution: String,
    operator: String,
}

impl Desk {
    /// A desk of an institution, with its clerk.
    #[must_use]
    pub fn new(client: &Client, institution: &str, operator: &str) -> Self {
        Self { client: client.clone(), institution: institution.to_owned(), operator: operator.to_owned() }
    }

    /// GETs from the institution's own node.
    ///
    /// # Errors
    ///
    /// Nobody answers; a refusal is an answer.
    pub async fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.client.get(As::Operator(&self.operator), &self.institution, path).await
    }

    /// POSTs to the institution's own node.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn post(&self, path: &str, body: Value) -> Result<Answer, CallError> {
        self.client.post(As::Operator(&self.operator), &self.institution, path, &body).await
    }

    /// All items of a list, page by page; `path` has no query of its own.
    ///
    /// # Errors
    ///
    /// Nobody answers, or a page is refused.
    pub async fn all(&self, path: &str) -> Result<Vec<Value>, CallError> {
        let mut items = Vec::new();
        let mut query = "?limit=1000".to_owned();
        loop {
            let page = self.get(&format!("{path}{query}")).await?.good()?;
            items.extend(page.list("/items")?.iter().cloned());
            match page.body["next"].as_str() {
                Some(next) => query = format!("?limit=1000&cursor={next}"),
                None => return Ok(items),
            }
        }
    }
}
