#!/usr/bin/env python3
"""What a replica costs: the master's processor time a SET without and with a replica, the replica's a record, and how far it is behind.

  zero-db-replica.py [--bin DIR] [--seconds N] [--rounds N] [--sync always|interval]

Load: redis-benchmark, 50 connections, pipeline 16, 100-byte values, random keys of a million. The lag is measured for --seconds at about 60 % of the
load that was reached (redis-benchmark cannot be throttled: short bursts with pauses between them), from INFO of the master: a position that it
sends, made durable by the replica and acknowledged. Processor time is user and system time of the process, from /proc."""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--bin", default="build/release")
arguments.add_argument("--seconds", type=int, default=60)
arguments.add_argument("--rounds", type=int, default=5)
arguments.add_argument("--requests", type=int, default=400_000)
arguments.add_argument("--sync", default="always")
arguments = arguments.parse_args()
folder = pathlib.Path(tempfile.mkdtemp(prefix="zero-db-replica."))
processes = []


def start(name, *options):
    socket = folder / f"{name}.sock"
    command = [f"{arguments.bin}/zero-db", "--data", folder / name, "--socket", socket, "--sync", arguments.sync, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=open(folder / f"{name}.log", "ab"))
    processes.append(process)
    assert process.stdout.readline().startswith(b"ready"), (folder / f"{name}.log").read_text()
    return process, socket


def cpu(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(socket, requests):
    begun = time.monotonic()
    subprocess.run(["redis-benchmark", "-s", socket, "-t", "set", "-n", str(requests), "-r", "1000000", "-d", "100",
                    "-P", "16", "-c", "50", "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=600)
    return time.monotonic() - begun


def info(socket):
    text = subprocess.run(["redis-cli", "-s", socket, "info"], capture_output=True, text=True, check=True).stdout
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def caught_up(master, replica):
    while info(replica).get("next_sequence") != info(master)["next_sequence"]:
        time.sleep(0.01)


def measure(master, socket, replica=None):
    before = cpu(master), cpu(replica[0]) if replica else 0
    took = load(socket, arguments.requests)
    if replica:
        caught_up(socket, replica[1])
    mine = (cpu(master) - before[0]) / arguments.requests * 1e6
    its = (cpu(replica[0]) - before[1]) / arguments.requests * 1e6 if replica else 0
    return arguments.requests / took, mine, its


try:
    master, socket = start("master")
    load(socket, arguments.requests)
    alone, together = [], []
    for _ in range(arguments.rounds):
        # Two masters, so that the order of the rounds does not matter; only one of them has a replica.
        alone.append(measure(master, socket))
        if not together:
            pair, other = start("pair")
            replica = start("copy", "--replica-of", f"unix:{other}")
            load(other, arguments.requests)
            caught_up(other, replica[1])
        together.append(measure(pair, other, replica))
    median = lambda rows, index: statistics.median(row[index] for row in rows)
    rate, mine, with_replica, its = median(alone, 0), median(alone, 1), median(together, 1), median(together, 2)
    print(f"SETs a second alone {rate:.0f}, with a replica on the same cores {median(together, 0):.0f}")
    print(f"master: {mine:.2f} us a SET alone, {with_replica:.2f} with a replica: {with_replica / mine:.2f} times (at most 1.2)")
    print(f"replica: {its:.2f} us a record, {its / with_replica:.2f} of the master's (at most 0.5)")
    lags, end = [], time.monotonic() + arguments.seconds
    burst = max(2000, int(median(together, 0) * 0.1))
    while time.monotonic() < end:
        took = load(other, burst)
        lags.append(int(dict(pair.split("=") for pair in info(other)["slave0"].split(","))["lag_microseconds"]) / 1000)
        time.sleep(took * 0.4 / 0.6)
    lags.sort()
    print(f"lag over {arguments.seconds} s at 60 %: median {statistics.median(lags):.1f} ms, p99 {lags[int(len(lags) * 0.99)]:.1f}, "
          f"most {lags[-1]:.1f} (under 100); {len(lags)} samples")
finally:
    for process in processes:
        process.kill()
    shutil.rmtree(folder)
