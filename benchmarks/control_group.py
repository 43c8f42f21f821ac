"""A control group with a limit of memory (cgroup v1, needs root): the kernel's, which counts the page cache, too."""
import os
import pathlib

GROUPS = pathlib.Path("/sys/fs/cgroup/memory")


class ControlGroup:
    """Use with `with`; `subprocess.Popen(.., preexec_fn=group.join)`. Needs `GROUPS` to be a folder."""

    def __init__(self, limit_bytes):
        self.folder = GROUPS / f"hydrofoil-{os.getpid()}"
        self.limit_bytes = limit_bytes

    def __enter__(self):
        self.folder.mkdir()
        try:
            (self.folder / "memory.limit_in_bytes").write_text(str(self.limit_bytes))
        except OSError:
            self.folder.rmdir()
            raise
        return self

    def join(self):  # in the child, before it becomes the program
        (self.folder / "tasks").write_text(str(os.getpid()))

    def peak_bytes(self):
        return int((self.folder / "memory.max_usage_in_bytes").read_text())

    def __exit__(self, *_):
        (self.folder / "memory.force_empty").write_text("0")
        self.folder.rmdir()
