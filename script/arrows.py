"""Reads `swift package dump-package` from standard input and refuses an arrow that does not point down.

A module may use modules of layers below it, and siblings of its own layer. A cycle cannot build. Programs are used by nobody.
"""
import json
import sys

LAYERS = ["C", "Base", "Storage", "Ledger", "Node", "Autonomy", "Programs"]


def main() -> int:
    targets = [t for t in json.load(sys.stdin)["targets"] if t["type"] != "test"]
    layer = {}
    for target in targets:
        parts = target["path"].split("/")
        if len(parts) != 3 or parts[0] != "Sources" or parts[1] not in LAYERS or parts[2] != target["name"]:
            print(f"arrows: {target['name']} lies at {target['path']}, not at Sources/<Layer>/{target['name']}")
            return 1
        layer[target["name"]] = LAYERS.index(parts[1])
    bad = 0
    for target in targets:
        here = layer[target["name"]]
        for dependency in target["dependencies"]:
            name = next(iter(dependency.values()))[0]
            there = layer[name]
            if there > here or there == LAYERS.index("Programs") or (here == there == LAYERS.index("C")):
                print(f"arrows: {target['name']} ({LAYERS[here]}) may not use {name} ({LAYERS[there]})")
                bad += 1
    return 1 if bad else 0


sys.exit(main())
