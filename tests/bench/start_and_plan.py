"""How long a process takes to say its version, and `plan` to look at a healthy node."""

import instance


def take(quick):
    """CPU and wall seconds, by command."""
    rounds = 20 if quick else 100
    program = "/usr/local/bin/bootstrap"
    found = instance.measure(
        rounds,
        true={"argv": ["/bin/true"]},
        version={"argv": [program, "--version"]},
        plan={"argv": [program, "plan"], "rounds": 5 if quick else 15},
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
    plan = figures["plan"]["wall"] / figures["ansible"]["wall"]
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
            f"{1 / plan:.0f} times faster",
            "10 times faster",
            plan <= 0.1,
        ),
        (
            "the same",
            ms("plan"),
            f"`cloud-init status`: {ms('cloud_init')}",
            f"{figures['cloud_init']['wall'] / figures['plan']['wall']:.1f} times faster",
            "",
            None,
        ),
    ]
