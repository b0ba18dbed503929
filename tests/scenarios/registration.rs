//! A registration that breaks off between the registrar's answer and what the community keeps of it.

use std::time::Duration;

use domain::member::Role;
use ledger::key::PrivateKey;
use serde_json::{Value, json};

use crate::support::{TestNode, desk, eventually};

fn person(name: &str) -> Value {
    json!({
        "document_type": "resident-id", "document_number": "11010519491231002X", "born": "1949-12-31", "sex": "F",
        "name": name, "phone": null, "class": "elderly",
    })
}

/// What the community asks of the registrar for somebody with a card, as the node that broke off did.
async fn asked_and_lost(issuer: &TestNode) -> Value {
    let key = ledger::note::to_base64(PrivateKey::from_seed(&[9; 32]).public().as_bytes());
    let mut body = person("王秀英");
    let asked = json!({
        "community": "xuanwu", "voucher_module": "xuanwu", "main_key": null, "enrolment_keys": {},
        "enrolment_ids": { "checkup": uuid::Uuid::new_v4() },
        "card": { "card": uuid::Uuid::new_v4(), "keys": { "checkup": key } },
    });
    body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
    let request = reqwest::Client::new().post(format!("{}/v1/issuer/holders", issuer.url));
    let request = request.header("Institution", "xuanwu").header("Idempotency-Key", "lost").json(&body);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(answer["result"]["holder"].is_string(), "{answer}");
    answer["result"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_broke_off_is_finished_by_asking_again() {
    let root = tempfile::tempdir().unwrap();
    let mut issuer = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut community = TestNode::new(root.path(), "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    desk::register(&issuer, &community).await;
    desk::publish(&issuer, "checkup").await;
    community.start().await;
    let size = issuer.folded("health").await;
    eventually("the community knows the programme", Duration::from_secs(10), || async {
        community.folded("health").await == size
    })
    .await;
    let granted = asked_and_lost(&issuer).await;

    // The clerk asks again. The registrar knows the person, and the community learns whom it lost, with a card that works.
    let path = "/v1/community/registrations/without-phone";
    let (status, answer) = community.post(path, &person("王小红")).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("document-registered")), "another name: {answer}");
    let (status, answer) = community.post(path, &person("王秀英")).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["result"]["holder"], granted["holder"], "{answer}");
    assert_eq!(answer["result"]["enrolments"], granted["enrolments"], "{answer}");
    let number = answer["result"]["card"]["lookup_number"].as_str().unwrap();
    let (status, shown) = community.get(&format!("/v1/community/cards/{number}")).await;
    assert_eq!(status, 200, "{shown}");

    // Whom the community has it does not register a second time.
    let (status, answer) = community.post(path, &person("王秀英")).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("document-registered")), "{answer}");
}
