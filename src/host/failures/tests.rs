//! What real versions of the tools print, and how it is read.

use super::*;

/// Tool and version; its standard error; the reason; whether it passes; a part of the hint.
type Case = (&'static str, &'static str, &'static str, bool, &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("docker run 20.10", "docker: Error response from daemon: driver failed programming external connectivity on endpoint edgelauncher (1f2e): Bind for 127.0.0.1:17888 failed: port is already allocated.\nSee 'docker run --help'.",
     "docker: Error response from daemon: driver failed programming external connectivity on endpoint edgelauncher (1f2e): Bind for 127.0.0.1:17888 failed: port is already allocated.", false, "ss -ltnp"),
    ("docker run 28", "docker: Error response from daemon: failed to set up container networking: driver failed programming external connectivity on endpoint edgelauncher (1f2e): failed to bind host port 127.0.0.1:17888/tcp: address already in use\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: failed to set up container networking: driver failed programming external connectivity on endpoint edgelauncher (1f2e): failed to bind host port 127.0.0.1:17888/tcp: address already in use", false, "ss -ltnp"),
    ("docker run 28, an error that nobody knows", "WARNING: Your kernel does not support swap limit capabilities.\ndocker: Error response from daemon: frobnication failed\n\nRun 'docker run --help' for more information\n",
     "docker: Error response from daemon: frobnication failed", false, "how it was called"),
    ("docker start 27", "Error response from daemon: frobnication failed\nError: failed to start containers: edgelauncher",
     "Error response from daemon: frobnication failed", false, "how it was called"),
    ("docker start 29", "Error response from daemon: frobnication failed\nfailed to start containers: edgelauncher",
     "Error response from daemon: frobnication failed", false, "how it was called"),
    ("docker stop 28", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
     "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", true, "--phase docker"),
    ("docker stop 29", "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory",
     "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory", true, "--phase docker"),
    ("docker run 25", "docker: Error response from daemon: failed to create task for container: error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update your driver to a newer version, or use an earlier cuda container: unknown.\nSee 'docker run --help'.",
     "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update your driver to a newer version, or use an earlier cuda container: unknown.", false, "gpu_driver"),
    ("docker run 29", "docker: Error response from daemon: failed to discover GPU vendor from CDI: no known GPU vendor found\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: failed to discover GPU vendor from CDI: no known GPU vendor found", false, "nvidia-ctk cdi generate"),
    ("docker run 20.10", "docker: Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]].",
     "docker: Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]].", false, "--phase nvidia"),
    ("docker run 24", "docker: Error response from daemon: failed to create shim task: nvidia-container-cli: initialization error: nvml error: driver/library version mismatch: unknown.",
     "docker: Error response from daemon: failed to create shim task: nvidia-container-cli: initialization error: nvml error: driver/library version mismatch: unknown.", false, "reboot"),
    ("docker pull 27", "Error response from daemon: received unexpected HTTP status: 503 Service Temporarily Unavailable",
     "Error response from daemon: received unexpected HTTP status: 503 Service Temporarily Unavailable", true, "mirror"),
    ("docker pull 29", "failed commit on ref \"layer-sha256:0a\": unexpected commit digest sha256:0b, expected sha256:0a: failed precondition",
     "failed commit on ref \"layer-sha256:0a\": unexpected commit digest sha256:0b, expected sha256:0a: failed precondition", true, "mirror"),
    ("docker pull 29, an error that nobody knows", "failed to copy: frobnication", "failed to copy: frobnication", true, "by hand"),
    ("docker pull 29", "Error response from daemon: failed to resolve reference \"docker.io/a/b:c\": docker.io/a/b:c: not found",
     "Error response from daemon: failed to resolve reference \"docker.io/a/b:c\": docker.io/a/b:c: not found", false, "no such image"),
    ("docker pull 29, its own store", "content digest sha256:0a: not found", "content digest sha256:0a: not found", true, "by hand"),
    ("docker pull 25", "error getting credentials - err: exec: \"docker-credential-ecr-login\": executable file not found in $PATH, out: ``",
     "error getting credentials - err: exec: \"docker-credential-ecr-login\": executable file not found in $PATH, out: ``", false, "/root/.docker/config.json"),
    ("docker pull 25", "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-01-01T00:00:00Z",
     "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-01-01T00:00:00Z", true, "timedatectl"),
    ("docker pull 20.10", "Error response from daemon: pull access denied for a/b, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
     "Error response from daemon: pull access denied for a/b, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", false, "no such image"),
    ("apt-get 2.4", "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)",
     "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)", true, "another package manager"),
    ("apt-get 3.0", "Error: Unable to locate package docker.oi", "Error: Unable to locate package docker.oi", false, "newer AMI"),
    ("apt-get 2.6", "Reading package lists...\nE: Unable to locate package docker.oi", "E: Unable to locate package docker.oi", false, "newer AMI"),
    ("apt-get 3.0", "Unsatisfied dependencies:\n docker.io : Depends: containerd (>= 1.4) but it is not going to be installed\nError: Unable to correct problems, you have held broken packages.",
     "Unsatisfied dependencies: docker.io : Depends: containerd (>= 1.4) but it is not going to be installed", false, "apt-mark showhold"),
    ("apt-get 2.6", "E: Release file for http://mirror.example.org/debian/dists/bookworm-updates/InRelease is not valid yet (invalid for another 2h 56min 18s). Updates for this repository will not be applied.",
     "E: Release file for http://mirror.example.org/debian/dists/bookworm-updates/InRelease is not valid yet (invalid for another 2h 56min 18s). Updates for this repository will not be applied.", true, "timedatectl"),
    ("apt-get 2.4", "E: Held packages were changed and -y was used without --allow-change-held-packages.",
     "E: Held packages were changed and -y was used without --allow-change-held-packages.", false, "apt-mark unhold"),
    ("apt-get 2.6", "dpkg: error processing package dkms (--configure):\n installed dkms package post-installation script subprocess returned error exit status 10\nErrors were encountered while processing:\n dkms\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
     "dpkg: error processing package dkms (--configure): installed dkms package post-installation script subprocess returned error exit status 10", false, "term.log"),
    ("apt-get 2.6, words that nobody knows", "frobnication\nE: Sub-process /usr/bin/dpkg returned an error code (1)", "frobnication", false, "by hand"),
    ("apt-get 2.6", "W: GPG error: https://nvidia.github.io  InRelease: NO_PUBKEY DDCAE044F796ECB0\nE: Failed to fetch it",
     "W: GPG error: https://nvidia.github.io  InRelease: NO_PUBKEY DDCAE044F796ECB0", false, "restore the repository's key"),
    ("apt-get 2.4", "dpkg: error: cannot copy: No space left on device", "dpkg: error: cannot copy: No space left on device", false, "make room"),
    ("apt-get 2.4", "E: Failed to fetch store:/x  Hash Sum mismatch", "E: Failed to fetch store:/x  Hash Sum mismatch", true, "mirrors"),
    ("dnf 4", "[Errno 2] No such file or directory: '/var/cache/dnf/amazonlinux-98/packages/a-1.x86_64.rpm'",
     "[Errno 2] No such file or directory: '/var/cache/dnf/amazonlinux-98/packages/a-1.x86_64.rpm'", true, "emptied the cache"),
    ("dnf 4", "Error: Transaction test error:\n  installing package docker-25 needs 117MB more space on the / filesystem\n\nError Summary\n-------------\nDisk Requirements:\n   At least 117MB more space needed on the / filesystem.\n",
     "installing package docker-25 needs 117MB more space on the / filesystem", false, "make room"),
    ("dnf 4", "error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)",
     "error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)", true, "another package manager"),
    ("dnf 5", "Updating and loading repositories:\n>>> Librepo error: Cannot download repomd.xml: All mirrors were tried\nRepositories loaded.",
     ">>> Librepo error: Cannot download repomd.xml: All mirrors were tried", true, "mirrors"),
    ("dnf 5", "Failed to resolve the transaction:\nNo match for argument: dockr\nYou can try to add to command line:\n  --skip-unavailable to skip unavailable packages",
     "No match for argument: dockr", false, "newer AMI"),
    ("dnf 4", "Curl error (60): SSL peer certificate or SSH remote key was not OK for https://al2023-repos.s3.amazonaws.com [SSL certificate problem: certificate is not yet valid]",
     "Curl error (60): SSL peer certificate or SSH remote key was not OK for https://al2023-repos.s3.amazonaws.com [SSL certificate problem: certificate is not yet valid]", true, "timedatectl"),
    ("mkfs.ext4 1.47.0", "mke2fs 1.47.0 (5-Feb-2023)\n/dev/nvme1n1 is apparently in use by the system; will not make a filesystem here!",
     "/dev/nvme1n1 is apparently in use by the system; will not make a filesystem here!", false, "lsblk"),
    ("mkfs.ext4 1.45.5", "mke2fs 1.45.5 (07-Jan-2020)\nmkfs.ext4: Input/output error while writing out and closing file system",
     "mkfs.ext4: Input/output error while writing out and closing file system", false, "dmesg"),
    ("resize2fs 1.46.5", "resize2fs 1.46.5 (30-Dec-2021)\nresize2fs: Superblock checksum does not match superblock while trying to open /dev/nvme1n1\nCouldn't find valid filesystem superblock.",
     "resize2fs: Superblock checksum does not match superblock while trying to open /dev/nvme1n1", true, "fsck"),
    ("resize2fs 1.47.3", "resize2fs 1.47.3 (8-Jul-2025)\nPlease run 'e2fsck -f /dev/nvme1n1' first.", "Please run 'e2fsck -f /dev/nvme1n1' first.", false, "not mounted"),
    ("resize2fs 1.47.3", "resize2fs 1.47.3 (8-Jul-2025)\nresize2fs: frobnication\nCouldn't find valid filesystem superblock.", "resize2fs: frobnication", false, "by hand"),
    ("mount 2.37", "mount: /data: wrong fs type, bad option, bad superblock on /dev/nvme1n1, missing codepage or helper program, or other error.",
     "mount: /data: wrong fs type, bad option, bad superblock on /dev/nvme1n1, missing codepage or helper program, or other error.", false, "by hand"),
    ("mount 2.41", "mount: /data: can't read superblock on /dev/nvme1n1.\n       dmesg(1) may have more information after failed mount system call.\nmount: (hint) your fstab has been modified, but systemd still uses\n       the old version; use 'systemctl daemon-reload' to reload.",
     "mount: /data: can't read superblock on /dev/nvme1n1.", false, "by hand"),
    ("systemctl 252", "Job for docker.service failed because the control process exited with error code.\nSee \"systemctl status docker.service\" and \"journalctl -xeu docker.service\" for details.",
     "Job for docker.service failed because the control process exited with error code.", false, "by hand"),
    ("systemctl 255", "Failed to enable unit: Unit file /etc/systemd/system/docker.service is masked.",
     "Failed to enable unit: Unit file /etc/systemd/system/docker.service is masked.", false, "unmask"),
    ("modprobe 31", "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service",
     "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", false, "Secure Boot"),
    ("useradd 4.13", "useradd: cannot lock /etc/passwd; try again later.", "useradd: cannot lock /etc/passwd; try again later.", true, "account files"),
    ("docker run 20.10", "docker: Error response from daemon: failed to create endpoint edgelauncher on network bridge: operation not supported.\nERRO[0000] error waiting for container: context canceled ",
     "docker: Error response from daemon: failed to create endpoint edgelauncher on network bridge: operation not supported.", false, "how it was called"),
    ("docker run 28, usage behind", "unknown flag: --frobnicate\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'docker run --help' for more information",
     "unknown flag: --frobnicate", false, "how it was called"),
    ("docker run 18.06", "docker: Error response from daemon: OCI runtime create failed: stderr: nvidia-container-cli: requirement error: unsatisfied condition: driver >= 410: unknown.",
     "docker: Error response from daemon: OCI runtime create failed: stderr: nvidia-container-cli: requirement error: unsatisfied condition: driver >= 410: unknown.", false, "newer NVIDIA driver"),
    ("docker run 28, CDI of another driver", "docker: Error response from daemon: failed to fulfil mount request: open /usr/lib64/libcuda.so.570.133.20: no such file or directory: unknown",
     "docker: Error response from daemon: failed to fulfil mount request: open /usr/lib64/libcuda.so.570.133.20: no such file or directory: unknown", false, "write it anew"),
    ("docker run 25, no port", "docker: Error response from daemon: failed to start shim: start failed: create new shim socket: listen unix /run/containerd/s/ab: bind: address already in use: unknown",
     "docker: Error response from daemon: failed to start shim: start failed: create new shim socket: listen unix /run/containerd/s/ab: bind: address already in use: unknown", false, "containerd.service"),
    ("docker stop 27", "Error response from daemon: cannot stop container: edgelauncher: tried to kill container, but did not receive an exit event",
     "Error response from daemon: cannot stop container: edgelauncher: tried to kill container, but did not receive an exit event", true, "docker ps -a"),
    ("docker version 27", "Error response from daemon: client version 1.43 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version",
     "Error response from daemon: client version 1.43 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version", false, "different packages"),
    ("docker pull 24", "error pulling image configuration: download failed after attempts=1: error parsing HTTP 403 response body: invalid character '<' looking for beginning of value: \"<title>403 Forbidden</title>\"",
     "error pulling image configuration: download failed after attempts=1: error parsing HTTP 403 response body: invalid character '<' looking for beginning of value: \"<title>403 Forbidden</title>\"", true, "in trouble"),
    ("docker pull 29", "failed to copy: httpReadSeeker: failed open: unexpected status from GET request to https://cdn.example.org/blobs/sha256/0a: 403 Forbidden",
     "failed to copy: httpReadSeeker: failed open: unexpected status from GET request to https://cdn.example.org/blobs/sha256/0a: 403 Forbidden", true, "in trouble"),
    ("docker pull 29", "Error response from daemon: unknown: failed to resolve reference \"docker.io/a/b:c\": unexpected status from HEAD request to https://registry-1.docker.io/v2/a/b/manifests/c: 403 Forbidden",
     "Error response from daemon: unknown: failed to resolve reference \"docker.io/a/b:c\": unexpected status from HEAD request to https://registry-1.docker.io/v2/a/b/manifests/c: 403 Forbidden", false, "without logging in"),
    ("docker pull 27", "Error response from daemon: Head \"https://registry-1.docker.io/v2/a/b/manifests/c\": unauthorized: incorrect username or password",
     "Error response from daemon: Head \"https://registry-1.docker.io/v2/a/b/manifests/c\": unauthorized: incorrect username or password", false, "docker logout"),
    ("docker pull 27", "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": Proxy Authentication Required",
     "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": Proxy Authentication Required", false, "proxy"),
    ("docker pull 26", "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, schema 1 support is disabled by default and will be removed in an upcoming release.",
     "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, schema 1 support is disabled by default and will be removed in an upcoming release.", false, "newer one in edge.tag"),
    ("apt-get 2.4", "dpkg: error: dpkg frontend lock was locked by another process with pid 812\nNote: removing the lock file is always wrong, can damage the locked area\nand the entire system. See <https://wiki.debian.org/Teams/Dpkg/FAQ#db-lock>.\nE: Sub-process /usr/bin/dpkg returned an error code (2)",
     "dpkg: error: dpkg frontend lock was locked by another process with pid 812", true, "another package manager"),
    ("apt-get 2.4", "E: Problem renaming the file /var/cache/apt/pkgcache.bin.CNR2Wr to /var/cache/apt/pkgcache.bin - rename (2: No such file or directory)",
     "E: Problem renaming the file /var/cache/apt/pkgcache.bin.CNR2Wr to /var/cache/apt/pkgcache.bin - rename (2: No such file or directory)", true, "apt-get clean"),
    ("apt-get 2.6", "dpkg: error processing archive /var/cache/apt/archives/x.deb (--unpack):\n cannot access archive '/var/cache/apt/archives/x.deb': No such file or directory\nErrors were encountered while processing:\n /var/cache/apt/archives/x.deb\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
     "cannot access archive '/var/cache/apt/archives/x.deb': No such file or directory", true, "another apt"),
    ("apt-get 2.6", "Err:5 https://mirror.example.org/debian x Release\n  503  Service Unavailable [IP: 192.0.2.1 443]\nE: The repository 'https://mirror.example.org/debian x Release' does not have a Release file.",
     "503  Service Unavailable [IP: 192.0.2.1 443]", true, "mirrors"),
    ("apt-get 2.6", "E: The repository 'https://mirror.example.org/debian x Release' does not have a Release file.",
     "E: The repository 'https://mirror.example.org/debian x Release' does not have a Release file.", false, "newer AMI"),
    ("apt-get 2.6", "W: Failed to fetch http://mirror.example.org/InRelease  Clearsigned file isn't valid, got 'NOSPLIT' (does the network require authentication?)\nE: The repository 'http://mirror.example.org InRelease' is not signed.",
     "W: Failed to fetch http://mirror.example.org/InRelease  Clearsigned file isn't valid, got 'NOSPLIT' (does the network require authentication?)", true, "mirrors"),
    ("apt-get 3.0", "Error: OpenPGP signature verification failed: http://mirror.example.org x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Verifying signature: Not live until 2026-03-01T00:00:00Z",
     "Error: OpenPGP signature verification failed: http://mirror.example.org x InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Verifying signature: Not live until 2026-03-01T00:00:00Z", true, "timedatectl"),
    ("apt-get 2.4", "E: Conflicting values set for option Signed-By regarding source https://nvidia.github.io/x/ /: /a.gpg != /b.gpg\nE: The list of sources could not be read.",
     "E: Conflicting values set for option Signed-By regarding source https://nvidia.github.io/x/ /: /a.gpg != /b.gpg", false, "different keys"),
    ("dnf 4", "Error: Transaction check error:\n  installing package docker-25.0.8-1.amzn2023.0.1.x86_64 needs 691MB on the / filesystem\n\nError Summary\n-------------",
     "installing package docker-25.0.8-1.amzn2023.0.1.x86_64 needs 691MB on the / filesystem", false, "make room"),
    ("dnf 5", "Transaction failed: Rpm transaction failed.\n  - installing package docker-25 needs 1204 more inodes on the / filesystem",
     "- installing package docker-25 needs 1204 more inodes on the / filesystem", false, "make room"),
    ("dnf 5", "Failed to run the transaction: Rpm transaction failed.\nWarning: skipped OpenPGP checks for 1 package from repository: @commandline",
     "Failed to run the transaction: Rpm transaction failed.", false, "by hand"),
    ("dnf 4", "Existing lock /var/run/dnf.pid: another copy is running as pid 812.", "Existing lock /var/run/dnf.pid: another copy is running as pid 812.", true, "another package manager"),
    ("dnf 4", "All matches were filtered out by exclude filtering for argument: docker\nError: Unable to find a match: docker",
     "All matches were filtered out by exclude filtering for argument: docker", false, "versionlock"),
    ("dnf 4", "[Errno 2] No such file or directory: '/var/cache/dnf/amazonlinux-98/repodata/repomd.xml'",
     "[Errno 2] No such file or directory: '/var/cache/dnf/amazonlinux-98/repodata/repomd.xml'", true, "emptied the cache"),
    ("dnf 4", "Error: Failed to synchronize cache for repo 'amazonlinux'", "Error: Failed to synchronize cache for repo 'amazonlinux'", true, "mirrors"),
    ("dnf 4", "Curl error (37): Couldn't read a file:// file for file:///etc/pki/rpm-gpg/x [Couldn't open file /etc/pki/rpm-gpg/x]",
     "Curl error (37): Couldn't read a file:// file for file:///etc/pki/rpm-gpg/x [Couldn't open file /etc/pki/rpm-gpg/x]", false, "signature"),
    ("resize2fs 1.47.0", "resize2fs 1.47.0 (5-Feb-2023)\nresize2fs: Permission denied to resize filesystem\n\nFilesystem at /dev/sdl is mounted on /data; on-line resizing required\nold_desc_blocks = 1, new_desc_blocks = 1",
     "resize2fs: Permission denied to resize filesystem", false, "has errors"),
    ("resize2fs 1.46.5", "resize2fs 1.46.5 (30-Dec-2021)\nresize2fs: Device or resource busy While trying to add group #8", "resize2fs: Device or resource busy While trying to add group #8", true, "dmesg"),
    ("mkfs.xfs 6.1", "mkfs.xfs: cannot open /dev/nvme1n1: Device or resource busy\nUsage: mkfs.xfs\n/* blocksize */\t\t[-b size=num]\n/* config file */\t[-c options=xxx]",
     "mkfs.xfs: cannot open /dev/nvme1n1: Device or resource busy", false, "lsblk"),
    ("mount 2.39", "mount: /data: fsconfig() failed: /dev/nvme1n1: Can't open blockdev.\n       dmesg(1) may have more information after failed mount system call.",
     "mount: /data: fsconfig() failed: /dev/nvme1n1: Can't open blockdev.", false, "findmnt"),
    ("mount 2.37", "mount: /data: unknown filesystem type 'xfs'.", "mount: /data: unknown filesystem type 'xfs'.", false, "no module"),
    ("systemctl 255", "Failed to restart docker.service: Unit docker.socket is masked.", "Failed to restart docker.service: Unit docker.socket is masked.", false, "unmask"),
    ("systemctl 252", "Failed to reload daemon: Refusing to reload, not enough space available on /run/systemd. Currently, 15.0M are free, but a safety buffer of 16.0M is enforced.",
     "Failed to reload daemon: Refusing to reload, not enough space available on /run/systemd. Currently, 15.0M are free, but a safety buffer of 16.0M is enforced.", false, "make room"),
    ("modprobe 31", "modprobe: ERROR: could not insert 'nvidia': Operation not permitted", "modprobe: ERROR: could not insert 'nvidia': Operation not permitted", false, "lockdown"),
    ("modprobe 30", "modprobe: FATAL: Module nvidia-current not found in directory /lib/modules/6.1.0-56-cloud-amd64\nmodprobe: ERROR: ../libkmod/libkmod-module.c:979 command_do() Error running install command for nvidia\nmodprobe: ERROR: could not insert 'nvidia': Operation not permitted",
     "modprobe: FATAL: Module nvidia-current not found in directory /lib/modules/6.1.0-56-cloud-amd64", false, "dkms status"),
    ("docker.service 25", "failed to start daemon: pid file found, ensure docker is not running or delete /var/run/docker.pid\ndocker.service: Main process exited, code=exited, status=1/FAILURE\nFailed to start docker.service - Docker Application Container Engine.\nStopped docker.service - Docker Application Container Engine.",
     "failed to start daemon: pid file found, ensure docker is not running or delete /var/run/docker.pid", false, "docker.pid"),
    ("docker.service 25", "time=\"2026-01-01T00:00:00Z\" level=info msg=\"Starting up\"\nfailed to start daemon: frobnication failed\n (exit status 4))\ndocker.service: Main process exited, code=exited, status=1/FAILURE",
     "failed to start daemon: frobnication failed", false, "journal"),
    ("amazon-cloudwatch-agent-ctl 1.300064", "****** processing amazon-cloudwatch-agent ******\nStart configuration validation...\n2026/01/01 00:00:00 E! Invalid Json input schema.\nUnder path : /metrics/x | Error : Additional property x is not allowed\nConfiguration validation first phase failed. Agent version: 1.300064.1. Verify the JSON input is only using features supported by this version.",
     "Under path : /metrics/x | Error : Additional property x is not allowed", false, "assets"),
    ("amazon-cloudwatch-agent-ctl 1.2476", "I! Detected the instance is EC2\n2026/01/01 00:00:00 E! cannot frobnicate\nConfiguration validation second phase failed",
     "2026/01/01 00:00:00 E! cannot frobnicate", false, "by hand"),
    ("nvidia-ctk 1.17", "time=\"2026-01-01T00:00:00Z\" level=info msg=\"Loading config\"\ntime=\"2026-01-01T00:00:00Z\" level=error msg=\"unable to add runtime\"\nUsage: nvidia-ctk runtime configure",
     "time=\"2026-01-01T00:00:00Z\" level=error msg=\"unable to add runtime\"", false, "by hand"),
    ("apt-get 2.6, with GnuTLS", "Err:1 https://mirror.example.org x InRelease\n  Certificate verification failed: The certificate is NOT trusted. The certificate chain uses not yet valid certificate.  Could not handshake: Error in the certificate verification.\nE: Failed to fetch https://mirror.example.org/InRelease  Could not handshake",
     "Certificate verification failed: The certificate is NOT trusted. The certificate chain uses not yet valid certificate.  Could not handshake: Error in the certificate verification.", true, "timedatectl"),
    ("apt-get 2.6", "E: Could not read meta data from /var/lib/apt/lists/partial", "E: Could not read meta data from /var/lib/apt/lists/partial", true, "another apt"),
    ("dnf 4", "OSError: [Errno 39] Directory not empty: '/var/cache/dnf/amazonlinux-98/repodata'", "OSError: [Errno 39] Directory not empty: '/var/cache/dnf/amazonlinux-98/repodata'", true, "emptied the cache"),
    ("dnf 4", "error: db5 error(-30973) from dbenv->failchk: BDB0087 DB_RUNRECOVERY: Fatal error, run database recovery", "error: db5 error(-30973) from dbenv->failchk: BDB0087 DB_RUNRECOVERY: Fatal error, run database recovery", false, "rebuilddb"),
    ("docker pull 27", "Error response from daemon: Head \"https://registry-1.docker.io/v2/a/b/manifests/c\": unauthorized: authentication required",
     "Error response from daemon: Head \"https://registry-1.docker.io/v2/a/b/manifests/c\": unauthorized: authentication required", true, "without logging in"),
    ("docker pull 24, which warns before", "WARNING: Error loading config file: /root/.docker/config.json: EOF\nError response from daemon: manifest unknown: manifest unknown",
     "Error response from daemon: manifest unknown: manifest unknown", false, "no such image"),
    ("docker ps 29", "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock", "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock", false, "ls -lZ"),
    ("systemctl 257", "Failed to connect to system scope bus via local transport: Connection refused", "Failed to connect to system scope bus via local transport: Connection refused", true, "ps -p 1"),
    ("docker run 28", "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: can't get final child's PID from pipe: EOF: unknown.\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: can't get final child's PID from pipe: EOF: unknown.", true, "see whether containerd r"),
    ("docker run 28", "docker: Error response from daemon: failed to create task for container: ttrpc: closed: unknown.\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: failed to create task for container: ttrpc: closed: unknown.", true, "see whether containerd r"),
    ("docker stop 27", "Error response from daemon: cannot stop container: edgelauncher: permission denied",
     "Error response from daemon: cannot stop container: edgelauncher: permission denied", false, "AppArmor"),
    ("docker run 28", "docker: Error response from daemon: failed to create endpoint edgelauncher on network bridge: adding interface veth1a to bridge docker0 failed: could not find bridge docker0: route ip+net: no such network interface.\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: failed to create endpoint edgelauncher on network bridge: adding interface veth1a to bridge docker0 failed: could not find bridge docker0: route ip+net: no such network interface.", false, "systemctl restart docker.service"),
    ("docker run 28", "docker: Error response from daemon: failed to create task for container: failed to start shim: start failed: : fork/exec /usr/bin/containerd-shim-runc-v2: resource temporarily unavailable\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: failed to create task for container: failed to start shim: start failed: : fork/exec /usr/bin/containerd-shim-runc-v2: resource temporarily unavailable", true, "see whether containerd r"),
    ("docker run 28", "docker: Error response from daemon: layer does not exist.\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: layer does not exist.", false, "docker image rm"),
    ("docker run 24", "docker: Error response from daemon: error creating overlay mount to /var/lib/docker/overlay2/ab-init/merged: no such file or directory.\nSee 'docker run --help'.",
     "docker: Error response from daemon: error creating overlay mount to /var/lib/docker/overlay2/ab-init/merged: no such file or directory.", false, "docker image rm"),
    ("docker run 28", "docker: Error response from daemon: AppArmor enabled on system but the docker-default profile could not be loaded: running '/usr/sbin/apparmor_parser -Kr /var/lib/docker/tmp/docker-default12' failed with output: AppArmor parser error for /var/lib/docker/tmp/docker-default12 in profile /etc/apparmor.d/tunables/global at line 17: Could not open 'tunables/proc': No such file or directory\n\nerror: exit status 1\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: AppArmor enabled on system but the docker-default profile could not be loaded: running '/usr/sbin/apparmor_parser -Kr /var/lib/docker/tmp/docker-default12' failed with output: AppArmor parser error for /var/lib/docker/tmp/docker-default12 in profile /etc/apparmor.d/tunables/global at line 17: Could not open 'tunables/proc': No such file or directory", false, "apparmor"),
    ("docker run 28", "docker: Error response from daemon: connection error: desc = \"transport: Error while dialing: dial unix:///run/containerd/containerd.sock: timeout\": unavailable\n\nRun 'docker run --help' for more information",
     "docker: Error response from daemon: connection error: desc = \"transport: Error while dialing: dial unix:///run/containerd/containerd.sock: timeout\": unavailable", true, "see whether containerd r"),
    ("docker ps 27", "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/containers/json\": dial unix /var/run/docker.sock: connect: permission denied",
     "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/containers/json\": dial unix /var/run/docker.sock: connect: permission denied", false, "ls -lZ"),
    ("docker run 24", "docker: Error response from daemon: driver failed programming external connectivity on endpoint edgelauncher (ab): Error starting userland proxy: listen tcp4 10.0.0.9:15888: bind: cannot assign requested address.\nSee 'docker run --help'.",
     "docker: Error response from daemon: driver failed programming external connectivity on endpoint edgelauncher (ab): Error starting userland proxy: listen tcp4 10.0.0.9:15888: bind: cannot assign requested address.", false, "rpc_bind"),
    ("docker pull 27", "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": tls: failed to verify certificate: x509: certificate is valid for *.hotel.example, not registry-1.docker.io",
     "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": tls: failed to verify certificate: x509: certificate is valid for *.hotel.example, not registry-1.docker.io", false, "TLS"),
    ("docker pull 27", "image operating system \"windows\" cannot be used on this platform: operating system is not supported",
     "image operating system \"windows\" cannot be used on this platform: operating system is not supported", false, "linux/amd64"),
    ("docker pull 27", "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": proxyconnect tcp: tls: first record does not look like a TLS handshake",
     "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": proxyconnect tcp: tls: first record does not look like a TLS handshake", false, "proxy"),
    ("apt-get 2.6", "Waiting for cache lock: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1234 (unattended-upgr)...\nReading package lists...\nE: Unable to locate package docker.io",
     "E: Unable to locate package docker.io", false, "newer AMI"),
    ("apt-get 2.6", "dpkg: unrecoverable fatal error, aborting:\n files list file for package 'libc6:amd64' is missing final newline\nE: Sub-process /usr/bin/dpkg returned an error code (2)",
     "files list file for package 'libc6:amd64' is missing final newline", false, "a file of dpkg's own is "),
    ("apt-get 2.6", "dpkg: error: parsing file '/var/lib/dpkg/status' near line 4711 package 'perl-base':\n duplicate value for 'Package' field\nE: Sub-process /usr/bin/dpkg returned an error code (2)",
     "dpkg: error: parsing file '/var/lib/dpkg/status' near line 4711 package 'perl-base': duplicate value for 'Package' field", false, "status-old"),
    ("apt-get 2.6", "E: Malformed entry 1 in list file /etc/apt/sources.list.d/nvidia.list (URI parse)\nE: The list of sources could not be read.",
     "E: Malformed entry 1 in list file /etc/apt/sources.list.d/nvidia.list (URI parse)", false, "sources"),
    ("apt-get 3.0", "Error: Malformed stanza 1 in source list /etc/apt/sources.list.d/x.sources (type)\nError: The list of sources could not be read.",
     "Error: Malformed stanza 1 in source list /etc/apt/sources.list.d/x.sources (type)", false, "sources"),
    ("apt-get 2.6", "E: Type 'xdeb' is not known on line 1 in source list /etc/apt/sources.list.d/foo.list\nE: The list of sources could not be read.",
     "E: Type 'xdeb' is not known on line 1 in source list /etc/apt/sources.list.d/foo.list", false, "sources"),
    ("apt-get 2.6", "E: Syntax error /etc/apt/apt.conf.d/99x:1: Extra junk at end of file",
     "E: Syntax error /etc/apt/apt.conf.d/99x:1: Extra junk at end of file", false, "apt.conf.d"),
    ("apt-get 2.6", "E: The method driver /usr/lib/apt/methods/s3 could not be found.\nN: Is the package apt-transport-s3 installed?\nE: Failed to fetch s3://x/InRelease  \nE: Some index files failed to download. They have been ignored, or old ones used instead.",
     "E: The method driver /usr/lib/apt/methods/s3 could not be found.", false, "sources"),
    ("apt-get 2.6", "W: GPG error: http://deb.debian.org/debian bookworm InRelease: Couldn't create temporary file /tmp/apt.conf.2DfEbx for passing config to apt-key\nE: The repository 'http://deb.debian.org/debian bookworm InRelease' is not signed.",
     "W: GPG error: http://deb.debian.org/debian bookworm InRelease: Couldn't create temporary file /tmp/apt.conf.2DfEbx for passing config to apt-key", false, "/tmp"),
    ("apt-get 2.6", "W: GPG error: http://x bookworm InRelease: At least one invalid signature was encountered.\nE: The repository 'http://x bookworm InRelease' is not signed.",
     "W: GPG error: http://x bookworm InRelease: At least one invalid signature was encountered.", false, "the repository's signatu"),
    ("apt-get 3.0", "Err:1 http://x trixie InRelease\n  Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key B8F25A8A73EACF41, which is needed to verify signature.\nWarning: OpenPGP signature verification failed: http://x trixie InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key B8F25A8A73EACF41, which is needed to verify signature.\nError: The repository 'http://x trixie InRelease' is not signed.",
     "Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key B8F25A8A73EACF41, which is needed to verify signature.", false, "key"),
    ("apt-get 3.0", "Warning: OpenPGP signature verification failed: http://x trixie InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Signing key on 8CF63AD3F06FC659 is not bound:            No binding signature at time 2026-02-14T09:00:00Z   because: Policy rejected non-revocation signature (PositiveCertification) requiring second pre-image resistance   because: SHA1 is not considered secure since 2026-02-01T00:00:00Z\nError: The repository 'http://x trixie InRelease' is not signed.",
     "Warning: OpenPGP signature verification failed: http://x trixie InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Signing key on 8CF63AD3F06FC659 is not bound:            No binding signature at time 2026-02-14T09:00:00Z   because: Policy rejected non-revocation signature (PositiveCertification) requiring second pre-image resistance   because: SHA1 is not considered secure since 2026-02-01T00:00:00Z", false, "key"),
    ("apt-get 2.6", "E: Failed to fetch https://x/InRelease  Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown.  Could not handshake: Error in the certificate verification. [IP: 1.2.3.4 443]\nE: Some index files failed to download. They have been ignored, or old ones used instead.",
     "E: Failed to fetch https://x/InRelease  Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown.  Could not handshake: Error in the certificate verification. [IP: 1.2.3.4 443]", false, "certificate"),
    ("apt-get 2.6", "E: Failed to fetch http://x/a.deb  407  Proxy Authentication Required [IP: 10.0.0.1 3128]\nE: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?",
     "E: Failed to fetch http://x/a.deb  407  Proxy Authentication Required [IP: 10.0.0.1 3128]", false, "proxy"),
    ("apt-get 2.6", "dpkg: error processing archive /var/cache/apt/archives/nvidia-utils_1_amd64.deb (--unpack):\n trying to overwrite '/usr/bin/nvidia-smi', which is also in package nvidia-utils-535 535.1\ndpkg-deb: error: paste subprocess was killed by signal (Broken pipe)\nErrors were encountered while processing:\n /var/cache/apt/archives/nvidia-utils_1_amd64.deb\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
     "trying to overwrite '/usr/bin/nvidia-smi', which is also in package nvidia-utils-535 535.1", false, "package"),
    ("apt-get 2.6", "Building module:\nError! Bad return status for module build on kernel: 6.1.0-29-cloud-amd64 (x86_64)\nConsult /var/lib/dkms/nvidia-current/535.183.01/build/make.log for more information.\ndpkg: error processing package nvidia-kernel-dkms (--configure):\n installed nvidia-kernel-dkms package post-installation script subprocess returned error exit status 10\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
     "Error! Bad return status for module build on kernel: 6.1.0-29-cloud-amd64 (x86_64)", false, "make.log"),
    ("apt-get 2.6", "E: Sub-process /usr/bin/dpkg received a segmentation fault.",
     "E: Sub-process /usr/bin/dpkg received a segmentation fault.", true, "dpkg --configure -a"),
    ("apt-get 2.6", "E: Method gave invalid 103 Redirect message",
     "E: Method gave invalid 103 Redirect message", true, "check that the instance "),
    ("apt-get 2.6", "E: Sub-process https received signal 11.",
     "E: Sub-process https received signal 11.", true, "check that the instance "),
    ("apt-get 2.6", "E: Version '27.5.1-1' for 'docker.io' was not found",
     "E: Version '27.5.1-1' for 'docker.io' was not found", false, "newer AMI"),
    ("apt-get 2.6", "E: Could not execute 'apt-key' to verify signature (is gnupg installed?)\nE: The repository 'http://x InRelease' is not signed.",
     "E: Could not execute 'apt-key' to verify signature (is gnupg installed?)", false, "gnupg"),
    ("dnf 4", "frobnication failed\nWARNING:\n  A newer release of \"Amazon Linux\" is available.\n\n  Available Versions:\n\n  Version 2023.9.20251110:\n    Run the following command to upgrade to 2023.9.20251110:\n\n      dnf upgrade --releasever=2023.9.20251110\n\n    Release notes:\n     https://docs.aws.amazon.com/linux/al2023/release-notes/relnotes-2023.9.20251110.html\n\n================================================================================\n",
     "frobnication failed", false, "run the command by hand "),
    ("dnf 4", "Failed to set locale, defaulting to C.UTF-8\nError: frobnication",
     "Error: frobnication", false, "run the command by hand "),
    ("dnf 4", "Traceback (most recent call last):\n  File \"/usr/bin/dnf\", line 61, in <module>\n    from dnf.cli import main\nModuleNotFoundError: No module named 'dnf'",
     "ModuleNotFoundError: No module named 'dnf'", false, "python3"),
    ("dnf 4", "error: cannot open Packages index using sqlite - Operation not permitted (1)\nerror: cannot open Packages database in /var/lib/rpm",
     "error: cannot open Packages index using sqlite - Operation not permitted (1)", false, "rebuilddb"),
    ("dnf 4", "Error: \n Problem: package docker-25.0.8-1.x86_64 from amazonlinux requires containerd >= 1.3.2, but none of the providers can be installed\n  - cannot install the best candidate for the job\n  - conflicting requests",
     "Problem: package docker-25.0.8-1.x86_64 from amazonlinux requires containerd >= 1.3.2, but none of the providers can be installed", false, "each other"),
    ("dnf 4", "Error: \n Problem: cannot install both containerd-1.7 and containerd.io-1.6\n  - package docker requires containerd\n  - conflicting requests\n(try to add '--allowerasing' to command line to replace conflicting packages or '--skip-broken' to skip uninstallable packages)",
     "Problem: cannot install both containerd-1.7 and containerd.io-1.6", false, "each other"),
    ("dnf 4", "Curl error (60): SSL peer certificate or SSH remote key was not OK for https://x [SSL certificate problem: self-signed certificate in certificate chain]\nError: Failed to download metadata for repo 'amazonlinux'",
     "Curl error (60): SSL peer certificate or SSH remote key was not OK for https://x [SSL certificate problem: self-signed certificate in certificate chain]", false, "certificate"),
    ("dnf 4", "Error: Error: Curl error (56): Failure when receiving data from the peer for http://x [Received HTTP code 407 from proxy after CONNECT]",
     "Error: Error: Curl error (56): Failure when receiving data from the peer for http://x [Received HTTP code 407 from proxy after CONNECT]", false, "proxy"),
    ("dnf 4", "Config error: Parsing file \"/etc/yum.repos.d/x.repo\" failed: IniParser: Missing '=' on line 3",
     "Config error: Parsing file \"/etc/yum.repos.d/x.repo\" failed: IniParser: Missing '=' on line 3", false, "/etc/yum.repos.d"),
    ("dnf5 5", "Failed to download packages\n Curl error (6): Could not resolve hostname for https://x [Could not resolve host: x]",
     "Curl error (6): Could not resolve hostname for https://x [Could not resolve host: x]", true, "mirrors"),
    ("resize2fs 1.47.0", "resize2fs 1.47.0 (5-Feb-2023)\nresize2fs: Device or resource busy while trying to open /dev/nvme1n1\nCouldn't find valid filesystem superblock.",
     "resize2fs: Device or resource busy while trying to open /dev/nvme1n1", true, "something else changes t"),
    ("resize2fs 1.45.5", "resize2fs 1.45.5 (07-Jan-2020)\nresize2fs: Filesystem has unsupported feature(s) while trying to open /dev/nvme1n1\nCouldn't find valid filesystem superblock.",
     "resize2fs: Filesystem has unsupported feature(s) while trying to open /dev/nvme1n1", false, "newer"),
    ("fsck.ext4 1.46.5", "e2fsck 1.46.5 (30-Dec-2021)\n/dev/nvme1n1 has unsupported feature(s): FEATURE_C12\ne2fsck: Get a newer version of e2fsck!\n\n/dev/nvme1n1: ********** WARNING: Filesystem still has errors **********",
     "/dev/nvme1n1 has unsupported feature(s): FEATURE_C12", false, "newer"),
    ("mkfs.ext4 1.47.0", "mke2fs 1.47.0 (5-Feb-2023)\nmkfs.ext4: No such device or address while trying to determine filesystem size",
     "mkfs.ext4: No such device or address while trying to determine filesystem size", true, "attached"),
    ("mkfs.ext4 1.47.0", "mke2fs 1.47.0 (5-Feb-2023)\n/dev/nvme1n1 contains a xfs file system labelled 'x'\nProceed anyway? (y,N) ",
     "/dev/nvme1n1 contains a xfs file system labelled 'x'", false, "nothing was changed"),
    ("mkfs.xfs 6.1", "mkfs.xfs: /dev/nvme1n1 appears to contain an existing filesystem (ext4).\nmkfs.xfs: Use the -f option to force overwrite.",
     "mkfs.xfs: /dev/nvme1n1 appears to contain an existing filesystem (ext4).", false, "nothing was changed"),
    ("resize2fs 1.46.5", "resize2fs 1.46.5 (30-Dec-2021)\nresize2fs: MMP: e2fsck being run while trying to open /dev/nvme1n1\nCouldn't find valid filesystem superblock.",
     "resize2fs: MMP: e2fsck being run while trying to open /dev/nvme1n1", true, "something else changes t"),
    ("resize2fs 1.44.1", "resize2fs 1.44.1 (24-Mar-2018)\nresize2fs: Can't read a block bitmap while trying to resize /dev/nvme1n1\nPlease run 'e2fsck -fy /dev/nvme1n1' to fix the filesystem\nafter the aborted resize operation.",
     "resize2fs: Can't read a block bitmap while trying to resize /dev/nvme1n1", false, "not mounted"),
    ("mount 2.40", "mount: /data: /dev/nvme1n1 already mounted on /mnt/old.\n       dmesg(1) may have more information after failed mount system call.",
     "mount: /data: /dev/nvme1n1 already mounted on /mnt/old.", false, "findmnt"),
    ("wipefs 2.39", "wipefs: error: /dev/nvme1n1: probing initialization failed: Device or resource busy",
     "wipefs: error: /dev/nvme1n1: probing initialization failed: Device or resource busy", true, "see what uses the device"),
    ("systemctl 255", "System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down",
     "System has not been booted with systemd as init system (PID 1). Can't operate.", false, "this machine was started"),
    ("systemctl 255", "A dependency job for docker.service failed. See 'journalctl -xe' for details.",
     "A dependency job for docker.service failed. See 'journalctl -xe' for details.", false, "--failed"),
    ("systemctl 255", "Failed to restart docker.service: Unit docker.service has a bad unit file setting.\nSee system logs and 'systemctl status docker.service' for details.",
     "Failed to restart docker.service: Unit docker.service has a bad unit file setting.", false, "systemd-analyze verify"),
    ("systemctl 255", "Synchronizing state of docker.service with SysV service script with /usr/lib/systemd/systemd-sysv-install.\nExecuting: /usr/lib/systemd/systemd-sysv-install enable docker\nupdate-rc.d: error: frobnication",
     "update-rc.d: error: frobnication", false, "run the command by hand "),
    ("docker.service 27", "failed to start daemon, ensure docker is not running or delete /var/run/docker.pid: process with PID 812 is still running\ndocker.service: Main process exited, code=exited, status=1/FAILURE",
     "failed to start daemon, ensure docker is not running or delete /var/run/docker.pid: process with PID 812 is still running", false, "pgrep"),
    ("docker.service 27", "failed to start daemon: error while opening volume store metadata database (/var/lib/docker/volumes/metadata.db): timeout",
     "failed to start daemon: error while opening volume store metadata database (/var/lib/docker/volumes/metadata.db): timeout", false, "pgrep"),
    ("docker.service 27", "failed to start daemon: Error initializing network controller: error creating libnetwork controller: could not open boltdb \"/var/lib/docker/network/files/local-kv.db\": invalid database",
     "failed to start daemon: Error initializing network controller: error creating libnetwork controller: could not open boltdb \"/var/lib/docker/network/files/local-kv.db\": invalid database", false, "local-kv.db"),
    ("docker.service 27", "failed to start daemon: Error initializing network controller: list bridge addresses failed: PredefinedLocalScopeDefaultNetworks List: [172.17.0.0/16 172.18.0.0/16]: no available network",
     "failed to start daemon: Error initializing network controller: list bridge addresses failed: PredefinedLocalScopeDefaultNetworks List: [172.17.0.0/16 172.18.0.0/16]: no available network", false, "default-address-pools"),
    ("docker.service 27", "failed to start daemon: failed to set log opts: unknown log opt 'max-sizes' for json-file log driver",
     "failed to start daemon: failed to set log opts: unknown log opt 'max-sizes' for json-file log driver", false, "daemon.json"),
    ("docker.service 27", "merged configuration validation from file and command line flags failed: invalid mirror: \"x\" is not a valid URI",
     "merged configuration validation from file and command line flags failed: invalid mirror: \"x\" is not a valid URI", false, "daemon.json"),
    ("docker.service 27", "panic: freepages: failed to get all reachable pages (page 12: multiple references)\n\ngoroutine 55 [running]:\ngo.etcd.io/bbolt.(*DB).freepages.func2()\n\t/build/vendor/go.etcd.io/bbolt/db.go:1205 +0x8d\ncreated by go.etcd.io/bbolt.(*DB).freepages\n\t/build/vendor/go.etcd.io/bbolt/db.go:1203 +0x1c5\ndocker.service: Main process exited, code=exited, status=2/INVALIDARGUMENT",
     "panic: freepages: failed to get all reachable pages (page 12: multiple references)", false, "one of the engine's own "),
    ("modprobe 31", "modprobe: ERROR: ../libkmod/libkmod-module.c:1047 command_do() Error running install command '/bin/false' for module nvidia: retcode 1\nmodprobe: ERROR: could not insert 'nvidia': Invalid argument",
     "modprobe: ERROR: ../libkmod/libkmod-module.c:1047 command_do() Error running install command '/bin/false' for module nvidia: retcode 1", false, "modprobe.d"),
    ("modprobe 31", "modprobe: ERROR: Error running install command '/bin/false' for module nvidia: retcode 1\nmodprobe: ERROR: could not insert 'nvidia': Operation not permitted",
     "modprobe: ERROR: Error running install command '/bin/false' for module nvidia: retcode 1", false, "modprobe.d"),
    ("frobnicate 1", "1\n2\n\n3\n4\n5\n6\n", "2 / 3 / 4 / 5 / 6", false, "by hand"),
];

fn read(tool: &str, stderr: &str, stdout: &str) -> Failure {
    let mut words = tool.split(' ');
    let (program, verb) = (words.next().unwrap(), words.next().unwrap());
    read_as(super::tool(program, verb), stderr, stdout)
}

#[test]
fn the_reason_is_what_the_tool_means_not_what_it_says_last() {
    for (tool, stderr, reason, passes, hint) in CASES {
        // It may be on either stream.
        for failure in [read(tool, stderr, ""), read(tool, "", stderr)] {
            assert_eq!(
                (failure.reason.as_str(), failure.passes),
                (*reason, *passes),
                "{tool}"
            );
            assert!(failure.hint.contains(hint), "{tool}: {}", failure.hint);
        }
    }
}

#[test]
fn a_tool_that_only_chatters_is_quoted_all_the_same() {
    let failure = read("docker run", "See 'docker run --help'.\n", "");
    assert_eq!(failure.reason, "See 'docker run --help'.");
    assert_eq!(read("docker run", "", "").reason, "");
}

#[test]
fn a_trace_that_was_cut_off_is_quoted_all_the_same() {
    let python =
        "Traceback (most recent call last):\n  File \"/usr/bin/dnf\", line 61, in <module>\n";
    let go = "goroutine 1 [running]:\n";
    for (stderr, stdout, reason) in [
        (
            python,
            "",
            "Traceback (most recent call last): / File \"/usr/bin/dnf\", line 61, in <module>",
        ),
        ("", go, "goroutine 1 [running]:"),
        (python, "Error: frobnication", "Error: frobnication"),
    ] {
        assert_eq!(read("dnf install", stderr, stdout).reason, reason);
    }
}

#[test]
fn only_no_such_container_image_or_object_is_absence() {
    for (said, absent) in [
        ("Error: No such container: edgelauncher", true),
        (
            "Error response from daemon: No such container: edgelauncher",
            true,
        ),
        ("[]\nError: No such object: x", true),
        ("Error response from daemon: No such image: a/b:c", true),
        (
            "dial unix /var/run/docker.sock: connect: no such file or directory",
            false,
        ),
        ("dial tcp: lookup registry: no such host", false),
        (
            "Error response from daemon: open /var/lib/docker/x: no such device",
            false,
        ),
        ("error during connect: no such container runtime", false),
    ] {
        assert_eq!(docker::is_absent(said), absent, "{said}");
    }
    for (said, absent) in [
        (
            "Failed to get unit file state for x.service: No such file or directory",
            true,
        ),
        ("Failed to connect to bus: No such file or directory", false),
    ] {
        assert_eq!(systemctl::is_unit_absent(said), absent, "{said}");
    }
}

#[test]
fn the_journal_s_last_words_are_systemd_s_own() {
    let journal = "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives are specified both as \
                   a flag and in the configuration file: log-driver: (from flag: journald, from file: json-file)\n\
                   docker.service: Main process exited, code=exited, status=1/FAILURE\n\
                   docker.service: Failed with result 'exit-code'.\nFailed to start docker.service - Docker Application Container Engine.\n";
    let failure = read_as(super::tool("docker.service", ""), journal, "");
    assert!(
        failure.reason.ends_with("from file: json-file)"),
        "{failure:?}"
    );
    assert!(failure.hint.contains("systemctl cat docker.service"));
    let other = "agent: cannot listen\nx.service: Main process exited, code=exited, status=1/FAILURE\nFailed to start x.service - X.\n";
    let failure = read_as(super::tool("x.service", ""), other, "");
    assert_eq!(
        (failure.reason.as_str(), failure.hint),
        ("agent: cannot listen", SEE_JOURNAL)
    );
}

#[test]
fn patterns_are_whole_lines_with_any_text_for_a_star() {
    for (pattern, line, fits) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "AB", true),
        ("*b", "ab", true),
        ("*b", "aba", false),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abde", false),
        ("a*a", "a", false),
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(like(pattern, line), fits, "{pattern} {line}");
    }
}

#[test]
fn each_fact_says_what_to_do_and_where_it_was_seen() {
    let mut count = 0;
    for (tool, fact) in facts() {
        assert!(
            !fact.words.is_empty() && fact.words.iter().all(|words| words.len() > 2),
            "{tool}: {fact:?}"
        );
        assert!(
            !fact.hint.is_empty() && !fact.source.is_empty(),
            "{tool}: {fact:?}"
        );
        assert!(
            fact.hint.starts_with(|c: char| !c.is_uppercase()
                || fact.hint.starts_with("UEFI")
                || fact.hint.starts_with("Docker")),
            "{}",
            fact.hint
        );
        count += 1;
    }
    assert!(count > 50, "{count}");
}

#[test]
fn what_the_kernel_has_killed_may_be_tried_again() {
    let output = |program: &str, code, stderr: &str| Output {
        code,
        stdout: String::new(),
        stderr: stderr.into(),
        command: program.into(),
        program: program.into(),
        verb: String::new(),
    };
    let killed = super::read(&output("dnf", 137, ""));
    assert_eq!((killed.passes, killed.hint), (true, MEMORY));
    assert!(!super::read(&output("dnf", 1, "")).passes);
    let full = super::read(&output("dnf", 137, "No space left on device"));
    assert!(!full.passes && full.hint.contains("make room"));
}
