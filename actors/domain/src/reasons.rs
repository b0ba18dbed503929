//! The closed list of reasons: why something was refused, with one code each, the same in code, records, API and pages.

use serde::{Deserialize, Serialize};

/// What kind of answer a reason is, and so which HTTP status it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be read (400).
    Malformed,
    /// Nobody has proved who asks (401).
    Unauthenticated,
    /// Who asks may not (403).
    Forbidden,
    /// There is no such thing here (404).
    NotFound,
    /// No such method here (405).
    MethodNotAllowed,
    /// The request did not come in time (408).
    TimedOut,
    /// A rule says no; asking again changes nothing (409).
    Rule,
    /// Too much (413).
    TooLarge,
    /// Another media type is needed (415).
    UnsupportedMedia,
    /// Well-formed, and still it cannot be (422).
    Unprocessable,
    /// Too often (429).
    TooOften,
    /// A defect of this node (500).
    Internal,
    /// Not now; asking again may help (503).
    Unavailable,
}

impl Kind {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TimedOut => 408,
            Self::Rule => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMedia => 415,
            Self::Unprocessable => 422,
            Self::TooOften => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $kind:ident;)*) => {
        /// Why something was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its code, stable for ever.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What kind of answer it is.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }
        }
    };
}

reasons! {
    /// The voucher is in a state that does not allow the step.
    WrongState = "wrong-state", Rule;
    /// Another institution holds the voucher.
    NotCustodian = "not-custodian", Rule;
    /// The record is written in another role than the step asks for.
    WrongRole = "wrong-role", Rule;
    /// The author is suspended, revoked, frozen, or does not play the role.
    NotInGoodStanding = "not-in-good-standing", Rule;
    /// A change that the author did not name already acted.
    StalePosition = "stale-position", Rule;
    /// A record is named that does not stand where it is said to stand.
    BadName = "bad-name", Rule;
    /// A record past a freeze is named.
    NamedPastFreeze = "named-past-freeze", Rule;
    /// The record's time does not fit.
    BadWindow = "bad-window", Rule;
    /// It is booked already.
    AlreadyBooked = "already-booked", Rule;
    /// It is used already.
    AlreadyUsed = "already-used", Rule;
    /// It is redeemed already.
    AlreadyRedeemed = "already-redeemed", Rule;
    /// It is voided.
    Voided = "voided", Rule;
    /// Its validity has not begun.
    NotYetValid = "not-yet-valid", Rule;
    /// Its validity is over.
    Expired = "expired", Rule;
    /// The time to answer the booking is over.
    ResponseTooLate = "response-too-late", Rule;
    /// Before the arrival window.
    TooEarly = "too-early", Rule;
    /// After the arrival window.
    TooLate = "too-late", Rule;
    /// The time to complete is over.
    CompletionTooLate = "completion-too-late", Rule;
    /// The time to claim is over.
    ClaimTooLate = "claim-too-late", Rule;
    /// A claim after a rejection must name the rejection.
    AnswerMissing = "answer-missing", Rule;
    /// Three claims were rejected.
    TooManyClaims = "too-many-claims", Rule;
    /// It is not proved that the time is over in the other log.
    NotSurelyOver = "not-surely-over", Rule;
    /// The grace of a silent custodian is not over.
    GraceNotOver = "grace-not-over", Rule;
    /// The correction period is over.
    CorrectionOver = "correction-over", Rule;
    /// A second person must approve.
    ApproverNeeded = "approver-needed", Rule;
    /// Nothing is contested or cut off here.
    NothingToResolve = "nothing-to-resolve", Rule;
    /// Another successor of the same record stands.
    Superseded = "superseded", Rule;
    /// The issuer wants the voucher back.
    VoidRequested = "void-requested", Rule;
    /// The presentation cannot be read.
    PresentationMalformed = "presentation-malformed", Rule;
    /// The signature is not by the holder's key.
    PresentationForged = "presentation-forged", Rule;
    /// The same presentation was used before.
    PresentationReplayed = "presentation-replayed", Rule;
    /// It is meant for another institution.
    PresentationElsewhere = "presentation-elsewhere", Rule;
    /// It is meant for another step.
    PresentationOtherStep = "presentation-other-step", Rule;
    /// It is meant for another voucher or programme.
    PresentationOtherVoucher = "presentation-other-voucher", Rule;
    /// It is too old, or from the future.
    PresentationStale = "presentation-stale", Rule;
    /// The programme allows no printed card.
    CardNotAllowed = "card-not-allowed", Rule;
    /// No card was issued, or another one since.
    CardUnknown = "card-unknown", Rule;
    /// The holder's enrolment is blocked.
    EnrolmentBlocked = "enrolment-blocked", Rule;
    /// There is no such enrolment.
    EnrolmentUnknown = "enrolment-unknown", Rule;
    /// The enrolment belongs to another community, voucher module or programme.
    EnrolmentElsewhere = "enrolment-elsewhere", Rule;
    /// There is no such programme.
    ProgrammeUnknown = "programme-unknown", Rule;
    /// A programme of that name exists.
    ProgrammeExists = "programme-exists", Rule;
    /// The holder's class is not entitled.
    NotEntitled = "not-entitled", Rule;
    /// The holder has had all vouchers of the programme.
    AllowanceUsed = "allowance-used", Rule;
    /// No voucher of the programme is in stock.
    NoStock = "no-stock", Rule;
    /// The department is not one of the programme's.
    DepartmentNotAllowed = "department-not-allowed", Rule;
    /// The holder has an open booking in this programme.
    OpenBooking = "open-booking", Rule;
    /// Nothing is booked.
    NotBooked = "not-booked", Rule;
    /// It is booked at another hospital.
    BookedElsewhere = "booked-elsewhere", Rule;
    /// There is no such slot.
    SlotUnknown = "slot-unknown", Rule;
    /// The slot is full.
    SlotTaken = "slot-taken", Rule;
    /// The slot lies in the past or too near.
    SlotPast = "slot-past", Rule;
    /// The performer does not work in the booked department.
    PerformerElsewhere = "performer-elsewhere", Rule;
    /// The examination began before the holder arrived.
    StartedBeforeArrival = "started-before-arrival", Rule;
    /// The examination ended before it began.
    EndedBeforeStart = "ended-before-start", Rule;
    /// The examination ends in the future.
    EndsInFuture = "ends-in-future", Rule;
    /// An ordered item is not done.
    ItemNotDone = "item-not-done", Rule;
    /// Nothing was ordered, or the result is missing.
    EvidenceMissing = "evidence-missing", Rule;
    /// The claim does not fit the voucher's history.
    ClaimUnfounded = "claim-unfounded", Rule;
    /// The opening does not fit its digest.
    OpeningDiffers = "opening-differs", Rule;
    /// The document is registered already.
    DocumentRegistered = "document-registered", Rule;
    /// The key is registered already.
    KeyRegistered = "key-registered", Rule;
    /// The document's number cannot be.
    DocumentInvalid = "document-invalid", Rule;
    /// The holder is not known here.
    HolderUnknown = "holder-unknown", NotFound;
    /// The institution is a member already.
    MemberExists = "member-exists", Rule;
    /// There is no such member.
    MemberUnknown = "member-unknown", Rule;
    /// The key cannot be registered.
    KeyUnfit = "key-unfit", Rule;
    /// Too many wrong numbers.
    LookupThrottled = "lookup-throttled", TooOften;

    /// The request cannot be read.
    Malformed = "malformed", Malformed;
    /// The request is too large.
    TooLarge = "too-large", TooLarge;
    /// Another media type is needed.
    UnsupportedMedia = "unsupported-media", UnsupportedMedia;
    /// The `Idempotency-Key` header is missing.
    IdempotencyKeyMissing = "idempotency-key-missing", Malformed;
    /// The same key came with another request.
    IdempotencyKeyReused = "idempotency-key-reused", Unprocessable;
    /// The cursor was not given by this node.
    CursorInvalid = "cursor-invalid", Malformed;
    /// Who asks has not proved who they are.
    Unauthenticated = "unauthenticated", Unauthenticated;
    /// Who asks may not do this.
    Forbidden = "forbidden", Forbidden;
    /// There is no such thing here.
    NotFound = "not-found", NotFound;
    /// There is no such method here.
    MethodNotAllowed = "method-not-allowed", MethodNotAllowed;
    /// This node does not play the role.
    NotMyRole = "not-my-role", NotFound;
    /// No QR code was found in the picture.
    QrUnreadable = "qr-unreadable", Unprocessable;
    /// The QR code is not one of ours, or its signature does not hold.
    QrNotGenuine = "qr-not-genuine", Rule;
    /// The picture cannot be read.
    PictureUnreadable = "picture-unreadable", Unprocessable;
    /// A record that this depends on is not here yet.
    Waiting = "waiting", Unavailable;
    /// The queue is full.
    Busy = "busy", Unavailable;
    /// Free disk space is below the floor.
    DiskLow = "disk-low", Unavailable;
    /// The node may not write yet: it asks its peers how long its log is.
    NotReady = "not-ready", Unavailable;
    /// The node's clock cannot be trusted.
    ClockOff = "clock-off", Unavailable;
    /// Another institution's node does not answer.
    PeerUnreachable = "peer-unreachable", Unavailable;
    /// The node is shutting down.
    Closing = "closing", Unavailable;
    /// A defect of this node.
    Internal = "internal", Internal;

    // Rows on disk carry a reason by its place in this list: a new one stands at the end.
    /// The list of residents says something else about the person.
    ResidentDiffers = "resident-differs", Rule;
    /// The person is not on the list of residents.
    ResidentUnknown = "resident-unknown", NotFound;
    /// It is written here, and too few peers hold it yet.
    NotYetHeld = "not-yet-held", Unavailable;
    /// Name or password is wrong, or the account is disabled.
    SignInFailed = "sign-in-failed", Unauthenticated;
    /// Too many failed sign-ins.
    SignInThrottled = "sign-in-throttled", TooOften;
    /// The session or token is unknown, over or revoked.
    SessionOver = "session-over", Unauthenticated;
    /// A page's request came without the session's token.
    CsrfTokenWrong = "csrf-token-wrong", Forbidden;
    /// The password is for one sign-in: another one must be set first.
    PasswordChangeNeeded = "password-change-needed", Forbidden;
    /// The password is too short or too simple.
    PasswordUnfit = "password-unfit", Unprocessable;
    /// An account of that name exists.
    AccountExists = "account-exists", Rule;
    /// Nobody else could keep the accounts.
    LastAdministrator = "last-administrator", Rule;
    /// A person must do this, and a token called.
    PersonNeeded = "person-needed", Forbidden;
    /// The request did not come in time.
    TooSlow = "too-slow", TimedOut;
    /// A node's request is not signed as nodes sign, or not by the key that the registry has of it.
    SignatureInvalid = "signature-invalid", Unauthenticated;
    /// A node's request was signed too long ago, or too early, by the clock here.
    SignatureStale = "signature-stale", Unauthenticated;
    /// The same signed request of a node came before.
    SignatureReplayed = "signature-replayed", Unauthenticated;
    /// One address or one caller asks too often.
    TooManyRequests = "too-many-requests", TooOften;
    /// No identity provider is configured here.
    OidcOff = "oidc-off", NotFound;
    /// The identity provider does not answer, or says what cannot be used.
    ProviderUnreachable = "provider-unreachable", Unavailable;
    /// The identity provider let nobody in, or does not take the code.
    ProviderRefused = "provider-refused", Unauthenticated;
    /// This browser has begun no such sign-in, it took too long, or it was used.
    SignInLost = "sign-in-lost", Unauthenticated;
    /// What the identity provider is said to have signed is not believed.
    ProviderTokenInvalid = "provider-token-invalid", Unauthenticated;
    /// No account is linked to whom the identity provider names, or it is disabled.
    AccountNotLinked = "account-not-linked", Forbidden;
    /// Another account is linked to that subject.
    SubjectTaken = "subject-taken", Rule;
    /// A witness does not cosign this checkpoint: it does not go on from what was cosigned before.
    CheckpointUnfit = "checkpoint-unfit", Unprocessable;
    /// Too few witnesses have cosigned what was written, and this node is configured to wait for them.
    WitnessesMissing = "witnesses-missing", Unavailable;
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_words_and_distinct() {
        let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
        }
    }
}
