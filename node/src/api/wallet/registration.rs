//! A phone that is not registered yet: what it announces goes to its community, by way of this node, whose page it has open.

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use actors::voucher::VoucherModule;
use domain::ids::InstitutionId;
use domain::member::Role;
use domain::reasons::Reason;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::api::answer::{self, Nothing, Post, Receipt};
use crate::api::caller::Caller;
use crate::api::community::{Announced, PassedOn, hear};
use crate::api::problem::{Problem, ProblemBody};
use crate::node::Node;
use crate::peers;

pub(super) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(register);
}

/// What a phone announces, and to whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registration {
    /// The home community.
    #[schema(value_type = String)]
    community: InstitutionId,
    /// The body of `POST /v1/community/registrations`, as the phone signed it.
    announcement: String,
    /// The phone's signature over that request to the community's node: what `Authorization` has behind `VP1`.
    signature: String,
}

/// Announce a phone's keys to its community by way of this node. Both requests are signed by the new main key: this one, and
/// the one that is passed on.
///
/// `201` with the thumbprint, by which the phone finds itself; `401` if another key signed; `409` `presentation-…`,
/// `key-unfit`, `member-unknown`; `503` if the community's node does not answer.
#[utoipa::path(tag = "wallet", request_body = Registration, responses(
    (status = 201, body = Receipt<Announced>), (status = 401, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
#[post("/v1/wallet/registrations")]
async fn register(node: Data<Node>, post: Post<Registration>) -> Result<HttpResponse, Problem> {
    let passed = async {
        node.role::<VoucherModule>()?;
        let Caller::Holder(proof) = &post.caller else { return Err(Reason::Unauthenticated.into()) };
        let now = node.writer.now();
        let Registration { community, announcement, signature } = &post.body;
        let passed_on = PassedOn { announcement: announcement.clone(), signature: signature.clone() };
        let heard = passed_on.read(*community, now)?;
        if !proof.verify(&heard.main_key) {
            return Err(Reason::Unauthenticated.into());
        }
        // Whose key nobody knows takes no place of those who are known.
        node.announced.once(&proof.claims, now)?;
        node.limits.by_holder(proof.claims.kid)?;
        if *community == node.config.institution {
            return hear(&node, &post, &heard).await;
        }
        let is_one = node.writer.registry().playing(Role::Community).any(|m| m.entry.institution == *community);
        let peer = peers::peer(&node, *community).filter(|_| is_one).ok_or(Reason::MemberUnknown)?;
        let key = format!("phone-{}", post.idempotency.key);
        let answered = node.client.post_json(&peer, "/v1/community/announcements", &key, &passed_on).await;
        let _: serde_json::Value =
            answered.map_err(|error| Problem::new(error.reason()).detail(format!("{community}: {error}")))?;
        Ok(answer::created(&node, &[], Some(Announced { thumbprint: hex::encode(heard.main_key.thumbprint()) })))
    };
    answer::or_again::<_, Nothing>(&node, &post, passed.await).await
}
