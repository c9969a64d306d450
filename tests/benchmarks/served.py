"""How fast a served teacher embeds: against the same model loaded here, and by the requests in flight.

python -m tests.benchmarks.served [--server http://localhost:8000/v1] [--texts 256] [--rounds 3]

With a server of all-MiniLM-L6-v2 on this machine, both ways take turns and share its cores. Vectors are compared.
Then a server that takes a tenth of a second for any request, as one far away does, shows what requests in flight gain,
and what the client itself costs.
"""

import statistics
import time

import numpy as np

from hnmine.config.models import EmbedConfig
from hnmine.models.encoders import Encoder, check_vectors, make_encoder
from tests.benchmarks.embed_time import MODEL, passages
from tests.benchmarks.measure import argument_parser
from tests.fake_server import FakeServer

DELAY = 0.1
IN_FLIGHT = (1, 8)


def _seconds(encoder: Encoder, texts: list[str]) -> tuple[float, float, np.ndarray]:
    """Return the time and this process's CPU time of encoding the texts, and their vectors."""
    began, busy = time.perf_counter(), time.process_time()
    vectors = encoder.encode(texts, "document")
    return time.perf_counter() - began, time.process_time() - busy, vectors


def against_loaded(server: str, texts: list[str], rounds: int) -> None:
    """Print texts a second of the loaded model and of the server, and how far their vectors differ."""
    ways: dict[str, Encoder] = {"loaded": make_encoder(EmbedConfig(model=MODEL, device="cpu"))}
    ways |= {
        f"served, {most} in flight": make_encoder(EmbedConfig(model=server, requests_in_flight=most))
        for most in IN_FLIGHT
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    vectors: dict[str, np.ndarray] = {}
    for encoder in ways.values():
        encoder.encode(texts[:8], "document")  # what is only done once
    for _ in range(rounds):
        for name, encoder in ways.items():
            seconds, _, own = _seconds(encoder, texts)
            found[name].append(len(texts) / seconds)
            vectors[name] = check_vectors(own, name, "cosine")
    for name, rates in found.items():
        furthest = np.abs(vectors[name] - vectors["loaded"]).max()
        ratio = statistics.median(one / other for one, other in zip(rates, found["loaded"], strict=True))
        rate = statistics.median(rates)
        print(f"{name:22} {rate:8.1f} texts a second, {ratio:.2f} of loaded; largest difference {furthest:.1e}")


def by_requests_in_flight(texts: list[str]) -> None:
    """Print texts a second by the requests in flight, with a server that answers after `DELAY` seconds."""

    def embed(asked: list[str]) -> np.ndarray:
        time.sleep(DELAY)
        return np.ones((len(asked), 384), dtype=np.float32)

    for most in IN_FLIGHT:
        with FakeServer() as server:
            server.embed = embed
            encoder = make_encoder(EmbedConfig(model=server.url, requests_in_flight=most))
            seconds, busy, _ = _seconds(encoder, texts)
        print(
            f"answers after {DELAY:g} s, {most} in flight: {len(texts) / seconds:8.0f} texts a second, "
            f"{1000 * busy / len(texts):.2f} ms of CPU a text, the server's included"
        )


def main() -> None:
    """Print both tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("--server", help="address of a server of all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.server:
        against_loaded(given.server, passages(given.texts), given.rounds)
    by_requests_in_flight(passages(1024))


if __name__ == "__main__":
    main()
