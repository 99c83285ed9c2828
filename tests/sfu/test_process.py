"""``python -m sfu`` as an operator meets it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sfu import protocol as p


async def spawn(*flags: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "sfu", *flags, stdout=pipe, stderr=pipe)


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, list[str]]:
    """Exit status and the lines on standard error."""
    try:
        async with asyncio.timeout(60):
            _, errors = await process.communicate()
    except TimeoutError:
        process.kill()  # a shard that does not end must not outlive its test
        await process.communicate()
        raise
    return process.returncode, errors.decode().splitlines()


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Any]:
    from tests.sfu.conftest import Router

    router = Router(f"ipc://{tmp_path}/control")
    yield router
    await router.close()


async def test_port_in_use_is_one_line_and_status_2() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        status, lines = await ended(await spawn("--control", "ipc:///tmp/none", "--udp-port", str(port)))
    assert (status, len(lines)) == (2, 1)
    assert f"UDP port {port} is in use" in lines[0]


async def test_wrong_flag_is_one_line_and_status_2() -> None:
    status, lines = await ended(await spawn("--udp-port", "many"))
    assert (status, len(lines)) == (2, 1)
    assert lines[0].startswith("antiphon shard: --udp-port: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_in_order(router: Any, number: signal.Signals) -> None:
    process = await spawn("--control", router.endpoint, "--shard-id", "7", "--udp-port", "0", "--host", "127.0.0.1")
    hello = await router.first(p.Hello)
    assert (hello.shard_id, hello.pid, hello.addresses) == ("7", process.pid, ["127.0.0.1"])
    process.send_signal(number)
    await router.first(p.Goodbye)
    status, lines = await ended(process)
    assert status == 0
    assert [json.loads(line)["event"] for line in lines][-1] == "shard ended"


_CONTROL = """
import sys, zmq
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind(sys.argv[1])
identity, _ = socket.recv_multipart()
socket.send_multipart([identity, bytes.fromhex(sys.argv[2])])
while socket.recv_multipart()[1] != bytes.fromhex(sys.argv[3]):
    pass
print("joined", flush=True)
while True:
    socket.recv_multipart()
"""


async def test_shard_whose_control_is_killed_ends_although_people_were_in_its_rooms(tmp_path: Path) -> None:
    endpoint, number = f"ipc://{tmp_path}/control", p.RequestId(1)
    join = p.JoinRoom(request_id=number, deadline_unix_ms=1 << 50, room_id=p.RoomId("r"), user_id=p.UserId("u"), username="ann")
    done = p.Reply(request_id=number, result=p.Done())
    words = [endpoint, p.encode(join).hex(), p.encode(done).hex()]
    control = await asyncio.create_subprocess_exec(sys.executable, "-c", _CONTROL, *words, stdout=asyncio.subprocess.PIPE)
    file = tmp_path / "antiphon.toml"
    file.write_text("[shard]\norphan_timeout_s = 0.2\n")
    shard = await spawn("--config", str(file), "--control", endpoint, "--udp-port", "0", "--host", "127.0.0.1")
    assert control.stdout is not None
    async with asyncio.timeout(60):
        assert await control.stdout.readline() == b"joined\n"
    control.kill()
    await control.communicate()
    status, lines = await ended(shard)
    assert status == 0
    assert "no control and no connections: ending" in [json.loads(line)["event"] for line in lines]


async def test_shard_says_hello_again_to_a_new_control(router: Any, tmp_path: Path) -> None:
    from tests.sfu.conftest import Router

    process = await spawn("--control", router.endpoint, "--udp-port", "0", "--host", "127.0.0.1")
    first = await router.first(p.Hello)
    await router.close()
    successor = Router(router.endpoint)
    try:
        assert (await successor.first(p.Hello)).instance == first.instance
        assert (await successor.ask(p.Shutdown)).result == p.Done()
        assert (await ended(process))[0] == 0
    finally:
        await successor.close()
