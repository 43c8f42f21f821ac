"""A GPT-2 shape on made-up text, trained by the program while its memory is sampled from outside."""
import json
import pathlib
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build" / "hydrofoil"


def add_shape(parser, layers=12, width=768, length=128, steps=3):
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--layers", type=int, default=layers)
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--length", type=int, default=length)
    parser.add_argument("--steps", type=int, default=steps)


def write_run(folder, shape, deepspeed, more=None):
    """The run file of these arguments in this folder, with its text; `more` are other keys of it."""
    text = pathlib.Path(folder, "corpus.txt")
    if not text.exists():
        text.write_text("".join(f"{i * 7919 % 100003} and " for i in range(200000)))
    run = pathlib.Path(folder, "run.json")
    run.write_text(json.dumps({
        "version": 1, "model": {"config": {"model_type": "gpt2", "vocab_size": shape.vocab, "n_embd": shape.width,
                                           "n_layer": shape.layers, "n_head": shape.width // 64,
                                           "n_positions": shape.length}},
        "data": {"train": [str(text)], "sequence_length": shape.length}, "steps": shape.steps,
        "output": f"{folder}/out", "deepspeed": deepspeed, **(more or {})}))
    return run


def plan(run, ranks):
    done = subprocess.run([PROGRAM, "plan", run, "--ranks", str(ranks), "--json"], check=True, capture_output=True,
                          text=True)
    return json.loads(done.stdout)


def train(run, ranks, *arguments, group=None):
    """The events of the run, in a control group if there is one, and the peak PSS in bytes of its largest rank.

    Looking at a process of gigabytes takes half a core: it is done until the second step has ended, which nobody times, and
    after the last one.
    """
    process = subprocess.Popen([PROGRAM, "train", run, "--ranks", str(ranks), "--json", *arguments],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               preexec_fn=group.join if group else None)
    peak, looking = {}, threading.Event()
    looking.set()

    def sample():
        while process.poll() is None:
            pids = [process.pid]
            if ranks > 1:
                pids = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for pid in pids:
                peak[pid] = max(peak.get(pid, 0), pss(pid))
            time.sleep(0.02)
            looking.wait()

    watcher = threading.Thread(target=sample)
    watcher.start()
    events, steps, last = [], 0, json.loads(run.read_text())["steps"]
    for line in process.stdout:
        events.append(json.loads(line))
        steps += events[-1]["event"] == "step"
        looking.clear() if 2 <= steps < last else looking.set()
    looking.set()
    watcher.join()
    return events, max(peak.values())


def pss(pid):
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
