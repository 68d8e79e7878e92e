"""How long the node is away: killed, rebooted, upgraded in place, on another instance. From the last answer of its JSON-RPC to
the next one, with nobody doing anything."""

import datetime
import json
import shlex
import subprocess
import time

import instance
from chart import timeline
from silence import Watch

# One after another the node's instances; the first one's disk only becomes an image.
BUILDER, FIRST, BARE, PREPARED = "builder", instance.NAME, "bench2", "bench3"
PATIENCE = 300

STARTED = "docker inspect --format '{{.State.StartedAt}} {{.State.Running}}' edgelauncher"
INSTALLED = "cat /var/log/dpkg.log 2>/dev/null | grep -c ' install ' || true"
# As if the day had seen no repair, and when the next look is as far away as it can be.
AFTER_A_LOOK = """
rm -f /var/lib/bootstrap/repairs.json
look() { systemctl show --value --property InactiveEnterTimestampMonotonic bootstrap-repair.service; }
last=$(look)
while [ "$(look)" = "$last" ]; do sleep 0.05; done
"""
KILLED = {
    "container": "docker kill edgelauncher",
    "Docker": "systemctl kill --kill-whom=main --signal=KILL docker.service",
}


def inside(name, script):
    """What a script prints in this instance."""
    return instance.run("sh", "-euc", script, at=name).strip()


def marks(name):
    """When the machine's init and the last run began, in seconds of the kernel's clock."""
    init = int(inside(name, "systemctl show --value --property UserspaceTimestampMonotonic")) / 1e6
    run = json.loads(inside(name, "bootstrap status --json"))["run"]["started"]
    return init, datetime.datetime.fromisoformat(run).timestamp() - time.time() + time.monotonic()


def is_back(name, before):
    """Waits for another start of the container, and for a healthy node."""
    end = time.monotonic() + PATIENCE
    script = f"now=$({STARTED}); test \"$now\" != {shlex.quote(before)}; bootstrap verify"
    while True:
        try:
            inside(name, script)
            return
        except SystemExit as failed:
            if time.monotonic() > end:
                raise SystemExit(f"the node did not come back: {failed}") from failed
            time.sleep(0.2)


def recovery(silence, *legs):
    """The seconds of a silence, and when its legs end: pairs of a name and an instant, of which the last is the end."""
    began, ended = silence
    steps, start = [], began
    for name, end in [*legs[:-1], (legs[-1], ended)]:
        if end < start:
            raise SystemExit(f"{name} ended before it began: something else has ended the silence")
        steps.append([name, start - began, end - began])
        start = end
    return {"silence": ended - began, "steps": steps}


def killed(what):
    """Comes back by a repair or by systemd."""
    before = inside(FIRST, STARTED)
    with Watch() as watch:
        inside(FIRST, AFTER_A_LOOK + KILLED[what])
        is_back(FIRST, before)
    _, run = marks(FIRST)
    return recovery(watch.silence(), ("next look", run), "repair")


def rebooted():
    """The same machine again."""
    before = inside(FIRST, STARTED)
    with Watch() as watch:
        instance.driver("--reboot", FIRST)
        is_back(FIRST, before)
    init, run = marks(FIRST)
    return recovery(watch.silence(), ("stop", init), ("boot", run), "run")


def upgraded():
    """To another image, by scripts/upgrade."""
    stack = (instance.LOCAL / "instances" / FIRST / "stack").read_text().strip()
    upgrade = [instance.REPOSITORY / "scripts/upgrade", "--name", stack, "--yes", "--image-tag", "v2"]
    with Watch() as watch:
        instance.driver("--aws", "--", *upgrade)
    return recovery(watch.silence(), "container")


def replaced(name, *how):
    """By an instance that starts from nothing, or from an image."""
    with Watch() as watch:
        instance.driver("--attach-existing", "--tag", "latest", "--name", name, *how)
    init, run = marks(name)
    legs = ("stop, EC2", init), ("boot, user-data", run), "first run"
    return recovery(watch.silence(), *legs)


def prepare():
    """Makes the disk of an image; how many packages were installed before and after."""
    instance.driver("--name", BUILDER, "--keep", "--wait-for", "ready")
    bare = int(inside(BUILDER, INSTALLED))
    inside(BUILDER, "rm -r /etc/bootstrap; cloud-init status --wait >/dev/null; mkdir -p /opt/bootstrap/assets")
    # The stand-in for the CloudWatch agent's package is not signed by AWS.
    assets = instance.HOME.parent / BUILDER / "root/opt/bootstrap/assets"
    subprocess.run(
        ["tar", "-xzf", instance.LOCAL / "assets.tar.gz", "-C", assets, "./amazon-cloudwatch-agent.gpg"], check=True
    )
    inside(BUILDER, "bootstrap prepare && rm -r /opt/bootstrap")
    prepared = int(inside(BUILDER, INSTALLED))
    instance.driver("--stop", BUILDER)
    return bare, prepared


def take(quick):
    """Silences and their legs, and the packages that the replaced instances installed."""
    try:
        bare, prepared = prepare()
        instance.driver("--name", FIRST, "--keep")
        found = {f"{what} killed": killed(what) for what in KILLED}
        found["reboot"] = rebooted()
        found["upgrade in place"] = upgraded()
        found["bare AMI"] = replaced(BARE)
        found["bare AMI"]["packages"] = int(inside(BARE, INSTALLED)) - bare
        found["prepared image"] = replaced(PREPARED, "--root", BUILDER, "--no-mirrors")
        found["prepared image"]["packages"] = int(inside(PREPARED, INSTALLED)) - prepared
        return found
    finally:
        instance.stop()


def first_run(one):
    """The seconds of the last leg."""
    _, start, end = one["steps"][-1]
    return end - start


def rows(figures):
    """The table's rows."""
    silence = {name: one["silence"] for name, one in figures.items()}

    def row(what, name, most=None):
        wanted = f"{most} s at most" if most else ""
        return (what, f"{silence[name]:.1f} s", "", "", wanted, silence[name] <= most if most else None)

    bare, prepared = figures["bare AMI"], figures["prepared image"]
    ratio = bare["silence"] / prepared["silence"]
    return [
        row("silence of the RPC: the container is killed", "container killed", 30),
        row("the same: Docker is killed", "Docker killed", 30),
        row("the same: the machine reboots", "reboot"),
        row("the same: upgrade in place to another image", "upgrade in place", 20),
        row("the same: another instance, from a bare AMI", "bare AMI"),
        (
            "the same: another instance, from a prepared image",
            f"{prepared['silence']:.1f} s",
            f"from a bare AMI: {bare['silence']:.1f} s",
            f"{ratio:.1f} times faster",
            "3 times faster",
            ratio >= 3,
        ),
        (
            "its first run",
            f"{first_run(prepared):.1f} s",
            f"from a bare AMI: {first_run(bare):.1f} s",
            f"{first_run(bare) / first_run(prepared):.1f} times faster",
            "",
            None,
        ),
        (
            "packages that it installs",
            str(prepared["packages"]),
            f"from a bare AMI: {bare['packages']}",
            "",
            "0",
            prepared["packages"] == 0,
        ),
    ]


def plots(figures):
    """The legs of each silence, one below the other."""
    steps = [
        [f"{name}: {leg}" if number == 0 else leg, start, end]
        for name, one in figures.items()
        for number, (leg, start, end) in enumerate(one["steps"])
    ]
    return {"recovery.svg": timeline("How long the node's RPC is silent, by what has happened", steps)}
