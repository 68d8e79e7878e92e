#!/usr/bin/env python3
"""Tells a running QEMU something, by its monitor, the socket "qmp" in the instance's folder.

    qmp.py HOME plug SERIAL IMAGE   plugs in an NVMe disk, as AttachVolume does
    qmp.py HOME power-button        presses it
    qmp.py HOME quit                pulls the plug
"""

import json
import os
import socket
import sys
from typing import Any


class Monitor:
    def __init__(self, home: str) -> None:
        # A socket's name must be short, and a checkout's may be long.
        os.chdir(home)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect("qmp")
        self.stream = connection.makefile("rw")
        self.stream.readline()
        self.call("qmp_capabilities")

    def call(self, command: str, **arguments: Any) -> None:
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        for line in self.stream:
            answer = json.loads(line)
            if "error" in answer:
                sys.exit(f"QEMU refused {command}: {answer['error']['desc']}")
            if "return" in answer:
                return
        sys.exit(f"QEMU ended before it answered {command}")


def main() -> None:
    match sys.argv[1:]:
        case [home, "plug", serial, image]:
            monitor = Monitor(home)
            file = {"driver": "file", "filename": image, "cache": {"no-flush": True}}
            monitor.call("blockdev-add", **{"node-name": serial, "driver": "raw", "file": file})
            monitor.call("device_add", driver="nvme", id=f"disk-{serial}", serial=serial, drive=serial)
        case [home, "power-button"]:
            Monitor(home).call("system_powerdown")
        case [home, "quit"]:
            Monitor(home).call("quit")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
