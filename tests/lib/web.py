"""The status address of an instance, as a scraper or a browser uses it."""
import http.client
import json

from .servers import free_tcp_port
from .waiting import patient


def status_port():
    """Settings for an instance with a status address, and its port."""
    port = free_tcp_port()
    return port, {"http__status_listen": f"127.0.0.1:{port}"}


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patient(20))
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()
