"""How long a node's JSON-RPC is silent, asked many times a second from beside the machine: so reboots and replacements count."""

import ctypes
import http.client
import json
import os
import pathlib
import threading
import time

import instance

PORT = 17888
ASK = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "edgecore.GetStatus", "params": []})
PAUSE = 0.01


def children(pid):
    """The processes that this one has started."""
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def leader():
    """PID 1 of the instance that is up, as this machine sees it; nothing while none is."""
    for file in (instance.LOCAL / "instances").glob("*/pid"):
        try:
            for child in children(file.read_text().strip()):
                if pathlib.Path(f"/proc/{child}/comm").read_text() == "systemd-nspawn\n":
                    return children(child)[0]
        except (OSError, IndexError):
            continue
    return None


def network(pid):
    """The name of the network that the process is in, which is its own only a moment after its start; nothing without one."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def enter(pid):
    """Has this thread, and no other, look at the network of that process; whether it is still there."""
    try:
        with open(f"/proc/{pid}/ns/net") as namespace:
            return ctypes.CDLL(None).setns(namespace.fileno(), 0) == 0
    except OSError:
        return False


def answers():
    """Whether the node answers now."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=1)
    try:
        connection.request("POST", "/rpc", ASK, {"Content-Type": "application/json"})
        return "result" in json.load(connection.getresponse())
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Watch:
    """Asks for as long as the block lasts."""

    def __init__(self):
        # When a good answer came, in seconds of the kernel's clock, which is also that of the instances.
        self.heard = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        while not self.heard and self._thread.is_alive():
            time.sleep(PAUSE)
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _ask(self):
        inside = None
        while not self._over.wait(PAUSE):
            pid = leader()
            now = network(pid)
            if now != inside:
                inside = now if enter(pid) else None
            if inside and answers():
                self.heard.append(time.monotonic())

    def silence(self):
        """The last answer before the longest silence, and the first one after it."""
        return max(zip(self.heard, self.heard[1:]), key=lambda pair: pair[1] - pair[0])
