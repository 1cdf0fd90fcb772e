"""The Dockerfiles, parsed: no container engine is needed, and none builds them here."""

import configparser
import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement

from allocator.agent.options import DEFAULT_INTERPOSER
from allocator.api import names

ROOT = Path(__file__).parents[3]
IMAGES = ("webhook", "agent")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def instructions(image: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions and their values, in order."""
    parser = DockerfileParser(path=str(ROOT / "images" / image / "Dockerfile"))
    return [(one["instruction"], one["value"]) for one in parser.structure if one["instruction"] != "COMMENT"]


def last_stage(image: str) -> list[tuple[str, str]]:
    """What makes the image itself."""
    found = instructions(image)
    start = max(at for at, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


@pytest.mark.parametrize("image", IMAGES)
def test_every_base_is_pinned(image: str) -> None:
    """By digest, or by a whole version; never by a tag that moves."""
    bases = [value.split()[0] for name, value in instructions(image) if name == "FROM"]
    assert len(bases) > 1, "one stage builds, another is the image"
    assert all("@sha256:" in base or _VERSION.search(base.partition(":")[2]) for base in bases), bases


@pytest.mark.parametrize("image", IMAGES)
def test_whatever_is_installed_is_pinned(image: str) -> None:
    """By hash from the lock file, or by version; nothing comes from a package manager without either."""
    for name, value in instructions(image):
        if name != "RUN":
            continue
        assert not re.search(r"\b(apt-get|apk|curl|wget|git clone)\b", value), value
        for command in re.findall(r"pip install ([^&]*)", value):
            words = [word for word in command.split() if not word.startswith("-")]
            exact = all("==" in word or word.startswith("/wheels/") for word in words)
            assert "--require-hashes" in command or exact, command


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_runs_as_nobody_and_holds_no_tools(image: str) -> None:
    """A user of its own by number, so that runAsNonRoot can be checked; no build stage's tools, no secrets."""
    found = last_stage(image)
    (user,) = [value for name, value in found if name == "USER"]
    assert user == "65532:65532"
    assert not [value for name, value in found if name in {"RUN", "ADD", "ARG", "VOLUME"}]
    assert ("ENTRYPOINT", '["vramshare"]') in found
    assert ("CMD", f'["{image}"]') in found


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_exists_and_is_sent_to_the_builder(image: str) -> None:
    """Against the tree, and against .dockerignore."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    for name, value in instructions(image):
        if name != "COPY" or value.startswith("--from"):
            continue
        for source in value.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source


def test_nothing_built_or_private_is_sent_to_the_builder() -> None:
    """All is left out but what is named; of that, leftovers of builds and tests."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {"native/build", "**/__pycache__"} <= set(rules)


def test_the_lock_holds_every_dependency_by_hash() -> None:
    """In a version that setup.cfg allows; made anew when that changes."""
    text = (ROOT / "images" / "requirements.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = f"{config['options']['install_requires']}\n{config['options.extras_require']['agent']}"
    for line in filter(None, (line.strip() for line in wanted.splitlines())):
        if line.startswith("#"):
            continue
        requirement = Requirement(line)
        version = locked.get(requirement.name.lower().replace("_", "-"), "")
        assert requirement.specifier.contains(version or "0"), f"{line}: locked is {version or 'nothing'}"
    blocks = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_interposer_is_where_everybody_looks_for_it() -> None:
    """The agent by its default, pods under Pod Security by the name that tells the agent what it is."""
    text = (ROOT / "images" / "agent" / "Dockerfile").read_text()
    folder = f"/{names.IMAGE_LIBRARY_DIR}"
    assert f"COPY --from=interposer /library {folder}\n" in text
    assert Path(names.DELIVERED_LIBRARY).name in text
    assert Path(DEFAULT_INTERPOSER).parent == Path(folder)
    assert f"/library/{Path(DEFAULT_INTERPOSER).name}" in text
    assert "-linux-gnu.2.17" in text


def test_the_versions_agree() -> None:
    """The package's, the tags in the manifests, and the tags that the Dockerfiles say to build."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    version = config["metadata"]["version"]
    for image, file in (("webhook", "webhook.yaml"), ("agent", "agent.yaml")):
        tag = f"vramshare-{image}:{version}"
        documents: list[Any] = list(yaml.safe_load_all((ROOT / "manifests" / "base" / file).read_text()))
        assert any(tag in str(one) for one in documents)
        assert f"--tag {tag} ." in (ROOT / "images" / image / "Dockerfile").read_text()
