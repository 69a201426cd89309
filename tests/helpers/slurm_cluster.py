"""A Slurm of one node on the loopback address: ``slurm_cluster(folder)``; by hand ``python FILE``."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")


def missing() -> str | None:
    """Say why no Slurm can be started here, or None."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if lacking:
        return f"no {lacking[0]}: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "slurmd is started by root alone"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start munged, slurmctld and slurmd; yield the environment in which Slurm's commands reach them; end them."""
    host = socket.gethostname().partition(".")[0]
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge/key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    config = folder / "slurm.conf"
    config.write_text(
        f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
SlurmctldPort={_free_port()}
SlurmdPort={_free_port()}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={min(os.cpu_count() or 1, 2)} RealMemory=2000
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
    )
    environment = {**os.environ, "SLURM_CONF": str(config)}
    munge = [
        f"--{name}={folder}/munge/{name.partition('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
    ]
    try:
        subprocess.run(["munged", "--force", f"--key-file={key}", *munge], check=True, capture_output=True)
        for name in ("slurmctld", "slurmd"):
            subprocess.run([name, "-f", config, "-c"], check=True, env=environment, capture_output=True)
        for _ in range(100):
            words = ["sinfo", "--noheader", "--format=%t"]
            if subprocess.run(words, env=environment, capture_output=True, text=True).stdout.strip() == "idle":
                break
            time.sleep(0.3)
        else:
            raise RuntimeError(f"Slurm's node is not idle after 30 s; see {folder}/slurmd.log")
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, check=False)
        for path in (folder / "slurmd.pid", folder / "slurmctld.pid", folder / "munge/pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGTERM)
            for _ in range(100):  # each removes its file as it ends
                if not path.exists():
                    break
                time.sleep(0.1)


if __name__ == "__main__":
    argparse.ArgumentParser(description="Start a Slurm of one node on the loopback address, until Ctrl-C.").parse_args()
    with tempfile.TemporaryDirectory() as root, slurm_cluster(Path(root)) as environment:
        print(f"export SLURM_CONF={environment['SLURM_CONF']}   # until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
