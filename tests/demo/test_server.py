"""What the demo's server gives to those who do not ask through the page: nothing of the machine, and no power."""

import asyncio
import json
import re
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from forget_lib.core.paths import REPOSITORY
from forget_lib.demo.images import MOST_BYTES
from tests.browser import NOTEBOOK, TOKEN, server

pytestmark = pytest.mark.slow
SECRET = "written beside the notebook"
CELLS = [{"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": "print(6)"}]
FILES = ("secret.txt", "secret.png", NOTEBOOK)
ROUTES = (
    *("{}", "files/{}", "voila/files/{}", "voila/static/{}", "voila/templates/{}", "voila/render/{}", "static/{}"),
    *("api/contents/{}", "nbextensions/{}", "voila/static/../../../../../../../../{folder}/{}"),
    "voila/templates/forget/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/{folder}/{}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name in FILES:
        (folder / name).write_text(SECRET)
    content = {"cells": CELLS, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    content["metadata"]["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / NOTEBOOK).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory) -> Iterator[str]:
    with server("voila", folder, tmp_path_factory.mktemp("log") / "voila.log") as address:
        yield address.split("?")[0]


def ask(address: str, path: str, method: str = "GET", token: str = TOKEN) -> tuple[int, str]:
    """Status and text of an answer; the path is sent as it stands, dots and all."""
    parts = urlsplit(address)
    connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        connection.request(method, f"/{path}", headers=headers, body=b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


@pytest.fixture(scope="module")
def kernel(address) -> str:
    """The id of a visitor's kernel, out of the page that the server gave him."""
    status, page = ask(address, "")
    assert status == 200
    assert "6" in page
    return re.search(r'"kernelId":\s*"([0-9a-f-]{36})"', page)[1]


def test_the_page_is_for_this_machine_only_with_a_token_by_default():
    settings = json.loads((REPOSITORY / "workflow" / "page" / "voila.json").read_text())
    assert settings["Voila"]["ip"] == "127.0.0.1"
    assert settings["Voila"]["auto_token"] is True
    assert settings["VoilaConfiguration"]["show_tracebacks"] is False
    assert 4 / 3 * MOST_BYTES < settings["Voila"]["tornado_settings"]["websocket_max_message_size"] < 200_000_000


@pytest.mark.parametrize("token", ["", "wrong"])
def test_without_the_token_there_is_no_page_and_no_kernel(address, token):
    for path in ("", f"api/kernels/{uuid.uuid4()}", f"api/kernels/{uuid.uuid4()}/channels"):
        status, text = ask(address, path, token=token)
        assert status in (302, 401, 403), path
        assert "kernelId" not in text


@pytest.mark.parametrize("route", ROUTES)
def test_no_file_of_the_machine_can_be_read(address, folder, route):
    inside = str(folder).lstrip("/")
    for name in FILES:
        status, text = ask(address, route.replace("{folder}", inside).format(name))
        assert SECRET not in text
        assert status >= 300, f"{route} {name}"
    _, text = ask(address, route.replace("{folder}/", "").format("etc/passwd"))
    assert "root:" not in text


@pytest.mark.parametrize("path", ["api/kernels", "api/sessions", "api/terminals", "api/contents", "terminals/1", "lab"])
def test_there_is_no_way_to_start_kernels_or_terminals(address, path):
    for method in ("GET", "POST"):
        status, _ = ask(address, path, method)
        assert status >= 300


def test_a_visitor_cannot_run_code_in_his_kernel(address, kernel, folder):
    answers = asyncio.run(execute(address, kernel, f"open({str(folder / 'hacked')!r}, 'w').write('x')"))
    assert not (folder / "hacked").exists()
    assert "kernel_info_reply" in answers
    assert "execute_reply" not in answers


async def execute(address: str, kernel: str, code: str) -> set[str]:
    """Asks a kernel to run code, then for its information; returns the kinds of the answers."""
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    url = f"{address.replace('http', 'ws', 1)}api/kernels/{kernel}/channels"
    line = await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"}))
    run = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    for kind, content in (("execute_request", run), ("kernel_info_request", {})):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": "s", "username": "u", "version": "5.3"}
        message = {"header": header | {"date": ""}, "parent_header": {}, "metadata": {}, "content": content}
        await line.write_message(json.dumps(message | {"channel": "shell", "buffers": []}))
    kinds: set[str] = set()
    while "kernel_info_reply" not in kinds:
        text = await asyncio.wait_for(line.read_message(), 60)
        kinds.add(json.loads(text)["header"]["msg_type"])
    line.close()
    return kinds


def test_each_visitor_has_a_kernel_of_his_own(address, kernel):
    _, page = ask(address, "")
    assert re.search(r'"kernelId":\s*"([0-9a-f-]{36})"', page)[1] != kernel
