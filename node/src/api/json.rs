//! JSON bodies, read strictly: an object's names stand once, and an object is an object.
//!
//! serde takes a list for a struct, its fields in order, and of a map's equal names the last: a body would be read here and
//! mean something else to whoever looked at it on its way.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// Reads a body.
///
/// # Errors
///
/// What is wrong with it, in words for a developer.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice::<Once>(bytes).and_then(|once| of(once.0))
}

/// Reads what stands in a body already.
///
/// # Errors
///
/// As above.
pub fn of<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Strict(value))
}

/// A value in whose objects no name stands twice.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Once;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Once, E> {
                Ok(Once(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
                let mut list = Vec::new();
                while let Some(Once(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Once(Value::Array(list)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Once, A::Error> {
                let mut object = Map::new();
                while let Some((name, Once(value))) = entries.next_entry::<String, _>()? {
                    if object.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice in an object"));
                    }
                }
                Ok(Once(Value::Object(object)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A value that gives an object, and nothing else, to whoever wants a struct.
struct Strict(Value);

impl<'de> IntoDeserializer<'de, Error> for Strict {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Strict));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(object) => {
                let mut entries = MapDeserializer::new(object.into_iter().map(|(name, value)| (name, Strict(value))));
                let read = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| read)
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.0.is_array() {
            return Err(Error::invalid_type(Unexpected::Seq, &"an object"));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::ids::ShortName;

    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        n: u64,
        at: Option<i64>,
    }

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
        list: Vec<Inner>,
        #[serde(default)]
        by_name: BTreeMap<ShortName, Inner>,
        kind: Option<domain::policy::Class>,
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        let table = [
            ("whole", r#"{"inner":{"n":1,"at":-2},"list":[{"n":1}],"by_name":{"a":{"n":3}},"kind":"elderly"}"#, ""),
            ("nulls", r#"{"inner":{"n":1,"at":null},"list":[],"kind":null}"#, ""),
            ("a list for the body", r#"[{"n":1},[],{},null]"#, "expected an object"),
            ("a list within", r#"{"inner":[1,2],"list":[]}"#, "expected an object"),
            ("a list in a list", r#"{"inner":{"n":1},"list":[[1,2]]}"#, "expected an object"),
            ("a list in a map", r#"{"inner":{"n":1},"list":[],"by_name":{"a":[1,2]}}"#, "expected an object"),
            ("a field twice", r#"{"inner":{"n":1,"n":1},"list":[]}"#, "stands twice"),
            (
                "a map's name twice",
                r#"{"inner":{"n":1},"list":[],"by_name":{"a":{"n":1},"a":{"n":2}}}"#,
                "stands twice",
            ),
            ("twice, spelled otherwise", r#"{"inner":{"n":1,"\u006e":1},"list":[]}"#, "stands twice"),
            ("an unknown field", r#"{"inner":{"n":1},"list":[],"more":1}"#, "unknown field `more`"),
            ("a missing field", r#"{"inner":{},"list":[]}"#, "missing field `n`"),
            ("a sign too many", r#"{"inner":{"n":-1},"list":[]}"#, "invalid value"),
            ("two bodies", r#"{"inner":{"n":1},"list":[]}{}"#, "trailing characters"),
        ];
        for (case, text, said) in table {
            match read::<Outer>(text.as_bytes()) {
                Ok(outer) => {
                    assert_eq!((said, outer.inner.n), ("", 1), "{case}: {outer:?}");
                    assert_eq!(outer, serde_json::from_str(text).unwrap(), "{case}");
                }
                Err(error) => assert!(!said.is_empty() && error.to_string().contains(said), "{case}: {error}"),
            }
        }
    }
}
