"""Two hosts on one machine: network namespaces joined by a cable, which may be slow. Needs root and iproute2."""
import os
import subprocess


class TwoHosts:
    def __init__(self, mbit=None):
        self.names = [f"hf-{side}-{os.getpid()}" for side in "ab"]
        self.cable, self.mbit = f"hf{os.getpid()}", mbit

    @staticmethod
    def address(host):
        return f"10.213.98.{1 + host}"

    def __enter__(self):
        def ip(*words):
            subprocess.run(["ip", *map(str, words)], check=True)

        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", self.cable, "netns", self.names[0], "type", "veth", "peer", "name", self.cable, "netns",
           self.names[1])
        for host, name in enumerate(self.names):
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", self.cable)
            ip("-n", name, "link", "set", self.cable, "up")
            if self.mbit:  # each way, with 20 ms of it waiting at most before a sender is slowed down
                subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", self.cable, "root", "tbf",
                                "rate", f"{self.mbit}mbit", "burst", "16kb", "latency", "20ms"], check=True)
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def received_bytes(self, host):
        text = subprocess.run(["ip", "netns", "exec", self.names[host], "cat",
                               f"/sys/class/net/{self.cable}/statistics/rx_bytes"], check=True, capture_output=True)
        return int(text.stdout)

    def start(self, words, rank, hosts, more=None, **options):
        """Rank `rank` of a job whose ranks lie on `hosts` (0 or 1 each), as torchrun would start it."""
        host = hosts[rank]
        here = [r for r, other in enumerate(hosts) if other == host]
        variables = {"RANK": rank, "WORLD_SIZE": len(hosts), "LOCAL_RANK": here.index(rank),
                     "LOCAL_WORLD_SIZE": len(here), "GROUP_RANK": host, "MASTER_ADDR": self.address(0),
                     "MASTER_PORT": 29500, "TORCHELASTIC_RUN_ID": f"hosts-{os.getpid()}",
                     "TORCHELASTIC_USE_AGENT_STORE": "False", **(more or {})}
        return subprocess.Popen(["ip", "netns", "exec", self.names[host], *map(str, words)],
                                env=os.environ | {k: str(v) for k, v in variables.items()}, text=True, **options)
