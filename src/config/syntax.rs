//! JSON text to a value, where a key that occurs twice is an error and not a silent choice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::{Problem, path_of};

/// Parses `text`. Duplicate keys are returned beside the value, since the rest of the file can be checked all the same.
pub(super) fn parse(text: &str) -> Result<(Value, Vec<Problem>), Problem> {
    let duplicates = RefCell::default();
    let node = Node {
        path: "$".into(),
        duplicates: &duplicates,
    };
    let mut source = serde_json::Deserializer::from_str(text);
    let value = node
        .deserialize(&mut source)
        .and_then(|value| source.end().map(|()| value))
        .map_err(|error| {
            Problem::new(
                "$",
                format!("not valid JSON: {error}"),
                "correct the file at that line and column; JSON has no comments and no comma after the last item",
            )
        })?;
    Ok((value, duplicates.into_inner()))
}

/// The value at `path`, about to be read.
struct Node<'a> {
    path: String,
    duplicates: &'a RefCell<Vec<Problem>>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let item = Node {
                path: format!("{}[{}]", self.path, list.len()),
                duplicates: self.duplicates,
            };
            match items.next_element_seed(item)? {
                Some(value) => list.push(value),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = path_of(&self.path, &key);
            let value = entries.next_value_seed(Node {
                path: path.clone(),
                duplicates: self.duplicates,
            })?;
            if map.insert(key, value).is_some() {
                self.duplicates.borrow_mut().push(Problem::new(
                    path,
                    "the key occurs twice",
                    "keep one of the two",
                ));
            }
        }
        Ok(map.into())
    }
}
