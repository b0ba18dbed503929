//! `/witness`: a node that plays an auditor cosigns the logs of its federation (C2SP tlog-witness).

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse, get, post};
use actors::auditor::Auditor;
use actors::auditor::witness::{self, Answer, Mirror};
use actors::clock::Clock as _;
use actors::writer::{Act, Desk};
use domain::ids::{Digest, InstitutionId};
use domain::reasons::Reason;
use ledger::mirror::{Evidence, Head};
use ledger::witness::{AddCheckpoint, MAX_REQUEST_BYTES, Refusal};
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{self, Get};
use super::caller;
use super::problem::{Problem, ProblemBody};
use crate::config::History;
use crate::node::Node;
use crate::peers::{self, forks};

/// The body of a refusal that says which size was cosigned last.
const SIZE: &str = "text/x.tlog.size";

/// Registers the routes.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(add).service(last);
}

/// Ask for a cosignature: `old SIZE`, the hashes of a consistency proof, an empty line, and the signed checkpoint.
///
/// Whoever brings it: that the log has signed it is what counts. `200` with the cosignature's line, once it is durable here that it was
/// given; `400` for another form; `403` if no key of the log signed; `404` for a log that is not of this federation; `409` with the size
/// that was cosigned last; `422` if the checkpoint does not go on from there.
#[utoipa::path(tag = "log", request_body(content = String, content_type = "text/plain"), responses(
    (status = 200, description = "The cosignature, a line of a signed note", body = String, content_type = "text/plain"),
    (status = 400, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
    (status = 409, description = "The size that was cosigned last, and a line feed", body = String, content_type = "text/x.tlog.size"),
    (status = 413, body = ProblemBody), (status = 422, body = ProblemBody),
))]
#[post("/witness/add-checkpoint")]
async fn add(node: Data<Node>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    let language = caller::language(&request);
    let answered = async {
        let body = answer::bytes(&request, &mut payload.into_inner(), MAX_REQUEST_BYTES).await?;
        answer::admitted(&node, &request, &body)?;
        node.role::<Auditor>()?;
        match cosigned(&node, &body).await? {
            Answer::Cosigned(line) => Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(line)),
            Answer::Refused(Refusal::Stale(size)) => {
                let answer = HttpResponse::build(StatusCode::CONFLICT).content_type(SIZE).body(format!("{size}\n"));
                Ok(answer)
            }
            Answer::Refused(refusal) => Err(refused(&refusal)),
        }
    };
    answered.await.map_err(|problem: Problem| problem.language(language))
}

/// Judges, what was cosigned before under the writer's lock, and answers when it is durable.
async fn cosigned(node: &Data<Node>, body: &[u8]) -> Result<Answer, Problem> {
    let request = match AddCheckpoint::parse(body) {
        Ok(request) => request,
        Err(refusal) => return Ok(Answer::Refused(refusal)),
    };
    if !node.clock.is_fit() {
        return Err(Reason::ClockOff.into());
    }
    let log = log_of(node, &request);
    let keys = log.map(|log| peers::keys_for(node, log, request.shown().as_bytes()));
    let cosigner = node.keys.cosigner(&node.config.origin()).map_err(|_| Reason::Internal)?;
    let deciding = node.clone();
    let decided = web::block(move || {
        // Whose signature is no good never waits for the lock, nor lets others wait.
        let (signed, institution) = match request.open(keys.as_deref()).map(|signed| (signed, log)) {
            Ok((signed, Some(institution))) => (signed, institution),
            Ok((_, None)) => return Ok((Answer::Refused(Refusal::UnknownLog), None)),
            Err(refusal) => return Ok((Answer::Refused(refusal), None)),
        };
        let unlike = forks::unlike(&deciding, institution, &signed.checkpoint).map(|held| {
            let offered = Head { checkpoint: signed.checkpoint.clone(), note: signed.note().into() };
            let evidence = Evidence { held, offered };
            (evidence.held.note.to_string(), forks::split(&deciding, institution, &evidence, None))
        });
        let (ledger, origin) = (deciding.writer.ledger(), &signed.checkpoint.origin);
        let size = ledger.accepted_size(origin);
        // What the members did not agree on may be longer than what they did: it is no news, whoever brings it.
        let goes_on = |root| signed.continues(&root);
        let is_past =
            |agreed: History| signed.old() >= agreed.size && ledger.root_at(origin, signed.old()).is_some_and(goes_on);
        let is_settled = deciding.agreed(institution).is_some_and(|agreed| !is_past(agreed));
        let mirror = Mirror { institution, size, unlike, is_settled };
        let decide = |desk: &mut Desk<'_>| Ok(witness::add_checkpoint(desk, &signed, &cosigner, mirror));
        deciding.writer.decide(Act::default(), decide).map(|done| (done.answer, Some(done.ticket)))
    });
    let (answer, ticket) = decided.await.map_err(|_| Reason::Busy)?.map_err(|refused| refused.reason())?;
    if let Some(ticket) = ticket {
        node.writer.durable(ticket).await;
    }
    if let Answer::Refused(refusal) = &answer
        && refusal.is_evidence()
    {
        let log = log.map(|log| log.to_string()).unwrap_or_default();
        tracing::error!(log, "the log has signed two histories; the proof is kept");
    }
    Ok(answer)
}

/// Whose log it says it is about, if that is of this federation.
fn log_of(node: &Node, request: &AddCheckpoint) -> Option<InstitutionId> {
    let origin = request.claimed_origin();
    let institution: InstitutionId = origin.strip_prefix(&node.config.federation)?.strip_prefix('/')?.parse().ok()?;
    node.writer.registry().member(institution).map(|_| institution)
}

fn refused(refusal: &Refusal) -> Problem {
    let reason = match refusal {
        Refusal::Form | Refusal::OldTooLarge => Reason::Malformed,
        Refusal::UnknownLog => Reason::NotFound,
        Refusal::NotSigned => Reason::Forbidden,
        Refusal::EmptyRoot | Refusal::Stale(_) | Refusal::NeedlessProof | Refusal::OtherRoot | Refusal::NotProved => {
            Reason::CheckpointUnfit
        }
    };
    Problem::new(reason).detail(refusal)
}

/// The checkpoint that was cosigned last, by SHA-256 of the log's name in lower-case hexadecimal: with the signatures of the log
/// and of this witness.
#[utoipa::path(tag = "log", params(("origin" = String, Path)), responses(
    (status = 200, description = "A signed note", body = String, content_type = "text/plain"),
    (status = 404, description = "Nothing of that log was cosigned", body = ProblemBody),
))]
#[get("/witness/{origin}/checkpoint")]
async fn last(node: Data<Node>, origin: Path<String>, get: Get) -> Result<HttpResponse, Problem> {
    node.role::<Auditor>().map_err(|problem| problem.language(get.language))?;
    let digest: Option<Digest> = origin.parse().ok().filter(|digest: &Digest| digest.to_string() == **origin);
    let found = match digest {
        Some(digest) => answer::read(&node, |work| witness::cosigned(work, digest)).await,
        None => None,
    };
    let cosigned = found.ok_or_else(|| Problem::new(Reason::NotFound).language(get.language))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("text/plain; charset=utf-8")
        .body(cosigned.note))
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::body::to_bytes;
    use actix_web::test::{TestRequest, call_service, init_service};
    use domain::holder::RegistrarEvent;
    use domain::member::{MemberEntry, Purpose, Role};
    use domain::record::Body;
    use ledger::checkpoint::Checkpoint;
    use ledger::key::{NoteSigner, NoteVerifier, PrivateKey};
    use ledger::witness::add_checkpoint;
    use serde_json::Value;
    use utoipa_actix_web::AppExt as _;

    use super::*;
    use crate::api;
    use crate::api::wallet::tests::node_alone;

    macro_rules! serve {
        ($node:expr) => {{
            let app = App::new().app_data($node.clone()).into_utoipa_app();
            let (app, _) = app.configure(api::configure).split_for_parts();
            init_service(app.configure(api::extractors)).await
        }};
    }

    macro_rules! told {
        ($app:expr, $request:expr) => {{
            let response = call_service(&$app, $request.to_request()).await;
            let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
            let status = response.status().as_u16();
            let body = String::from_utf8(to_bytes(response.into_body()).await.unwrap().to_vec()).unwrap();
            (status, kind.unwrap_or_default(), body)
        }};
    }

    macro_rules! shown {
        ($app:expr, $body:expr) => {
            told!($app, TestRequest::post().uri("/witness/add-checkpoint").set_payload($body.to_owned()))
        };
    }

    /// A member whose log key has this seed.
    fn member(seed: &[u8; 32], origin: &str) -> MemberEntry {
        let institution = "issuer-01".parse().unwrap();
        let keys = [PrivateKey::from_seed(seed), PrivateKey::from_seed(&[1; 32]), PrivateKey::from_seed(&[2; 32])];
        let proof = |purpose: Purpose| {
            let message = actors::replica::possession_message(institution, purpose, origin);
            actors::replica::signature_of(&keys[purpose as usize].sign(&message))
        };
        let proofs = [proof(Purpose::Log), proof(Purpose::Node), proof(Purpose::Witness)];
        let keys = keys.each_ref().map(|key| *key.public().as_bytes());
        let (url, roles) = ("http://127.0.0.1:1".to_owned(), vec![Role::Hospital]);
        MemberEntry { institution, roles, url, origin: origin.to_owned(), keys, proofs }
    }

    /// A node of the vectors' federation that plays these roles, and knows their log.
    fn witness(dir: &std::path::Path, roles: &[Role]) -> Data<Node> {
        let mut node = node_alone(dir, roles);
        node.config.federation = "ledger.example".into();
        knows(&mut node, "ledger.example/issuer-01");
        Data::new(node)
    }

    fn knows(node: &mut Node, origin: &str) {
        node.config.log.public = true;
        let seed: [u8; 32] = std::array::from_fn(|n| n as u8);
        let registered = RegistrarEvent::MemberRegistered(member(&seed, origin));
        node.writer
            .decide(Act::default(), |desk| desk.write(Role::Issuer, Body::Registrar(registered.clone())))
            .unwrap();
    }

    #[actix_web::test]
    async fn the_steps_of_the_vectors_are_answered_as_c2sp_says() {
        // The ledger's threads outlive the test by a moment: their directory must too.
        let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
        let node = witness(dir.path(), &Role::ALL);
        let app = serve!(node);
        let vectors = include_str!("../../../tests/vectors/witness.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let path = format!("/witness/{}/checkpoint", vectors["origin_hash_hex"].as_str().unwrap());
        let origin = vectors["origin"].as_str().unwrap();
        let log: NoteVerifier = vectors["log_vkey"].as_str().unwrap().parse().unwrap();
        let own = node.keys.cosigner("ledger.example/xuanwu").unwrap().verifier().clone();
        assert_eq!(told!(app, TestRequest::get().uri(&path)).0, 404);
        for step in vectors["steps"].as_array().unwrap() {
            let (why, body) = (step["why"].as_str().unwrap(), step["body"].as_str().unwrap());
            let (status, kind, answer) = shown!(app, body);
            assert_eq!(u64::from(status), step["status"].as_u64().unwrap(), "{why}: {answer}");
            if let Some(expected) = step["response"].as_str() {
                assert_eq!(
                    (answer.as_str(), kind.as_str()),
                    (expected, step["content_type"].as_str().unwrap()),
                    "{why}"
                );
            }
            if let Some(size) = step["state_after"].as_u64() {
                // What it answers verifies, and what it keeps has both signatures.
                let text = body.split_once("\n\n").unwrap().1.rsplit_once("\n\n").unwrap().0;
                let answered = format!("{text}\n\n{answer}");
                let note = ledger::note::Note::parse(answered).unwrap().verify(std::slice::from_ref(&own)).unwrap();
                assert!(note.signatures()[0].seconds.is_some_and(|at| at > 1_700_000_000), "{why}");
                let (_, _, kept) = told!(app, TestRequest::get().uri(&path));
                let (head, note) = Checkpoint::open_note(kept, origin, &[log.clone(), own.clone()]).unwrap();
                assert_eq!((head.size, note.signatures().len()), (size, 2), "{why}");
            }
        }
        let upper = path.to_uppercase().replace("/WITNESS/", "/witness/").replace("/CHECKPOINT", "/checkpoint");
        assert_eq!(told!(app, TestRequest::get().uri(&upper)).0, 404, "an address has one spelling");
        // Larger than any request, and none at all.
        assert_eq!(shown!(app, "x".repeat(MAX_REQUEST_BYTES + 1)).0, 413);
        assert_eq!(shown!(app, "").0, 400);
    }

    #[actix_web::test]
    async fn two_roots_of_one_size_are_kept_and_not_cosigned() {
        let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
        let node = witness(dir.path(), &Role::ALL);
        let app = serve!(node);
        let seed: [u8; 32] = std::array::from_fn(|n| n as u8);
        let origin = "ledger.example/issuer-01";
        let log = NoteSigner::new(origin, PrivateKey::from_seed(&seed)).unwrap();
        let head =
            |root: u8| Checkpoint { origin: origin.into(), size: 4, root: ledger::merkle::Hash([root; 32]) }.sign(&log);
        assert_eq!(shown!(app, add_checkpoint(0, &[], &head(1))).0, 200);
        // A line that anybody may add is not kept.
        let anybody = NoteSigner::new("elsewhere", PrivateKey::from_seed(&[9; 32])).unwrap();
        let padded = format!("{}{}", head(2), anybody.sign("anything\n"));
        let (status, _, answer) = shown!(app, add_checkpoint(4, &[], &padded));
        assert!(status == 422 && answer.contains("checkpoint-unfit"), "{status} {answer}");
        let kept = |node: &Node| node.writer.read(|work| work.fork("issuer-01".parse().unwrap())).answer;
        let fork = kept(&node).unwrap();
        assert_eq!(fork.offered, head(2));
        let held = fork.held.clone();
        let known = [log.verifier().clone()];
        assert_eq!(Checkpoint::open(&held, origin, &known).unwrap().root, ledger::merkle::Hash([1; 32]));
        // One proof is enough.
        assert_eq!(shown!(app, add_checkpoint(4, &[], &head(3))).0, 422);
        assert_eq!(kept(&node).unwrap(), fork);
    }

    /// Once the members have agreed which history counts, the other one is no news, however long it is; what is shown to go on from the
    /// agreed one and contradicts it is.
    #[actix_web::test]
    async fn a_fork_past_the_settled_one_is_kept_again() {
        let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
        let mut node = node_alone(dir.path(), &Role::ALL);
        let (institution, origin): (InstitutionId, _) = ("issuer-01".parse().unwrap(), "test/issuer-01");
        knows(&mut node, origin);
        let seed: [u8; 32] = std::array::from_fn(|n| n as u8);
        let log = NoteSigner::new(origin, PrivateKey::from_seed(&seed)).unwrap();
        let leaf = |n: u8| vec![ledger::record::FORMAT, n];
        let edge = |leaves: &[u8]| {
            let mut edge = ledger::merkle::Edge::default();
            leaves.iter().for_each(|n| edge.push(ledger::merkle::leaf_hash(&leaf(*n))));
            edge
        };
        let head = |leaves: &[u8]| {
            let edge = edge(leaves);
            Checkpoint { origin: origin.into(), size: edge.size(), root: edge.root() }.sign(&log)
        };
        let held: Vec<Vec<u8>> = (0..4).map(leaf).collect();
        let (held, keys): (Vec<&[u8]>, _) = (held.iter().map(Vec::as_slice).collect(), [log.verifier().clone()]);
        let nothing = ledger::mirror::Held::default();
        let step = ledger::mirror::step(&nothing, head(&[0, 1, 2, 3]).as_bytes(), origin, &keys, &held, &[]).unwrap();
        node.writer.accept(step, institution).unwrap();
        node.writer.durable(node.writer.ledger().last_ticket()).await;
        let root = Digest(edge(&[0, 1]).root().0);
        node.config.registrar.institution = institution;
        node.config.registrar.history = Some(History { size: 2, root });
        let node = Data::new(node);
        let app = serve!(node);
        // Both first entries differ, or only what stands past the agreed two.
        for (leaves, is_kept) in [([9, 1, 2, 3], false), ([0, 1, 2, 9], true)] {
            let proof = [edge(&leaves[2..]).root()];
            let (status, _, answer) = shown!(app, add_checkpoint(2, &proof, &head(&leaves)));
            assert!(status == 409 || status == 422, "{status} {answer}");
            assert_eq!(node.is_forked(institution), is_kept, "{leaves:?}");
        }
    }

    #[actix_web::test]
    async fn who_is_no_auditor_is_no_witness() {
        let dir = std::mem::ManuallyDrop::new(tempfile::tempdir().unwrap());
        let node = witness(dir.path(), &[Role::Issuer]);
        let app = serve!(node);
        let asked = [
            shown!(app, "old 0\n\n"),
            told!(app, TestRequest::get().uri(&format!("/witness/{}/checkpoint", "0".repeat(64)))),
        ];
        for (status, _, answer) in asked {
            assert!(status == 404 && answer.contains("not-my-role"), "{status} {answer}");
        }
    }
}
