"""One S3 object for anonymous readers, behind a network that is 20 ms away: runs inside the instance.

Takes the object's file. Each new connection and each request wait for a round trip, as a client so far away would.
A slow start, lost packets and narrow windows are not modelled.
"""

import http.server
import os
import re
import sys
import time

ROUND_TRIP = 0.020
PORT = 9000
FILE = sys.argv[1]
SIZE = os.path.getsize(FILE)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers HEAD and GET, whole or from one byte to another, whatever the object is called."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        time.sleep(ROUND_TRIP)
        super().setup()

    def answer(self, with_body):
        """The object, or the part that is asked for."""
        time.sleep(ROUND_TRIP)
        first, last, status = 0, SIZE - 1, 200
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part:
            first, last, status = int(part.group(1)), min(int(part.group(2) or last), last), 206
        self.send_response(status)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        self.send_header("Last-Modified", "Sat, 01 Jan 2022 00:00:00 GMT")
        if part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{SIZE}")
        self.end_headers()
        if with_body:
            self.wfile.flush()
            with open(FILE, "rb") as file:
                self.connection.sendfile(file, first, last - first + 1)

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def log_message(self, *_):
        """Says nothing."""


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
