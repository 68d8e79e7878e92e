//! The JSON Schema of the config: the rules that stand on its structs, and those that are too long to stand there.
//!
//! What a text is to be is its `title`, what must not be quoted is `writeOnly`: someone may have put a secret there.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

use super::Config;

/// A name of at most 128 characters, or an ARN.
pub(super) const STACK: &str = r"^([A-Za-z][A-Za-z0-9-]{0,127}|arn:aws[a-z-]*:cloudformation:[a-z0-9-]+:[0-9]{12}:stack/[A-Za-z][A-Za-z0-9-]*/[A-Za-z0-9-]+)$";

const BUCKET: &str = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$";

/// The distribution reference grammar: a first part is a host where it has a dot or a port, or is localhost.
pub(super) const REPOSITORY: &str = concat!(
    r"^((localhost|[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+)(:[0-9]{1,5})?/|[A-Za-z0-9][A-Za-z0-9-]*:[0-9]{1,5}/)?",
    r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*$"
);

/// A mount over one of these would hide it.
pub(super) const SYSTEM: &str =
    r"^/(bin|boot|dev|etc|lib|lib32|lib64|opt|proc|root|run|sbin|sys|tmp|usr|var)(/|$)|^/home$";

/// The rules of a bucket's name, which has neither two dots in a row nor the form of an IPv4 address.
pub(super) fn bucket(schema: &mut Schema) {
    schema.insert("title".into(), json!("an S3 bucket name"));
    schema.insert("examples".into(), json!(["theta-edge-assets"]));
    schema.insert("pattern".into(), json!(BUCKET));
    let not = json!({ "pattern": r"\.\.|^[0-9]+(\.[0-9]+){3}$" });
    schema.insert("not".into(), not);
}

/// The schema, with no references in it.
pub(super) fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(without_null));
    settings
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value()
}

/// `Option` reads null too; the file says "absent" by leaving the key out.
fn without_null(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = schema.get_mut("type")
        && let Some(kind) = types.iter().find(|kind| *kind != "null").cloned()
    {
        schema.insert("type".into(), kind);
    }
    if let Some(Value::Array(variants)) = schema.remove("anyOf") {
        for variant in variants {
            if let Value::Object(variant) = variant
                && variant.get("type").is_none_or(|kind| kind != "null")
            {
                for (key, value) in variant {
                    schema.entry(key).or_insert(value);
                }
            }
        }
    }
}
