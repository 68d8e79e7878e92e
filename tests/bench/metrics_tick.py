"""One metrics tick, with more and more peers, beside a shell script that uses the AWS CLI."""

import instance
from chart import Axis, Logarithmic, chart


def calls(before):
    """PutMetricData calls since."""
    return sum(request["call"] == "PutMetricData" for request in instance.requests()[before:])


def best(one, other):
    """The less of CPU and wall seconds, the more of the rest."""
    return {name: (min if name in ["cpu", "wall"] else max)(one[name], other[name]) for name in one}


def take(quick):
    """CPU seconds, wall seconds, peak MiB and calls by number of peers."""
    product, script = {}, {}
    tick = {"argv": ["/usr/local/bin/bootstrap", "metrics"]}
    way = {"argv": ["/opt/bench/metrics_with_aws_cli.sh"]}
    # cron's own tick must not fall between.
    instance.run("mv", "/etc/cron.d/bootstrap-metrics", "/run/bootstrap-metrics")
    # Each once in each round, so that a machine that grows slower does so for all.
    for round_ in range(3):
        for peers in [0, 20, 100, 1000]:
            instance.behave(peers=peers)
            before = len(instance.requests())
            found = instance.measure(3 if quick else 7, tick=tick)["tick"]
            found["calls"] = calls(before) / found["runs"]
            product[peers] = best(product.get(peers, found), found)
            # Beyond, a tick of the script takes longer than the minute until the next.
            if round_ == 0 and peers <= (20 if quick else 100):
                before = len(instance.requests())
                found = instance.measure(1 if quick or peers else 3, way=way)["way"]
                found["calls"] = calls(before) / found["runs"]
                script[peers] = found
    instance.behave()
    instance.run("mv", "/run/bootstrap-metrics", "/etc/cron.d/bootstrap-metrics")
    return {"product": product, "script": script}


def rows(figures):
    """The table's rows."""
    product, script = figures["product"], figures["script"]
    ratio = script["20"]["cpu"] / product["20"]["cpu"]
    flat = product["1000"]["cpu"] / product["0"]["cpu"]
    peak = max(one["peak"] for one in product.values())
    each = {one["calls"] for one in product.values()}
    ms = lambda one: f"{one['cpu'] * 1000:.0f} ms"
    return [
        (
            "a metrics tick at 20 peers, CPU",
            f"{ms(product['20'])}",
            f"curl, jq, AWS CLI: {script['20']['cpu']:.1f} s",
            f"{ratio:.0f} times less",
            "500 times less",
            ratio >= 500,
        ),
        (
            "the same, from start to end",
            f"{product['20']['wall'] * 1000:.0f} ms",
            f"{script['20']['wall']:.1f} s",
            f"{script['20']['wall'] / product['20']['wall']:.0f} times faster",
            "",
            None,
        ),
        (
            "a tick at 1,000 peers",
            ms(product["1000"]),
            f"at 0 peers: {ms(product['0'])}",
            f"{flat:.2f} times",
            "1.3 times at most",
            flat <= 1.3,
        ),
        (
            "PutMetricData calls of a tick",
            "/".join(f"{n:g}" for n in sorted(each)),
            f"{script['20']['calls']:g} at 20 peers",
            "",
            "one",
            each == {1},
        ),
        (
            "a tick's peak memory",
            f"{peak:.1f} MiB",
            f"{script['20']['peak']:.0f} MiB",
            f"{script['20']['peak'] / peak:.1f} times less",
            "under 16 MB",
            peak * 1.048576 < 16,
        ),
    ]


def plots(figures):
    """CPU seconds against peers."""
    points = lambda taken: [(int(peers), one["cpu"]) for peers, one in taken.items()]
    across = Axis("peers", 0, 1000, [0, 100, 200, 400, 600, 800, 1000])
    series = {"curl, jq and the AWS CLI": points(figures["script"]), "bootstrap metrics": points(figures["product"])}
    return {"metrics_tick.svg": chart("CPU of one metrics tick", across, Logarithmic("seconds of CPU", -2, 2), series)}
