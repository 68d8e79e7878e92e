"""How long a process takes to say its version, and `plan` and `verify` to look at a healthy node."""

import instance


def take(quick):
    """CPU and wall seconds, by command."""
    rounds = 20 if quick else 100
    program = "/usr/local/bin/bootstrap"
    # A node has had one within the last minute; without, the health check waits for the next block.
    instance.run(program, "metrics")
    found = instance.measure(
        rounds,
        true={"argv": ["/bin/true"]},
        version={"argv": [program, "--version"]},
        plan={"argv": [program, "plan"], "rounds": 5 if quick else 15},
        verify={"argv": [program, "verify"], "rounds": 5 if quick else 15},
        # Exits with 2 where it has something to warn of.
        cloud_init={"argv": ["cloud-init", "status"], "codes": [0, 2], "rounds": 3 if quick else 10},
    )
    found["ansible"] = instance.measure(2 if quick else 5, ansible=PLAYBOOK)["ansible"]
    return found


# A run that finds everything as described; once before, so that its bytecode is compiled.
PLAYBOOK = {"argv": ["/opt/bench/ansible-playbook", "--inventory", "localhost,", "/opt/bench/node.yml"]}


def rows(figures):
    """The table's rows."""
    ms = lambda name, kind="wall": f"{figures[name][kind] * 1000:.1f} ms"
    start = figures["version"]["wall"] / figures["true"]["wall"]
    plan, verify = figures["plan"]["wall"], figures["verify"]["wall"]
    faster = figures["ansible"]["wall"] / plan
    return [
        (
            "`bootstrap --version`",
            ms("version"),
            f"/bin/true: {ms('true')}",
            f"{start:.1f} times as long",
            "2 times, and the page-in of the binary",
            start <= 2,
        ),
        (
            "`bootstrap plan` on a healthy node",
            ms("plan"),
            f"ansible-core, nothing to change: {figures['ansible']['wall']:.1f} s",
            f"{faster:.0f} times faster",
            "100 ms at most, 80 times faster",
            plan <= 0.1 and faster >= 80,
        ),
        (
            "`bootstrap verify` on a healthy node",
            ms("verify"),
            f"`cloud-init status`: {ms('cloud_init')}",
            f"{figures['cloud_init']['wall'] / verify:.1f} times faster",
            "60 ms at most",
            verify <= 0.06,
        ),
    ]
