//! Trust policies (C2SP tlog-policy): which logs and witnesses are known, and how many must have cosigned.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use crate::key::{KeyError, KeyKind, NoteVerifier};
use crate::note::{VerifiedNote, from_decimal};

/// Longest policy, in bytes.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;

/// Most logs, and most witnesses and groups together. C2SP asks for at least 32 of each.
pub const MAX_PARTIES: usize = 256;

/// A log or a witness of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its key.
    pub verifier: NoteVerifier,
    /// Where it answers, as the policy says it; not needed to verify.
    pub url: Option<String>,
}

/// What a name in a policy stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Witness(Party),
    Group { threshold: usize, members: Vec<usize> },
}

/// A parsed policy. The default knows nobody and asks for no cosignature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Party>,
    /// In the order of the file, so a group stands behind its members.
    rules: Vec<Rule>,
    quorum: Option<usize>,
}

/// Why a policy is refused. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`MAX_POLICY_BYTES`].
    #[error("the policy has {0} bytes, more than a policy may have")]
    TooLong(usize),
    /// More than [`MAX_PARTIES`] logs, or witnesses and groups.
    #[error("the policy names more than {MAX_PARTIES} logs, or witnesses and groups")]
    TooMany,
    /// Not one of the four kinds of line, or too few or too many words.
    #[error("line {0}: expected log, witness, group or quorum and its words")]
    Line(usize),
    /// The vkey is not good.
    #[error("line {line}: {error}")]
    Key {
        /// Which line.
        line: usize,
        /// What is wrong with the vkey.
        error: KeyError,
    },
    /// A log with a witness's kind of key, or the other way round.
    #[error("line {0}: a key of another kind is needed here")]
    Kind(usize),
    /// The key is in the policy already.
    #[error("line {0}: this key is in the policy already")]
    DuplicateKey(usize),
    /// The name is defined already, or is the word `none`.
    #[error("line {0}: this name is taken")]
    DuplicateName(usize),
    /// The name is not defined above the line.
    #[error("line {0}: this name is not defined above")]
    UnknownName(usize),
    /// The member belongs to a group already.
    #[error("line {0}: a member may be in one group only, once")]
    DuplicateMember(usize),
    /// The number is not between 1 and the number of members.
    #[error("line {0}: a group needs all, any, or a number from 1 to its members")]
    Threshold(usize),
    /// No quorum line, or more than one.
    #[error("the policy must have exactly one quorum line")]
    Quorum,
}

impl Policy {
    /// The logs, in the order of the file.
    pub fn logs(&self) -> impl Iterator<Item = &Party> {
        self.logs.iter()
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> impl Iterator<Item = &Party> {
        self.rules.iter().filter_map(|rule| match rule {
            Rule::Witness(party) => Some(party),
            Rule::Group { .. } => None,
        })
    }

    /// The keys of all logs and witnesses, to verify a note with.
    pub fn verifiers(&self) -> Vec<NoteVerifier> {
        self.logs().chain(self.witnesses()).map(|party| party.verifier.clone()).collect()
    }

    /// Whether the witnesses that cosigned the note are a quorum. The note must have been verified with the keys
    /// of the witnesses; its log is not looked at.
    pub fn is_met_by(&self, note: &VerifiedNote) -> bool {
        let Some(quorum) = self.quorum else { return true };
        let mut met: Vec<bool> = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            met.push(match rule {
                Rule::Witness(party) => note.is_signed_by(&party.verifier),
                Rule::Group { threshold, members } => {
                    members.iter().filter(|member| met.get(**member) == Some(&true)).count() >= *threshold
                }
            });
        }
        met.get(quorum) == Some(&true)
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    /// Reads a policy: words between spaces or tabs; empty lines and lines that begin with `#` say nothing.
    fn from_str(text: &str) -> Result<Policy, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong(text.len()));
        }
        let mut reader = Reader::default();
        for (number, line) in text.split('\n').enumerate() {
            let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            if words.first().is_some_and(|word| !word.starts_with('#')) {
                reader.read(number + 1, &words)?;
            }
        }
        let quorum = reader.quorum.ok_or(PolicyError::Quorum)?;
        Ok(Policy { logs: reader.logs, rules: reader.rules, quorum })
    }
}

/// A policy as far as it is read.
#[derive(Default)]
struct Reader<'a> {
    logs: Vec<Party>,
    rules: Vec<Rule>,
    quorum: Option<Option<usize>>,
    names: HashMap<&'a str, usize>,
    keys: HashSet<[u8; 32]>,
    grouped: HashSet<usize>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, line: usize, words: &[&'a str]) -> Result<(), PolicyError> {
        match words {
            ["log", vkey, url @ ..] => {
                let party = self.party(line, KeyKind::Log, vkey, url)?;
                self.logs.push(party);
                if self.logs.len() > MAX_PARTIES { Err(PolicyError::TooMany) } else { Ok(()) }
            }
            ["witness", name, vkey, url @ ..] => {
                let party = self.party(line, KeyKind::Witness, vkey, url)?;
                self.define(line, name, Rule::Witness(party))
            }
            ["group", name, threshold, members @ ..] => {
                let members: Vec<usize> =
                    members.iter().map(|member| self.find(line, member)).collect::<Result<_, _>>()?;
                if !members.iter().all(|member| self.grouped.insert(*member)) {
                    return Err(PolicyError::DuplicateMember(line));
                }
                let number = match *threshold {
                    "all" => Some(members.len() as u64),
                    "any" => Some(1),
                    number => from_decimal(number),
                };
                let threshold = number.and_then(|number| usize::try_from(number).ok());
                let threshold = threshold.filter(|number| (1..=members.len()).contains(number));
                let threshold = threshold.ok_or(PolicyError::Threshold(line))?;
                self.define(line, name, Rule::Group { threshold, members })
            }
            ["quorum", name] => {
                let quorum = if *name == "none" { None } else { Some(self.find(line, name)?) };
                if self.quorum.replace(quorum).is_some() { Err(PolicyError::Quorum) } else { Ok(()) }
            }
            _ => Err(PolicyError::Line(line)),
        }
    }

    fn party(&mut self, line: usize, kind: KeyKind, vkey: &str, url: &[&str]) -> Result<Party, PolicyError> {
        let url = match url {
            [] => None,
            [url] => Some((*url).to_owned()),
            _ => return Err(PolicyError::Line(line)),
        };
        let verifier: NoteVerifier = vkey.parse().map_err(|error| PolicyError::Key { line, error })?;
        if verifier.kind() != kind {
            return Err(PolicyError::Kind(line));
        }
        if !self.keys.insert(*verifier.key().as_bytes()) {
            return Err(PolicyError::DuplicateKey(line));
        }
        Ok(Party { verifier, url })
    }

    fn define(&mut self, line: usize, name: &'a str, rule: Rule) -> Result<(), PolicyError> {
        if self.rules.len() == MAX_PARTIES {
            return Err(PolicyError::TooMany);
        }
        if name == "none" || self.names.insert(name, self.rules.len()).is_some() {
            return Err(PolicyError::DuplicateName(line));
        }
        self.rules.push(rule);
        Ok(())
    }

    fn find(&self, line: usize, name: &str) -> Result<usize, PolicyError> {
        self.names.get(name).copied().ok_or(PolicyError::UnknownName(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::Cosigner;
    use crate::key::{NoteSigner, PrivateKey};
    use crate::note::Note;

    fn log() -> NoteSigner {
        NoteSigner::new("a.example/log", PrivateKey::from_seed(&[9; 32])).unwrap()
    }

    fn witness(number: u8) -> Cosigner {
        Cosigner::new(&format!("w{number}.example"), PrivateKey::from_seed(&[number; 32])).unwrap()
    }

    /// Puts vkeys in place of LOG, W1, W2, W3.
    fn policy(text: &str) -> Result<Policy, PolicyError> {
        let mut text = text.replace("LOG", &log().verifier().to_string());
        for number in 1..=3 {
            text = text.replace(&format!("W{number}"), &witness(number).verifier().to_string());
        }
        text.parse()
    }

    const PARTIES: &str =
        "# who\nlog LOG https://a.example\n\nwitness a W1 https://w1.example\n witness\tb W2\nwitness c W3\n";

    #[test]
    fn a_quorum_is_counted() {
        let cases: [(&str, &[u8], bool); 13] = [
            ("quorum none", &[], true),
            ("quorum a", &[1], true),
            ("quorum a", &[2, 3], false),
            ("group g all a b c\nquorum g", &[1, 2, 3], true),
            ("group g all a b c\nquorum g", &[1, 3], false),
            ("group g any a b c\nquorum g", &[2], true),
            ("group g any a b c\nquorum g", &[], false),
            ("group g 2 a b c\nquorum g", &[1, 3], true),
            ("group g 2 a b c\nquorum g", &[3], false),
            ("group g 2 a b c\nquorum g", &[3, 3], false),
            ("group g any a b\ngroup h all g c\nquorum h", &[2, 3], true),
            ("group g any a b\ngroup h all g c\nquorum h", &[1, 2], false),
            ("quorum a\ngroup g any a b", &[1], true),
        ];
        for (quorum, cosigners, met) in cases {
            let policy = policy(&format!("{PARTIES}{quorum}")).unwrap();
            let lines: String = cosigners.iter().map(|number| witness(*number).sign(1, "text\n")).collect();
            let note = Note::parse(format!("text\n\n{}{lines}", log().sign("text\n"))).unwrap();
            let note = note.verify(&policy.verifiers()).unwrap();
            assert_eq!(policy.is_met_by(&note), met, "{quorum} {cosigners:?}");
        }
        let policy = policy(&format!("{PARTIES}quorum none")).unwrap();
        let urls = |parties: Vec<&Party>| parties.iter().map(|party| party.url.clone()).collect::<Vec<_>>();
        assert_eq!(urls(policy.logs().collect()), [Some("https://a.example".into())]);
        assert_eq!(urls(policy.witnesses().collect()), [Some("https://w1.example".into()), None, None]);
    }

    #[test]
    fn a_policy_that_says_something_else_is_refused() {
        let cases = [
            ("", PolicyError::Quorum),
            ("quorum none\nquorum none", PolicyError::Quorum),
            ("quorum a", PolicyError::UnknownName(1)),
            ("quorum", PolicyError::Line(1)),
            ("Quorum none", PolicyError::Line(1)),
            ("quorum none # nobody", PolicyError::Line(1)),
            ("quorum none\r", PolicyError::UnknownName(1)),
            ("log LOG a b", PolicyError::Line(1)),
            ("log W1", PolicyError::Kind(1)),
            ("log LOGx", PolicyError::Key { line: 1, error: KeyError::Vkey }),
            ("log LOG\nlog LOG", PolicyError::DuplicateKey(2)),
            ("witness a LOG", PolicyError::Kind(1)),
            ("witness none W1", PolicyError::DuplicateName(1)),
            ("witness a W1\nwitness a W2", PolicyError::DuplicateName(2)),
            ("witness a W1\nwitness b W1", PolicyError::DuplicateKey(2)),
            ("group g any a\nwitness a W1", PolicyError::UnknownName(1)),
            ("group g any g", PolicyError::UnknownName(1)),
            ("group g any", PolicyError::Threshold(1)),
            ("group g all", PolicyError::Threshold(1)),
            ("witness a W1\ngroup g 0 a", PolicyError::Threshold(2)),
            ("witness a W1\ngroup g 2 a", PolicyError::Threshold(2)),
            ("witness a W1\ngroup g 01 a", PolicyError::Threshold(2)),
            ("witness a W1\ngroup g any a a", PolicyError::DuplicateMember(2)),
            ("witness a W1\ngroup g any a\ngroup h any a g", PolicyError::DuplicateMember(3)),
        ];
        for (text, error) in cases {
            assert_eq!(policy(text), Err(error), "{text:?}");
        }
        let long = "#".repeat(MAX_POLICY_BYTES + 1);
        assert_eq!(long.parse::<Policy>(), Err(PolicyError::TooLong(long.len())));
    }

    #[test]
    fn thirty_two_of_each_are_taken_and_too_many_are_not() {
        let file = |count: u16| -> String {
            let vkey = |name: &str, kind, number: u16| {
                let mut seed = [0; 32];
                seed[..2].copy_from_slice(&number.to_be_bytes());
                seed[2] = kind as u8;
                NoteVerifier::new(name, kind, PrivateKey::from_seed(&seed).public()).unwrap()
            };
            let parties = (0..count).map(|number| {
                let (log, witness) = (vkey("l", KeyKind::Log, number), vkey("w", KeyKind::Witness, number));
                format!("log {log}\nwitness w{number} {witness}\ngroup g{number} any w{number}\n")
            });
            parties.collect::<String>() + "quorum g0"
        };
        assert!(file(32).parse::<Policy>().is_ok());
        assert_eq!(file(129).parse::<Policy>(), Err(PolicyError::TooMany));
    }
}
