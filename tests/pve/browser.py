"""A bare client for the tests of the fake: requests over HTTPS, nothing of the product."""

from typing import Any

import requests

from tests.pve.cluster import FakeCluster, Token


class Client:
    """Calls with a token; `get`, `post` and so on give the response, `data` what is in it."""

    def __init__(self, pve: FakeCluster, token: Token | None, *, node: str = ""):
        self.base = pve.url_of(node) if node else pve.url
        self.ca = pve.ca_file
        self.session = requests.Session()
        self.session.trust_env = False  # REQUESTS_CA_BUNDLE would win over `verify`
        self.session.headers.update(token.header if token else {})

    def call(self, method: str, path: str, **sent: Any) -> requests.Response:
        where: Any = {"params": sent} if method in {"GET", "DELETE"} else {"data": sent}
        return self.session.request(method, self.base + path, verify=self.ca, timeout=10, **where)

    def get(self, path: str, **sent: Any) -> requests.Response:
        return self.call("GET", path, **sent)

    def post(self, path: str, **sent: Any) -> requests.Response:
        return self.call("POST", path, **sent)

    def put(self, path: str, **sent: Any) -> requests.Response:
        return self.call("PUT", path, **sent)

    def delete(self, path: str, **sent: Any) -> requests.Response:
        return self.call("DELETE", path, **sent)

    def data(self, path: str, **sent: Any) -> Any:
        response = self.get(path, **sent)
        assert response.status_code == 200, f"{path}: {response.status_code} {response.reason}"
        return response.json()["data"]

    def task(self, response: requests.Response) -> str:
        """The exit status of the task that a call started."""
        assert response.status_code == 200, f"{response.status_code} {response.reason}"
        return self.exit_of(response.json()["data"])

    def exit_of(self, upid: str) -> str:
        node = upid.split(":")[1]
        status: str = self.data(f"/nodes/{node}/tasks/{upid}/status")["exitstatus"]
        return status
