//! Docker's command line, 20.10 to 29.

use super::{Fact, Meaning, Tool};
use Meaning::{Lasts, Passes};

/// Lines after the reason, or around it.
const CHATTER: &[&str] = &[
    // Up to 27, and from 28 on.
    "See 'docker* --help'*",
    "Run 'docker* --help' for more information*",
    "Usage:*",
    "WARNING: *",
    // After the engine's own words.
    "ERRO[*",
    "WARN[*",
    "Error: failed to * containers: *",
    "failed to * containers: *",
    "Unable to find image * locally",
    "Using default tag: *",
    "*: Pulling from *",
    "Digest: sha256:*",
    "Status: *",
    "What's next:*",
    "Learn more at https://docs.docker.com*",
];

/// How the engine's own messages begin; a tool that it calls may add lines of its own.
const MARKS: &[&str] = &["docker: *", "Error response from daemon: *"];

const GPU: &str = "run: bootstrap --phase nvidia --phase docker --phase container";
const ENGINE: &str = "run: bootstrap --phase docker, which starts the engine (see `journalctl -u docker.service`), then run \
    `bootstrap` again";
const PORT: &str =
    "see who has the port (ss -ltnp), stop it, then run: bootstrap --phase container";
const READ_ARGV: &str = "see in /var/log/bootstrap.log how it was called, fix what it reports, then run: bootstrap --phase container";
const ROOT_DISK: &str =
    "free space on the root disk (docker system df), or give the instance a larger one";

const UNREACHABLE: Fact = Fact {
    words: &[
        "cannot connect to the docker daemon",
        "failed to connect to the docker api",
        "error during connect:",
        "dial unix *docker.sock: connect:",
    ],
    meaning: Passes,
    hint: ENGINE,
    source: "docker/cli (\"Cannot connect\" up to 28, \"failed to connect to the docker API\" from 29 on)",
};

const NO_PERMISSION: Fact = Fact {
    words: &[
        "permission denied while trying to connect to the docker",
        "docker.sock: connect: permission denied",
    ],
    meaning: Lasts,
    hint: "something keeps root from the engine's socket: see `ls -lZ /var/run/docker.sock` and `dmesg`, then run: bootstrap --phase \
           docker",
    source: "docker/cli",
};

/// All subcommands but `pull`.
pub const DOCKER: Tool = Tool {
    programs: &["docker"],
    chatter: CHATTER,
    marks: MARKS,
    lines: 1,
    otherwise: Lasts,
    hint: READ_ARGV,
    facts: &[
        NO_PERMISSION,
        UNREACHABLE,
        // A shim that exited or could not start.
        Fact {
            words: &[
                "ttrpc: closed",
                "can't get final child's pid from pipe",
                "containerd.sock: connect:",
                "containerd.sock: timeout",
                "fork/exec *: resource temporarily unavailable",
            ],
            meaning: Passes,
            hint: "see whether containerd runs and what the machine lacks (`systemctl status containerd.service`, `free -m`, `dmesg`), then \
                   run: bootstrap --phase container",
            source: "containerd/ttrpc, opencontainers/runc",
        },
        Fact {
            words: &[
                "cannot stop container: *permission denied",
                "cannot kill container: *permission denied",
                "signaling init process caused *permission denied",
            ],
            meaning: Lasts,
            hint: "a profile of AppArmor keeps the engine from ending the container, as where another Docker (a snap) has left its profile: see `dmesg`, take \
                   away profiles that no package has (aa-remove-unknown), then run `bootstrap` again",
            source: "moby/moby#36809, canonical/docker-snap#272",
        },
        Fact {
            words: &[
                "bad response from docker engine",
                "500 internal server error for api route",
                "did not receive an exit event",
                "is already in progress",
                "failed to remove root filesystem",
                "is already in use by container",
            ],
            meaning: Passes,
            hint: "see what the engine is busy with (`docker ps -a`, `journalctl -u docker.service`), then run `bootstrap` again",
            source: "moby/moby, docker/cli",
        },
        // Every container is a systemd unit, and systemd may be reloading just then.
        Fact {
            words: &[
                "unable to apply cgroup configuration",
                "message recipient disconnected from message bus",
                "transport endpoint is not connected",
                "unable to start unit \"docker-",
            ],
            meaning: Passes,
            hint: "see what systemd is busy with (`systemctl list-jobs`), then run: bootstrap --phase container",
            source: "opencontainers/runc, libcontainer/cgroups/systemd",
        },
        // A containerd socket, not a port.
        Fact {
            words: &["create new shim socket"],
            meaning: Lasts,
            hint: "containerd has lost sight of a container: systemctl restart containerd.service docker.service, then run: \
                   bootstrap --phase container",
            source: "containerd/containerd",
        },
        Fact {
            words: &["client version * is too old", "client version * is too new"],
            meaning: Lasts,
            hint: "the docker command and the engine come from different packages: see which (`docker version`, `which -a docker`) \
                   and remove one of them, then run `bootstrap` again",
            source: "moby/moby (Docker 29 wants API 1.44)",
        },
        Fact {
            words: &["port is already allocated", "address already in use"],
            meaning: Lasts,
            hint: PORT,
            source: "moby/moby, libnetwork",
        },
        Fact {
            words: &["cannot assign requested address"],
            meaning: Lasts,
            hint: "this machine does not have the address (`ip -brief address`): correct edge.rpc_bind in /etc/bootstrap/config.json, \
                   then run `bootstrap` again",
            source: "errno(3), moby/moby, libnetwork/portmapper",
        },
        Fact {
            words: &["unsatisfied condition: "],
            meaning: Lasts,
            hint: "the image needs a newer NVIDIA driver than this machine's: name its branch in gpu_driver of \
                   /etc/bootstrap/config.json (or use an AMI that has it) and run `bootstrap`, or choose an older image in \
                   edge.tag",
            source: "NVIDIA/libnvidia-container (cuda, driver, brand), docker/for-linux#846",
        },
        Fact {
            words: &["driver/library version mismatch"],
            meaning: Lasts,
            hint: "the driver was updated under a module that is still loaded: reboot (systemctl reboot)",
            source: "anderskm/gputil#55",
        },
        Fact {
            // From 29 on, --gpus tries CDI first, which finds nothing without the toolkit's specifications.
            words: &[
                "failed to discover gpu vendor",
                "no known gpu vendor",
                "unresolvable cdi devices",
                "cdi device injection failed",
            ],
            meaning: Lasts,
            hint: "Docker knows no GPU: see that `nvidia-smi -L` names one and write the CDI specification (nvidia-ctk cdi \
                   generate --output=/etc/cdi/nvidia.yaml), then run: bootstrap --phase nvidia --phase docker --phase container",
            source: "ShaneIsrael/fireshare#689",
        },
        Fact {
            words: &["failed to fulfil mount request", "libcuda.so"],
            meaning: Lasts,
            hint: "the CDI specification is of another driver: write it anew (nvidia-ctk cdi generate \
                   --output=/etc/cdi/nvidia.yaml), then run: bootstrap --phase container",
            source: "NVIDIA/nvidia-container-toolkit",
        },
        Fact {
            words: &[
                "could not select device driver",
                "nvidia-container-cli",
                "nvidia-container-runtime",
                "unknown or invalid runtime name: nvidia",
                "unknown runtime specified nvidia",
                "libnvidia-ml.so",
            ],
            meaning: Lasts,
            hint: GPU,
            source: "NVIDIA/nvidia-container-toolkit, moby/moby",
        },
        Fact {
            words: &["bind source path does not exist"],
            meaning: Lasts,
            hint: "run: bootstrap --phase volume --phase secret --phase container",
            source: "moby/moby, volume/mounts",
        },
        Fact {
            words: &["no space left on device"],
            meaning: Lasts,
            hint: ROOT_DISK,
            source: "errno(3)",
        },
        Fact {
            words: &["exec format error"],
            meaning: Lasts,
            hint: "the image is for another processor: name one for linux/amd64 in edge.image and edge.tag",
            source: "errno(3)",
        },
        // After a power cut, or after someone has deleted files there.
        Fact {
            words: &[
                "layer does not exist",
                "error creating overlay mount",
                "/overlay2/*: no such file or directory",
            ],
            meaning: Lasts,
            hint: "the image on the disk is damaged: remove it (docker image rm --force, with the name that `docker image ls` gives it), \
                   then run: bootstrap --phase image --phase container",
            source: "docker/for-linux#791, moby/moby#41190",
        },
        Fact {
            words: &["docker-default profile could not be loaded"],
            meaning: Lasts,
            hint: "the files of AppArmor are damaged: install its package anew (apt-get install --reinstall apparmor), then run: bootstrap \
                   --phase docker --phase container",
            source: "moby/moby, profiles/apparmor",
        },
        Fact {
            words: &[
                "could not find bridge",
                "network bridge not found",
                "no such network interface",
            ],
            meaning: Lasts,
            hint: "the engine's network bridge is gone: systemctl restart docker.service, then run: bootstrap --phase container",
            source: "moby/moby, libnetwork/drivers/bridge",
        },
        Fact {
            // Reloading the firewall removes the engine's chains.
            words: &["no chain/target/match by that name", "iptables failed"],
            meaning: Lasts,
            hint: "the engine's firewall rules are gone: systemctl restart docker.service, then run: bootstrap --phase container",
            source: "moby/moby, libnetwork/iptables",
        },
        Fact {
            words: &["context deadline exceeded", "i/o timeout"],
            meaning: Passes,
            hint: "see what the machine is busy with (`top`, `dmesg`), then run `bootstrap` again",
            source: "Go's context",
        },
    ],
};

const NO_IMAGE: &str = "check edge.image, edge.tag and edge.digest in /etc/bootstrap/config.json: the registry has no such image";
const LOGIN: &str = "check edge.image in /etc/bootstrap/config.json: it must be an image that can be pulled without logging in";
const REGISTRY: &str = "the registry, or what is between it and the instance, is in trouble: see https://www.dockerstatus.com, run \
    `docker pull` by hand to see all it says, or name a mirror in edge.image";

/// `docker pull`. Unknown failures are retried: registries, and whatever is in between, have more kinds of transient
/// failure than anyone has listed.
pub const PULL: Tool = Tool {
    programs: &["docker pull"],
    chatter: CHATTER,
    marks: &[],
    lines: 1,
    otherwise: Passes,
    hint: REGISTRY,
    facts: &[
        NO_PERMISSION,
        UNREACHABLE,
        Fact {
            words: &[
                "toomanyrequests",
                "rate limit",
                "429 too many",
                "status: 429",
            ],
            meaning: Passes,
            hint: "the registry limits pulls from this address: wait, or name a mirror in edge.image",
            source: "docker/hub-feedback",
        },
        Fact {
            words: &["no space left on device", "disk quota exceeded"],
            meaning: Lasts,
            hint: ROOT_DISK,
            source: "errno(3)",
        },
        Fact {
            // error getting credentials - err: exec: "docker-credential-ecr-login": executable file not found in $PATH
            words: &[
                "error getting credentials",
                "error listing credentials",
                "docker-credential-",
            ],
            meaning: Lasts,
            hint: "/root/.docker/config.json names a credential helper that is missing or fails: install it, or take credsStore \
                   and credHelpers out of that file, then run `bootstrap` again",
            source: "docker/docker-credential-helpers, awslabs/amazon-ecr-credential-helper",
        },
        Fact {
            words: &[
                "certificate signed by unknown authority",
                "certificate is not trusted",
                "certificate is valid for ",
                "certificate is not valid for ",
                "cannot validate certificate",
            ],
            meaning: Lasts,
            hint: "something ends TLS between the engine and the registry: see its proxy (systemctl show docker -p \
                   Environment) and the machine's CA certificates",
            source: "Go's crypto/x509",
        },
        Fact {
            words: &[
                "no matching manifest",
                "invalid reference format",
                "does not match the specified platform",
                "cannot be used on this platform",
            ],
            meaning: Lasts,
            hint: "check edge.image, edge.tag and edge.digest in /etc/bootstrap/config.json: the image must exist for linux/amd64",
            source: "moby/moby, distribution/reference",
        },
        Fact {
            // "content digest … not found" is not the registry's answer.
            words: &[
                "manifest unknown",
                "manifest for * not found",
                "repository does not exist",
                "repository name not known",
                "name unknown",
                "failed to resolve reference *: not found",
            ],
            meaning: Lasts,
            hint: NO_IMAGE,
            source: "opencontainers/distribution-spec (error codes), containerd/containerd (remotes)",
        },
        // A page that a proxy or CDN sends in the registry's place, or a layer's presigned URL, which is valid for some
        // minutes only.
        Fact {
            words: &[
                "error parsing http 40",
                "httpreadseeker: failed open: *",
                "unexpected http status: 403",
                "/v2/\": forbidden",
            ],
            meaning: Passes,
            hint: REGISTRY,
            source: "docker-library/official-images#4309, ciiiii/cloudflare-docker-proxy#98",
        },
        Fact {
            words: &["proxy authentication required"],
            meaning: Lasts,
            hint: "the engine's proxy wants a name and a password: see which it is (systemctl show docker -p Environment), then run: \
                   bootstrap --phase docker --phase image",
            source: "Go's net/http",
        },
        Fact {
            words: &[
                "incorrect username or password",
                "authorization token has expired",
                "personal access token",
            ],
            meaning: Lasts,
            hint: "/root/.docker/config.json holds a login that the registry refuses: take it out (docker logout), then run \
                   `bootstrap` again",
            source: "docker/hub-feedback, Amazon ECR",
        },
        Fact {
            words: &[
                "manifest version 2, schema 1",
                "manifest.v1+prettyjws",
                "missing signature key",
            ],
            meaning: Lasts,
            hint: "the image is in a form that this engine no longer reads: name a newer one in edge.tag",
            source: "moby/moby (from 26 on)",
        },
        Fact {
            words: &["proxyconnect *: tls: first record does not look like"],
            meaning: Lasts,
            hint: "the engine asks its proxy by HTTPS, which does not speak it: write the proxy's address with http:// (systemctl show docker \
                   -p Environment), then run: bootstrap --phase docker --phase image",
            source: "Go's net/http",
        },
        Fact {
            words: &["server gave http response to https client"],
            meaning: Lasts,
            hint: "the registry that edge.image names does not speak HTTPS: name one that does, or list it as an insecure registry in \
                   /etc/docker/daemon.json",
            source: "Go's net/http",
        },
        // A registry that refuses says "denied"; this alone also appears when a token expires during a long pull.
        Fact {
            words: &["unauthorized: authentication required"],
            meaning: Passes,
            hint: LOGIN,
            source: "moby/moby#15640, distribution/distribution",
        },
        Fact {
            words: &[
                "access denied",
                "denied: ",
                "unauthorized",
                "authentication required",
                "no basic auth",
                "403 forbidden",
            ],
            meaning: Lasts,
            hint: LOGIN,
            source: "opencontainers/distribution-spec (error codes)",
        },
        Fact {
            words: &[
                "http status: 5",
                "status code: 5",
                "unexpected status*: 5",
                "status: 5",
                "stream error",
                "internal_error",
                "server sent goaway",
                "unexpected commit digest",
                "filesystem layer verification failed",
                "failed precondition",
                "bad gateway",
                "service unavailable",
                "internal server error",
                "gateway time",
            ],
            meaning: Passes,
            hint: REGISTRY,
            source: "containerd/containerd#3974, Go's net/http",
        },
        Fact {
            words: &[
                "timeout",
                "timed out",
                "deadline exceeded",
                "connection reset",
                "connection refused",
                "broken pipe",
                "eof",
                "no such host",
                "server misbehaving",
                "temporary failure",
                "network is unreachable",
                "no route to host",
                "proxyconnect",
            ],
            meaning: Passes,
            hint: "check that the instance reaches the registry by HTTPS: subnet route, NAT, security group, DNS",
            source: "Go's net",
        },
        // Only a warning if anything else is said.
        Fact {
            words: &["error loading config file", "error parsing config file"],
            meaning: Lasts,
            hint: "/root/.docker/config.json cannot be read: correct or remove it, then run `bootstrap` again",
            source: "docker/cli, cli/config",
        },
    ],
};

/// nvidia-ctk, which writes the engine's config.
pub(super) const TOOLKIT: Tool = Tool {
    programs: &["nvidia-ctk"],
    chatter: &["*level=info *", "*level=warning *", "INFO[*", "WARN[*"],
    marks: &["*level=error *", "*level=fatal *", "ERRO[*", "FATA[*"],
    lines: 1,
    otherwise: Lasts,
    hint: super::BY_HAND,
    facts: &[],
};

/// Docker has no such container, image or network: an answer, not a failure. "Not found" of anything else is a failure.
pub fn is_absent(stderr: &str) -> bool {
    // "Error: No such container: x", since 25 "Error response from daemon: No such container: x".
    const ABSENT: &[&str] = &[
        "*no such container: *",
        "*no such image: *",
        "*no such object: *",
    ];
    stderr
        .lines()
        .any(|line| ABSENT.iter().any(|pattern| super::like(pattern, line)))
}

/// Whether the program could not be run in the container because the image lacks it, or a part of it: that says nothing
/// about what it would have reported.
pub fn is_program_missing(said: &str) -> bool {
    const MISSING: &[&str] = &[
        "*executable file not found in $path*",
        // crun's words, and those of a program whose loader the image lacks.
        "*executable file `*` not found*",
        "*exec *: no such file or directory*",
        "*: symbol not found*",
        "*exec: \"*\": stat *: no such file or directory*",
        "*exec: \"*\": permission denied*",
        // The image has its own copy of the program, without what it needs.
        "*couldn't find libnvidia-ml.so library*",
        "*error while loading shared libraries: *",
    ];
    said.lines()
        .any(|line| MISSING.iter().any(|pattern| super::like(pattern, line)))
}
