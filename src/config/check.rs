//! What is wrong with a config file: all of it at once, each with its JSON path and what to write instead.

use std::net::IpAddr;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::problem::{Problem, path_of, quoted};
use super::{schema, syntax};

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
    check_object("$", root, &schema::schema(), &mut problems);
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
    schema: &Value,
    problems: &mut Vec<Problem>,
) {
    let names = names(schema);
    for name in &names {
        let (at, inner) = (path_of(path, name), part(part(schema, "properties"), name));
        let is_required = items(schema, "required").contains(name);
        match object.get(*name) {
            Some(Value::Null) if !is_required => problems.push(Problem::new(
                at,
                "is null",
                format!("leave the key out, or write {}", wanted(inner)),
            )),
            Some(value) => check_value(&at, value, inner, problems),
            None if is_required => problems.push(Problem::new(
                at,
                "is missing",
                format!("add it: {}", wanted(inner)),
            )),
            None => {}
        }
    }
    for key in object.keys().filter(|key| !names.contains(&key.as_str())) {
        problems.push(Problem::new(
            path_of(path, key),
            "there is no such setting",
            suggestion(key, &names),
        ));
    }
}

fn check_value(path: &str, value: &Value, schema: &Value, problems: &mut Vec<Problem>) {
    let wrong = match (kind(schema), value) {
        ("object", Value::Object(object)) => {
            return check_object(path, object, schema, problems);
        }
        ("boolean", Value::Bool(_)) => None,
        ("integer", Value::Number(number)) => {
            let is_within =
                |number| (bound(schema, "minimum")..=bound(schema, "maximum")).contains(&number);
            let fits = number.as_u64().is_some_and(is_within);
            (!fits).then(|| format!("{number} is not {}", wanted(schema)))
        }
        ("string", Value::String(text)) => wrong_text(text, schema),
        (kind, value) => Some(format!("is {}, not {}", kind_of(value), article(kind))),
    };
    if let Some(message) = wrong {
        problems.push(Problem::new(
            path,
            message,
            format!("write {}", wanted(schema)),
        ));
    }
}

/// What is wrong with the text, if anything.
fn wrong_text(text: &str, schema: &Value) -> Option<String> {
    let choices = choices(schema);
    if !choices.is_empty() {
        let is_one = choices.contains(&text);
        return (!is_one).then(|| format!("{} is not one of the choices", quoted(text)));
    }
    if text.is_empty() {
        return Some("is empty".into());
    }
    let matches = |pattern: &str| Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    let not = part(schema, "not");
    // The length first: a long text takes long to match.
    let fits = bound(schema, "maxLength") >= text.chars().count() as u64
        && part(schema, "pattern").as_str().is_none_or(matches)
        && !part(not, "pattern").as_str().is_some_and(matches)
        && part(not, "const") != text
        && (part(schema, "format") != "ip" || text.parse::<IpAddr>().is_ok());
    if fits {
        return None;
    }
    let title = part(schema, "title").as_str().unwrap_or_default();
    Some(if part(schema, "writeOnly") == true {
        format!("is not {title}")
    } else {
        format!("{} is not {title}", quoted(text))
    })
}

/// What to write here, for a hint.
fn wanted(schema: &Value) -> String {
    let choices = choices(schema);
    match kind(schema) {
        "boolean" => "true or false".into(),
        "integer" => {
            let (least, most) = (bound(schema, "minimum"), bound(schema, "maximum"));
            format!("a whole number from {least} to {most}")
        }
        "object" => {
            let required = items(schema, "required");
            let names = if required.is_empty() {
                names(schema)
            } else {
                required
            };
            format!("an object with {}", names.join(", "))
        }
        _ if choices.is_empty() => {
            let (title, examples) = (part(schema, "title"), items(schema, "examples"));
            let title = title.as_str().unwrap_or_default();
            format!(
                "{title}, such as {:?}",
                examples.first().copied().unwrap_or_default()
            )
        }
        _ => {
            let quoted: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
            quoted.join(" or ")
        }
    }
}

/// The part of the schema by that name; null if it has none.
fn part<'a>(schema: &'a Value, name: &str) -> &'a Value {
    schema.get(name).unwrap_or(&Value::Null)
}

/// The type of the value; of a choice, which only lists its values, a string.
fn kind(schema: &Value) -> &str {
    part(schema, "type").as_str().unwrap_or("string")
}

/// A bound; the largest number if the schema sets none.
fn bound(schema: &Value, name: &str) -> u64 {
    part(schema, name).as_u64().unwrap_or(u64::MAX)
}

fn names(schema: &Value) -> Vec<&str> {
    let properties = part(schema, "properties").as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn items<'a>(schema: &'a Value, name: &str) -> Vec<&'a str> {
    let items = part(schema, name).as_array();
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn choices(schema: &Value) -> Vec<&str> {
    let choices = part(schema, "oneOf").as_array();
    let choices = choices.into_iter().flatten();
    choices
        .filter_map(|choice| part(choice, "const").as_str())
        .collect()
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
        Value::Bool(_) => article("boolean"),
        Value::Number(_) => article("integer"),
        Value::String(_) => article("string"),
        Value::Array(_) => "an array",
        Value::Object(_) => article("object"),
    }
}

/// The JSON Schema type as a sentence names it.
fn article(kind: &str) -> &'static str {
    match kind {
        "boolean" => "a boolean",
        "integer" => "a number",
        "object" => "an object",
        _ => "a string",
    }
}

fn suggestion(key: &str, names: &[&str]) -> String {
    // A key may be as long as the file; the settings' names are short.
    let key: String = key.chars().take(64).collect();
    let nearest = names
        .iter()
        .map(|name| (strsim::levenshtein(&key, name), name))
        .min()
        .filter(|(far, name)| *far <= (name.len() / 3).max(1));
    if let Some((_, name)) = nearest {
        return format!("did you mean {name:?}? Else remove it");
    }
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
            r#"1. $.assets.key: is missing
   help: add it: an S3 object key without a leading slash, such as "bootstrap/assets.tar.gz"
2. $.gpu: is a string, not a boolean
   help: write true or false
3. $.metrics.schedule: "hourly" is not one of the choices
   help: write "cron" or "systemd-timer"
4. $.volume.id: "vol-12" is not an EBS volume id
   help: write an EBS volume id, such as "vol-0123456789abcdef0"
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
        assert_eq!(paths, ["$.assets", "$.secret", "$.volume"]);
        assert_eq!(problems[1].hint, "add it: an object with arn");
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

    /// A path, what it takes, what it refuses.
    type Case = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    /// What is wrong with the text of the setting there.
    fn wrong_at(path: &str, text: &str) -> Option<String> {
        let schema = schema::schema();
        let pointer = format!("/properties/{}", path.replace('.', "/properties/"));
        wrong_text(text, schema.pointer(&pointer).unwrap())
    }

    #[test]
    #[allow(clippy::too_many_lines)] // one table
    fn settings_take_what_they_should_and_nothing_else() {
        let cases: &[Case] = &[
            (
                "region",
                &[
                    "us-east-1",
                    "us-gov-west-1",
                    "eusc-de-east-1",
                    "ap-southeast-12",
                ],
                &[
                    "us-east",
                    "us-east-1a",
                    "US-EAST-1",
                    "us--east-1",
                    "1",
                    "-",
                    "us-east-1 ",
                ],
            ),
            (
                "stack.name",
                &[
                    "a",
                    "Theta-1",
                    "arn:aws:cloudformation:us-east-1:123456789012:stack/edge/2f-1",
                ],
                &[
                    "1a",
                    "a b",
                    "a_b",
                    "a/b",
                    "arn:aws:s3:::x",
                    "arn:aws:cloudformation:x y",
                ],
            ),
            (
                "stack.wait_handle",
                &["https://a/b?c=%20", "http://127.0.0.1:80/x"],
                &[
                    "https://",
                    "ftp://a",
                    "https:///x",
                    "https://a b",
                    "https://a\nb",
                    "file:///etc",
                ],
            ),
            (
                "user.name",
                &["bcuser", "_x", "a-1"],
                &["root", "Bc", "1a", "a b", "a:b", "-a"],
            ),
            (
                "volume.id",
                &["vol-12345678", "vol-0123456789abcdef0"],
                &[
                    "vol-1234567",
                    "vol-0123456789abcdef01",
                    "vol-0123456g",
                    "VOL-12345678",
                    "vol-12345678\n",
                ],
            ),
            (
                "volume.mount",
                &["/data", "/mnt/a.b", "/srv", "/home/data"],
                &[
                    "/", "data", "/data/", "//data", "/a/../b", "/a/.", "/etc/x", "/usr",
                    "/var/lib", "/home", "/a b", "/a,b", "/a:b", "/é",
                ],
            ),
            (
                "assets.bucket",
                &["abc", "a.b-c"],
                &[
                    "ab", "-abc", "abc-", "a..b", "ABC", "a_b", "a/b", "10.0.0.1",
                ],
            ),
            (
                "assets.key",
                &["a", "a/b c.tgz", "../a"],
                &["/a", "a\nb", "a\u{0}"],
            ),
            (
                "secret.arn",
                &[
                    "wallet",
                    "a/b_c+d=e.f@g-h",
                    "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1-AbCdEf",
                    "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:wallet-AbCdEf",
                ],
                &[
                    "pass word",
                    "arn:aws:s3:us-east-1:123456789012:secret:x",
                    "arn:aws:secretsmanager:us-east-1:12:secret:x",
                    "arn:aws:secretsmanager:us-east-1:123456789012:secret:",
                    "a:b",
                ],
            ),
            (
                "edge.image",
                &[
                    "thetalabsorg/edgelauncher_mainnet",
                    "busybox",
                    "localhost/a",
                    "registry:5000/a/b",
                    "123456789012.dkr.ecr.us-east-1.amazonaws.com/edge",
                ],
                &[
                    "a/b:tag",
                    "A/b",
                    "a//b",
                    "a/",
                    "a@sha256",
                    "registry:x/a",
                    "--privileged",
                    "a b",
                    "a/-b",
                    "a/b_",
                ],
            ),
            (
                "edge.tag",
                &["latest", "v1.2.3", "_x"],
                &[".x", "-x", "a b", "a/b", "a:b"],
            ),
            (
                "metrics.namespace",
                &["CWAgent", "Theta/Edge"],
                &["AWS/EC2", ":a", "a b"],
            ),
        ];
        for (path, good, bad) in cases {
            for text in *good {
                assert_eq!(wrong_at(path, text), None, "{path}");
            }
            for text in *bad {
                assert!(wrong_at(path, text).is_some(), "{path}: {text:?}");
            }
        }
    }

    #[test]
    fn long_texts_are_refused_by_their_length() {
        for (path, start, longest) in [
            ("assets.key", "k", 1_024),
            ("stack.wait_handle", "https://h/", 4_000),
            ("stack.name", "n", 128),
            ("secret.arn", "s", 600),
        ] {
            let text = |length| format!("{start:x<length$}");
            assert_eq!(wrong_at(path, &text(longest)), None, "{path}");
            assert!(wrong_at(path, &text(longest + 1)).is_some(), "{path}");
        }
    }

    /// Each setting says what it is for, what to write, and takes its own example.
    #[test]
    fn every_setting_tells_what_it_takes() {
        fn walk(path: &str, schema: &Value) {
            assert_eq!(schema["additionalProperties"], false, "{path}");
            for name in names(schema) {
                let (path, inner) = (format!("{path}.{name}"), &schema["properties"][name]);
                assert!(inner["description"].is_string(), "{path}");
                match kind(inner) {
                    "object" => walk(&path, inner),
                    "integer" => assert!(bound(inner, "maximum") <= 60_000, "{path}"),
                    "string" if choices(inner).is_empty() => {
                        assert!(inner["title"].is_string(), "{path}");
                        let [example] = items(inner, "examples")[..] else {
                            panic!("{path} has no example");
                        };
                        assert_eq!(wrong_text(example, inner), None, "{path}");
                    }
                    _ => {}
                }
            }
        }
        let schema = schema::schema();
        walk("$", &schema);
        assert!(!schema.to_string().contains("\"null\""), "{schema:#}");
        let id = &schema["properties"]["volume"]["properties"]["id"];
        assert_eq!(id["pattern"], "^vol-[0-9a-f]{8,17}$");
        assert_eq!(schema["properties"]["stack"]["required"], json!(["name"]));
        let key = &schema["properties"]["assets"]["properties"]["key"];
        assert_eq!(key["maxLength"], 1_024);
        assert_eq!(schema["properties"]["deadline_seconds"]["maximum"], 43_200);
        let bind = &schema["properties"]["edge"]["properties"]["rpc_bind"];
        assert_eq!(bind["pattern"], "^[0-9A-Fa-f.:]{2,45}$");
        for (section, name, listed) in [
            ("volume", "kind", &["ebs", "instance-store"][..]),
            ("volume", "origin", &["given", "new"]),
            ("volume", "filesystem", &["ext4", "xfs"]),
            ("edge", "run_as", &["auto", "user", "image"]),
            ("metrics", "schedule", &["cron", "systemd-timer"]),
            ("system", "update", &["none", "security"]),
        ] {
            let choice = &schema["properties"][section]["properties"][name];
            assert_eq!(choices(choice), listed, "{section}.{name}");
        }
    }
}
