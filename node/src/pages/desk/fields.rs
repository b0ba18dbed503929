//! What a desk's form sends, field by field: an empty field is none.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::problem::Problem;

/// The fields of a form by their names.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// A field as it was typed, without what stands around it.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// The text of a code. Its blanks belong to it; what a hand scanner sends after it does not.
    #[must_use]
    pub fn code(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name).map(|text| text.trim_matches(['\r', '\n', '\t']));
        text.filter(|text| !text.trim().is_empty())
    }

    /// A field that must be there.
    ///
    /// # Errors
    ///
    /// `malformed`, with the field's name.
    pub fn needed(&self, name: &str) -> Result<&str, Problem> {
        self.text(name).ok_or_else(|| Problem::malformed(format_args!("{name} is empty")))
    }

    /// A field in the form that its type has.
    ///
    /// # Errors
    ///
    /// `malformed`, with the field's name.
    pub fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| text.parse().map_err(|error| Problem::malformed(format_args!("{name}: {error}")));
        self.text(name).map(parse).transpose()
    }

    /// A field with one of the words of a list.
    ///
    /// # Errors
    ///
    /// `malformed`, with the field's name.
    pub fn word<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Problem> {
        let read = |text: &str| serde_json::from_value(Value::String(text.to_owned()));
        let read = self.text(name).map(read).transpose();
        read.map_err(|error| Problem::malformed(format_args!("{name}: {error}")))
    }

    /// Whether a box is ticked.
    #[must_use]
    pub fn is_ticked(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The names of fields that begin alike, without their beginning.
    pub fn beginning<'a>(&'a self, with: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.keys().filter_map(move |name| name.strip_prefix(with))
    }
}

#[cfg(test)]
mod tests {
    use domain::causes::ReturnReason;
    use domain::ids::ShortName;

    use super::*;

    #[test]
    fn fields_are_read_by_what_they_are() {
        let pairs =
            [("qr", " VP1:A B \r\n"), ("empty", "  "), ("why", "leaving"), ("name", "Not short"), ("box-a", "1")];
        let fields = Fields(pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
        assert_eq!((fields.code("qr"), fields.text("qr")), (Some(" VP1:A B "), Some("VP1:A B")));
        assert_eq!((fields.text("empty"), fields.code("empty"), fields.text("none")), (None, None, None));
        assert_eq!(fields.word::<ReturnReason>("why").unwrap(), Some(ReturnReason::Leaving));
        assert!(fields.word::<ReturnReason>("name").is_err() && fields.parsed::<ShortName>("name").is_err());
        assert!(fields.needed("empty").is_err() && fields.is_ticked("box-a"));
        assert_eq!(fields.beginning("box-").collect::<Vec<_>>(), ["a"]);
    }
}
