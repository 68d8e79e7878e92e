//! What each key of the config may hold, as data; the check and the JSON Schema both come from this table.

use std::net::IpAddr;

use regex_lite::Regex;
use serde_json::{Value, json};

use super::problem::quoted;

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
    what: &'static str,
    example: &'static str,
    /// For the check and the schema.
    pattern: &'static str,
    /// Most characters, where that is many: a count in a pattern makes it slow to compile, once a minute for each tick.
    longest: Option<usize>,
    /// What no pattern says well.
    also: fn(&str) -> bool,
    /// Never quoted in an error: someone may have put a secret here.
    private: bool,
}

impl Shape {
    /// What is wrong with `text`, if anything.
    pub(super) fn wrong(&self, text: &str) -> Option<String> {
        if text.is_empty() {
            return Some("is empty".into());
        }
        let short = self
            .longest
            .is_none_or(|longest| text.chars().count() <= longest);
        let fits = || Regex::new(self.pattern).is_ok_and(|pattern| pattern.is_match(text));
        if short && fits() && (self.also)(text) {
            return None;
        }
        Some(if self.private {
            format!("is not {}", self.what)
        } else {
            format!("{} is not {}", quoted(text), self.what)
        })
    }

    const fn at_most(mut self, characters: usize) -> Self {
        self.longest = Some(characters);
        self
    }

    const fn private(mut self) -> Kind {
        self.private = true;
        Kind::Text(self)
    }

    const fn and(mut self, also: fn(&str) -> bool) -> Kind {
        self.also = also;
        Kind::Text(self)
    }
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

const fn shape(what: &'static str, example: &'static str, pattern: &'static str) -> Shape {
    Shape {
        what,
        example,
        pattern,
        longest: None,
        also: |_| true,
        private: false,
    }
}

const fn text(what: &'static str, example: &'static str, pattern: &'static str) -> Kind {
    Kind::Text(shape(what, example, pattern))
}

const ID: Kind = Kind::Number {
    least: 1,
    most: 60_000,
};

const BUCKET: Kind = shape(
    "an S3 bucket name",
    "theta-edge-assets",
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
)
.and(|name| !name.contains("..") && name.parse::<IpAddr>().is_err());

/// The file's keys.
#[rustfmt::skip]
pub(super) const FIELDS: &[Field] = &[
    optional("instance", text("an EC2 instance id", "i-0123456789abcdef0", r"^i-([0-9a-f]{8}|[0-9a-f]{17})$")),
    optional("region", text("an AWS region", "us-east-1", r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$")),
    optional("stack", Kind::Object(&[
        required("name", shape("a stack name or stack ARN", "theta-edge",
            r"^([A-Za-z][A-Za-z0-9-]*|arn:aws[a-z-]*:cloudformation:[a-z0-9-]+:[0-9]{12}:stack/[A-Za-z][A-Za-z0-9-]*/[A-Za-z0-9-]+)$").and(|name| name.len() <= 128 || name.starts_with("arn:"))),
        optional("resource", text("a logical resource id (letters and digits)", "NodeReady", r"^[A-Za-z0-9]{1,255}$")),
        // Whoever has the presigned URL can speak for the node.
        optional("wait_handle", shape("an http(s) URL", "https://cloudformation-waitcondition-us-east-1.s3.amazonaws.com/handle",
            r"^https?://[!-.0-~][!-~]*$").at_most(4_000).private()),
    ])),
    optional("gpu", Kind::Flag),
    // NVIDIA's first open kernel modules came with 515.
    optional("gpu_driver", Kind::Number { least: 515, most: 999 }),
    optional("user", Kind::Object(&[
        optional("name", shape("an account name other than root", "bcuser", r"^[a-z_][a-z0-9_-]{0,31}$").and(|name| name != "root")),
        optional("uid", ID),
        optional("gid", ID),
        optional("docker_group", Kind::Flag),
    ])),
    required("volume", Kind::Object(&[
        optional("kind", Kind::Choice(&["ebs", "instance-store"])),
        optional("id", text("an EBS volume id", "vol-0123456789abcdef0", r"^vol-[0-9a-f]{8,17}$")),
        optional("origin", Kind::Choice(&["given", "new"])),
        // It ends up in fstab and in `docker --mount`: no blank, comma or colon, and no `..`.
        optional("mount", shape("an absolute path of plain characters, outside the system's own directories", "/data",
            r"^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$").and(is_free_for_mounts)),
        optional("filesystem", Kind::Choice(&["ext4", "xfs"])),
    ])),
    required("assets", Kind::Object(&[
        required("bucket", BUCKET),
        required("key", Kind::Text(shape("an S3 object key without a leading slash", "bootstrap/assets.tar.gz",
            r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$").at_most(1_024))),
        required("sha256", text("a SHA-256 of 64 lower-case hex digits",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", r"^[0-9a-f]{64}$")),
    ])),
    required("secret", Kind::Object(&[
        // Someone may paste the password itself.
        required("arn", shape("a Secrets Manager ARN or secret name", "arn:aws:secretsmanager:us-east-1:123456789012:secret:wallet-AbCdEf",
            r"^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?[A-Za-z0-9/_+=.@!-]+$").at_most(600).private()),
    ])),
    optional("wallet_backup", Kind::Object(&[
        required("bucket", BUCKET),
        required("prefix", Kind::Text(shape("plain words with slashes between them", "wallets/theta-edge-node",
            r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$").at_most(512))),
        optional("address", text("a wallet's address in lower case", "0x2e833968e5bb786ae419c4d13189fb081cc43bab", r"^0x[0-9a-f]{40}$")),
    ])),
    optional("edge", Kind::Object(&[
        optional("network", text("a Theta network's name", "mainnet", r"^[a-z0-9][a-z0-9_-]{0,31}$")),
        // The distribution reference grammar: a first part is a host where it has a dot or a port, or is localhost.
        optional("image", shape("an image repository without tag or digest", "thetalabsorg/edgelauncher_mainnet", concat!(
            r"^((localhost|[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+)(:[0-9]{1,5})?/|[A-Za-z0-9][A-Za-z0-9-]*:[0-9]{1,5}/)?",
            r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*$")).and(|image| image.len() <= 255)),
        optional("tag", text("an image tag", "latest", r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")),
        optional("digest", text("an image digest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            r"^sha256:[0-9a-f]{64}$")),
        optional("rpc_bind", shape("an IP address", "127.0.0.1", r"^[0-9A-Fa-f.:]{2,45}$").and(|ip| ip.parse::<IpAddr>().is_ok())),
        optional("run_as", Kind::Choice(&["auto", "user", "image"])),
    ])),
    optional("metrics", Kind::Object(&[
        optional("namespace", shape("a CloudWatch namespace (not AWS/…)", "CWAgent", r"^[A-Za-z0-9._/#-][A-Za-z0-9._/#:-]{0,254}$")
            .and(|name| !name.starts_with("AWS/"))),
        optional("per_peer", Kind::Flag),
        optional("schedule", Kind::Choice(&["cron", "systemd-timer"])),
    ])),
    optional("system", Kind::Object(&[
        optional("update", Kind::Choice(&["none", "security"])),
    ])),
    // Twelve hours: the longest that a CloudFormation CreationPolicy waits.
    optional("deadline_seconds", Kind::Number { least: 60, most: 43_200 }),
];

/// A mount over a directory of the system would hide it.
fn is_free_for_mounts(path: &str) -> bool {
    const SYSTEM: &[&str] = &[
        "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "root", "run", "sbin",
        "sys", "tmp", "usr", "var",
    ];
    let first = path.split('/').nth(1).unwrap_or_default();
    path != "/home" && !SYSTEM.contains(&first)
}

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
            Kind::Text(shape) => {
                let mut kind = json!({
                    "type": "string", "examples": [shape.example], "pattern": shape.pattern
                });
                if let (Some(longest), Some(kind)) = (shape.longest, kind.as_object_mut()) {
                    kind.insert("maxLength".into(), longest.into());
                }
                kind
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A path, what it takes, what it refuses.
    type Case = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    fn shape_at(path: &str) -> &'static Shape {
        let mut fields = FIELDS;
        for name in path.split('.') {
            match &fields.iter().find(|field| field.name == name).unwrap().kind {
                Kind::Object(inner) => fields = inner,
                Kind::Text(shape) => return shape,
                _ => break,
            }
        }
        panic!("{path} is no text")
    }

    #[test]
    #[allow(clippy::too_many_lines)] // one table
    fn shapes_take_what_they_should_and_nothing_else() {
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
            let shape = shape_at(path);
            for text in *good {
                assert_eq!(shape.wrong(text), None, "{path}");
            }
            for text in *bad {
                assert!(
                    shape.wrong(text).is_some(),
                    "{path}: {text:?} should be refused"
                );
            }
        }
    }

    #[test]
    fn every_example_is_valid() {
        fn walk(fields: &[Field]) {
            for field in fields {
                match &field.kind {
                    Kind::Text(shape) => {
                        assert_eq!(shape.wrong(shape.example), None);
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
    fn long_texts_are_refused_by_their_length() {
        for (path, start, longest) in [
            ("assets.key", "k", 1_024),
            ("stack.wait_handle", "https://h/", 4_000),
            ("stack.name", "n", 128),
            ("secret.arn", "s", 600),
        ] {
            let shape = shape_at(path);
            let text = |length| format!("{start:x<length$}");
            assert_eq!(shape.wrong(&text(longest)), None, "{path}");
            assert!(shape.wrong(&text(longest + 1)).is_some(), "{path}");
        }
    }

    #[test]
    fn the_schema_has_patterns_and_bounds_and_no_null() {
        let schema = schema();
        assert_eq!(
            schema["properties"]["volume"]["properties"]["id"]["pattern"],
            "^vol-[0-9a-f]{8,17}$"
        );
        let key = &schema["properties"]["assets"]["properties"]["key"];
        assert_eq!(key["maxLength"], 1_024);
        assert_eq!(schema["properties"]["deadline_seconds"]["maximum"], 43_200);
        assert_eq!(schema["properties"]["stack"]["required"], json!(["name"]));
        assert!(!schema.to_string().contains("\"null\""), "{schema:#}");
    }
}
