//! Who may ask for what: every route of the interface, once. A route that is named neither here nor in the tables of the pages
//! (node/src/pages) is answered to nobody.
//!
//! The table is enforced before a body is read (node/src/api/answer.rs), and the description of the interface is completed
//! from it (node/src/api/openapi.rs).

use actix_web::http::Method;
use domain::reasons::Reason;

use super::caller::{Caller, PEERS_SIGN};
use super::problem::Problem;
use crate::accounts::permission::Permission;
use crate::pages::table;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody; who is inside may learn more.
    Anyone,
    /// Anybody, by name and password in the body or by way of the identity provider: what else says who calls is not looked
    /// at.
    SignIn,
    /// A holder, by the phone's signature.
    Holder,
    /// Another institution's node.
    Peer,
    /// Another institution's node, or an operator who reads records; anybody where the configuration says so.
    Log,
    /// Another institution's node, or an operator who holds the permission; whoever is on this machine where the configuration
    /// says so.
    Status(Permission),
    /// Another institution's node, or an operator who holds the permission.
    Inside(Permission),
    /// An operator who holds the permission.
    Operator(Permission),
    /// An operator who holds one of them: a page that leads to several things.
    OneOf(&'static [Permission]),
    /// Any operator, also with a password for one sign-in: what concerns the own session.
    SignedIn,
    /// Any operator, in a session: what concerns the own account, and consent.
    Person,
    /// An operator who holds the permission, in a session.
    PersonWith(Permission),
}

use Access::{Anyone, Holder, Inside, Log, Operator, Peer, Person, PersonWith, SignIn, SignedIn, Status};
use Permission as P;

/// Every route with its method.
#[rustfmt::skip]
pub const TABLE: &[(&str, &str, Access)] = &[
    // What every node says of itself.
    ("GET", "/healthz", Anyone),
    ("GET", "/readyz", Anyone),
    ("GET", "/metrics", Status(P::ReadStatus)),
    ("GET", "/problems", Anyone),
    ("GET", "/v1/status", Anyone),
    ("GET", "/v1/members", Anyone),
    ("GET", "/v1/policy", Anyone),
    ("GET", "/v1/programmes", Anyone),
    ("POST", "/v1/clock", Operator(P::StepClock)),
    ("GET", "/log/checkpoint", Log),
    ("GET", "/log/tile/{path}", Log),
    ("GET", "/mirrors/{institution}/checkpoint", Log),
    ("GET", "/mirrors/{institution}/tile/{path}", Log),
    ("POST", "/v1/start/longest", Log),
    ("GET", "/v1/checkpoints", Log),
    ("POST", "/witness/add-checkpoint", Anyone),
    ("GET", "/witness/{origin}/checkpoint", Log),
    ("GET", "/v1/records/{position}", Inside(P::ReadRecords)),
    ("GET", "/v1/records/{position}/proof", Log),
    ("GET", "/v1/vouchers/{voucher}", Anyone),
    ("GET", "/v1/vouchers/{voucher}/history", Inside(P::ReadRecords)),
    ("GET", "/v1/vouchers/{voucher}/qr.svg", Anyone),
    ("GET", "/v1/vouchers/{voucher}/qr.png", Anyone),
    ("POST", "/v1/qr/decode", Anyone),
    // Accounts.
    ("POST", "/v1/sessions", SignIn),
    ("GET", "/v1/sessions/oidc/start", SignIn),
    ("GET", "/v1/sessions/oidc/callback", SignIn),
    ("GET", "/v1/sessions", Person),
    ("DELETE", "/v1/sessions/{id}", Person),
    ("GET", "/v1/sessions/current", SignedIn),
    ("DELETE", "/v1/sessions/current", SignedIn),
    ("POST", "/v1/sessions/password", SignedIn),
    ("GET", "/v1/tokens", Person),
    ("POST", "/v1/tokens", Person),
    ("DELETE", "/v1/tokens/{id}", Person),
    ("GET", "/v1/accounts", PersonWith(P::ManageAccounts)),
    ("POST", "/v1/accounts", PersonWith(P::ManageAccounts)),
    ("POST", "/v1/accounts/{id}/roles", PersonWith(P::ManageAccounts)),
    ("POST", "/v1/accounts/{id}/password", PersonWith(P::ManageAccounts)),
    ("POST", "/v1/accounts/{id}/disabled", PersonWith(P::ManageAccounts)),
    ("POST", "/v1/accounts/{id}/subject", PersonWith(P::ManageAccounts)),
    ("DELETE", "/v1/accounts/{id}/sessions", PersonWith(P::ManageAccounts)),
    ("GET", "/v1/approvals", Person),
    ("POST", "/v1/approvals/{id}/consent", Person),
    ("POST", "/v1/approvals/{id}/refusal", Person),
    // The registrar and the issuer.
    ("POST", "/v1/issuer/members", Operator(P::ManageMembers)),
    ("POST", "/v1/issuer/members/{id}/changes", Operator(P::ManageMembers)),
    ("POST", "/v1/issuer/members/{id}/suspension", Operator(P::ManageMembers)),
    ("POST", "/v1/issuer/members/{id}/restoration", Operator(P::ManageMembers)),
    ("POST", "/v1/issuer/members/{id}/revocation", Operator(P::ManageMembers)),
    ("POST", "/v1/issuer/members/{id}/freeze", Operator(P::ManageMembers)),
    ("POST", "/v1/issuer/members/{id}/log-succession", Operator(P::ManageMembers)),
    ("POST", "/v1/issuer/members/{id}/issuer-succession", Operator(P::ManageMembers)),
    ("POST", "/v1/issuer/members/{id}/key", Operator(P::ChangeKeys)),
    ("POST", "/v1/issuer/parameters", Operator(P::SetParameters)),
    ("POST", "/v1/issuer/programmes", Operator(P::ManageProgrammes)),
    ("POST", "/v1/issuer/programmes/{short}/changes", Operator(P::ManageProgrammes)),
    ("POST", "/v1/issuer/holders", Inside(P::RegisterHolders)),
    ("GET", "/v1/issuer/holders/{holder}", Inside(P::ReadHolders)),
    ("GET", "/v1/issuer/shared-contacts", Operator(P::ReadHolders)),
    ("POST", "/v1/issuer/holders/{holder}/enrolments", Inside(P::RegisterHolders)),
    ("POST", "/v1/issuer/holders/{holder}/block", Inside(P::BlockHolders)),
    ("POST", "/v1/issuer/holders/{holder}/key", Inside(P::RegisterHolders)),
    ("POST", "/v1/issuer/holders/{holder}/card", Inside(P::RegisterHolders)),
    ("POST", "/v1/issuer/holders/{holder}/move", Inside(P::RegisterHolders)),
    ("POST", "/v1/issuer/vouchers", Operator(P::GenerateVouchers)),
    ("GET", "/v1/issuer/vouchers", Operator(P::ReadVouchers)),
    ("POST", "/v1/issuer/dispatches", Operator(P::DispatchVouchers)),
    ("POST", "/v1/issuer/voids", Operator(P::VoidVouchers)),
    ("POST", "/v1/issuer/reclaims", Operator(P::RecoverVouchers)),
    ("POST", "/v1/issuer/handovers", Operator(P::RecoverVouchers)),
    ("POST", "/v1/issuer/claims/openings", Peer),
    ("GET", "/v1/issuer/claims", Operator(P::ReadClaims)),
    ("POST", "/v1/issuer/claims/{voucher}/settlement", Operator(P::DecideClaims)),
    ("POST", "/v1/issuer/claims/{voucher}/rejection", Operator(P::DecideClaims)),
    ("POST", "/v1/issuer/reversals", Operator(P::ReverseRedemptions)),
    ("POST", "/v1/issuer/resolutions", Operator(P::ResolveVouchers)),
    ("POST", "/v1/issuer/compensations", Operator(P::Compensate)),
    ("GET", "/v1/issuer/statistics", Inside(P::ReadStatistics)),
    ("POST", "/v1/issuer/statistics/publications", Operator(P::PublishStatistics)),
    ("GET", "/v1/issuer/statistics/publications", Anyone),
    ("GET", "/v1/issuer/statistics/tables/{digest}", Anyone),
    // The community.
    ("POST", "/v1/community/residents", Operator(P::ManageResidents)),
    ("POST", "/v1/community/residents/removals", Operator(P::ManageResidents)),
    ("POST", "/v1/community/desk/resident", Operator(P::IdentifyPeople)),
    ("POST", "/v1/community/desk/identify", Operator(P::IdentifyPeople)),
    ("POST", "/v1/community/desk/person", Operator(P::IdentifyPeople)),
    ("POST", "/v1/community/desk/issue", Operator(P::IssueVouchers)),
    ("POST", "/v1/community/desk/help", Operator(P::HelpHolders)),
    ("POST", "/v1/community/registrations", Holder),
    ("POST", "/v1/community/announcements", Peer),
    ("POST", "/v1/community/registrations/{thumbprint}/completion", Operator(P::RegisterPeople)),
    ("POST", "/v1/community/registrations/without-phone", Operator(P::RegisterPeople)),
    ("POST", "/v1/community/cards", Operator(P::ReplaceCarriers)),
    ("GET", "/v1/community/cards/{lookup_number}", Operator(P::IdentifyPeople)),
    ("POST", "/v1/community/holders/{holder}/block", Operator(P::BlockPeople)),
    ("POST", "/v1/community/holders/{holder}/phone", Operator(P::ReplaceCarriers)),
    ("POST", "/v1/community/holders/{holder}/enrolments", Operator(P::RegisterPeople)),
    ("GET", "/v1/community/stock", Operator(P::ReadStock)),
    ("GET", "/v1/community/stock/vouchers", Operator(P::ReadStock)),
    ("POST", "/v1/community/returns", Operator(P::ReturnVouchers)),
    ("POST", "/v1/community/erasures", Inside(P::ErasePeople)),
    // The hospital.
    ("POST", "/v1/hospital/schedules", Operator(P::ManageSchedules)),
    ("GET", "/v1/hospital/schedules", Anyone),
    ("POST", "/v1/hospital/closures", Operator(P::ManageSchedules)),
    ("GET", "/v1/hospital/closures", Anyone),
    ("GET", "/v1/hospital/slots", Anyone),
    ("POST", "/v1/hospital/openings", Peer),
    ("GET", "/v1/hospital/bookings", Operator(P::ReadBookings)),
    ("POST", "/v1/hospital/bookings/{voucher}/release", Operator(P::ManageBookings)),
    ("POST", "/v1/hospital/bookings/{voucher}/no-show", Operator(P::ManageBookings)),
    ("POST", "/v1/hospital/visits", Operator(P::AdmitHolders)),
    ("GET", "/v1/hospital/visits", Operator(P::ReadBookings)),
    ("POST", "/v1/hospital/checks", Operator(P::AdmitHolders)),
    ("POST", "/v1/hospital/visits/{voucher}/completion", Operator(P::CompleteExaminations)),
    ("POST", "/v1/hospital/visits/{voucher}/abort", Operator(P::AdmitHolders)),
    ("GET", "/v1/hospital/claims", Operator(P::ReadBookings)),
    ("POST", "/v1/hospital/claims/{voucher}/answer", Operator(P::AnswerClaims)),
    // The voucher module and its holders.
    ("POST", "/v1/voucher/holders", Peer),
    ("POST", "/v1/voucher/help", Peer),
    ("POST", "/v1/voucher/results", Peer),
    ("POST", "/v1/voucher/erasures", Peer),
    ("GET", "/v1/wallet", Holder),
    ("GET", "/v1/wallet/notices", Holder),
    ("GET", "/v1/wallet/results/{voucher}", Holder),
    ("GET", "/v1/wallet/proofs/{position}", Holder),
    ("POST", "/v1/wallet/registrations", Holder),
    ("PUT", "/v1/wallet/profile", Holder),
    ("POST", "/v1/wallet/checks", Holder),
    ("GET", "/v1/wallet/slots", Holder),
    ("POST", "/v1/wallet/bookings", Holder),
    ("POST", "/v1/wallet/bookings/{voucher}/cancellation", Holder),
    ("POST", "/v1/wallet/bookings/{voucher}/move", Holder),
    ("POST", "/v1/wallet/uses", Holder),
    ("POST", "/v1/wallet/disputes", Holder),
    ("POST", "/v1/wallet/erasure", Holder),
    // The auditor.
    ("GET", "/v1/audit/findings", Inside(P::ReadAudit)),
    ("GET", "/v1/audit/report", Inside(P::ReadAudit)),
    ("POST", "/v1/audit/check", Anyone),
    ("GET", "/v1/audit/evidence/{digest}", Inside(P::ReadAudit)),
];

/// Who may ask for a route, by method and pattern.
#[must_use]
pub fn access(method: &Method, pattern: &str) -> Option<Access> {
    let verb = if method == Method::HEAD { "GET" } else { method.as_str() };
    let path = without_rules(pattern);
    let found = TABLE.iter().find(|row| row.0 == verb && row.1 == path).map(|row| row.2);
    found.or_else(|| table::find(method, pattern).map(|page| page.access))
}

/// A pattern as descriptions and tables have it: what a name may hold is for the router alone.
#[must_use]
pub fn without_rules(pattern: &str) -> String {
    pattern.replace(":.*", "")
}

/// Whether what a route makes stands in the ledger, so that peers can hold it. Accounts do not: one can sign in while no peer
/// answers.
#[must_use]
pub fn is_recorded(pattern: &str) -> bool {
    !["/v1/sessions", "/v1/tokens", "/v1/accounts"].iter().any(|own| pattern.starts_with(own))
}

/// What the configuration opens to whoever comes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opened {
    /// Logs.
    pub logs: bool,
    /// How the node stands: the caller is on this machine.
    pub status: bool,
}

impl Access {
    /// Lets a caller through, or says why not.
    ///
    /// # Errors
    ///
    /// [`Reason::Unauthenticated`] for nobody in particular, [`Reason::Forbidden`] and its kin for somebody else.
    pub fn admit(self, caller: &Caller, opened: Opened) -> Result<(), Problem> {
        match (self, caller) {
            (Self::Anyone | Self::SignIn, _) => Ok(()),
            (Self::Log, _) if opened.logs => Ok(()),
            (Self::Status(_), _) if opened.status => Ok(()),
            (Self::Log, Caller::Operator(acting)) => acting.may(Permission::ReadRecords),
            (Self::Holder, Caller::Holder(_)) => Ok(()), // whose key it is, only the role can say
            (Self::Holder, _) => {
                Err(Problem::new(Reason::Unauthenticated).detail("a holder signs the request: Authorization: VP1 …"))
            }
            (_, Caller::Anonymous) => Err(Problem::new(Reason::Unauthenticated).detail(match self {
                Self::Peer => PEERS_SIGN,
                Self::Log => "only members read this log; it is not public (log.public)",
                _ => "sign in (POST /v1/sessions), or send a token: Authorization: Bearer …",
            })),
            (Self::Peer | Self::Log | Self::Status(_) | Self::Inside(_), Caller::Peer(_)) => Ok(()),
            (Self::SignedIn, Caller::Operator(_)) => Ok(()),
            (Self::Person, Caller::Operator(acting)) => acting.must_be_person(),
            (
                Self::Operator(permission) | Self::Inside(permission) | Self::Status(permission),
                Caller::Operator(acting),
            ) => acting.may(permission),
            (Self::OneOf(permissions), Caller::Operator(acting)) => {
                let may = permissions.iter().map(|permission| acting.may(*permission));
                may.reduce(|one, other| one.or(other)).unwrap_or_else(|| Err(Reason::Forbidden.into()))
            }
            (Self::PersonWith(permission), Caller::Operator(acting)) => {
                acting.must_be_person().and_then(|()| acting.may(permission))
            }
            _ => Err(Reason::Forbidden.into()),
        }
    }

    /// The permission that an operator needs.
    #[must_use]
    pub const fn permission(self) -> Option<Permission> {
        match self {
            Self::Inside(permission)
            | Self::Status(permission)
            | Self::Operator(permission)
            | Self::PersonWith(permission) => Some(permission),
            _ => None,
        }
    }
}
