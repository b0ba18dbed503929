//! A holder's phone in tests: it signs as the terminal does.

use actors::clock::Clock as _;
use actors::token::{HolderKey, vp1};
use node::clock::NodeClock;
use serde_json::{Value, json};

use super::TestNode;

/// Somebody's phone, with the key of the person and of one programme, `checkup`.
pub struct Phone {
    pub main: HolderKey,
    pub checkup: HolderKey,
}

impl Phone {
    /// What it signs, by the person's key.
    pub fn sign(&self, step: vp1::Step) -> String {
        let iat = NodeClock::real().now().secs();
        let kid = self.main.public().key_id();
        let claims = vp1::Claims { kid, iat, cti: rand::random(), step };
        vp1::sign(&claims, &self.main).unwrap()
    }

    /// What it shows at a desk, by the enrolment's key.
    pub fn show(&self, enrolment: uuid::Uuid, step: vp1::Step) -> String {
        let mut kid = [0; 8];
        kid.copy_from_slice(&enrolment.as_bytes()[..8]);
        let claims = vp1::Claims { kid, iat: NodeClock::real().now().secs(), cti: rand::random(), step };
        vp1::sign(&claims, &self.checkup).unwrap()
    }

    /// GETs what is the holder's own.
    pub async fn get(&self, node: &TestNode, path: &str) -> Value {
        let request = vp1::request_digest("GET", path, &[]);
        let token = self.sign(vp1::Step::Wallet { audience: node.id.to_owned(), request });
        let asked = reqwest::Client::new().get(format!("{}{path}", node.url));
        let answer = asked.header("Authorization", format!("VP1 {token}")).send().await.unwrap();
        answer.json().await.unwrap_or(Value::Null)
    }

    /// Sends JSON as the holder.
    pub async fn send(&self, node: &TestNode, method: reqwest::Method, path: &str, body: &Value) -> (u16, Value) {
        let body = serde_json::to_vec(body).unwrap();
        let request = vp1::request_digest(method.as_str(), path, &body);
        let token = self.sign(vp1::Step::Wallet { audience: node.id.to_owned(), request });
        let request = reqwest::Client::new()
            .request(method, format!("{}{path}", node.url))
            .header("Authorization", format!("VP1 {token}"))
            .header("Idempotency-Key", uuid::Uuid::new_v4().to_string())
            .header("Content-Type", "application/json")
            .body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Registers somebody of the community's list, as the terminal and the desk do: the answer's `holder`.
    pub async fn register(&self, community: &TestNode, person: Value) -> Value {
        let document = [&person["document_type"], &person["document_number"]].map(Clone::clone);
        let (status, listed) = community.post("/v1/community/residents", &json!({ "residents": [person] })).await;
        assert_eq!((status, listed["result"]["added"].as_u64()), (201, Some(1)), "{listed}");

        let main_key = self.sign(vp1::Step::Register { key: self.main.public() });
        let keys = json!({ "main_key": main_key, "enrolment_keys": { "checkup": self.checkup.public().to_string() } });
        let path = "/v1/community/registrations";
        let (status, announced) = self.send(community, reqwest::Method::POST, path, &keys).await;
        assert_eq!(status, 201, "{announced}");
        let thumbprint = announced["result"]["thumbprint"].as_str().unwrap();
        let qr = self.sign(vp1::Step::Register { key: self.main.public() });
        let form = json!({ "document_type": document[0], "document_number": document[1], "qr": qr });
        let (status, done) = community.post(&format!("{path}/{thumbprint}/completion"), &form).await;
        assert_eq!(status, 201, "{done}");
        done["result"]["holder"].clone()
    }
}
