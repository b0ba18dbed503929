//! The list of residents: whom the community knows to be entitled before they come, so that the desk confirms at once.
//!
//! An office sends it as a table. It is personal data in every row, so it stands in private rows alone, found by a keyed
//! digest of the document. It helps the desk and binds it: what is on the list need not be typed, and a form that says
//! something else is refused. Who is not on the list is registered by the whole form, as the desk reads the document.

use chrono::NaiveDate;
use domain::ids::{Digest, ShortName};
use domain::policy::Class;
use domain::reasons::Reason;
use serde::{Deserialize, Serialize};

use super::command::Answer;
use super::people::{self, Form, Sex};
use crate::document;
use crate::keys::{Key, Parts};
use crate::kv::{self, Space, Tx};
use crate::replica::Work;
use crate::writer::{Desk, Refused};

/// Most residents in one command: one batch of the ledger.
pub const MAX_RESIDENTS: usize = 200;

/// Somebody on the list. Personal data in every field; `Debug` shows the class alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    /// What the office says of them.
    pub form: Form,
    /// Whether vouchers can go to a phone; else a card is printed.
    pub smartphone: bool,
}

/// What became of a resident who was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Taken {
    /// Was not on the list, and is now.
    Added,
    /// Was on the list, word for word.
    Known,
    /// Was on the list with another class, telephone number or carrier.
    Updated,
}

/// What a clerk has written so far: the document, and of the rest what the list does not say.
#[derive(Clone)]
pub struct Draft {
    /// Kind of document.
    pub document_type: ShortName,
    /// Its number.
    pub document_number: String,
    /// As in the document.
    pub name: Option<String>,
    /// Date of birth.
    pub born: Option<NaiveDate>,
    /// As in the document.
    pub sex: Option<Sex>,
    /// Telephone number.
    pub phone: Option<String>,
    /// Why this person is entitled.
    pub class: Option<Class>,
}

/// A row of the list: which document, and whom.
type Listed = (Digest, Resident);

/// The rows of a digest's bucket; one of them is numbered behind the bucket, so that a key says no more of a document.
fn bucket(digest: Digest) -> Key {
    Key::new(b'c').bytes(b"r").bytes(&document::bucket(digest))
}

/// The row of a document, or the key that a new one gets.
fn find(tx: &Tx<'_>, digest: Digest) -> Result<(Vec<u8>, Resident), Vec<u8>> {
    let prefix = bucket(digest).done();
    let mut next = 0;
    for (key, value) in tx.prefix(Space::Private, &prefix, usize::MAX) {
        let (of, resident): Listed = kv::read(&value);
        if of == digest {
            return Ok((key, resident));
        }
        next = key.get(prefix.len()..).and_then(|rest| Parts(rest).number()).map_or(next, |number| number + 1);
    }
    Err(bucket(digest).number(next).done())
}

/// The row of a document; none while no document was ever kept here.
fn row_of(tx: &Tx<'_>, kind: &ShortName, number: &str) -> Option<(Vec<u8>, Resident)> {
    find(tx, people::document_digest(tx, kind, number)?).ok()
}

/// Who of the list has this document.
#[must_use]
pub fn listed(tx: &Tx<'_>, kind: &ShortName, number: &str) -> Option<Resident> {
    row_of(tx, kind, number).map(|(_, resident)| resident)
}

/// Takes residents into the list, each for itself: one that is refused does not keep the others out.
pub(super) fn list(desk: &mut Desk<'_>, fresh: [u8; 32], residents: Vec<Resident>) -> Result<Answer, Refused> {
    if residents.len() > MAX_RESIDENTS {
        return Err(Reason::TooLarge.into());
    }
    desk.remember_request();
    let secret = people::secret(&mut desk.work.tx, fresh);
    Ok(Answer::Listed(residents.into_iter().map(|resident| take(desk, &secret, resident)).collect()))
}

fn take(desk: &mut Desk<'_>, secret: &[u8; 32], resident: Resident) -> Result<Taken, Reason> {
    resident.form.check()?;
    if resident.form.born > desk.now.day_at(desk.work.settings.offset) {
        return Err(Reason::DocumentInvalid);
    }
    let digest = document::digest(secret, &resident.form.document_type, &resident.form.document_number);
    let (key, taken) = match find(&desk.work.tx, digest) {
        Err(key) => (key, Taken::Added),
        Ok((_, old)) if old == resident => return Ok(Taken::Known),
        Ok((key, old)) if is_same_person(&old.form, &resident.form) => (key, Taken::Updated),
        // The file cannot say which of the two is right: the desk looks, and takes the old row off the list.
        Ok(_) => return Err(Reason::ResidentDiffers),
    };
    desk.work.tx.store_private(key, &(digest, &resident));
    Ok(taken)
}

fn is_same_person(a: &Form, b: &Form) -> bool {
    (&a.name, a.born, a.sex) == (&b.name, b.born, b.sex)
}

/// Takes somebody off the list. Who is registered stays registered.
pub(super) fn unlist(desk: &mut Desk<'_>, kind: &ShortName, number: &str) -> Result<Answer, Refused> {
    let (key, _) = row_of(&desk.work.tx, kind, number).ok_or(Reason::ResidentUnknown)?;
    desk.work.tx.delete(Space::Private, key);
    desk.remember_request();
    Ok(Answer::Done)
}

/// Takes somebody off the list, if they are on it.
pub(super) fn forget(tx: &mut Tx<'_>, kind: &ShortName, number: &str) {
    if let Some((key, _)) = row_of(tx, kind, number) {
        tx.delete(Space::Private, key);
    }
}

/// The whole form: what the clerk has written, and the rest from the list.
///
/// # Errors
///
/// [`Reason::ResidentDiffers`] where the list says something else than the clerk (the telephone number is the clerk's to
/// change); [`Reason::ResidentUnknown`] if something is missing and the person is not on the list.
pub fn fill(work: &Work<'_>, draft: Draft) -> Result<Form, Reason> {
    let Some(Resident { form, .. }) = listed(&work.tx, &draft.document_type, &draft.document_number) else {
        return draft.whole().ok_or(Reason::ResidentUnknown);
    };
    let agrees = draft.name.as_ref().is_none_or(|name| *name == form.name)
        && draft.born.is_none_or(|born| born == form.born)
        && draft.sex.is_none_or(|sex| sex == form.sex)
        && draft.class.is_none_or(|class| class == form.class);
    if !agrees {
        return Err(Reason::ResidentDiffers);
    }
    Ok(Form { phone: draft.phone.or(form.phone), ..form })
}

impl Draft {
    fn whole(self) -> Option<Form> {
        let Self { document_type, document_number, name, born, sex, phone, class } = self;
        let (name, born, sex, class) = (name?, born?, sex?, class?);
        Some(Form { document_type, document_number, name, born, sex, phone, class })
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::Command;
    use super::super::scene::*;
    use super::*;

    const NUMBER: &str = "11010519491231002X";

    fn resident() -> Resident {
        Resident { form: form("王秀英", NUMBER, Class::Elderly), smartphone: true }
    }

    fn list(scene: &mut Scene, residents: Vec<Resident>) -> Vec<Result<Taken, Reason>> {
        match scene.ask(Command::List { secret: [7; 32], residents }) {
            Ok(Answer::Listed(taken)) => taken,
            other => panic!("{other:?}"),
        }
    }

    fn filled(scene: &Scene, draft: Draft) -> Result<Form, Reason> {
        scene.town.read(xuanwu(), |work| fill(work, draft))
    }

    fn draft() -> Draft {
        // Typed as people type it.
        let document_number = "110105 19491231 002x".into();
        let document_type = short("resident-id");
        Draft { document_type, document_number, name: None, born: None, sex: None, phone: None, class: None }
    }

    #[test]
    fn each_row_is_judged_for_itself_and_twice_is_once() {
        let mut scene = Scene::new();
        let good = resident();
        let with = |change: &dyn Fn(&mut Resident)| {
            let mut other = good.clone();
            change(&mut other);
            other
        };
        let table = [
            ("new", good.clone(), Ok(Taken::Added)),
            ("again", good.clone(), Ok(Taken::Known)),
            (
                "another spelling of the number",
                with(&|r| r.form.document_number = NUMBER.to_lowercase()),
                Ok(Taken::Updated),
            ),
            ("another phone", with(&|r| r.form.phone = None), Ok(Taken::Updated)),
            ("another class", with(&|r| r.form.class = Class::Disabled), Ok(Taken::Updated)),
            ("no smartphone", with(&|r| r.smartphone = false), Ok(Taken::Updated)),
            ("another name", with(&|r| r.form.name = "王秀兰".into()), Err(Reason::ResidentDiffers)),
            ("another sex", with(&|r| r.form.sex = Sex::M), Err(Reason::ResidentDiffers)),
            ("no number", with(&|r| r.form.document_number.clear()), Err(Reason::DocumentInvalid)),
            ("a long name", with(&|r| r.form.name = "长".repeat(41)), Err(Reason::Malformed)),
            ("not born yet", with(&|r| r.form.born = NaiveDate::MAX), Err(Reason::DocumentInvalid)),
            ("as at first", good.clone(), Ok(Taken::Updated)),
        ];
        let (rows, expected): (Vec<_>, Vec<_>) =
            table.map(|(what, row, taken)| (row, (what, taken))).into_iter().unzip();
        for (taken, (what, expected)) in list(&mut scene, rows).into_iter().zip(expected) {
            assert_eq!(taken, expected, "{what}");
        }
        assert_eq!(list(&mut scene, vec![good.clone()]), [Ok(Taken::Known)], "in another command");

        let many = vec![good; MAX_RESIDENTS + 1];
        let refused = scene.ask(Command::List { secret: [7; 32], residents: many }).unwrap_err();
        assert_eq!(refused.reason(), Reason::TooLarge);
    }

    #[test]
    fn the_list_fills_the_form_and_binds_it() {
        let mut scene = Scene::new();
        assert_eq!(filled(&scene, draft()).unwrap_err(), Reason::ResidentUnknown, "there is no list");
        list(&mut scene, vec![resident()]);
        assert_eq!(filled(&scene, draft()).unwrap(), resident().form);

        let phone = filled(&scene, Draft { phone: Some("1".into()), ..draft() }).unwrap().phone;
        assert_eq!(phone.as_deref(), Some("1"), "the clerk has just been told");
        let differing = [
            Draft { name: Some("王秀兰".into()), ..draft() },
            Draft { born: Some(NaiveDate::MIN), ..draft() },
            Draft { sex: Some(Sex::M), ..draft() },
            Draft { class: Some(Class::Pregnant), ..draft() },
        ];
        for draft in differing {
            assert_eq!(filled(&scene, draft).unwrap_err(), Reason::ResidentDiffers);
        }

        let Form { document_type, name, born, sex, phone, class, .. } = resident().form;
        let (name, born, sex, class) = (Some(name), Some(born), Some(sex), Some(class));
        let stranger = Draft { document_type, document_number: "1".into(), name, born, sex, phone, class };
        assert_eq!(filled(&scene, stranger.clone()).unwrap().document_number, "1", "the desk reads the document");
        let without = Draft { class: None, ..stranger };
        assert_eq!(filled(&scene, without).unwrap_err(), Reason::ResidentUnknown);
    }

    #[test]
    fn who_is_taken_off_the_list_leaves_nothing() {
        let mut scene = Scene::new();
        let unlist = || {
            let Draft { document_type, document_number, .. } = draft();
            Command::Unlist { document_type, document_number }
        };
        assert_eq!(scene.ask(unlist()).unwrap_err().reason(), Reason::ResidentUnknown);
        list(&mut scene, vec![resident()]);
        scene.ask(unlist()).unwrap();
        assert_eq!(scene.ask(unlist()).unwrap_err().reason(), Reason::ResidentUnknown);
        let rows = scene.town.read(xuanwu(), |work| work.tx.prefix(Space::Private, b"cr", 9).len());
        assert_eq!(rows, 0);
        let mut renamed = resident();
        renamed.form.name = "王秀兰".into();
        assert_eq!(list(&mut scene, vec![renamed]), [Ok(Taken::Added)], "so a wrong name is corrected");
    }

    #[test]
    fn a_row_tells_nobody_whom_it_is_about_by_its_key() {
        let mut scene = Scene::new();
        list(&mut scene, vec![resident()]);
        let keys = scene.town.read(xuanwu(), |work| work.tx.prefix(Space::Private, b"cr", 9));
        assert_eq!(keys.len(), 1);
        assert!(!keys[0].0.windows(NUMBER.len()).any(|w| w == NUMBER.as_bytes()));
    }
}
