"""Score a submission as Codabench does: python score.py IN OUT, with the masks in IN/res, the ground truth in IN/ref.

This is icvos score: what lies in icvos.zip scores. Packages that it needs and that are not there are installed into a
temporary folder first.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

HERE = pathlib.Path(__file__).resolve().parent
MODULES = {"pillow": "PIL", "opencv-python-headless": "cv2"}
"""What a requirement is imported as, where it is not by its name."""


def missing() -> list[str]:
    """Return the requirements that cannot be imported."""
    lines = (HERE / "requirements.txt").read_text().split()
    names = {line: line.split(">=")[0] for line in lines}
    return [line for line, name in names.items() if importlib.util.find_spec(MODULES.get(name, name)) is None]


def install(requirements: list[str], folder: str) -> None:
    """Install packages into a folder that is imported from."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-warn-script-location", "--target", folder, *requirements]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines() or ["pip says nothing"]
        fix = "give the worker a network, or build the image of Dockerfile"
        sys.exit(f"score.py: {', '.join(requirements)} cannot be installed ({said[-1]}); {fix}")
    sys.path.insert(0, folder)


def main(words: list[str]) -> None:
    """Score; the status is 0, or 2 where the submission is wrong, which one line says."""
    if sys.version_info < (3, 11):  # noqa: UP036 (the image is anybody's choice)
        sys.exit(f"score.py: Python {sys.version.split()[0]} is too old, 3.11 is needed; choose another docker_image")
    if len(words) != 2:
        sys.exit("usage: python score.py IN OUT")
    # Participants read the log: that numpy computes, and no compiled module, is as it is meant.
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    with tempfile.TemporaryDirectory() as folder:
        wanted = missing()
        if wanted:
            install(wanted, folder)
        sys.path.insert(0, str(HERE / "icvos.zip"))
        from icvos.exports.codabench.submission import main as score

        score(pathlib.Path(words[0]), pathlib.Path(words[1]), HERE / "settings.json")


if __name__ == "__main__":
    main(sys.argv[1:])
