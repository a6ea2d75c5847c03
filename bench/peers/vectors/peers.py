"""Measures hnswlib, faiss and chromem-go on vectors that `alcove bench ann --export` wrote.

peers.py FOLDER ALCOVE.JSON CHROMEM prints a line for each library and setting, with
the ratio of alcove's speed to it at alcove's recall.
"""
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import faiss
import hnswlib
import numpy as np

K = 10
WIDTHS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768]


def cpu(f):
    """Runs f and returns what it returned and the CPU seconds it took."""
    t = time.process_time()
    out = f()
    return out, time.process_time() - t


def main():
    folder, alcove, chromem = Path(sys.argv[1]), json.load(open(sys.argv[2])), sys.argv[3]
    meta = json.load(open(folder / "meta.json"))
    base = np.fromfile(folder / "base.f32", "<f4").reshape(meta["base"], meta["dim"])
    queries = np.fromfile(folder / "queries.f32", "<f4").reshape(meta["queries"], meta["dim"])
    kind, size = folder.name.rsplit("-", 1)
    ours = {r["mode"]: r for r in alcove["result"] if r["kind"] == kind and r["vectors"] == int(size)}
    # The score of the tenth nearest: what scores as much is one of the nearest ten.
    scores = queries @ base.T
    tenth = np.partition(scores, -K, axis=1)[:, -K]

    def recall(rows):
        found = sum(np.count_nonzero(scores[i, r[r >= 0]] >= tenth[i] - 1e-6) for i, r in enumerate(rows))
        return found / (K * len(rows))

    def curve(search):
        """(recall, searches for each CPU second) by width, the fastest of three times, warm."""
        out = []
        search(WIDTHS[0])
        for width in WIDTHS:
            times = []
            for _ in range(3):
                rows, seconds = cpu(lambda: search(width))
                times.append(seconds)
            out.append((recall(rows), len(queries) / min(times)))
            if out[-1][0] > 0.9995:
                break
        return out

    def at(points, r):
        """The speed at a recall, between the points next to it."""
        above = [p for p in points if p[0] >= r]
        below = [p for p in points if p[0] < r]
        if not above:
            return None
        hi = max(above, key=lambda p: p[1])
        if not below:
            return hi[1]
        lo = max(below)
        if hi[0] == lo[0]:
            return hi[1]
        share = (r - lo[0]) / (hi[0] - lo[0])
        return math.exp(math.log(lo[1]) + share * (math.log(hi[1]) - math.log(lo[1])))

    def line(name, build, points, modes):
        text = " ".join(f"{r:.4f}:{q:.0f}" for r, q in points)
        for mode in modes:
            r = ours.get(mode)
            if r is None:
                continue
            speed = at(points, r["recall_at_10"])
            ratio = f"{r['searches_per_cpu_s'] / speed:.2f}" if speed else "never reached"
            builds = f"{build / r['build_cpu_s']:.2f}" if build and r["build_cpu_s"] else "-"
            print(f"{folder.name}\t{name}\tbuild {build:.2f} s\t{text}\t{mode} recall {r['recall_at_10']:.4f} {r['searches_per_cpu_s']:.0f}/s\tratio {ratio}\tbuild ratio {builds}", flush=True)

    index = hnswlib.Index("ip", meta["dim"])
    index.init_index(meta["base"], M=16, ef_construction=200)
    _, build = cpu(lambda: index.add_items(base, num_threads=1))

    # One call for all queries, which are searched one after the other by one thread: so no
    # time of Python's is counted.
    def nearest(width):
        index.set_ef(max(width, K))
        return index.knn_query(queries, K, num_threads=1)[0].astype(np.int64)

    line("hnswlib", build, curve(nearest), ["own", "int8"])

    graph = faiss.IndexHNSWFlat(meta["dim"], 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 200
    _, build = cpu(lambda: graph.add(base))

    def walk(width):
        graph.hnsw.efSearch = width
        return graph.search(queries, K)[1]

    line("faiss HNSWFlat", build, curve(walk), ["own", "int8"])

    flat = faiss.IndexFlatIP(meta["dim"])
    flat.add(base)
    rows, seconds = cpu(lambda: [flat.search(q[None], K)[1][0] for q in queries])
    line("faiss FlatIP", 0, [(recall(rows), len(queries) / seconds)], ["exact"])

    out = json.loads(subprocess.run([chromem, folder], check=True, capture_output=True, text=True).stdout)
    line("chromem-go", 0, [(recall([np.array(r) for r in out["rows"]]), out["searches_per_cpu_s"])], ["exact", "own"])
    if "coder" in ours:
        c = ours["coder"]
        line("coder/hnsw (Import)", 0, [(c["recall_at_10"], c["searches_per_cpu_s"])], ["own"])


main()
