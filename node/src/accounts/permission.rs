//! What an operator may do: one permission for each action, and the roles that hold them. It knows no account.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A closed list of words with a stable code each.
macro_rules! words {
    ($(#[$of:meta])* $list:ident { $($(#[$doc:meta])* $name:ident = $code:literal;)* }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $list {
            $($(#[$doc])* $name,)*
        }

        impl $list {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its code, stable for ever.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }

        impl fmt::Display for $list {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.code())
            }
        }

        impl FromStr for $list {
            type Err = Unknown;

            fn from_str(text: &str) -> Result<Self, Unknown> {
                Self::ALL.iter().copied().find(|word| word.code() == text).ok_or_else(|| Unknown(text.to_owned()))
            }
        }

        impl Serialize for $list {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.code())
            }
        }

        impl<'de> Deserialize<'de> for $list {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A word that stands in no list.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not one of the words that are possible here")]
pub struct Unknown(String);

words! {
    /// One action that an operator may be allowed.
    Permission {
        /// Make, disable and change accounts.
        ManageAccounts = "manage-accounts";
        /// Move the demo's clock.
        StepClock = "step-clock";
        /// See how the node stands, and its numbers.
        ReadStatus = "read-status";
        /// Read records, and a voucher's whole state and history.
        ReadRecords = "read-records";
        /// Register institutions, change their roles and standing, draw lines, let logs and issuers succeed.
        ManageMembers = "manage-members";
        /// Replace a member's keys.
        ChangeKeys = "change-keys";
        /// Publish the federation's numbers.
        SetParameters = "set-parameters";
        /// Publish and change programmes.
        ManageProgrammes = "manage-programmes";
        /// Register persons, their programmes, phones, cards and homes at the registrar.
        RegisterHolders = "register-holders";
        /// See a registered person, masked.
        ReadHolders = "read-holders";
        /// Block a person at the registrar.
        BlockHolders = "block-holders";
        /// Generate vouchers.
        GenerateVouchers = "generate-vouchers";
        /// Send vouchers to communities.
        DispatchVouchers = "dispatch-vouchers";
        /// List the issuer's vouchers.
        ReadVouchers = "read-vouchers";
        /// Void vouchers.
        VoidVouchers = "void-vouchers";
        /// Take vouchers back, hand them to another module.
        RecoverVouchers = "recover-vouchers";
        /// List claims with their openings.
        ReadClaims = "read-claims";
        /// Settle and reject claims by hand.
        DecideClaims = "decide-claims";
        /// Reverse redemptions.
        ReverseRedemptions = "reverse-redemptions";
        /// Decide which branch of a voucher stands.
        ResolveVouchers = "resolve-vouchers";
        /// Pay a hospital whose use was superseded.
        Compensate = "compensate";
        /// See figures.
        ReadStatistics = "read-statistics";
        /// Publish figures.
        PublishStatistics = "publish-statistics";
        /// Keep the community's list of residents.
        ManageResidents = "manage-residents";
        /// Confirm people at the community's desk, by code or document.
        IdentifyPeople = "identify-people";
        /// Register people at the community's desk.
        RegisterPeople = "register-people";
        /// Erase what is kept about a person who asked for it.
        ErasePeople = "erase-people";
        /// Print cards, register another phone.
        ReplaceCarriers = "replace-carriers";
        /// Block people at the community's desk.
        BlockPeople = "block-people";
        /// Issue vouchers at the desk.
        IssueVouchers = "issue-vouchers";
        /// Book and cancel for the holder of a card.
        HelpHolders = "help-holders";
        /// See the community's stock.
        ReadStock = "read-stock";
        /// Give vouchers back to the issuer.
        ReturnVouchers = "return-vouchers";
        /// Replace a hospital's weekly hours.
        ManageSchedules = "manage-schedules";
        /// See bookings, visits and what became of claims.
        ReadBookings = "read-bookings";
        /// Let bookings go, note who did not come.
        ManageBookings = "manage-bookings";
        /// Let holders in, check vouchers, undo a use.
        AdmitHolders = "admit-holders";
        /// Confirm that an examination is complete.
        CompleteExaminations = "complete-examinations";
        /// Answer a rejected claim.
        AnswerClaims = "answer-claims";
        /// Read an auditor's findings and report.
        ReadAudit = "read-audit";
    }
}

words! {
    /// What an account is there for. Each holds what its desk needs and nothing else.
    AccountRole {
        /// Keeps accounts; touches no voucher.
        Administrator = "administrator";
        /// Registrar: members, keys, numbers.
        RegistrarOfficer = "registrar-officer";
        /// Registrar: persons, for institutions that register themselves.
        HolderOfficer = "holder-officer";
        /// Issuer: programmes.
        ProgrammeOfficer = "programme-officer";
        /// Issuer: generates, sends, voids, takes back.
        IssuingOfficer = "issuing-officer";
        /// Issuer: decides claims and corrects settlements.
        ClaimsOfficer = "claims-officer";
        /// Issuer: figures.
        Statistician = "statistician";
        /// Community: the desk.
        CommunityClerk = "community-clerk";
        /// Community: list of residents, stock.
        CommunityManager = "community-manager";
        /// Hospital: reception.
        Receptionist = "receptionist";
        /// Hospital: who examines.
        Examiner = "examiner";
        /// Hospital: hours and claims.
        HospitalOfficer = "hospital-officer";
        /// Auditor: reads, writes nothing.
        Auditor = "auditor";
        /// Reads records and vouchers, nothing else.
        Reader = "reader";
        /// The demo's clock: a machine.
        Clock = "clock";
        /// Looks after the node: a machine.
        Monitor = "monitor";
    }
}

impl Permission {
    /// Whether it takes a second person, who consents in a session of their own.
    #[must_use]
    pub const fn needs_two_persons(self) -> bool {
        use Permission as P;
        matches!(
            self,
            P::ManageMembers
                | P::ChangeKeys
                | P::SetParameters
                | P::VoidVouchers
                | P::ReverseRedemptions
                | P::ResolveVouchers
                | P::Compensate
        )
    }
}

impl AccountRole {
    /// What it holds.
    #[must_use]
    pub const fn permissions(self) -> &'static [Permission] {
        use Permission as P;
        match self {
            Self::Administrator => &[P::ManageAccounts],
            Self::RegistrarOfficer => {
                &[P::ManageMembers, P::ChangeKeys, P::SetParameters, P::ReadRecords, P::ReadStatus]
            }
            Self::HolderOfficer => &[P::RegisterHolders, P::ReadHolders, P::BlockHolders],
            Self::ProgrammeOfficer => &[P::ManageProgrammes, P::ReadRecords],
            Self::IssuingOfficer => &[
                P::GenerateVouchers,
                P::DispatchVouchers,
                P::ReadVouchers,
                P::VoidVouchers,
                P::RecoverVouchers,
                P::ReadRecords,
            ],
            Self::ClaimsOfficer => &[
                P::ReadClaims,
                P::DecideClaims,
                P::ReverseRedemptions,
                P::ResolveVouchers,
                P::Compensate,
                P::ReadRecords,
            ],
            Self::Statistician => &[P::ReadStatistics, P::PublishStatistics],
            Self::CommunityClerk => &[
                P::IdentifyPeople,
                P::RegisterPeople,
                P::ErasePeople,
                P::ReplaceCarriers,
                P::BlockPeople,
                P::IssueVouchers,
                P::HelpHolders,
                P::ReadStock,
                P::ReadRecords,
            ],
            Self::CommunityManager => &[P::ManageResidents, P::IdentifyPeople, P::ReadStock, P::ReturnVouchers],
            Self::Receptionist => &[P::AdmitHolders, P::ReadBookings, P::ManageBookings, P::ReadRecords],
            Self::Examiner => &[P::CompleteExaminations, P::ReadBookings],
            Self::HospitalOfficer => &[P::ManageSchedules, P::AnswerClaims, P::ReadBookings, P::ReadRecords],
            Self::Auditor => &[P::ReadAudit, P::ReadRecords, P::ReadStatistics, P::ReadStatus],
            Self::Reader => &[P::ReadRecords, P::ReadVouchers, P::ReadStatus],
            Self::Clock => &[P::StepClock],
            Self::Monitor => &[P::ReadStatus],
        }
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u64);

impl Permissions {
    /// Whether one is in it.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u64) != 0
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// All but one.
    #[must_use]
    pub const fn without(self, permission: Permission) -> Self {
        Self(self.0 & !(1 << permission as u64))
    }

    /// Whether all of it is in another.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// What an account of these roles may do.
    #[must_use]
    pub fn of(roles: &[AccountRole]) -> Self {
        roles.iter().flat_map(|role| role.permissions()).copied().collect()
    }

    /// Each one, in the order of the list.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.has(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |set, permission| set | 1 << permission as u64))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::code)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every role with every permission, as people read it; a permission that is not named is not held.
    const TABLE: &str = "
        administrator      manage-accounts
        registrar-officer  manage-members change-keys set-parameters read-records read-status
        holder-officer     register-holders read-holders block-holders
        programme-officer  manage-programmes read-records
        issuing-officer    generate-vouchers dispatch-vouchers read-vouchers void-vouchers recover-vouchers read-records
        claims-officer     read-claims decide-claims reverse-redemptions resolve-vouchers compensate read-records
        statistician       read-statistics publish-statistics
        community-clerk    identify-people register-people erase-people replace-carriers block-people issue-vouchers help-holders read-stock read-records
        community-manager  manage-residents identify-people read-stock return-vouchers
        receptionist       admit-holders read-bookings manage-bookings read-records
        examiner           complete-examinations read-bookings
        hospital-officer   manage-schedules answer-claims read-bookings read-records
        auditor            read-audit read-records read-statistics read-status
        reader             read-records read-vouchers read-status
        clock              step-clock
        monitor            read-status
    ";

    #[test]
    fn each_role_holds_what_the_table_says_and_nothing_else() {
        let mut held = BTreeSet::new();
        let rows: Vec<&str> = TABLE.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(rows.len(), AccountRole::ALL.len());
        for row in rows {
            let mut words = row.split_whitespace();
            let role: AccountRole = words.next().unwrap().parse().unwrap();
            let named: BTreeSet<Permission> = words.map(|word| word.parse().unwrap()).collect();
            let holds = Permissions::of(&[role]);
            for permission in Permission::ALL {
                assert_eq!(holds.has(*permission), named.contains(permission), "{role} {permission}");
            }
            held.extend(named);
        }
        assert_eq!(held.len(), Permission::ALL.len(), "somebody holds each");
        // Who keeps accounts does nothing with vouchers, and nobody else keeps accounts.
        let keepers: Vec<_> =
            AccountRole::ALL.iter().filter(|r| r.permissions().contains(&Permission::ManageAccounts)).collect();
        assert_eq!(keepers, [&AccountRole::Administrator]);
    }

    #[test]
    fn sets_do_as_sets_do() {
        let (reader, clerk) =
            (Permissions::of(&[AccountRole::Reader]), Permissions::of(&[AccountRole::CommunityClerk]));
        assert_eq!(reader.and(clerk).iter().collect::<Vec<_>>(), [Permission::ReadRecords]);
        assert!(reader.and(clerk).is_within(clerk) && !reader.is_within(clerk));
        assert!(!clerk.without(Permission::ReadRecords).has(Permission::ReadRecords));
        assert_eq!(reader.without(Permission::ManageAccounts), reader);
        assert!(Permission::ALL.len() <= 64, "a set is 64 bits");
        assert!("no-such-thing".parse::<Permission>().is_err());
    }
}
