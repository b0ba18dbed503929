//! Membership (unit B1): registering institutions, how they stand, their keys, lines and the federation's numbers.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, post};
use actors::issuer::{Command, Standing};
use actors::replica::signature_of;
use domain::ids::{Digest, InstitutionId};
use domain::member::{MemberEntry, Parameters, Purpose, Role};
use domain::reasons::Reason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{asked_of_two, by_two, bytes, parsed};
use crate::accounts::permission::Permission;
use crate::api::answer::Nothing;
use crate::api::answer::{Post, Receipt};
use crate::api::approvals::{self, Asked, Came};
use crate::api::problem::{Problem, ProblemBody};
use crate::config::{check_node_url, is_loopback};
use crate::node::Node;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(register)
        .service(change)
        .service(suspend)
        .service(restore)
        .service(revoke)
        .service(freeze)
        .service(succeed_log)
        .service(succeed_issuer)
        .service(rotate)
        .service(parameters);
}

/// One text for each of the three keys, base64.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Three {
    /// Signs checkpoints.
    log: String,
    /// Signs QR tokens.
    node: String,
    /// Signs cosignatures.
    witness: String,
}

impl Three {
    fn read<const N: usize>(&self, what: &str) -> Result<[[u8; N]; 3], Problem> {
        Ok([bytes(what, &self.log)?, bytes(what, &self.node)?, bytes(what, &self.witness)?])
    }
}

/// A join file, as `voucher-node init` makes it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Join {
    /// 1 to 24 characters of a-z, 0-9, `-`.
    #[schema(value_type = String)]
    pub(crate) institution: InstitutionId,
    /// In the order issuer, community, voucher, hospital, auditor; each once.
    #[schema(value_type = Vec<String>)]
    pub(crate) roles: Vec<Role>,
    /// Base URL of its node, at most 200 bytes.
    pub(crate) url: String,
    /// The name of its log.
    pub(crate) origin: String,
    /// Ed25519 public keys, 32 bytes each.
    pub(crate) keys: Three,
    /// Proofs of possession, 64 bytes each.
    pub(crate) proofs: Three,
}

/// Every member calls this URL: it leads to another machine over TLS, or to this one where the registrar itself is reached so.
fn check_url(url: &str, registrar: &str) -> Result<(), Problem> {
    check_node_url(url).map_err(|why| Problem::malformed(format!("url: {why}")))?;
    let here = |url: &str| url.parse().is_ok_and(|url| is_loopback(&url));
    if here(url) && !here(registrar) {
        return Err(Problem::malformed("url: an address of this machine would lead every member to itself"));
    }
    Ok(())
}

/// Register an institution from its join file.
///
/// `202` until a second person consents, then there `201`; `409` `member-exists`, `key-registered`, `key-unfit`.
#[utoipa::path(tag = "issuer", request_body = Join, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members")]
async fn register(node: Data<Node>, request: HttpRequest, post: Post<Join>) -> Result<HttpResponse, Problem> {
    registered(&node, request.uri().path(), post).await.map(approvals::told)
}

/// Asks for an institution to be registered, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn registered(node: &Node, path: &str, post: Post<Join>) -> Result<Came, Problem> {
    let here = node.config.http.url.clone();
    asked_of_two(node, path, Permission::ManageMembers, post, move |join, _| {
        check_url(&join.url, &here)?;
        let keys = join.keys.read("a key")?;
        let proofs = join.proofs.read::<64>("a proof")?.map(|proof| signature_of(&proof));
        let Join { institution, roles, url, origin, .. } = join;
        let (institution, roles, url, origin) = (*institution, roles.clone(), url.clone(), origin.clone());
        Ok(Command::RegisterMember(Box::new(MemberEntry { institution, roles, url, origin, keys, proofs })))
    })
    .await
}

/// Roles and URL of a member.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// In order, each once.
    #[schema(value_type = Vec<String>)]
    roles: Vec<Role>,
    /// Base URL of its node, at most 200 bytes.
    url: String,
}

/// Give a member other roles or another URL.
#[utoipa::path(tag = "issuer", params(("id" = String, Path)), request_body = Change, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members/{id}/changes")]
async fn change(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    post: Post<Change>,
) -> Result<HttpResponse, Problem> {
    let here = node.config.http.url.clone();
    by_two(&node, &request, Permission::ManageMembers, post, move |Change { roles, url }, _| {
        check_url(url, &here)?;
        let (institution, roles, url) = (parsed("a member's id", &id)?, roles.clone(), url.clone());
        Ok(Command::ChangeMember { institution, roles, url })
    })
    .await
}

/// From where on a member stands otherwise.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// The index in the member's log from which it holds; the size known here if it is absent.
    pub(crate) from: Option<u64>,
    /// A key was stolen: `from` may lie below the size known here.
    #[serde(default)]
    pub(crate) key_stolen: bool,
}

async fn stand(
    node: &Node,
    request: &HttpRequest,
    id: Path<String>,
    post: Post<Line>,
    standing: Standing,
) -> Result<HttpResponse, Problem> {
    stood(node, request.uri().path(), id.into_inner(), post, standing).await.map(approvals::told)
}

/// Asks for a member to stand otherwise, for REST and pages.
///
/// # Errors
///
/// As the routes that follow.
pub(crate) async fn stood(
    node: &Node,
    path: &str,
    id: String,
    post: Post<Line>,
    standing: Standing,
) -> Result<Came, Problem> {
    asked_of_two(node, path, Permission::ManageMembers, post, move |line, approver| {
        let (institution, Line { from, key_stolen }) = (parsed("a member's id", &id)?, *line);
        Ok(Command::Stand { institution, standing, from, key_stolen, approver })
    })
    .await
}

/// Suspend a member: what it writes does not count until it is restored.
///
/// `202` until a second person consents, then there `201`; `409` `member-unknown`, `wrong-state`, `bad-window`; `403` for the registrar itself.
#[utoipa::path(tag = "issuer", params(("id" = String, Path)), request_body = Line, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members/{id}/suspension")]
async fn suspend(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    post: Post<Line>,
) -> Result<HttpResponse, Problem> {
    stand(&node, &request, id, post, Standing::Suspended).await
}

/// Restore a suspended member.
#[utoipa::path(tag = "issuer", params(("id" = String, Path)), request_body = Line, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members/{id}/restoration")]
async fn restore(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    post: Post<Line>,
) -> Result<HttpResponse, Problem> {
    stand(&node, &request, id, post, Standing::Restored).await
}

/// Revoke a member for good.
#[utoipa::path(tag = "issuer", params(("id" = String, Path)), request_body = Line, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members/{id}/revocation")]
async fn revoke(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    post: Post<Line>,
) -> Result<HttpResponse, Problem> {
    stand(&node, &request, id, post, Standing::Revoked).await
}

/// Up to where a log counts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Freeze {
    /// What it holds up to this size counts.
    size: u64,
    /// The root at that size, hexadecimal.
    #[schema(value_type = String)]
    root: Digest,
}

/// Draw the line for a log that has shown two histories.
#[utoipa::path(tag = "issuer", params(("id" = String, Path)), request_body = Freeze, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members/{id}/freeze")]
async fn freeze(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    post: Post<Freeze>,
) -> Result<HttpResponse, Problem> {
    let held = node.clone();
    by_two(&node, &request, Permission::ManageMembers, post, move |freeze, approver| {
        let (institution, Freeze { size, root }) = (parsed("a member's id", &id)?, *freeze);
        must_be_root(&held, institution, size, root)?;
        Ok(Command::Freeze { institution, size, root, approver })
    })
    .await
}

/// A root that is to be published is the one that this node holds, as far as it holds the log.
fn must_be_root(node: &Node, institution: InstitutionId, size: u64, root: Digest) -> Result<(), Problem> {
    let origin = node.writer.logs().origin(institution);
    match node.writer.ledger().root_at(&origin, size) {
        Some(held) if held.0 != root.0 => {
            let held = Digest(held.0);
            Err(Problem::new(Reason::BadName).detail(format_args!("the root of {institution} at {size} is {held}")))
        }
        _ => Ok(()),
    }
}

/// Where a log ends and which one goes on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogSuccession {
    /// What the old log holds up to this size counts.
    size: u64,
    /// The root at that size, hexadecimal.
    #[schema(value_type = String)]
    root: Digest,
    /// The member whose log goes on; it plays all roles of the other.
    #[schema(value_type = String)]
    successor: InstitutionId,
}

/// Let another log go on where a member's has ended: what that member held passes to it.
///
/// `202` until a second person consents, then there `201`; `409` `member-unknown`, `wrong-role`, `wrong-state`, `bad-window`, `bad-name`; `403` for the
/// registrar itself.
#[utoipa::path(tag = "issuer", params(("id" = String, Path)), request_body = LogSuccession, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members/{id}/log-succession")]
async fn succeed_log(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    post: Post<LogSuccession>,
) -> Result<HttpResponse, Problem> {
    let held = node.clone();
    by_two(&node, &request, Permission::ManageMembers, post, move |succession, approver| {
        let (institution, LogSuccession { size, root, successor }) = (parsed("a member's id", &id)?, *succession);
        must_be_root(&held, institution, size, root)?;
        Ok(Command::SucceedLog { institution, size, root, successor, approver })
    })
    .await
}

/// Which issuer goes on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IssuerSuccession {
    /// The issuer that goes on.
    #[schema(value_type = String)]
    successor: InstitutionId,
}

/// Let another issuer go on with the vouchers of one that is gone.
///
/// `202` until a second person consents, then there `201`; `409` `member-unknown`, `wrong-role`, `wrong-state`; `403` for the registrar itself.
#[utoipa::path(tag = "issuer", params(("id" = String, Path)), request_body = IssuerSuccession, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members/{id}/issuer-succession")]
async fn succeed_issuer(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    post: Post<IssuerSuccession>,
) -> Result<HttpResponse, Problem> {
    by_two(&node, &request, Permission::ManageMembers, post, move |succession, approver| {
        let (issuer, successor) = (parsed("a member's id", &id)?, succession.successor);
        Ok(Command::SucceedIssuer { issuer, successor, approver })
    })
    .await
}

/// Another key for a member.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// `log`, `node` or `witness`.
    #[schema(value_type = String)]
    purpose: Purpose,
    /// The new public key, 32 bytes in base64.
    key: String,
    /// Proof of possession by the new key, 64 bytes in base64.
    proof: String,
    /// The old key's signature over the same message and the new key, 64 bytes in base64; absent after loss or theft.
    by_old: Option<String>,
    /// The size of the member's log up to which heads by the old log key hold; the size known here if it is absent.
    from: Option<u64>,
    /// The old key was stolen: `from` may lie below the size known here.
    #[serde(default)]
    key_stolen: bool,
}

/// Replace one of a member's keys.
///
/// `202` until a second person consents, then there `201`; `409` `key-unfit`, `key-registered`.
#[utoipa::path(tag = "issuer", params(("id" = String, Path)), request_body = Rotation, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 409, body = ProblemBody),
))]
#[post("/v1/issuer/members/{id}/key")]
async fn rotate(
    node: Data<Node>,
    request: HttpRequest,
    id: Path<String>,
    post: Post<Rotation>,
) -> Result<HttpResponse, Problem> {
    rotated(&node, request.uri().path(), id.into_inner(), post).await.map(approvals::told)
}

/// Asks for a member's key to be replaced, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn rotated(node: &Node, path: &str, id: String, post: Post<Rotation>) -> Result<Came, Problem> {
    asked_of_two(node, path, Permission::ChangeKeys, post, move |rotation, approver| {
        let Rotation { from, key_stolen, .. } = *rotation;
        let by_old = rotation.by_old.as_deref().map(|text| bytes("by_old", text)).transpose()?;
        Ok(Command::RotateKey {
            institution: parsed("a member's id", &id)?,
            purpose: rotation.purpose,
            key: bytes("key", &rotation.key)?,
            proof: Box::new(signature_of(&bytes("proof", &rotation.proof)?)),
            by_old: by_old.map(|signature| Box::new(signature_of(&signature))),
            from,
            key_stolen,
            approver,
        })
    })
    .await
}

/// Publish the federation's numbers, in milliseconds.
///
/// `202` until a second person consents, then there `201`; `400` outside ten years, or for a record format that this node cannot read.
#[utoipa::path(tag = "issuer", request_body = Object, responses(
    (status = 202, body = Asked), (status = 201, body = Receipt<Nothing>), (status = 400, body = ProblemBody),
))]
#[post("/v1/issuer/parameters")]
async fn parameters(node: Data<Node>, request: HttpRequest, post: Post<Parameters>) -> Result<HttpResponse, Problem> {
    numbered(&node, request.uri().path(), post).await.map(approvals::told)
}

/// Asks for the federation's numbers to be published, for REST and pages.
///
/// # Errors
///
/// As above.
pub(crate) async fn numbered(node: &Node, path: &str, post: Post<Parameters>) -> Result<Came, Problem> {
    asked_of_two(node, path, Permission::SetParameters, post, |numbers, _| Ok(Command::SetParameters(*numbers))).await
}
