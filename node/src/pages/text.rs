//! Texts of pages, in Chinese and English (node/locales). Texts of refusals are the domain's (`domain::reason_texts`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use domain::reason_texts::Language;
use fluent_templates::fluent_bundle::FluentValue;
use fluent_templates::{LanguageIdentifier, Loader as _};

fluent_templates::static_loader! {
    static TEXTS = {
        locales: "./locales",
        fallback_language: "zh-CN",
        // Arguments would come wrapped in marks that nobody sees, and that break what is copied and compared.
        customise: |bundle| bundle.set_use_isolating(false),
    };
}

static ZH: LazyLock<LanguageIdentifier> = LazyLock::new(|| "zh-CN".parse().expect("zh-CN is a language"));
static EN: LazyLock<LanguageIdentifier> = LazyLock::new(|| "en".parse().expect("en is a language"));

/// The tag of a language, as `lang` has it.
#[must_use]
pub const fn tag(language: Language) -> &'static str {
    match language {
        Language::Zh => "zh-CN",
        Language::En => "en",
    }
}

/// The language of a tag.
#[must_use]
pub fn by_tag(text: &str) -> Option<Language> {
    [Language::Zh, Language::En].into_iter().find(|language| tag(*language) == text)
}

/// An argument of a text: a number, of which plurals depend, or words.
pub trait Argument {
    /// As Fluent takes it.
    fn value(&self) -> FluentValue<'_>;
}

impl<T: Argument + ?Sized> Argument for &T {
    fn value(&self) -> FluentValue<'_> {
        (**self).value()
    }
}

impl Argument for str {
    fn value(&self) -> FluentValue<'_> {
        self.into()
    }
}

impl Argument for String {
    fn value(&self) -> FluentValue<'_> {
        self.as_str().into()
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Argument for $number {
            fn value(&self) -> FluentValue<'_> {
                (*self).into()
            }
        })*
    };
}

numbers!(i32 i64 u8 u16 u32 u64 usize);

/// A text by its key. One that is not there is its key: a test sees to it that none is.
#[must_use]
pub fn text(language: Language, key: &str, arguments: &[(&'static str, &dyn Argument)]) -> String {
    let id = match language {
        Language::Zh => &*ZH,
        Language::En => &*EN,
    };
    let arguments: HashMap<Cow<'static, str>, FluentValue<'_>> =
        arguments.iter().map(|(name, value)| (Cow::Borrowed(*name), value.value())).collect();
    TEXTS.try_lookup_complete(id, key, Some(&arguments)).unwrap_or_else(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;
    use crate::pages::ALL;

    /// Every file under a directory with one of these endings: its path and its text.
    fn files(dir: &Path, endings: &[&str]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path, endings));
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
        found
    }

    fn here(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    /// Each key of a language with the arguments that its text names.
    fn keys(language: Language) -> BTreeMap<String, BTreeSet<String>> {
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut key = String::new();
        for (path, text) in files(&here("locales").join(tag(language)), &[".ftl"]) {
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                if let Some((name, _)) = line.split_once(" =").filter(|_| !line.starts_with([' ', '}'])) {
                    name.clone_into(&mut key);
                    assert!(keys.insert(key.clone(), BTreeSet::new()).is_none(), "{path}: {name} stands twice");
                }
                for named in line.split('$').skip(1) {
                    let end = named.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
                    keys.get_mut(&key).unwrap().insert(named[..end.unwrap_or(named.len())].to_owned());
                }
            }
        }
        keys
    }

    #[test]
    fn both_languages_have_the_same_texts_with_the_same_arguments() {
        let (zh, en) = (keys(Language::Zh), keys(Language::En));
        assert!(!zh.is_empty());
        assert_eq!(zh, en);
        for (key, named) in &zh {
            let arguments: Vec<(&str, &dyn Argument)> =
                named.iter().map(|name| (&*name.clone().leak(), &1 as &dyn Argument)).collect();
            for language in [Language::Zh, Language::En] {
                assert_ne!(text(language, key, &arguments), *key, "{} cannot be read", tag(language));
            }
        }
    }

    #[test]
    fn every_text_that_a_page_names_is_there() {
        let known = keys(Language::Zh);
        let mut named = 0;
        let mut sources = files(&here("templates"), &[".html"]);
        sources.extend(files(&here("src/pages"), &[".rs"]));
        for (path, source) in sources {
            for call in [".t(\"", ".tx(\"", ".tx2(\""] {
                for rest in source.split(call).skip(1) {
                    let key = rest.split('"').next().unwrap();
                    assert!(known.contains_key(key), "{path}: {key} is in no file of node/locales");
                    named += 1;
                }
            }
        }
        for title in ALL.iter().copied().flatten().filter_map(|page| page.title) {
            for key in [title.to_owned(), format!("{title}-about")] {
                assert!(known.contains_key(&key), "{key} is in no file of node/locales");
            }
        }
        assert!(named > 20, "{named}");
    }
}
