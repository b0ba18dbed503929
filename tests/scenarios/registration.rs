//! Registrations that break off between the registrar's answer and what the community keeps of it, come twice at once, or
//! are repeated.

use std::path::Path;
use std::time::Duration;

use domain::member::Role;
use ledger::key::PrivateKey;
use serde_json::{Value, json};

use crate::support::{TestNode, desk, eventually};

const WITHOUT_PHONE: &str = "/v1/community/registrations/without-phone";

fn person(name: &str) -> Value {
    json!({
        "document_type": "resident-id", "document_number": "11010519491231002X", "born": "1949-12-31", "sex": "F",
        "name": name, "phone": null, "class": "elderly",
    })
}

/// What the community asks of the registrar for somebody with a card, as the node that broke off did.
async fn asked_and_lost(issuer: &TestNode, community: &TestNode) -> Value {
    let key = ledger::note::to_base64(PrivateKey::from_seed(&[9; 32]).public().as_bytes());
    let mut body = person("王秀英");
    let asked = json!({
        "community": "xuanwu", "voucher_module": "xuanwu", "main_key": null, "enrolment_keys": {},
        "enrolment_ids": { "checkup": uuid::Uuid::new_v4() },
        "card": { "card": uuid::Uuid::new_v4(), "keys": { "checkup": key } },
    });
    body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
    let (_, answer) = community.post_to(issuer, "/v1/issuer/holders", "lost", &body).await;
    assert!(answer["result"]["holder"].is_string(), "{answer}");
    answer["result"].clone()
}

/// A registrar, and a community that knows its programme.
async fn federation(root: &Path) -> (TestNode, TestNode) {
    let mut issuer = TestNode::new(root, "health", &[Role::Issuer], None);
    issuer.start().await;
    let mut community = TestNode::new(root, "xuanwu", &[Role::Community, Role::Voucher], Some(&issuer));
    desk::register(&issuer, &community).await;
    desk::publish(&issuer, "checkup").await;
    community.start().await;
    let size = issuer.folded("health").await;
    eventually("the community knows the programme", Duration::from_secs(10), || async {
        community.folded("health").await == size
    })
    .await;
    (issuer, community)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_broke_off_is_finished_by_asking_again() {
    let root = tempfile::tempdir().unwrap();
    let (issuer, community) = federation(root.path()).await;
    let granted = asked_and_lost(&issuer, &community).await;

    // The clerk asks again. The registrar knows the person, and the community learns whom it lost, with a card that works.
    let path = WITHOUT_PHONE;
    let (status, answer) = community.post(path, &person("王小红")).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("document-registered")), "another name: {answer}");
    let (status, answer) = community.post(path, &person("王秀英")).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["result"]["holder"], granted["holder"], "{answer}");
    assert_eq!(answer["result"]["enrolments"], granted["enrolments"], "{answer}");
    let number = answer["result"]["card"]["lookup_number"].as_str().unwrap();
    let (status, shown) = community.get(&format!("/v1/community/cards/{number}")).await;
    assert_eq!(status, 200, "{shown}");

    // Who has lost both comes with the document.
    let document = json!({ "document_type": "resident-id", "document_number": "110105 19491231 002x" });
    let (status, known) = community.post("/v1/community/desk/person", &document).await;
    assert_eq!((status, &known["holder"], &known["name_masked"]), (200, &granted["holder"], &json!("王**")), "{known}");
    let whose = json!({ "holder": known["holder"] });
    let (status, renewed) = community.post("/v1/community/cards", &whose).await;
    assert_eq!(status, 201, "{renewed}");
    let other = json!({ "document_type": "passport", "document_number": "11010519491231002X" });
    let (status, answer) = community.post("/v1/community/desk/person", &other).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("holder-unknown")), "{answer}");

    // Whom the community has it does not register a second time.
    let (status, answer) = community.post(path, &person("王秀英")).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("document-registered")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_registrations_at_once_one_prints_a_card_and_it_works() {
    let root = tempfile::tempdir().unwrap();
    let (_issuer, community) = federation(root.path()).await;
    for n in 0..5 {
        let mut asked = person("王秀英");
        asked["document_type"] = json!("passport");
        asked["document_number"] = json!(format!("E1234567{n}"));
        let answers =
            futures_util::future::join_all((0..4).map(|_| async { community.post(WITHOUT_PHONE, &asked).await })).await;
        let (good, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 201);
        assert_eq!(good.len(), 1, "{refused:?}");
        for (status, answer) in refused {
            let seen = (status, answer["code"].as_str().unwrap_or_default());
            assert!(matches!(seen, (503, "busy") | (409, "document-registered")), "{answer}");
        }
        let (_, registered) = &good[0];
        let (holder, card) = (&registered["result"]["holder"], &registered["result"]["card"]);
        let (status, known) =
            community.get(&format!("/v1/community/cards/{}", card["lookup_number"].as_str().unwrap())).await;
        assert_eq!((status, &known["items"][0]["holder"]), (200, holder), "{known}");
        assert_eq!(known["items"].as_array().unwrap().len(), 1, "{known}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_registration_does_nothing_again_and_shows_no_card() {
    let root = tempfile::tempdir().unwrap();
    let (_issuer, community) = federation(root.path()).await;
    let asked = person("王秀英");
    let (status, first) = community.post_as(WITHOUT_PHONE, "twice", &asked).await.unwrap();
    assert_eq!((status, &first["repeated"]), (201, &json!(false)), "{first}");
    let (status, again) = community.post_as(WITHOUT_PHONE, "twice", &asked).await.unwrap();
    assert_eq!((status, &again["repeated"], &again["result"]), (201, &json!(true), &Value::Null), "{again}");
    let (status, other) = community.post_as(WITHOUT_PHONE, "twice", &person("王小红")).await.unwrap();
    assert_eq!((status, other["code"].as_str()), (422, Some("idempotency-key-reused")), "{other}");

    // A new card replaces the printed one; asking twice replaces it once.
    let whose = json!({ "holder": first["result"]["holder"] });
    let (status, card) = community.post_as("/v1/community/cards", "card", &whose).await.unwrap();
    assert_eq!(status, 201, "{card}");
    let (status, again) = community.post_as("/v1/community/cards", "card", &whose).await.unwrap();
    assert_eq!((status, &again["repeated"], &again["result"]), (201, &json!(true), &Value::Null), "{again}");
    let number = card["result"]["card"]["lookup_number"].as_str().unwrap();
    assert_eq!(community.get(&format!("/v1/community/cards/{number}")).await.0, 200);
}
