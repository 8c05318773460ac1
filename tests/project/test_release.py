"""What is released: metadata, README, contents of both distributions, and the files of the project's home."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser

import pytest
import yaml

from lmm_classifier import __version__
from scripts.tool_environment import tool_environment
from tests.helpers.paths import ROOT

hatch_build = pytest.importorskip("hatch_build", reason="hatchling is not installed")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = "https://example.org/owner/lmm_classifier"
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def tools():
    """The folder of the programs that check a release."""
    try:
        return tool_environment("release")
    except subprocess.CalledProcessError:
        pytest.skip("the tools of a release cannot be installed")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The wheel and the source distribution; the wheel is built from the latter, as a release is."""
    pytest.importorskip("build", reason="build is not installed")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    environment = {"SOURCE_REPOSITORY_URL": REPOSITORY, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def run(*command):
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def links(text):
    """Return the addresses of links and images outside of code."""
    return re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def test_links_of_the_readme_are_absolute_where_the_repository_is_known():
    """Each leads to a file of this release; images to its bytes."""
    text = hatch_build.readme(README, REPOSITORY, "v1.2.3")
    assert len(links(text)) == len(links(README))
    for given, made in zip(links(README), links(text)):
        kind = "raw" if given.endswith(".png") else "blob"
        assert made == (given if given.startswith("https:") else f"{REPOSITORY}/{kind}/v1.2.3/{given}")


def test_no_address_is_invented():
    """Without a repository the texts of links stay, and images are left out."""
    text = hatch_build.readme(README, None, "v1.2.3")
    assert [address for address in links(text) if not address.startswith("https:")] == []
    assert "![" not in text
    assert "Calibration: scores are probabilities" in text
    assert hatch_build.repository_url("") is None


def test_the_readme_of_the_package_installs_the_package():
    """Commands for a checkout become those for an index of packages, and diagrams become lists."""
    text = hatch_build.readme(README, None, "v1.2.3")
    assert "'lmm-classifier[lite]'" in text
    assert "'.[" not in text
    assert not re.search(r"pip install \.(\s|`)", text)
    assert "mermaid" not in text
    assert "2. **embedding**: one encoder, or several fused" in text


def test_code_is_not_taken_for_links():
    """What looks like a link in a block of code stays."""
    code = "```python\nvalues[0](argument)\n```"
    assert hatch_build.readme(code, REPOSITORY, "v1") == code


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/x",
        "example.org/x",
        "https://user:word@example.org/x",
        "https://example.org/x?y=1",
        "https:///x",
    ],
)
def test_a_wrong_address_ends_the_build(address):
    """Only a plain https address is written into metadata."""
    with pytest.raises(ValueError, match="SOURCE_REPOSITORY_URL: expected"):
        hatch_build.repository_url(address)
    assert hatch_build.repository_url("https://example.org/o/n.git") == "https://example.org/o/n"


def test_versions_agree():
    """The version stands once in code; files that cannot read it repeat it."""
    assert hatch_build.version(ROOT) == __version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
    assert f"The version is {__version__}" in (ROOT / "docs/stability.md").read_text(encoding="utf-8")
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    for name, version in (one.split("==") for hook in hooks for one in hook["additional_dependencies"]):
        assert pins[name] == version, "the versions of .pre-commit-config.yaml are those of constraints.txt"


def test_each_python_version_is_tested():
    """The classifiers name the versions that the workflow and the matrix of tests run."""
    from scripts.test_matrix import VERSIONS

    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == named == list(VERSIONS)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_may_do_little(workflow):
    """Each action by its commit, with its version as a comment; only publishing gets a right."""
    text = workflow.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    assert used
    assert [
        action for action in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
    ] == []
    values = yaml.safe_load(text)
    assert values["permissions"] == {"contents": "read"}
    rights = {name: job["permissions"] for name, job in values["jobs"].items() if "permissions" in job}
    assert rights in ({}, {"publish": {"id-token": "write"}})
    assert "secrets." not in text


@pytest.mark.parametrize(
    ("system", "machine", "needed"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", False),
        ("darwin", "arm64", True),
        ("win32", "AMD64", True),
        ("win32", "ARM64", False),
    ],
)
def test_the_resizer_is_asked_for_where_it_has_wheels(system, machine, needed):
    """Elsewhere Pillow resizes, and the extras install without a compiler."""
    requirements = pytest.importorskip("packaging.requirements", reason="packaging is not installed")
    (text,) = PROJECT["optional-dependencies"]["resize"]
    marker = requirements.Requirement(text).marker
    assert marker.evaluate({"sys_platform": system, "platform_machine": machine}) == needed


@pytest.mark.long
def test_the_metadata(distributions):
    """Author, addresses, license and README; nobody is invented."""
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = wheel.namelist()
        metadata = HeaderParser().parsestr(wheel.read(f"lmm_classifier-{__version__}.dist-info/METADATA").decode())
    assert metadata["Author"] == "The lmm_classifier contributors"
    assert metadata["License-Expression"] == "MIT"
    assert f"Repository, {REPOSITORY}" in metadata.get_all("Project-URL")
    assert metadata.get_payload().strip().startswith("# lmm_classifier")
    for name in ("config.schema.json", "presets/lite.yaml", "py.typed", "__init__.pyi"):
        assert f"lmm_classifier/{name}" in names
    assert f"lmm_classifier-{__version__}.data/data/share/man/man1/lmm-classifier.1" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"lmm_classifier"}


@pytest.mark.long
def test_the_source_distribution_has_tests_and_docs(distributions):
    """And nothing that is ignored."""
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("tests/project/test_release.py", "docs/index.md", "hatch_build.py", "mkdocs.yml", "README.md"):
        assert name in names
    assert [name for name in names if "__pycache__" in name or name.startswith((".venv", "dist", "demo"))] == []


@pytest.mark.long
def test_the_distributions_pass_their_checks(tools, distributions):
    """The README renders, and the wheel holds no stray or doubled file."""
    run(tools / "twine", "check", "--strict", *distributions)
    run(tools / "check-wheel-contents", distributions[0])


@pytest.mark.long
def test_the_home_of_the_project_passes_its_checks(tools):
    """Schemas of workflows, citation and hooks, and the linter of container files."""
    run(tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    run(tools / "check-jsonschema", "--builtin-schema", "vendor.citation-file-format", "CITATION.cff")
    run(tools / "check-jsonschema", "--check-metaschema", "lmm_classifier/config.schema.json")
    run(tools / "pre-commit", "validate-config")
    run(tools / "hadolint", "Dockerfile")


@pytest.mark.long
def test_all_types_are_known(tools):
    """Pyright agrees with mypy on the type of every exported name."""
    printed = run(
        *(tools / "pyright", "--pythonpath", sys.executable, "--verifytypes", "lmm_classifier", "--ignoreexternal")
    )
    assert "Type completeness score: 100%" in printed
