//! What is wrong with a config file: all of it at once, each with its JSON path and what to write instead.

use serde_json::{Map, Value};

use super::problem::{Problem, path_of, quoted};
use super::syntax;
use super::table::{FIELDS, Field, Kind};

/// The parsed file, when nothing at all is wrong with it.
pub(super) fn checked(text: &str) -> Result<Value, Vec<Problem>> {
    let (value, mut problems) = syntax::parse(text).map_err(|problem| vec![problem])?;
    let Some(root) = value.as_object() else {
        return Err(vec![Problem::new(
            "$",
            format!("is {}, not an object", kind_of(&value)),
            "write the settings between { and }",
        )]);
    };
    check_object("$", root, FIELDS, &mut problems);
    check_volume(root, &mut problems);
    if problems.is_empty() {
        Ok(value)
    } else {
        Err(problems)
    }
}

fn check_object(
    path: &str,
    object: &Map<String, Value>,
    fields: &[Field],
    problems: &mut Vec<Problem>,
) {
    for field in fields {
        let path = path_of(path, field.name);
        match object.get(field.name) {
            Some(Value::Null) if !field.required => problems.push(Problem::new(
                path,
                "is null",
                format!("leave the key out, or write {}", field.kind.wanted()),
            )),
            Some(value) => check_value(&path, value, &field.kind, problems),
            None if field.required => problems.push(Problem::new(
                path,
                "is missing",
                format!("add it: {}", field.kind.wanted()),
            )),
            None => {}
        }
    }
    for key in object.keys() {
        if !fields.iter().any(|field| field.name == key) {
            problems.push(Problem::new(
                path_of(path, key),
                "there is no such setting",
                suggestion(key, fields),
            ));
        }
    }
}

fn check_value(path: &str, value: &Value, kind: &Kind, problems: &mut Vec<Problem>) {
    let mut wrong = |message: String| {
        problems.push(Problem::new(
            path,
            message,
            format!("write {}", kind.wanted()),
        ));
    };
    match (kind, value) {
        (Kind::Object(fields), Value::Object(object)) => {
            check_object(path, object, fields, problems);
        }
        (Kind::Flag, Value::Bool(_)) => {}
        (Kind::Number { least, most }, Value::Number(number)) => {
            if !number
                .as_u64()
                .is_some_and(|n| (*least..=*most).contains(&n))
            {
                wrong(format!(
                    "{number} is not a whole number from {least} to {most}"
                ));
            }
        }
        (Kind::Choice(choices), Value::String(text)) => {
            if !choices.contains(&text.as_str()) {
                wrong(format!("{} is not one of the choices", quoted(text)));
            }
        }
        (Kind::Text(shape), Value::String(text)) => {
            if let Some(message) = shape.wrong(text) {
                wrong(message);
            }
        }
        (_, value) => wrong(format!("is {}, not {}", kind_of(value), kind.type_name())),
    }
}

/// Rules that span keys.
fn check_volume(root: &Map<String, Value>, problems: &mut Vec<Problem>) {
    let Some(volume) = root.get("volume").and_then(Value::as_object) else {
        return;
    };
    let has_id = volume.get("id").is_some_and(|id| !id.is_null());
    match volume.get("kind").map(Value::as_str) {
        None | Some(Some("ebs")) if !volume.contains_key("id") => problems.push(Problem::new(
            "$.volume.id",
            "is missing",
            "name the EBS volume (vol-…), or set $.volume.kind to \"instance-store\"",
        )),
        Some(Some("instance-store")) if has_id => problems.push(Problem::new(
            "$.volume.id",
            "an instance-store volume has no id",
            "remove the id, or set $.volume.kind to \"ebs\"",
        )),
        Some(Some("instance-store")) if volume.contains_key("origin") => {
            problems.push(Problem::new(
                "$.volume.origin",
                "an instance-store volume has no origin",
                "remove the origin, or set $.volume.kind to \"ebs\"",
            ));
        }
        _ => {}
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn suggestion(key: &str, fields: &[Field]) -> String {
    // A key may be as long as the file; the table's names are short.
    let key: String = key.chars().take(64).collect();
    let nearest = fields
        .iter()
        .map(|field| (strsim::levenshtein(&key, field.name), field.name))
        .min()
        .filter(|(far, name)| *far <= (name.len() / 3).max(1));
    if let Some((_, name)) = nearest {
        return format!("did you mean {name:?}? Else remove it");
    }
    let names: Vec<_> = fields.iter().map(|field| field.name).collect();
    format!("remove it; the settings here are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::problem::render;
    use super::*;

    fn valid() -> Value {
        json!({
            "volume": {"id": "vol-0123456789abcdef0"},
            "assets": {"bucket": "assets", "key": "edge.tar.gz", "sha256": "a".repeat(64)},
            "secret": {"arn": "wallet-password"}
        })
    }

    /// The problems of the valid config with `value` put at `pointer`.
    fn with(pointer: &str, value: Value) -> Vec<Problem> {
        let mut config = valid();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        if !parent.is_empty() && config.pointer(parent).is_none() {
            config[&parent[1..]] = json!({});
        }
        config.pointer_mut(parent).unwrap()[key] = value;
        checked(&config.to_string()).err().unwrap_or_default()
    }

    #[test]
    fn five_mistakes_are_five_problems() {
        let text = r#"{
            "regoin": "us-east-1",
            "gpu": "yes",
            "volume": {"id": "vol-12", "kind": "ebs"},
            "assets": {"bucket": "assets", "sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
            "secret": {"arn": "wallet-password"},
            "metrics": {"schedule": "hourly"}
        }"#;
        let problems = checked(text).unwrap_err();
        assert_eq!(
            render(&problems),
            r#"1. $.gpu: is a string, not a boolean
   help: write true or false
2. $.volume.id: "vol-12" is not an EBS volume id
   help: write an EBS volume id, such as "vol-0123456789abcdef0"
3. $.assets.key: is missing
   help: add it: an S3 object key without a leading slash, such as "bootstrap/assets.tar.gz"
4. $.metrics.schedule: "hourly" is not one of the choices
   help: write "cron" or "systemd-timer"
5. $.regoin: there is no such setting
   help: did you mean "region"? Else remove it
"#
        );
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        let cases = [
            (
                "{\n  \"gpu\": true,\n}",
                "not valid JSON: trailing comma at line 3 column 1",
            ),
            (
                "",
                "not valid JSON: EOF while parsing a value at line 1 column 0",
            ),
            (
                "{} x",
                "not valid JSON: trailing characters at line 1 column 4",
            ),
        ];
        for (text, message) in cases {
            let problems = checked(text).unwrap_err();
            assert_eq!(
                (problems[0].path.as_str(), problems[0].message.as_str()),
                ("$", message)
            );
            assert_eq!(problems.len(), 1);
        }
        assert_eq!(
            checked("[]").unwrap_err()[0].message,
            "is an array, not an object"
        );
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let problems = checked(&"[".repeat(100_000)).unwrap_err();
        assert_eq!(
            problems[0].message,
            "not valid JSON: recursion limit exceeded at line 1 column 128"
        );
    }

    #[test]
    fn a_key_that_occurs_twice_is_named_with_its_path() {
        let text = valid().to_string().replace(
            r#""bucket":"assets""#,
            r#""bucket":"assets","bucket":"other""#,
        );
        let problems = checked(&text).unwrap_err();
        assert_eq!(
            problems,
            [Problem::new(
                "$.assets.bucket",
                "the key occurs twice",
                "keep one of the two"
            )]
        );
    }

    #[test]
    fn a_missing_section_is_one_problem() {
        let problems = checked("{}").unwrap_err();
        let paths: Vec<_> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["$.volume", "$.assets", "$.secret"]);
        assert_eq!(problems[2].hint, "add it: an object with arn");
    }

    #[test]
    fn unknown_keys_get_the_nearest_name_or_the_list() {
        let cases = [
            ("/volume/mont", "did you mean \"mount\"? Else remove it"),
            (
                "/deadline_second",
                "did you mean \"deadline_seconds\"? Else remove it",
            ),
            ("/secret/password", "remove it; the settings here are arn"),
        ];
        for (pointer, hint) in cases {
            let problems = with(pointer, json!("correct horse"));
            assert_eq!(problems.len(), 1, "{pointer}");
            assert_eq!(
                (problems[0].message.as_str(), problems[0].hint.as_str()),
                ("there is no such setting", hint)
            );
        }
    }

    #[test]
    fn the_volume_id_goes_with_ebs_only() {
        let mut config = valid();
        config["volume"] = json!({});
        let missing = checked(&config.to_string()).unwrap_err();
        assert_eq!(
            missing[0].hint,
            "name the EBS volume (vol-…), or set $.volume.kind to \"instance-store\""
        );
        let idle = with("/volume/kind", json!("instance-store"));
        assert_eq!(idle[0].message, "an instance-store volume has no id");
        assert_eq!((missing.len(), idle.len()), (1, 1));
        config["volume"] = json!({"kind": "instance-store", "origin": "new"});
        let idle = checked(&config.to_string()).unwrap_err();
        assert_eq!(idle[0].message, "an instance-store volume has no origin");
        assert_eq!(idle.len(), 1);
    }

    #[test]
    fn values_that_could_be_secrets_are_not_quoted() {
        for (pointer, value) in [
            ("/secret/arn", "hunter2 hunter2"),
            ("/stack/wait_handle", "ftp://x/?Signature=abc"),
        ] {
            let text = render(&with(pointer, json!(value)));
            assert!(text.contains("is not") && !text.contains(value), "{text}");
        }
    }

    #[test]
    fn null_and_wrong_types_are_told_apart() {
        assert_eq!(with("/region", json!(null))[0].message, "is null");
        assert_eq!(
            with("/user/uid", json!("1002"))[0].message,
            "is a string, not a number"
        );
        assert_eq!(
            with("/user/uid", json!(0))[0].message,
            "0 is not a whole number from 1 to 60000"
        );
        assert_eq!(
            with("/deadline_seconds", json!(59.5))[0].message,
            "59.5 is not a whole number from 60 to 43200"
        );
        assert_eq!(
            with("/edge", json!([]))[0].message,
            "is an array, not an object"
        );
    }
}
