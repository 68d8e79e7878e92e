//! The container spec (`edge.json`): its format, its rules, and the `docker run` that it results in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Component, Path};

use serde::Deserialize;

use super::SPEC_LABEL;
use super::earnings::Vote;
use super::image::{ImageFacts, reference};
use super::processes::Question;
use super::run_as::RunAs;
use crate::config::Config;
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::log::printable;
use crate::paths::{PASSWORD, PROGRAM, SECRETS, SPEC};

/// Path of this program inside the container.
const SHIM: &str = "/bootstrap";

/// How the edge container is run: data, so that another image needs no new binary.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Version of this format; 1.
    pub version: u32,
    /// Container name.
    pub name: String,
    /// Its environment, except the password.
    pub environment: BTreeMap<String, String>,
    /// The variable that the shim sets to the password.
    pub secret_variable: String,
    /// The data folder.
    pub data: Data,
    /// The key folder, relative to the data folder.
    pub keys: String,
    /// TCP ports, the same inside and outside.
    pub ports: Vec<u16>,
    /// Which port serves which JSON-RPC.
    pub rpc: Rpc,
    /// What the other processes than the core are asked, to see whether they are alive; empty if the image has none.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// Processes that answer no RPC, each with its process name in the kernel.
    #[serde(default)]
    pub processes: BTreeMap<String, String>,
    /// Logs that processes write themselves, by process: files in the data folder.
    #[serde(default)]
    pub logs: BTreeMap<String, String>,
    /// Where to find the last uptime vote.
    #[serde(default)]
    pub vote: Option<Vote>,
    /// Whether to allocate a terminal.
    pub tty: bool,
    /// Seconds that it has to stop before it is killed.
    pub stop_seconds: u32,
    /// Paths inside that it must be able to use.
    pub uses: Uses,
    /// The capabilities that root keeps if the container runs as root; all others are dropped. They let it use the
    /// files of the data folder, which belong to the config's user, and switch to the users inside.
    pub capabilities: Vec<String>,
    /// How many processes and threads it may have.
    pub pids: u32,
    /// Docker's log rotation.
    pub log: Log,
}

/// Paths of the image that the node uses: it does not run as a user who cannot. Paths that an image lacks are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uses {
    /// Files that are read, folders that are entered and listed.
    pub read: Vec<String>,
    /// The same, and writable.
    pub write: Vec<String>,
}

/// The data folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// On the host, relative to the volume's mount point.
    pub source: String,
    /// Inside the container, absolute.
    pub target: String,
}

/// JSON-RPC ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpc {
    /// Edge core: status, peers, summary.
    pub core: u16,
    /// Edge launcher: past jobs.
    pub launcher: u16,
    /// Edge encoder.
    pub encoder: u16,
}

/// Rotation of the json-file log driver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Size of one file, e.g. `50m`.
    pub max_size: String,
    /// How many files.
    pub max_files: u32,
}

/// The wanted container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Hash of everything that makes it up; the value of [`SPEC_LABEL`].
    pub hash: String,
    /// Arguments of `docker` that create and start it.
    pub argv: Vec<String>,
}

impl Spec {
    /// The spec in the assets, or `None` if they are not unpacked yet.
    pub fn load(host: &Host, config: &Config) -> Result<Option<Self>> {
        host.read(SPEC)?
            .map(|bytes| Self::parse(&bytes, &config.edge.network))
            .transpose()
    }

    /// The spec, which must be in the assets by now.
    pub fn require(host: &Host, config: &Config) -> Result<Self> {
        Self::load(host, config)?.ok_or_else(|| {
            Error::new(
                format!("{SPEC} does not exist"),
                "run: bootstrap --phase assets; if it stays so, the assets archive lacks it: put it in and deploy the archive",
            )
        })
    }

    /// Reads a spec and replaces `{network}`; a broken rule is an error that names the key.
    pub fn parse(bytes: &[u8], network: &str) -> Result<Self> {
        let hint = "correct edge.json in the assets archive and deploy it, then run: bootstrap --phase assets --phase container";
        let mut spec: Self = serde_json::from_slice(bytes).map_err(|error| {
            Error::new(
                format!(
                    "{SPEC} is not a container spec: {}",
                    printable(&error.to_string())
                ),
                hint,
            )
        })?;
        for text in spec
            .environment
            .values_mut()
            .chain([&mut spec.data.source, &mut spec.data.target])
        {
            *text = text.replace("{network}", network);
        }
        match spec.fault() {
            None => Ok(spec),
            Some(fault) => Err(Error::new(format!("{SPEC}: {fault}"), hint)),
        }
    }

    /// The first broken rule.
    fn fault(&self) -> Option<String> {
        let target = Path::new(&self.data.target);
        let taken = ["/run", "/proc", "/sys", "/dev", SHIM];
        let asked = [self.rpc.core, self.rpc.launcher, self.rpc.encoder];
        #[rustfmt::skip]
        let rules = [
            (self.version == 1, "version must be 1"),
            (is_container_name(&self.name), "name is not a container name"),
            (self.environment.keys().all(|name| is_variable(name)), "environment has a name that is not a variable's"),
            (!self.environment.values().any(|value| value.contains(char::is_control)), "environment has a value with a control character"),
            (is_variable(&self.secret_variable), "secret_variable is not a variable's name"),
            (!self.environment.contains_key(&self.secret_variable), "environment must not hold the secret variable"),
            (is_inner_path(&self.data.source), "data.source must be a path inside the volume"),
            (self.data.target.strip_prefix('/').is_some_and(is_inner_path), "data.target must be an absolute path below /"),
            (!taken.iter().any(|taken| target.starts_with(taken)), "data.target must not be under /run, /proc, /sys, /dev or /bootstrap"),
            (is_inner_path(&self.keys), "keys must be a path inside the data folder"),
            (!self.ports.is_empty() && !self.ports.contains(&0), "ports must be numbers from 1 to 65535"),
            (self.ports.iter().collect::<BTreeSet<_>>().len() == self.ports.len(), "ports must differ from each other"),
            (asked.iter().all(|port| self.ports.contains(port)), "rpc names a port that is not in ports"),
            (self.questions.len() <= 16, "questions must be 16 at most"),
            (self.logs.values().all(|name| is_log(name)), "logs must be names of files in the data folder that end in .log"),
            ((1..=600).contains(&self.stop_seconds), "stop_seconds must be from 1 to 600"),
            (self.uses.read.iter().chain(&self.uses.write).all(|path| path.strip_prefix('/').is_some_and(is_inner_path)), "uses must be absolute paths below /"),
            (self.capabilities.iter().all(|name| is_capability(name)), "capabilities must be names such as CHOWN, and not ALL"),
            ((100..=100_000).contains(&self.pids), "pids must be from 100 to 100000"),
            (is_size(&self.log.max_size), "log.max_size must be a number with k, m or g"),
            ((1..=100).contains(&self.log.max_files), "log.max_files must be from 1 to 100"),
        ];
        rules
            .into_iter()
            .find(|(holds, _)| !holds)
            .map(|(_, fault)| fault.to_owned())
    }

    /// The data folder on the host.
    pub fn data_folder(&self, config: &Config) -> String {
        format!(
            "{}/{}",
            config.volume.mount.trim_end_matches('/'),
            self.data.source
        )
    }

    /// The key folder on the host.
    pub fn key_folder(&self, config: &Config) -> String {
        format!("{}/{}", self.data_folder(config), self.keys)
    }

    /// Arguments of `docker` that make this program look at the image from inside, as one of the two users.
    pub fn look(&self, config: &Config, image: &ImageFacts, run_as: RunAs) -> Vec<String> {
        // Not in the image's working directory: if the user cannot enter it, Docker starts nothing.
        let mut argv: Vec<String> = ["run", "--rm", "--network", "none", "--workdir", "/"]
            .map(String::from)
            .into();
        argv.extend(self.confinement(config, run_as));
        argv.extend([
            "--mount".into(),
            format!("type=bind,source={PROGRAM},target={SHIM},readonly"),
            "--entrypoint".into(),
            SHIM.into(),
            image.id.clone(),
            "look".into(),
            format!("--home-of={}", image.user),
        ]);
        let program = image
            .argv
            .first()
            .filter(|program| program.starts_with('/'));
        argv.extend(program.map(|program| format!("--run={program}")));
        let read = [&image.working_dir].into_iter().chain(&self.uses.read);
        argv.extend(read.map(|path| format!("--read={path}")));
        argv.extend(self.uses.write.iter().map(|path| format!("--write={path}")));
        argv
    }

    /// The container that `config` and this spec want, made from the image.
    pub fn wanted(&self, config: &Config, image: &ImageFacts, run_as: RunAs) -> Wanted {
        let mut argv = self.flags(config, run_as);
        let label_at = argv.len();
        argv.extend(["--entrypoint".into(), SHIM.into()]);
        argv.push(reference(&config.edge));
        argv.extend(
            [
                "entrypoint",
                "--secret",
                &format!("{}={PASSWORD}", self.secret_variable),
                "--data",
                &self.data.target,
                "--",
            ]
            .map(String::from),
        );
        argv.extend(image.argv.iter().cloned());

        let mut hasher = Hasher::default();
        for part in argv.iter().chain([&image.id]) {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        let hash = hasher.hex();
        argv.splice(
            label_at..label_at,
            ["--label".into(), format!("{SPEC_LABEL}={hash}")],
        );
        Wanted { hash, argv }
    }

    /// User and privileges: a job that escapes from its program gains nothing. Memory is not limited, as no number is
    /// right for every job; but when the machine runs out, the kernel kills the largest process in here before Docker,
    /// the agents and login sessions. Without privileges, nothing in here can undo that.
    fn confinement(&self, config: &Config, run_as: RunAs) -> Vec<String> {
        let mut argv = Vec::new();
        let mut flag = |name: &str, value: String| argv.extend([name.into(), value]);
        if run_as == RunAs::User {
            flag("--user", format!("{}:{}", config.user.uid, config.user.gid));
        }
        flag("--security-opt", "no-new-privileges".into());
        flag("--cap-drop", "ALL".into());
        if run_as == RunAs::Image {
            for name in &self.capabilities {
                flag("--cap-add", name.clone());
            }
        }
        flag("--pids-limit", self.pids.to_string());
        flag("--oom-score-adj", "500".into());
        argv
    }

    /// `docker run` and its flags, label and entrypoint left out; only flags that Docker 20.10 to 29 share.
    fn flags(&self, config: &Config, run_as: RunAs) -> Vec<String> {
        let mut argv: Vec<String> = vec!["run".into(), "--detach".into()];
        let mut flag = |name: &str, value: String| argv.extend([name.into(), value]);
        flag("--name", self.name.clone());
        flag("--restart", "unless-stopped".into());
        argv.extend(self.confinement(config, run_as));
        let mut flag = |name: &str, value: String| argv.extend([name.into(), value]);
        flag("--log-driver", "json-file".into());
        flag("--log-opt", format!("max-size={}", self.log.max_size));
        flag("--log-opt", format!("max-file={}", self.log.max_files));
        flag("--stop-timeout", self.stop_seconds.to_string());
        for (name, value) in &self.environment {
            flag("--env", format!("{name}={value}"));
        }
        let bind = match config.edge.rpc_bind {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        for port in &self.ports {
            flag("--publish", format!("{bind}:{port}:{port}/tcp"));
        }
        // --mount, never --volume: a missing source must fail, not be created and owned by root.
        let data = self.data_folder(config);
        flag(
            "--mount",
            format!("type=bind,source={data},target={}", self.data.target),
        );
        for (source, target) in [(PROGRAM, SHIM), (SECRETS, SECRETS)] {
            flag(
                "--mount",
                format!("type=bind,source={source},target={target},readonly"),
            );
        }
        if config.gpu {
            flag("--gpus", "all".into());
        }
        if self.tty {
            argv.push("--tty".into());
        }
        argv
    }
}

fn is_container_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_capability(name: &str) -> bool {
    name != "ALL" && !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// A relative path of plain names; no comma or quote, which have a meaning in `--mount`.
fn is_inner_path(path: &str) -> bool {
    !path.is_empty()
        && path
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c))
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

fn is_log(name: &str) -> bool {
    let stem = name.strip_suffix(".log");
    stem.is_some_and(|stem| !stem.contains('/') && is_inner_path(stem))
}

fn is_size(size: &str) -> bool {
    size.strip_suffix(['k', 'm', 'g'])
        .is_some_and(|number| number.parse::<u32>().is_ok_and(|number| number > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../cloudformation/assets/edge.json");

    fn config(extra: &serde_json::Value) -> Config {
        let mut config = serde_json::json!({
            "volume": {"id": "vol-0123456789abcdef0"},
            "assets": {"bucket": "b", "key": "k", "sha256": "00"},
            "secret": {"arn": "arn"}
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        serde_json::from_value(config).unwrap()
    }

    fn image() -> ImageFacts {
        ImageFacts {
            id: "sha256:aa".into(),
            argv: vec!["/bin/start.sh".into(), "--all".into()],
            ..ImageFacts::default()
        }
    }

    fn shipped() -> Spec {
        Spec::parse(SHIPPED.as_bytes(), "mainnet").unwrap()
    }

    #[test]
    fn the_shipped_spec_leads_to_this_container() {
        let config = config(&serde_json::json!({"gpu": true}));
        let wanted = shipped().wanted(&config, &image(), RunAs::User);
        let argv = wanted.argv.join(" ").replace(&wanted.hash, "HASH");
        assert_eq!(
            argv,
            "run --detach --name edgelauncher --restart unless-stopped --user 1002:1002 \
             --security-opt no-new-privileges --cap-drop ALL --pids-limit 4096 --oom-score-adj 500 --log-driver json-file --log-opt max-size=50m --log-opt max-file=3 --stop-timeout 60 \
             --env EDGELAUNCHER_CONFIG_PATH=/edgelauncher/data/mainnet \
             --publish 127.0.0.1:15888:15888/tcp --publish 127.0.0.1:17888:17888/tcp --publish 127.0.0.1:17935:17935/tcp \
             --mount type=bind,source=/data/edgelauncher,target=/edgelauncher/data/mainnet \
             --mount type=bind,source=/usr/local/bin/bootstrap,target=/bootstrap,readonly \
             --mount type=bind,source=/run/bootstrap/secrets,target=/run/bootstrap/secrets,readonly \
             --gpus all --label io.theta.bootstrap.spec=HASH --entrypoint /bootstrap \
             thetalabsorg/edgelauncher_mainnet:latest \
             entrypoint --secret PASSWORD=/run/bootstrap/secrets/wallet-password --data /edgelauncher/data/mainnet \
             -- /bin/start.sh --all"
        );
    }

    #[test]
    fn the_hash_follows_everything_that_is_wanted() {
        let plain = config(&serde_json::json!({}));
        let hash = |spec: &Spec, config: &Config, image: &ImageFacts| {
            spec.wanted(config, image, RunAs::User).hash
        };
        let first = hash(&shipped(), &plain, &image());
        assert_eq!(first, hash(&shipped(), &plain, &image()));
        assert_eq!(first.len(), 64);

        let other_image = ImageFacts {
            id: "sha256:bb".into(),
            ..image()
        };
        let mut other_spec = shipped();
        other_spec.stop_seconds = 61;
        let gpu = config(&serde_json::json!({"gpu": true}));
        let bind = config(&serde_json::json!({"edge": {"rpc_bind": "::1"}}));
        for hash in [
            hash(&shipped(), &plain, &other_image),
            hash(&other_spec, &plain, &image()),
            hash(&shipped(), &gpu, &image()),
            hash(&shipped(), &bind, &image()),
            shipped().wanted(&plain, &image(), RunAs::Image).hash,
        ] {
            assert_ne!(hash, first);
        }
        let argv = shipped().wanted(&bind, &image(), RunAs::User).argv;
        assert!(argv.contains(&"[::1]:17888:17888/tcp".to_owned()));
    }

    /// Commands that run the image: the node and the look at the image, as either user.
    fn all_that_run_the_image() -> Vec<(RunAs, String)> {
        let (spec, config, image) = (shipped(), config(&serde_json::json!({})), image());
        let both = [RunAs::User, RunAs::Image].into_iter();
        both.flat_map(|user| {
            let node = spec.wanted(&config, &image, user).argv;
            [node, spec.look(&config, &image, user)].map(|argv| (user, argv.join(" ")))
        })
        .collect()
    }

    #[test]
    fn nothing_in_the_image_gains_privileges() {
        for (_, argv) in all_that_run_the_image() {
            assert!(
                argv.contains(" --security-opt no-new-privileges "),
                "{argv}"
            );
        }
    }

    #[test]
    fn the_image_has_no_capability_but_the_listed() {
        for (user, argv) in all_that_run_the_image() {
            let mut left: Vec<&str> = argv
                .split(" --cap-")
                .skip(1)
                .map(|rest| rest.split(" --").next().unwrap())
                .collect();
            assert_eq!(left.remove(0), "drop ALL", "{argv}");
            let listed = [
                "CHOWN",
                "DAC_OVERRIDE",
                "FOWNER",
                "KILL",
                "SETGID",
                "SETUID",
            ];
            let listed = listed.map(|name| format!("add {name}"));
            let allowed = if user == RunAs::Image {
                &listed[..]
            } else {
                &[]
            };
            assert_eq!(left, allowed, "{argv}");
        }
    }

    #[test]
    fn the_image_cannot_start_processes_without_end() {
        for (_, argv) in all_that_run_the_image() {
            assert!(argv.contains(" --pids-limit 4096 "), "{argv}");
        }
    }

    #[test]
    fn the_image_is_first_to_die_when_memory_runs_out() {
        for (_, argv) in all_that_run_the_image() {
            assert!(argv.contains(" --oom-score-adj 500 "), "{argv}");
        }
    }

    #[test]
    fn the_image_may_keep_its_own_user_and_get_a_terminal() {
        let mut spec = shipped();
        spec.tty = true;
        let config = config(&serde_json::json!({}));
        let argv = spec.wanted(&config, &image(), RunAs::Image).argv;
        assert!(!argv.contains(&"--user".to_owned()));
        let argv_text = argv.join(" ");
        assert!(
            argv_text.contains(
                "--security-opt no-new-privileges --cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER \
                 --cap-add KILL --cap-add SETGID --cap-add SETUID --pids-limit 4096"
            ),
            "{argv_text}"
        );
        assert!(argv.contains(&"--tty".to_owned()));
        assert!(!argv.contains(&"--gpus".to_owned()));
    }

    #[test]
    fn a_broken_rule_is_named() {
        for (from, to, fault) in [
            ("\"version\": 1", "\"version\": 2", "version must be 1"),
            (
                "\"name\": \"edgelauncher\"",
                "\"name\": \"-v\"",
                "name is not a container name",
            ),
            (
                "EDGELAUNCHER_CONFIG_PATH",
                "A=B",
                "environment has a name that is not a variable's",
            ),
            (
                "EDGELAUNCHER_CONFIG_PATH",
                "PASSWORD",
                "environment must not hold the secret variable",
            ),
            (
                "\"source\": \"edgelauncher\"",
                "\"source\": \"../etc\"",
                "data.source must be a path inside the volume",
            ),
            (
                "\"source\": \"edgelauncher\"",
                "\"source\": \"/etc\"",
                "data.source must be a path inside the volume",
            ),
            (
                "\"source\": \"edgelauncher\"",
                "\"source\": \"a,readonly\"",
                "data.source must be a path inside the volume",
            ),
            (
                "\"target\": \"/edgelauncher",
                "\"target\": \"edgelauncher",
                "data.target must be an absolute path below /",
            ),
            (
                "\"target\": \"/edgelauncher",
                "\"target\": \"/bootstrap",
                "data.target must not be under /run, /proc, /sys, /dev or /bootstrap",
            ),
            (
                "edgecore/key/encrypted",
                "",
                "keys must be a path inside the data folder",
            ),
            (
                "[15888, ",
                "[0, 15888, ",
                "ports must be numbers from 1 to 65535",
            ),
            (
                "[15888, ",
                "[15888, 15888, ",
                "ports must differ from each other",
            ),
            (
                "\"core\": 17888",
                "\"core\": 17889",
                "rpc names a port that is not in ports",
            ),
            (
                "\"stop_seconds\": 60",
                "\"stop_seconds\": 0",
                "stop_seconds must be from 1 to 600",
            ),
            ("\"/tmp\"", "\"tmp\"", "uses must be absolute paths below /"),
            (
                "\"KILL\"",
                "\"ALL\"",
                "capabilities must be names such as CHOWN, and not ALL",
            ),
            (
                "\"edgecore.log\"",
                "\"../../x.log\"",
                "logs must be names of files in the data folder that end in .log",
            ),
            (
                "\"pids\": 4096",
                "\"pids\": 0",
                "pids must be from 100 to 100000",
            ),
            ("50m", "50", "log.max_size must be a number with k, m or g"),
            (
                "\"max_files\": 3",
                "\"max_files\": 0",
                "log.max_files must be from 1 to 100",
            ),
        ] {
            let text = SHIPPED.replacen(from, to, 1);
            assert_ne!(text, SHIPPED, "{from}");
            let error = Spec::parse(text.as_bytes(), "mainnet").unwrap_err();
            assert_eq!(
                error.reason(),
                format!("/opt/bootstrap/assets/edge.json: {fault}")
            );
        }
    }

    #[test]
    fn unknown_keys_and_a_network_that_leaves_its_folder_are_errors() {
        let text = SHIPPED.replacen("\"tty\"", "\"ttty\"", 1);
        let error = Spec::parse(text.as_bytes(), "mainnet").unwrap_err();
        assert!(error.reason().contains("unknown field `ttty`"), "{error}");
        let error = Spec::parse(SHIPPED.as_bytes(), "../../etc").unwrap_err();
        assert_eq!(
            error.reason(),
            "/opt/bootstrap/assets/edge.json: data.target must be an absolute path below /"
        );
    }

    #[test]
    fn an_image_without_a_program_is_refused() {
        let facts = |config: serde_json::Value| {
            ImageFacts::from_inspect(&serde_json::json!({"Id": "sha256:aa", "Config": config}))
        };
        let good = facts(serde_json::json!({"Entrypoint": null, "Cmd": ["/bin/start.sh"]}));
        assert_eq!(good.unwrap().argv, ["/bin/start.sh"]);
        for config in [
            serde_json::json!({}),
            serde_json::json!({"Entrypoint": [], "Cmd": null}),
        ] {
            assert_eq!(
                facts(config).unwrap_err().reason(),
                "the image has no entrypoint and no command"
            );
        }
    }
}
