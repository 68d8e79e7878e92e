//! The built binary's commands that need no machine: config, version, help, completions, the entrypoint.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use standins::aws::Server;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_bootstrap");

/// Exit code, standard output and standard error.
type Ended = (i32, String, String);

fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// `bootstrap` with nothing but these arguments, on a machine that is an empty directory.
fn bootstrap(arguments: &[&str]) -> Ended {
    let root = tempfile::tempdir().unwrap();
    run(command(root.path()).args(arguments))
}

fn command(root: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("BOOTSTRAP_ROOT", root);
    command
}

/// A config file with this text.
fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    fs::write(&file, text).unwrap();
    (folder, file)
}

fn check(text: &str) -> Ended {
    let (_folder, file) = file(text);
    let (code, stdout, stderr) =
        bootstrap(&["config", "check", "--config", file.to_str().unwrap()]);
    let shown = |text: String| text.replace(file.to_str().unwrap(), "FILE");
    (code, shown(stdout), shown(stderr))
}

fn smallest() -> Value {
    json!({
        "volume": {"id": "vol-0123456789abcdef0"},
        "assets": {"bucket": "theta-assets", "key": "assets.tar.gz", "sha256": "a".repeat(64)},
        "secret": {"arn": "wallet"}
    })
}

#[test]
fn version_names_the_commit() {
    let (code, text, _) = bootstrap(&["--version"]);
    assert_eq!(code, 0);
    let commit = text
        .strip_prefix(concat!("bootstrap ", env!("CARGO_PKG_VERSION"), " ("))
        .and_then(|rest| rest.strip_suffix(")\n"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit()),
        "{text}"
    );
}

#[test]
fn a_good_config_is_valid() {
    let good = (0, "FILE: valid\n".to_owned(), String::new());
    assert_eq!(check(&smallest().to_string()), good);
}

#[test]
fn every_mistake_in_a_config_is_told_at_once() {
    let text = r#"{
        "gpu": "yes",
        "volume": {"id": "vol-XYZ", "mout": "/data", "mount": "/etc/data"},
        "assets": {"bucket": "theta-assets", "key": "assets.tar.gz"},
        "secret": {"arn": "my password!"},
        "deadline_seconds": 5,
        "deadline_seconds": 6
    }"#;
    let (code, stdout, stderr) = check(text);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_eq!(
        stderr,
        "FILE: 8 mistakes\n\
         1. $.deadline_seconds: the key occurs twice\n   help: keep one of the two\n\
         2. $.assets.sha256: is missing\n   \
            help: add it: a SHA-256 of 64 lower-case hex digits, such as \
            \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n\
         3. $.deadline_seconds: 6 is not a whole number from 60 to 43200\n   \
            help: write a whole number from 60 to 43200\n\
         4. $.gpu: is a string, not a boolean\n   help: write true or false\n\
         5. $.secret.arn: is not a Secrets Manager ARN or secret name\n   \
            help: write a Secrets Manager ARN or secret name, such as \
            \"arn:aws:secretsmanager:us-east-1:123456789012:secret:wallet-AbCdEf\"\n\
         6. $.volume.id: \"vol-XYZ\" is not an EBS volume id\n   \
            help: write an EBS volume id, such as \"vol-0123456789abcdef0\"\n\
         7. $.volume.mount: \"/etc/data\" is not an absolute path of plain characters, outside the system's own directories\n   \
            help: write an absolute path of plain characters, outside the system's own directories, such as \"/data\"\n\
         8. $.volume.mout: there is no such setting\n   \
            help: did you mean \"mount\"? Else remove it\n"
    );
    assert!(!stderr.contains("my password"));
}

#[test]
fn what_is_no_config_at_all_is_told() {
    for (text, mistake) in [
        (
            "{,}",
            "1. $: not valid JSON: key must be a string at line 1 column 2",
        ),
        ("[]", "1. $: is an array, not an object"),
        (
            "",
            "1. $: not valid JSON: EOF while parsing a value at line 1 column 0",
        ),
    ] {
        let (code, _, stderr) = check(text);
        assert_eq!(code, 2);
        assert_eq!(stderr.lines().nth(1).unwrap(), mistake);
    }
    let (code, _, stderr) = bootstrap(&["config", "check", "--config", "/nowhere/config.json"]);
    assert_eq!(code, 2);
    assert_eq!(
        stderr,
        "cannot read the config file /nowhere/config.json: No such file or directory (os error 2)\n  help: write it \
         (`bootstrap config schema` prints its shape), or name another with --config\n"
    );
}

/// The object that a schema's examples, first choices and lower bounds make.
fn example(schema: &Value) -> Value {
    let Some(properties) = schema["properties"].as_object() else {
        let first = |key: &str| schema[key].get(0).cloned();
        return first("examples")
            .or_else(|| Some(first("oneOf")?["const"].clone()))
            .or_else(|| first("enum"))
            .or_else(|| schema.get("minimum").cloned())
            .unwrap_or(Value::Bool(true));
    };
    let example: Map<String, Value> = properties
        .iter()
        .map(|(name, schema)| (name.clone(), example(schema)))
        .collect();
    example.into()
}

#[test]
fn what_the_schema_gives_as_examples_is_a_valid_config() {
    let (code, text, _) = bootstrap(&["config", "schema"]);
    assert_eq!(code, 0);
    let schema: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], json!(["volume", "assets", "secret"]));
    let example = example(&schema);
    assert_eq!(example.as_object().unwrap().len(), 14, "{example:#}");
    assert_eq!(example["user"]["name"], "bcuser");
    let (code, _, stderr) = check(&example.to_string());
    assert_eq!(code, 0, "{example:#}\n{stderr}");
}

#[test]
fn the_stack_hears_of_a_broken_config() {
    let aws = Server::start().unwrap();
    let mut config = smallest();
    config["stack"] = json!({"name": "theta-edge", "wait_handle": aws.wait_handle()});
    config["gpu"] = "no".into();
    let (_folder, file) = file(&config.to_string());
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("var/log")).unwrap();
    let (code, _, stderr) = run(command(root.path())
        .arg("--config")
        .arg(&file)
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url()));
    assert_eq!(code, 2);
    let mistakes = format!(
        "{}: 1 mistake\n1. $.gpu: is a string, not a boolean\n   help: write true or false\n",
        file.display()
    );
    assert_eq!(stderr, mistakes);
    assert_eq!(
        aws.signals(),
        [json!({
            "by": "wait-handle", "Status": "FAILURE", "Reason": mistakes, "UniqueId": "i-0123456789abcdef0", "Data": ""
        })]
    );
    assert!(!root.path().join("var/lib/bootstrap").exists());
}

#[test]
fn other_commands_do_not_speak_for_the_node() {
    let aws = Server::start().unwrap();
    let mut config = smallest();
    config["stack"] = json!({"name": "theta-edge", "wait_handle": aws.wait_handle()});
    config["gpu"] = "no".into();
    let (_folder, file) = file(&config.to_string());
    for name in ["plan", "verify", "metrics"] {
        let (code, ..) = bootstrap(&[name, "--config", file.to_str().unwrap()]);
        assert_eq!(code, 2, "{name}");
    }
    assert!(aws.signals().is_empty());
}

#[test]
fn usage_errors_exit_with_2() {
    for (arguments, said) in [
        (&["dance"][..], "unrecognized subcommand 'dance'"),
        (&["--force"], "--phase <NAME>"),
        (
            &["--phase", "docker", "plan"],
            "--phase belongs to a run: leave the subcommand out",
        ),
        (
            &["verify", "--wait", "soon"],
            "write a duration such as 90s or 10m",
        ),
        (
            &["verify", "--only", "gpus"],
            "invalid value 'gpus' for '--only <GROUP>'\n  [possible values: machine, gpu, volume, container, node, earnings, metrics]",
        ),
        (
            &["completions", "basic"],
            "[possible values: bash, elvish, fish, powershell, zsh]",
        ),
    ] {
        let (code, _, stderr) = bootstrap(arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[test]
fn global_options_stand_before_or_after_the_subcommand() {
    let (_folder, file) = file(&smallest().to_string());
    let global = [
        "--config",
        file.to_str().unwrap(),
        "--log-format",
        "json",
        "-v",
    ];
    let check = ["config", "check"];
    for arguments in [
        [&global[..], &check].concat(),
        [&check[..], &global].concat(),
    ] {
        let (code, _, stderr) = bootstrap(&arguments);
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
    }
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    for (shell, mark) in [
        ("bash", "complete -F _bootstrap"),
        ("zsh", "#compdef bootstrap"),
        ("fish", "complete -c bootstrap"),
    ] {
        let (code, text, _) = bootstrap(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(
            text.contains(mark) && text.contains("verify"),
            "{shell}: {text}"
        );
        assert!(!text.contains("wallet-password"), "{shell}");
    }
    let (code, page, _) = bootstrap(&["man"]);
    assert_eq!(code, 0);
    assert!(
        page.contains(".TH bootstrap 1") && page.contains("verify"),
        "{page}"
    );
    let (code, help, _) = bootstrap(&["--help"]);
    assert_eq!(code, 0);
    assert!(
        help.contains("--phase <NAME>") && !help.contains("entrypoint"),
        "{help}"
    );
}

#[test]
fn checks_and_faults_are_explained() {
    let (code, list, _) = bootstrap(&["explain"]);
    assert_eq!(code, 0);
    assert!(
        list.contains("  volume  ") && list.contains("  A running node ("),
        "{list}"
    );
    let (code, text, _) = bootstrap(&["explain", "volume"]);
    assert_eq!(code, 0);
    assert!(
        text.starts_with("volume (a check; group volume)\n\nMeans   "),
        "{text}"
    );
    assert!(
        text.contains("\n        - the volume was unmounted while the node runs\n"),
        "{text}"
    );
    // What was said is enough.
    let (code, text, _) = bootstrap(&["explain", "not a mount point and not empty: edgelauncher"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.starts_with("the volume was unmounted while the node runs (a fault; A running node)"),
        "{text}"
    );
    assert_eq!(
        bootstrap(&["explain", "dokcer"]),
        (
            2,
            String::new(),
            "error: nothing that can be explained is named 'dokcer'\n  help: did you mean docker? bootstrap explain lists \
             them all\n"
                .into()
        )
    );
}

#[test]
fn every_command_has_a_whole_manual_page() {
    let commands: &[&[&str]] = &[
        &[],
        &["plan"],
        &["verify"],
        &["status"],
        &["explain"],
        &["doctor"],
        &["metrics"],
        &["repair"],
        &["prepare"],
        &["probe-image"],
        &["config"],
        &["config", "check"],
        &["config", "schema"],
        &["completions"],
        &["man"],
    ];
    let (_, help, _) = bootstrap(&["--help"]);
    let (_, listed) = help.split_once("Commands:\n").unwrap();
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names = listed.map(|line| line.split_whitespace().next().unwrap());
    for name in names.filter(|name| *name != "help") {
        assert!(commands.contains(&&[name][..]), "{name}");
    }
    for command in commands {
        let (code, page, _) = bootstrap(&[&["man"], *command].concat());
        assert_eq!(code, 0);
        let title = [&["bootstrap"], *command].concat().join("\\-");
        assert!(
            page.contains(&format!(".TH {title} 1 "))
                || page.contains(&format!(".TH {} 1 ", title.replace('\\', ""))),
            "{page}"
        );
        for section in [
            "NAME",
            "SYNOPSIS",
            "OPTIONS",
            "EXIT STATUS",
            "FILES",
            "ENVIRONMENT",
            "EXAMPLES",
        ] {
            let heading = |line: &str| line.trim_matches(['"', ' ']) == section;
            let found = page
                .lines()
                .any(|line| line.strip_prefix(".SH ").is_some_and(heading));
            assert!(found, "{command:?} lacks {section}: {page}");
        }
        assert!(!page.contains("entrypoint\\-"), "{page}");
    }
    for command in [&["man", "dance"][..], &["man", "entrypoint"]] {
        let (code, _, said) = bootstrap(command);
        let wanted = format!(
            "error: there is no command '{}'\n  help: the commands are: bootstrap --help\n",
            command[1]
        );
        assert_eq!((code, said), (2, wanted));
    }
}

#[test]
fn shells_complete_phases_checks_and_groups() {
    for shell in ["bash", "zsh", "fish"] {
        let (_, script, _) = bootstrap(&["completions", shell]);
        let mut names = vec!["metrics-cron", "machine", "doctor"];
        // clap's script for fish completes options only.
        if shell != "fish" {
            names.extend(["volume-encrypted", "gpu-container"]);
        }
        for name in names {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    // The program itself refuses such names in its own words.
    let (code, _, said) = bootstrap(&["explain", "dokcer"]);
    assert_eq!((code, said.contains("possible values")), (2, false));
}

/// Runs it with a standard output that nobody reads any more.
fn unread(arguments: &[&str]) -> Ended {
    let root = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command(root.path());
    child
        .args(arguments)
        .stdout(writer)
        .stderr(std::process::Stdio::piped());
    let output = child.spawn().unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), String::new(), stderr)
}

#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    for arguments in [
        &["man"][..],
        &["completions", "bash"],
        &["config", "schema"],
    ] {
        assert_eq!(
            unread(arguments),
            (0, String::new(), String::new()),
            "{arguments:?}"
        );
    }
}

/// A folder that lies on another device than the binary, as the data volume does.
fn elsewhere() -> TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").expect("needs /dev/shm");
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    assert_ne!(device(folder.path()), device(Path::new(BINARY)));
    folder
}

fn entrypoint(secret: &str, data: &Path, argv: &[&str]) -> Ended {
    let root = tempfile::tempdir().unwrap();
    run(command(root.path())
        .args(["entrypoint", "--secret", secret, "--data"])
        .arg(data)
        .arg("--")
        .args(argv))
}

#[test]
fn the_entrypoint_becomes_the_images_own_program() {
    let data = elsewhere();
    let password = "p@ss 'word\" $(id) \\n é";
    let secret = data.path().join("password");
    fs::write(&secret, password).unwrap();
    let secret = format!("PASSWORD={}", secret.display());
    let (code, stdout, stderr) = entrypoint(
        &secret,
        data.path(),
        &[
            "/bin/sh",
            "-c",
            "printf %s \"$PASSWORD\" \"$1\"; exit 7",
            "-",
            "--flag",
        ],
    );
    assert_eq!(
        (code, stdout, stderr),
        (7, format!("{password}--flag"), String::new())
    );
}

#[test]
fn the_entrypoint_starts_nothing_without_volume_or_password() {
    let beside = tempfile::tempdir_in(Path::new(BINARY).parent().unwrap()).unwrap();
    let file = beside.path().join("password");
    let secret = format!("PASSWORD={}", file.display());
    let argv = ["/bin/sh", "-c", "echo started"];
    let missing = format!(
        "there is no wallet password: cannot read {}: No such file or directory (os error 2)\n",
        file.display()
    );
    assert_eq!(
        entrypoint(&secret, beside.path(), &argv),
        (1, String::new(), missing)
    );
    fs::write(&file, "x").unwrap();
    let not_mounted = format!(
        "the data volume is not mounted: {} is on the root disk, nothing is started\n",
        beside.path().display()
    );
    assert_eq!(
        entrypoint(&secret, beside.path(), &argv),
        (1, String::new(), not_mounted)
    );
    fs::write(&file, "").unwrap();
    let (code, stdout, stderr) = entrypoint(&secret, beside.path(), &argv);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.starts_with("the wallet password is empty"),
        "{stderr}"
    );
}
