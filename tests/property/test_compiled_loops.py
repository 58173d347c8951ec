"""The compiled loops and their twins give the same answers, over any pages; sanitizers watch the compiled ones."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stillhouse
from stillhouse import compiled
from stillhouse.domain.object_kinds import Type
from stillhouse.postgres.files import pages
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import ContainerWriter, Kind, open_bytes, proofs

SOURCE = Path(stillhouse.__file__).with_name("compiled.c")
STRICT = ("-std=c11", "-O3", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CC = shutil.which("cc")

needs_compiler = pytest.mark.skipif(CC is None, reason="no C compiler")
needs_loops = pytest.mark.skipif(compiled.loops is None, reason="the loops are not compiled")

# Pages of zeros, of ones, and of noise, which may begin anywhere in memory.
images = st.tuples(
    st.sampled_from([1024, 2048, 8192, 32768]), st.integers(0, 5), st.integers(0, 2**32), st.integers(0, 15)
)


def buffer(size: int, count: int, seed: int, offset: int) -> memoryview:
    """Return the bytes of some pages, `offset` bytes into their memory."""
    draw = np.random.default_rng(seed)
    kinds = draw.integers(0, 4, count)
    parts = [
        bytes(size) if kind == 0 else b"\xff" * size if kind == 1 else draw.bytes(size) for kind in kinds
    ]
    return memoryview(bytearray(bytes(offset) + b"".join(parts)))[offset:]


@needs_loops
@given(images, st.integers(0, 2**32 - 100))
@settings(max_examples=200, deadline=None)
def test_checksums_are_those_of_numpy(drawn: tuple[int, int, int, int], first: int) -> None:
    assert compiled.loops is not None
    table = np.frombuffer(buffer(*drawn), np.uint8).reshape(-1, drawn[0])
    blocks = np.arange(first, first + len(table), dtype=np.uint32)[::-1]
    assert (compiled.loops.checksums(table, blocks) == pages.checksums_by_numpy(table, blocks)).all()
    assert (
        compiled.loops.checksums(table[::2], blocks[::2]) == pages.checksums_by_numpy(table, blocks)[::2]
    ).all()


@needs_loops
@given(images, st.binary(min_size=32, max_size=32))
@settings(max_examples=200, deadline=None)
def test_tags_are_those_of_openssl(drawn: tuple[int, int, int, int], secret: bytes) -> None:
    if compiled.loops is None or not compiled.loops.has_tags:
        pytest.skip("no tags on this processor")
    plain, keys = buffer(*drawn), ClusterKeys(uuid.UUID(int=1), {1: secret}, secret)
    found = keys.page_tags(plain, drawn[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "loops", None)
        assert found == keys.page_tags(plain, drawn[0])
    assert len(found) == 16 * drawn[1]


@needs_loops
@pytest.mark.parametrize("writer_has_loops", [True, False])
def test_frames_that_one_writes_the_other_reads(
    monkeypatch: pytest.MonkeyPatch, *, writer_has_loops: bool
) -> None:
    keys, key, here = (
        ClusterKeys(uuid.UUID(int=1), {1: bytes(32)}, bytes(32)),
        uuid.UUID(int=2),
        compiled.loops,
    )
    place = f"c/{keys.cluster}/packs/{key.hex}"
    frames = [bytes(buffer(size, 5, size, 0)) for size in (1024, 8192, 32768)]
    monkeypatch.setattr(compiled, "loops", here if writer_has_loops else None)
    writer = ContainerWriter(keys, Type.PACK, key)
    for frame in frames:
        writer.add(frame, Kind.PAGES, len(frame) // 5)
    stored = b"".join(writer.finish())
    monkeypatch.setattr(compiled, "loops", None if writer_has_loops else here)
    opened = open_bytes(place, keys, stored)
    assert list(opened.plain()) == frames
    marks = [proofs(keys, frame, Kind.PAGES, len(frame) // 5)[1] for frame in frames]
    assert opened.fingerprints() == b"".join(marks)


@needs_loops
def test_pages_that_do_not_fit_are_refused_before_any_byte_is_read() -> None:
    assert compiled.loops is not None
    one = np.array([1], np.uint32)
    with pytest.raises(ValueError, match="pages"):
        compiled.loops.checksums(np.zeros((1, 1000), np.uint8), one)
    with pytest.raises(ValueError, match="numbers of blocks"):
        compiled.loops.checksums(np.zeros((2, 1024), np.uint8), one)
    for length, size in ((1024, 2048), (1000, 1000), (1024, 0)):
        with pytest.raises(ValueError, match="bytes in pages"):
            compiled.loops.tags(bytes(length), size, bytes(16), bytes(16))


def _built(target: Path, *more: str, source: str | None = None) -> Path:
    text = SOURCE.read_text() if source is None else source
    assert CC is not None
    done = subprocess.run(
        [CC, *STRICT, *more, "-x", "c", "-", "-o", str(target)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


@needs_compiler
def test_where_there_is_a_compiler_the_loops_are_tried() -> None:
    """Else all tests of them would be left out, and nobody would notice."""
    assert compiled.loops is not None, "the library is missing or old: rm .venv/.ready && make .venv/.ready"


@needs_compiler
def test_a_library_with_other_answers_or_functions_is_not_used(tmp_path: Path) -> None:
    source = SOURCE.read_text()
    assert compiled.open_loops(_built(tmp_path / "right.so")) is not None
    for number, (true, false) in enumerate(
        [("% 65535 + 1", "% 65535"), ("void stillhouse_checksums", "void other"), ("size * 8", "size * 7")]
    ):
        assert true in source
        other = _built(tmp_path / f"wrong{number}.so", source=source.replace(true, false))
        assert compiled.open_loops(other) is None, false
    assert compiled.open_loops(tmp_path / "none.so") is None
    (tmp_path / "empty.so").touch()
    assert compiled.open_loops(tmp_path / "empty.so") is None


_WATCHED = """
import sys, ctypes
import numpy as np
from stillhouse import compiled
found = compiled.open_loops(sys.argv[1])
assert found is not None
for count in (0, 1, 3):
    for size in (128, 1024, 8192):
        # Memory of its own for each call, so that a byte too far is seen.
        table = np.frombuffer(np.random.default_rng(count).bytes(count * size), np.uint8).reshape(count, size)
        found.checksums(table.copy(), np.arange(count, dtype=np.uint32))
        if found.has_tags:
            found.tags(bytearray(table.tobytes()), size, bytes(range(16)), bytes(16))
print("sound")
"""


@needs_compiler
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    assert CC is not None
    runtime = subprocess.run(
        [CC, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout
    if not Path(runtime.strip()).is_file():
        pytest.skip("no sanitizers")

    def watched(library: Path) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "LD_PRELOAD": runtime.strip(), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc",
        }  # fmt: skip
        command = [sys.executable, "-c", _WATCHED, str(library)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    done = watched(_built(tmp_path / "watched.so", *SANITIZED))
    assert done.stdout == "sound\n", done.stderr
    too_far = SOURCE.read_text().replace("at < size + 2 * sizeof row", "at < size + 3 * sizeof row")
    too_far = too_far.replace("if (at < size)\n", "if (at < size + sizeof row)\n")
    done = watched(_built(tmp_path / "far.so", *SANITIZED, source=too_far))
    assert "heap-buffer-overflow" in done.stderr
