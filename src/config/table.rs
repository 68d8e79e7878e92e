//! What each key of the config may hold, as data; the check and the JSON Schema both come from this table.

use std::net::IpAddr;

use serde_json::{Value, json};

/// One key of an object.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) kind: Kind,
}

/// What a key may hold.
pub(super) enum Kind {
    Flag,
    /// A whole number within bounds, both included.
    Number {
        least: u64,
        most: u64,
    },
    Choice(&'static [&'static str]),
    Text(Shape),
    Object(&'static [Field]),
}

/// What a string must look like.
pub(super) struct Shape {
    /// "an EBS volume id"
    pub(super) what: &'static str,
    pub(super) example: &'static str,
    /// For the schema; `holds` decides. Empty where no pattern says it well.
    pub(super) pattern: &'static str,
    pub(super) holds: fn(&str) -> bool,
    /// Never quoted in an error: someone may have put a secret here.
    pub(super) private: bool,
}

impl Kind {
    /// What to write here, for a hint.
    pub(super) fn wanted(&self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Number { least, most } => format!("a whole number from {least} to {most}"),
            Self::Choice(choices) => {
                let quoted: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
                quoted.join(" or ")
            }
            Self::Text(shape) => format!("{}, such as {:?}", shape.what, shape.example),
            Self::Object(fields) => {
                let required = |field: &&Field| field.required;
                let mut names: Vec<_> = fields.iter().filter(required).map(|f| f.name).collect();
                if names.is_empty() {
                    names = fields.iter().map(|field| field.name).collect();
                }
                format!("an object with {}", names.join(", "))
            }
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Flag => "a boolean",
            Self::Number { .. } => "a number",
            Self::Choice(_) | Self::Text(_) => "a string",
            Self::Object(_) => "an object",
        }
    }
}

const fn required(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        required: true,
        kind,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        required: false,
        kind,
    }
}

const fn text(
    what: &'static str,
    example: &'static str,
    pattern: &'static str,
    holds: fn(&str) -> bool,
) -> Kind {
    Kind::Text(Shape {
        what,
        example,
        pattern,
        holds,
        private: false,
    })
}

const fn private(
    what: &'static str,
    example: &'static str,
    pattern: &'static str,
    holds: fn(&str) -> bool,
) -> Kind {
    Kind::Text(Shape {
        what,
        example,
        pattern,
        holds,
        private: true,
    })
}

const ID: Kind = Kind::Number {
    least: 1,
    most: 60_000,
};

/// The file's keys.
#[rustfmt::skip]
pub(super) const FIELDS: &[Field] = &[
    optional("region", text("an AWS region", "us-east-1", r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$", is_region)),
    optional("stack", Kind::Object(&[
        required("name", text("a stack name or stack ARN", "theta-edge",
            r"^([A-Za-z][A-Za-z0-9-]{0,127}|arn:aws[a-z-]*:cloudformation:.+)$", is_stack)),
        optional("resource", text("a logical resource id (letters and digits)", "NodeReady", r"^[A-Za-z0-9]{1,255}$",
            |s| s.len() <= 255 && s.bytes().all(|b| b.is_ascii_alphanumeric()))),
        // Whoever has the presigned URL can speak for the node.
        optional("wait_handle", private("an http(s) URL", "https://cloudformation-waitcondition-….s3.amazonaws.com/…",
            r"^https?://[^\s/][^\s]*$", is_url)),
    ])),
    optional("gpu", Kind::Flag),
    optional("user", Kind::Object(&[
        optional("name", text("an account name other than root", "bcuser", r"^[a-z_][a-z0-9_-]{0,31}$", is_account)),
        optional("uid", ID),
        optional("gid", ID),
    ])),
    required("volume", Kind::Object(&[
        optional("kind", Kind::Choice(&["ebs", "instance-store"])),
        optional("id", text("an EBS volume id", "vol-0123456789abcdef0", r"^vol-[0-9a-f]{8,17}$", is_volume)),
        optional("mount", text("an absolute path of plain characters, outside the system's own directories", "/data",
            r"^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$", is_mount)),
        optional("filesystem", Kind::Choice(&["ext4", "xfs"])),
    ])),
    required("assets", Kind::Object(&[
        required("bucket", text("an S3 bucket name", "theta-edge-assets", r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", is_bucket)),
        required("key", text("an S3 object key without a leading slash", "bootstrap/assets.tar.gz", r"^[^/].{0,1023}$", is_key)),
        required("sha256", text("a SHA-256 of 64 lower-case hex digits",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", r"^[0-9a-f]{64}$", is_sha256)),
    ])),
    required("secret", Kind::Object(&[
        // Someone may paste the password itself.
        required("arn", private("a Secrets Manager ARN or secret name",
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:wallet-AbCdEf",
            r"^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?[A-Za-z0-9/_+=.@-]{1,512}$", is_secret)),
    ])),
    optional("edge", Kind::Object(&[
        optional("network", text("a Theta network's name", "mainnet", r"^[a-z0-9][a-z0-9_-]{0,31}$", is_network)),
        optional("image", text("an image repository without tag or digest", "thetalabsorg/edgelauncher_mainnet", "", is_repository)),
        optional("tag", text("an image tag", "latest", r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", is_tag)),
        optional("digest", text("an image digest",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", r"^sha256:[0-9a-f]{64}$",
            |s| s.strip_prefix("sha256:").is_some_and(is_sha256))),
        optional("rpc_bind", text("an IP address", "127.0.0.1", "", |s| s.parse::<IpAddr>().is_ok())),
    ])),
    optional("metrics", Kind::Object(&[
        optional("namespace", text("a CloudWatch namespace (not AWS/…)", "CWAgent", r"^[A-Za-z0-9._/#-][A-Za-z0-9._/#:-]{0,254}$", is_namespace)),
        optional("per_peer", Kind::Flag),
        optional("schedule", Kind::Choice(&["cron", "systemd-timer"])),
    ])),
    optional("system", Kind::Object(&[
        optional("update", Kind::Choice(&["none", "security"])),
    ])),
    // Twelve hours: the longest that a CloudFormation CreationPolicy waits.
    optional("deadline_seconds", Kind::Number { least: 60, most: 43_200 }),
];

/// The schema of the structs, with what the table knows beyond them.
pub(super) fn schema() -> Value {
    let settings =
        schemars::generate::SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<super::Config>()
        .to_value();
    annotate(&mut schema, FIELDS);
    schema
}

fn annotate(schema: &mut Value, fields: &[Field]) {
    for field in fields {
        let Some(Value::Object(property)) = schema
            .get_mut("properties")
            .and_then(|properties| properties.get_mut(field.name))
        else {
            continue;
        };
        // `Option` reads null too; the file says "absent" by leaving the key out.
        if let Some(Value::Array(variants)) = property.remove("anyOf") {
            for variant in variants {
                if let Value::Object(variant) = variant
                    && variant.get("type") != Some(&json!("null"))
                {
                    let description = property.remove("description");
                    property.extend(variant);
                    property.extend(description.map(|text| ("description".into(), text)));
                }
            }
        }
        let kind = match &field.kind {
            Kind::Flag => json!({"type": "boolean"}),
            Kind::Number { least, most } => {
                property.remove("format");
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Kind::Choice(choices) => {
                // The structs give one `const` for each choice, with its description: that says it all.
                if property.contains_key("oneOf") {
                    json!({})
                } else {
                    json!({"enum": choices})
                }
            }
            Kind::Text(shape) if shape.pattern.is_empty() => {
                json!({"type": "string", "examples": [shape.example]})
            }
            Kind::Text(shape) => {
                json!({"type": "string", "examples": [shape.example], "pattern": shape.pattern})
            }
            Kind::Object(_) => json!({"type": "object"}),
        };
        if let Value::Object(kind) = kind {
            property.extend(kind);
        }
        if let Kind::Object(fields) = &field.kind
            && let Some(inner) = schema.pointer_mut(&format!("/properties/{}", field.name))
        {
            annotate(inner, fields);
        }
    }
}

/// Whether `text` begins with a byte of `first`, goes on with bytes of `rest`, and is no longer than `most`.
fn word(text: &str, most: usize, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> bool {
    let mut bytes = text.bytes();
    text.len() <= most && bytes.next().is_some_and(first) && bytes.all(rest)
}

fn lower_or_digit(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.as_slice() {
        [first, middle @ .., number] => {
            (2..=4).contains(&first.len())
                && letters(first)
                && (1..=3).contains(&middle.len())
                && middle.iter().all(letters)
                && (1..=2).contains(&number.len())
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}

fn is_stack(text: &str) -> bool {
    let name = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if let Some(arn) = text.strip_prefix("arn:aws") {
        return arn.contains(":cloudformation:")
            && text.len() <= 1024
            && arn.bytes().all(|b| name(b) || b == b':' || b == b'/');
    }
    word(text, 128, |b| b.is_ascii_alphabetic(), name)
}

fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    text.len() <= 4096
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_account(text: &str) -> bool {
    word(
        text,
        32,
        |b| b.is_ascii_lowercase() || b == b'_',
        |b| lower_or_digit(b) || b == b'_' || b == b'-',
    ) && text != "root"
}

fn is_volume(text: &str) -> bool {
    text.strip_prefix("vol-")
        .is_some_and(|id| (8..=17).contains(&id.len()) && is_hex(id))
}

/// The path ends up in fstab and in `docker --mount`, so it has no blank, comma or colon. A mount over a directory of
/// the system would hide it.
fn is_mount(text: &str) -> bool {
    const SYSTEM: &[&str] = &[
        "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "root", "run", "sbin",
        "sys", "tmp", "usr", "var",
    ];
    let Some(path) = text.strip_prefix('/') else {
        return false;
    };
    let part = |part: &str| {
        word(
            part,
            255,
            |b| b.is_ascii_alphanumeric() || b == b'_',
            |b| b.is_ascii_alphanumeric() || b"._-".contains(&b),
        )
    };
    let first = path.split('/').next().unwrap_or_default();
    path.split('/').all(part) && !SYSTEM.contains(&first) && path != "home"
}

fn is_bucket(text: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(lower_or_digit);
    (3..=63).contains(&text.len())
        && ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text
            .bytes()
            .all(|b| lower_or_digit(b) || b == b'.' || b == b'-')
        && !text.contains("..")
        && text.parse::<IpAddr>().is_err()
}

fn is_key(text: &str) -> bool {
    text.len() <= 1024 && !text.starts_with('/') && !text.chars().any(char::is_control)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_secret(text: &str) -> bool {
    let name = |name: &str| {
        (1..=512).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b))
    };
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [plain] => name(plain),
        [
            "arn",
            partition,
            "secretsmanager",
            region,
            account,
            "secret",
            rest,
        ] => {
            partition.starts_with("aws")
                && is_region(region)
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && name(rest)
        }
        _ => false,
    }
}

fn is_network(text: &str) -> bool {
    word(text, 32, lower_or_digit, |b| {
        lower_or_digit(b) || b == b'_' || b == b'-'
    })
}

/// `[host[:port]/]path`, as the distribution reference grammar has it.
fn is_repository(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let path = match parts.as_slice() {
        [host, path @ ..]
            if !path.is_empty() && (host.contains(['.', ':']) || *host == "localhost") =>
        {
            let (name, port) = host.split_once(':').unwrap_or((host, "0"));
            let name_holds = word(
                name,
                253,
                |b| b.is_ascii_alphanumeric(),
                |b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-',
            );
            if !name_holds || port.parse::<u16>().is_err() {
                return false;
            }
            path
        }
        all => all,
    };
    let component = |part: &&str| {
        word(part, 128, lower_or_digit, |b| {
            lower_or_digit(b) || b"._-".contains(&b)
        }) && part.bytes().next_back().is_some_and(lower_or_digit)
            && !part.contains("..")
    };
    text.len() <= 255 && path.iter().all(component)
}

fn is_tag(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    word(text, 128, first, |b| {
        b.is_ascii_alphanumeric() || b"_.-".contains(&b)
    })
}

fn is_namespace(text: &str) -> bool {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"._/#:-".contains(&b);
    word(
        text,
        255,
        |b| b.is_ascii_alphanumeric() || b"._/#-".contains(&b),
        rest,
    ) && !text.starts_with("AWS/")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;

    type Case = (
        fn(&str) -> bool,
        &'static [&'static str],
        &'static [&'static str],
    );

    #[test]
    fn shapes_take_what_they_should_and_nothing_else() {
        let cases: &[Case] = &[
            (
                is_region,
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
                is_stack,
                &[
                    "a",
                    "Theta-1",
                    "arn:aws:cloudformation:us-east-1:123456789012:stack/edge/2f-1",
                ],
                &[
                    "1a",
                    "a b",
                    "a_b",
                    "arn:aws:s3:::x",
                    "arn:aws:cloudformation:x y",
                ],
            ),
            (
                is_url,
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
                is_account,
                &["bcuser", "_x", "a-1"],
                &["root", "Bc", "1a", "a b", "a:b", "-a"],
            ),
            (
                is_volume,
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
                is_mount,
                &["/data", "/mnt/a.b", "/srv", "/home/data"],
                &[
                    "/", "data", "/data/", "//data", "/a/../b", "/a/.", "/etc/x", "/usr",
                    "/var/lib", "/home", "/a b", "/a,b", "/a:b", "/é",
                ],
            ),
            (
                is_bucket,
                &["abc", "a.b-c"],
                &["ab", "-abc", "abc-", "a..b", "ABC", "a_b", "10.0.0.1"],
            ),
            (
                is_key,
                &["a", "a/b c.tgz", "../a"],
                &["/a", "a\nb", "a\u{0}"],
            ),
            (
                is_secret,
                &[
                    "wallet",
                    "a/b_c+d=e.f@g-h",
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
                is_repository,
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
                is_tag,
                &["latest", "v1.2.3", "_x"],
                &[".x", "-x", "a b", "a/b", "a:b"],
            ),
            (
                is_namespace,
                &["CWAgent", "Theta/Edge"],
                &["AWS/EC2", ":a", "a b"],
            ),
        ];
        for (holds, good, bad) in cases {
            for text in *good {
                assert!(holds(text), "{text:?} should be taken");
            }
            for text in *bad {
                assert!(!holds(text), "{text:?} should be refused");
            }
        }
    }

    #[test]
    fn every_example_is_valid() {
        fn walk(fields: &[Field]) {
            for field in fields {
                match &field.kind {
                    Kind::Text(shape) if !shape.example.contains('…') => {
                        assert!((shape.holds)(shape.example), "{}", shape.example);
                    }
                    Kind::Object(fields) => walk(fields),
                    _ => {}
                }
            }
        }
        walk(FIELDS);
    }

    /// The structs and the table name the same keys, the same required ones and the same choices.
    #[test]
    fn structs_and_table_agree() {
        fn agree(path: &str, schema: &Value, fields: &[Field]) {
            let mut in_struct: Vec<_> = schema["properties"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            let mut in_table: Vec<_> = fields.iter().map(|f| f.name.to_owned()).collect();
            in_struct.sort();
            in_table.sort();
            assert_eq!(in_struct, in_table, "keys at {path}");
            let mut required: Vec<_> = fields
                .iter()
                .filter(|f| f.required)
                .map(|f| json!(f.name))
                .collect();
            let mut wanted = schema["required"].as_array().cloned().unwrap_or_default();
            required.sort_by_key(Value::to_string);
            wanted.sort_by_key(Value::to_string);
            assert_eq!(required, wanted, "required at {path}");
            assert_eq!(
                schema["additionalProperties"],
                json!(false),
                "unknown keys at {path}"
            );
            for field in fields {
                let inner = &schema["properties"][field.name];
                let path = format!("{path}.{}", field.name);
                assert!(
                    inner["description"].is_string(),
                    "{path} has no description"
                );
                match &field.kind {
                    Kind::Object(fields) => agree(&path, inner, fields),
                    Kind::Choice(choices) => {
                        let listed: Vec<_> = inner["oneOf"]
                            .as_array()
                            .unwrap_or_else(|| panic!("{path}: {inner}"))
                            .iter()
                            .map(|choice| choice["const"].as_str().unwrap())
                            .collect();
                        assert_eq!(&listed, choices, "{path}");
                    }
                    _ => {}
                }
            }
        }
        agree("$", &schema(), FIELDS);
    }

    #[test]
    fn the_schema_has_patterns_and_bounds_and_no_null() {
        let schema = schema();
        assert_eq!(
            schema["properties"]["volume"]["properties"]["id"]["pattern"],
            "^vol-[0-9a-f]{8,17}$"
        );
        assert_eq!(schema["properties"]["deadline_seconds"]["maximum"], 43_200);
        assert_eq!(schema["properties"]["stack"]["required"], json!(["name"]));
        assert!(!schema.to_string().contains("\"null\""), "{schema:#}");
    }
}
